package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// ErrJournal is the error of a journal that is damaged or of another run.
var ErrJournal = errors.New("journal")

// journalForm is the version of a journal's form.
const journalForm = 2

// head is the first line of a journal. What it says must be the same when a run
// is resumed.
type head struct {
	Journal    int       `json:"journal"`
	ModelHash  string    `json:"model_hash"`
	Data       string    `json:"data"` // absolute
	Targets    []string  `json:"targets"`
	Threads    int       `json:"threads"`
	Preprocess []Variant `json:"preprocess"`
}

// differs names the first field in which the journal's head is not the run's.
func (h head) differs(run head) error {
	say := func(what string, has, want any) error {
		return fmt.Errorf("its %s is %v, this run's is %v", what, has, want)
	}
	switch {
	case h.Journal != run.Journal:
		return say("form", h.Journal, run.Journal)
	case h.ModelHash != run.ModelHash:
		return say("model", fmt.Sprintf("%.12s", h.ModelHash), fmt.Sprintf("%.12s", run.ModelHash))
	case h.Data != run.Data:
		return say("data", h.Data, run.Data)
	case !slices.Equal(h.Targets, run.Targets):
		return say("list of targets", h.Targets, run.Targets)
	case h.Threads != run.Threads:
		return say("number of threads", h.Threads, run.Threads)
	case !slices.Equal(h.Preprocess, run.Preprocess):
		return say("preprocessing", h.Preprocess, run.Preprocess)
	}
	return nil
}

// journal is a file of JSON lines: a head and a record for each image that is
// done. A line that was cut short by the end of a program is written anew.
type journal struct {
	file  *os.File // nil: in memory only
	size  int64    // of the file
	limit int64    // of size; 0: none
	done  map[string]record
}

// openJournal reads the file of that name and goes on with it, or begins it. It
// may hold images that the run has not. Images that failed are not taken over.
// The error is ErrJournal or the system's.
func openJournal(path string, run head, classes int) (*journal, error) {
	j := &journal{done: map[string]record{}}
	if path == "" {
		return j, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	j.file = f
	end, err := j.read(run, classes)
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	j.size = end
	if err == nil && end == 0 {
		err = j.write(run)
	}
	if err != nil {
		j.close()
		if errors.Is(err, ErrJournal) {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return nil, err
	}
	return j, nil
}

// Journaled counts the images in a journal that a run of it would not try
// again. The error is ErrJournal or the system's.
func Journaled(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	done := map[string]bool{}
	lines := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return len(done), nil
		}
		if err != nil {
			return 0, err
		}
		var r struct{ Image, Error string }
		if err := json.Unmarshal(line, &r); err != nil {
			return 0, fmt.Errorf("%w: line %d: %w", ErrJournal, n, err)
		}
		if n > 1 && r.Error == "" {
			done[r.Image] = true
		}
	}
}

// read takes in the whole lines, and says where they end.
func (j *journal) read(run head, classes int) (end int64, err error) {
	lines := bufio.NewReader(j.file)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			if n == 1 && len(line) > 0 && !bytes.HasPrefix(line, []byte(`{"journal"`)) {
				return 0, fmt.Errorf("%w: not a journal", ErrJournal) // and so not to be written over
			}
			return end, nil
		}
		if err != nil {
			return 0, err
		}
		end += int64(len(line))
		if n == 1 {
			var h head
			if err := json.Unmarshal(line, &h); err != nil || h.Journal == 0 {
				return 0, fmt.Errorf("%w: not a journal", ErrJournal)
			}
			if err := h.differs(run); err != nil {
				return 0, fmt.Errorf("%w: %w", ErrJournal, err)
			}
			continue
		}
		var r record
		err = json.Unmarshal(line, &r)
		if err == nil {
			err = r.check(run, classes)
		}
		if err != nil {
			return 0, fmt.Errorf("%w: line %d: %w", ErrJournal, n, err)
		}
		j.done[r.Image] = r
	}
}

// check bounds what came from a file.
func (r record) check(run head, classes int) error {
	if r.Error != "" {
		return nil
	}
	if len(r.Runs) != len(run.Preprocess) {
		return fmt.Errorf("%d preprocessings, want %d", len(r.Runs), len(run.Preprocess))
	}
	t := len(run.Targets)
	for _, one := range r.Runs {
		if len(one.Targets) != t || len(one.Pairs) != t*(t-1)/2 {
			return fmt.Errorf("%d targets and %d pairs, want %d and %d", len(one.Targets), len(one.Pairs), t, t*(t-1)/2)
		}
		for _, o := range one.Targets {
			for _, c := range o.Top {
				if c < 0 || c >= classes {
					return fmt.Errorf("class %d of %d", c, classes)
				}
			}
			if o.Probability < 0 || o.Probability > 1 {
				return fmt.Errorf("a probability of %v", o.Probability)
			}
			if (o.Error == "") != (len(o.Top) == min(topK, classes)) {
				return fmt.Errorf("%d best classes, error %q", len(o.Top), o.Error)
			}
		}
	}
	return nil
}

// has says whether the image is done. One that failed is to be tried again.
func (j *journal) has(im Image) bool {
	r, ok := j.done[im.Path]
	return ok && r.Class == im.Class && r.Error == ""
}

func (j *journal) add(r record) error {
	j.done[r.Image] = r
	return j.write(r)
}

func (j *journal) write(line any) error {
	if j.file == nil {
		return nil
	}
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if j.limit > 0 && j.size+int64(len(text)) > j.limit {
		return nil
	}
	n, err := j.file.Write(text)
	j.size += int64(n)
	return err
}

func (j *journal) close() {
	if j.file != nil {
		_ = j.file.Close() // every line has been written
	}
}

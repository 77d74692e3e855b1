package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"

	"edgevit/eval"
	"edgevit/jobs"
)

const (
	// maxJournals is how many evaluations can be resumed, the newest ones.
	maxJournals = 16
	// journalBytes bounds the journal of one: 50,000 images on six targets.
	journalBytes = 128 << 20

	journalSuffix = ".journal"
)

// journals are the files in which evaluations that are not done keep their
// images, one for each by its id.
type journals struct {
	folder string

	mu     sync.Mutex
	counts map[string]journalCount // by id
}

// journalCount says how many images a journal of that size holds.
type journalCount struct {
	size   int64
	images int
}

func openJournals(data string) (*journals, error) {
	j := &journals{folder: filepath.Join(data, "evaluations"), counts: map[string]journalCount{}}
	return j, os.MkdirAll(j.folder, 0o755)
}

func (j *journals) path(id string) string { return filepath.Join(j.folder, id+journalSuffix) }

// images counts what is kept of an evaluation; ok: there is a journal.
func (j *journals) images(id string) (n int, ok bool) {
	info, err := os.Stat(j.path(id))
	if err != nil {
		return 0, false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	c, known := j.counts[id]
	if !known || c.size != info.Size() {
		if c.images, err = eval.Journaled(j.path(id)); err != nil {
			return 0, false
		}
		c.size = info.Size()
		j.counts[id] = c
	}
	return c.images, true
}

func (j *journals) remove(id string) error {
	j.mu.Lock()
	delete(j.counts, id)
	j.mu.Unlock()
	if err := os.Remove(j.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a journal: %w", err)
	}
	return nil
}

// tidy removes the journals of evaluations that are done or gone, and the oldest
// beyond maxJournals.
func (j *journals) tidy(evaluations *evaluationStore) error {
	files, err := os.ReadDir(j.folder) // sorted, and an id sorts by time
	if err != nil {
		return fmt.Errorf("journals: %w", err)
	}
	slices.Reverse(files)
	kept := 0
	var failed []error
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), journalSuffix)
		if !ok {
			continue
		}
		r, err := evaluations.Get(context.Background(), id)
		switch {
		case errors.Is(err, jobs.ErrNotFound), err == nil && r.State == jobs.Done, err == nil && r.State != jobs.Running && kept == maxJournals:
			failed = append(failed, j.remove(id))
		case err != nil:
			failed = append(failed, err)
		default:
			kept++
		}
	}
	return errors.Join(failed...)
}

// hidePath takes the journal's path, which is not for clients, from an error of
// eval.Run.
func (j *journals) hidePath(id string, err error) error {
	var system *fs.PathError
	switch {
	case errors.As(err, &system) && system.Path == j.path(id):
		return fmt.Errorf("journal: %w", system.Err)
	case errors.Is(err, eval.ErrJournal):
		return errors.New(strings.TrimPrefix(err.Error(), j.path(id)+": "))
	}
	return err
}

// dataHash changes with the images of a set, their classes, sizes and times of
// change.
func dataHash(set eval.Set) string {
	sum := sha256.New()
	enc := json.NewEncoder(sum)
	for _, im := range set.Images {
		var size, changed int64
		if info, err := os.Stat(im.File); err == nil { // one that is gone has neither
			size, changed = info.Size(), info.ModTime().UnixNano()
		}
		_ = enc.Encode([]any{im.Path, im.Class, size, changed}) // a hash takes everything
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// openEvaluations opens the store of evaluations and their journals.
func (l *longJobs) openEvaluations(folder string) (err error) {
	if l.evaluations, err = jobs.Open[evaluationPlan, evaluationSummary](folder, "evaluation"); err != nil {
		return err
	}
	if l.journals, err = openJournals(folder); err != nil {
		return err
	}
	l.tidyJournals()
	return nil
}

func (l *longJobs) tidyJournals() {
	if err := l.journals.tidy(l.evaluations); err != nil {
		l.log.Warn("journals of evaluations not tidied", zap.Error(err))
	}
}

// Package eval measures how often a model is right on a set of images with
// known classes, on several targets and with several preprocessings.
//
//	set, err := eval.Open("photos", "", m)
//	report, err := eval.Run(ctx, m, set, eval.Options{Targets: []string{"purego"}})
//
// set.go reads the data, variant.go are the preprocessings, eval.go runs, journal.go
// keeps what is done so that a run can be resumed, report.go makes
// figures of it, html.go a page.
package eval

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"edgevit/backend"
	"edgevit/compare"
	"edgevit/model"
	"edgevit/preprocess"
)

// Options say what is run and how. The zero value runs purego.
type Options struct {
	// Registry holds the backends; nil is backend.Default.
	Registry *backend.Registry
	// Targets are run one after another on each image; the first is the one
	// whose mistakes are listed. Default: purego.
	Targets []string
	// Preprocess are names of Variants; the model's own always runs.
	Preprocess []string
	// Threads of one inference; 0: backend.DefaultThreads.
	Threads int
	// Decoders is how many images are decoded at once; 0: the number of CPUs,
	// at most 4.
	Decoders int
	// Limits bound what an image may cost; the zero value stands for
	// preprocess.DefaultLimits with a minute to decode.
	Limits preprocess.Limits
	// Journal is a file to keep results in as they come. What it holds already
	// is not run again; it must be of the same model and options.
	Journal string
	// JournalBytes is where the journal stops to grow: what comes after it is not
	// there to be resumed; 0: no bound.
	JournalBytes int64
	// Progress is called at the beginning, with what the journal holds, and after
	// every image.
	Progress func(done, total int)
	// Hold waits for as many CPU threads of the program, which others use too,
	// before an image is decoded (one) and before every inference, and returns
	// what gives them back; nil: nothing is waited for. The time of an inference
	// begins after it.
	Hold func(ctx context.Context, threads int) (release func(), err error)
	// Disturbances counts the requests that the program has served; the report
	// says by how many it has grown.
	Disturbances func() int64
}

// topK is how many of the best classes are looked at.
const topK = 5

// outcome is what a target made of an image.
type outcome struct {
	// Top are the best classes, the best first; Probability is the best one's.
	Top         []int   `json:"top,omitempty"`
	Probability float64 `json:"probability,omitempty"`
	MS          float64 `json:"ms"`
	// Error says why there are none.
	Error string `json:"error,omitempty"`
}

// best is the class named, -1 where there is none.
func (o outcome) best() int {
	if len(o.Top) == 0 {
		return -1
	}
	return o.Top[0]
}

// pairing is how two targets agree on an image.
type pairing struct {
	SNR    float64 `json:"snr_db"`
	Agrees bool    `json:"agrees"`
}

// result is what became of an image with one preprocessing.
type result struct {
	// Equal says that the input was the reference's, value for value, so that the
	// outcomes are too.
	Equal   bool      `json:"equal,omitempty"`
	Targets []outcome `json:"targets"`
	// Pairs are those of targets 0 and 1, 0 and 2, …, 1 and 2, …; null where
	// one has no outcome.
	Pairs []*pairing `json:"pairs,omitempty"`
}

// record is an image's line in the journal.
type record struct {
	Image string `json:"image"`
	Class int    `json:"class"`
	// SHA256 is the sum of the file that was decoded.
	SHA256 string `json:"sha256,omitempty"`
	// Error says why it could not be decoded.
	Error string `json:"error,omitempty"`
	// Runs are in the order of the variants.
	Runs []result `json:"runs,omitempty"`
}

// contestant is an open target.
type contestant struct {
	target     backend.Target
	classifier *backend.Classifier
}

// Run evaluates the model. A target that cannot be opened and an image that
// cannot be decoded are named in the report and do not stop it. The error is
// that of an option, ErrJournal, the context's, or the targets' if none could be opened.
// What was done before an error is in the journal.
func Run(ctx context.Context, m *model.Model, set Set, o Options) (*Report, error) {
	if o.Registry == nil {
		o.Registry = &backend.Default
	}
	if o.Targets == nil {
		o.Targets = []string{"purego"}
	}
	if o.Threads == 0 {
		o.Threads = backend.DefaultThreads()
	}
	if o.Hold == nil {
		o.Hold = func(context.Context, int) (func(), error) { return func() {}, nil }
	}
	if o.Disturbances == nil {
		o.Disturbances = func() int64 { return 0 }
	}
	if o.Decoders == 0 {
		o.Decoders = min(runtime.NumCPU(), 4)
	}
	if o.Limits == (preprocess.Limits{}) {
		o.Limits = preprocess.DefaultLimits()
		o.Limits.DecodeTime = time.Minute
	}
	variants, err := Variants(o.Preprocess, m.Preprocess)
	if err != nil {
		return nil, err
	}
	var targets []TargetStatus
	var open []contestant
	var failed []error
	for _, name := range o.Targets {
		t, err := o.Registry.Resolve(name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(targets, func(s TargetStatus) bool { return s.Target == t.String() }) {
			return nil, fmt.Errorf("target %s is named twice", t)
		}
		status := TargetStatus{Target: t.String()}
		c, err := o.Registry.Open(ctx, t.String(), m.Graph, backend.Options{Threads: o.Threads, Model: m.Name})
		if err != nil {
			status.Error = err.Error()
			failed = append(failed, err)
		} else {
			defer c.Close()
			open = append(open, contestant{t, c})
		}
		targets = append(targets, status)
	}
	if len(open) == 0 {
		return nil, fmt.Errorf("no target could be opened: %w", errors.Join(failed...))
	}

	e := evaluation{model: m, variants: variants, open: open, options: o}
	j, err := e.journal(set)
	if err != nil {
		return nil, err
	}
	defer j.close()
	served := o.Disturbances()
	if err := e.run(ctx, set, j); err != nil {
		return nil, err
	}
	r := e.report(set, targets, j.done)
	r.Disturbances = o.Disturbances() - served
	return r, nil
}

type evaluation struct {
	model    *model.Model
	variants []Variant
	open     []contestant
	options  Options
}

// run fills the journal with what is missing in it.
func (e *evaluation) run(ctx context.Context, set Set, j *journal) error {
	var todo []Image
	for _, im := range set.Images {
		if !j.has(im) {
			todo = append(todo, im)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := len(set.Images) - len(todo)
	progress := e.options.Progress
	if progress == nil {
		progress = func(int, int) {}
	}
	progress(done, len(set.Images))
	for d := range e.decode(ctx, todo) {
		r, err := e.infer(ctx, <-d)
		if err != nil {
			return err
		}
		if err := j.add(r); err != nil {
			return err
		}
		done++
		progress(done, len(set.Images))
	}
	return ctx.Err()
}

// prepared are the inputs of an image by variant.
type prepared struct {
	image  Image
	sum    string      // of the file, SHA-256 in hex
	inputs [][]float32 // nil where equal to the first
	err    error
}

// decode prepares images ahead of their turn, on several goroutines. They come
// in order.
func (e *evaluation) decode(ctx context.Context, images []Image) <-chan chan prepared {
	queue := make(chan chan prepared, e.options.Decoders)
	go func() {
		defer close(queue)
		for _, im := range images {
			one := make(chan prepared, 1)
			select {
			case queue <- one:
			case <-ctx.Done():
				return
			}
			go func() { one <- e.prepare(ctx, im) }()
		}
	}()
	return queue
}

func (e *evaluation) prepare(ctx context.Context, image Image) prepared {
	p := prepared{image: image}
	release, err := e.options.Hold(ctx, 1)
	if err != nil {
		p.err = err
		return p
	}
	defer release()
	data, err := read(image.File, e.options.Limits.Bytes)
	if err != nil {
		p.err = err
		return p
	}
	p.sum = Sum(data)
	im, err := preprocess.Decode(ctx, data, e.options.Limits)
	if err != nil {
		p.err = err
		return p
	}
	for _, v := range e.variants {
		input := make([]float32, 3*v.Size*v.Size)
		if p.err = v.tensor(im, input); p.err != nil {
			return p
		}
		if len(p.inputs) > 0 && slices.Equal(input, p.inputs[0]) {
			input = nil
		}
		p.inputs = append(p.inputs, input)
	}
	return p
}

// Sum is the SHA-256 of an image file in hexadecimal digits, by which a report
// names it.
func Sum(file []byte) string { return fmt.Sprintf("%x", sha256.Sum256(file)) }

// read is the file of at most limit bytes. The error has no path: the report
// names the image.
func read(path string, limit int64) ([]byte, error) {
	// Before it is opened, since opening a pipe waits, and would hold the CPU.
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errIrregular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	return readAll(f, limit)
}

func readAll(f *os.File, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", preprocess.ErrTooLarge, limit)
	}
	return data, nil
}

// infer runs every target on every input. The error is the context's: what a
// target cannot do is an outcome.
func (e *evaluation) infer(ctx context.Context, p prepared) (record, error) {
	r := record{Image: p.image.Path, Class: p.image.Class}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	if p.err != nil {
		r.Error = p.err.Error()
		return r, nil
	}
	r.SHA256 = p.sum
	for _, input := range p.inputs {
		if input == nil {
			same := r.Runs[0]
			same.Equal = true
			r.Runs = append(r.Runs, same)
			continue
		}
		var out result
		logits := make([][]float32, len(e.open)) // nil where there are none
		for i, c := range e.open {
			l := make([]float32, e.model.Config.Classes)
			took, err := e.classify(ctx, c, input, l)
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			if err == nil {
				err = finite(l)
			}
			if err != nil {
				out.Targets = append(out.Targets, outcome{Error: err.Error()})
				continue
			}
			logits[i] = l
			top := outcome{MS: float64(took.Microseconds()) / 1000}
			for i, p := range e.model.Top(l, topK) {
				top.Top = append(top.Top, p.Index)
				if i == 0 {
					top.Probability = p.Probability
				}
			}
			out.Targets = append(out.Targets, top)
		}
		for i, a := range e.open {
			for k := i + 1; k < len(e.open); k++ {
				var pair *pairing
				if logits[i] != nil && logits[k] != nil {
					l := compare.OfLogits(logits[i], logits[k])
					pair = &pairing{l.SNR, l.Agree(a.target, e.open[k].target)}
				}
				out.Pairs = append(out.Pairs, pair)
			}
		}
		r.Runs = append(r.Runs, out)
	}
	return r, nil
}

// classify runs one target on one input, and says how long that took.
func (e *evaluation) classify(ctx context.Context, c contestant, input, logits []float32) (time.Duration, error) {
	release, err := e.options.Hold(ctx, c.classifier.Threads())
	if err != nil {
		return 0, err
	}
	defer release()
	begin := time.Now()
	err = c.classifier.Run(ctx, input, logits)
	return time.Since(begin), err
}

func finite(logits []float32) error {
	for _, l := range logits {
		if math.IsNaN(float64(l)) || math.IsInf(float64(l), 0) {
			return fmt.Errorf("the output holds %v", l)
		}
	}
	return nil
}

// journal opens the journal of these options, one in memory where no file is
// named.
func (e *evaluation) journal(set Set) (*journal, error) {
	data, err := filepath.Abs(set.Data)
	if err != nil {
		return nil, err
	}
	h := head{Journal: journalForm, ModelHash: e.model.Hash, Data: data, Threads: e.options.Threads, Preprocess: e.variants}
	for _, c := range e.open {
		h.Targets = append(h.Targets, c.target.String())
	}
	j, err := openJournal(e.options.Journal, h, e.model.Config.Classes)
	if err != nil {
		return nil, err
	}
	j.limit = e.options.JournalBytes
	return j, nil
}

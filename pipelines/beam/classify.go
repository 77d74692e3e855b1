package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/fileio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"edgevit/backend"
	_ "edgevit/backend/purego"
	"edgevit/model"
	"edgevit/model/demo"
	"edgevit/preprocess"
)

func init() {
	register.DoFn4x1[context.Context, fileio.ReadableFile, func(string), func(string), error](&classifyFn{})
	register.Emitter1[string]()
}

// Counters of the pipeline.
var (
	classified = beam.NewCounter("edgevit", "images_classified")
	unusable   = beam.NewCounter("edgevit", "images_failed")
)

// classifyFn names what is in an image. Its fields go to the workers.
type classifyFn struct {
	// Checkpoint is a path on the worker; empty: the demo model.
	Checkpoint string
	// TopK classes are told of each image, or all where the model has fewer.
	TopK int

	model *opened
}

// result is one line, with the fields that api classify --json has of an image:
// the predictions, or the error.
type result struct {
	Model       string             `json:"model"`
	ModelHash   string             `json:"model_hash"`
	File        string             `json:"file"`
	Error       string             `json:"error,omitempty"`
	Predictions []model.Prediction `json:"predictions,omitempty"`
	Image       *facts             `json:"image,omitempty"`
}

// facts are what an image's file says of it.
type facts struct {
	Format      string `json:"format"`
	Width       int    `json:"width"`
	Height      int    `json:"height"`
	Orientation int    `json:"orientation"`
	Bytes       int    `json:"bytes"`
}

// opened is a model that is ready to run. The bundles of a worker share it: it
// is safe for concurrent use, and never closed.
type opened struct {
	model      *model.Model
	classifier *backend.Classifier
}

var (
	openedMu sync.Mutex
	byFile   = map[string]*opened{}
)

// Setup opens the model, once in a process.
func (fn *classifyFn) Setup(ctx context.Context) error {
	openedMu.Lock()
	defer openedMu.Unlock()
	if fn.model = byFile[fn.Checkpoint]; fn.model != nil {
		return nil
	}
	m, err := demo.Model()
	if fn.Checkpoint != "" {
		m, err = model.Open(fn.Checkpoint, model.Sidecar{})
	}
	if err != nil {
		return err
	}
	// One thread a run: a worker has as many bundles as cores.
	c, err := backend.Open(ctx, "purego", m.Graph, backend.Options{Threads: 1})
	if err != nil {
		return err
	}
	fn.model = &opened{m, c}
	byFile[fn.Checkpoint] = fn.model
	return nil
}

// ProcessElement emits a line into named, or, with the reason, into failed. Its
// own error is one that another attempt may mend.
func (fn *classifyFn) ProcessElement(ctx context.Context, file fileio.ReadableFile, named, failed func(string)) error {
	r, err := fn.classify(ctx, file)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	emit, counter := named, classified
	if err != nil {
		emit, counter = failed, unusable
		r = result{Error: err.Error()}
	}
	r.Model, r.ModelHash, r.File = fn.model.model.Name, fn.model.model.Hash, file.Metadata.Path
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	counter.Inc(ctx, 1)
	emit(string(line))
	return nil
}

func (fn *classifyFn) classify(ctx context.Context, file fileio.ReadableFile) (result, error) {
	m, c := fn.model.model, fn.model.classifier
	data, err := read(ctx, file)
	if err != nil {
		return result{}, err
	}
	im, err := preprocess.Decode(ctx, data, preprocess.DefaultLimits())
	if err != nil {
		return result{}, err
	}
	tensor, logits := make([]float32, m.Graph.Input().Len()), make([]float32, m.Config.Classes)
	if err := im.Tensor(preprocess.Spec(m.Preprocess), tensor); err != nil {
		return result{}, err
	}
	if err := c.Run(ctx, tensor, logits); err != nil {
		return result{}, err
	}
	for _, l := range logits {
		if math.IsNaN(float64(l)) || math.IsInf(float64(l), 0) {
			return result{}, fmt.Errorf("the output of %s holds %v: its weights are broken", m.Name, l)
		}
	}
	return result{
		Predictions: m.Top(logits, min(fn.TopK, m.Config.Classes)),
		Image:       &facts{im.Format, im.Width, im.Height, im.Orientation, len(data)},
	}, nil
}

// read reads a file of at most the size that the service takes.
func read(ctx context.Context, file fileio.ReadableFile) ([]byte, error) {
	f, err := file.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	limit := preprocess.DefaultLimits().Bytes
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", preprocess.ErrTooLarge, limit)
	}
	return data, nil
}

//go:build cgo && tflite && (linux || darwin)

package tflite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"

	tflite "github.com/mattn/go-tflite"

	"edgevit/backend"
	"edgevit/backend/tflite/export"
	"edgevit/graph"
)

// session is an open model. An interpreter runs one image at a time: larger
// batches are no faster, and so a Run can be cancelled between images.
type session struct {
	graph   *graph.Graph
	options backend.Options
	model   *tflite.Model
	bytes   int64 // of the model's file
	placed  placement

	// pool holds the interpreters that no Run uses, nil for one that is yet to
	// be made. Its capacity bounds the memory, and is no fewer than can run
	// side by side.
	pool chan *interpreter
}

// interpreter is one interpreter with its delegate.
type interpreter struct {
	*tflite.Interpreter
	options  *tflite.InterpreterOptions
	delegate *delegate
}

func open(_ context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	model, bytes, err := openModel(g, false)
	if err != nil {
		return nil, err
	}
	first, err := newInterpreter(model, o)
	if err != nil {
		model.Delete()
		return nil, err
	}
	s := &session{graph: g, options: o, model: model, bytes: bytes, placed: first.delegate.placement()}
	s.pool = make(chan *interpreter, max(1, runtime.GOMAXPROCS(0)/o.Threads))
	s.pool <- first
	for len(s.pool) < cap(s.pool) {
		s.pool <- nil
	}
	if o.Strict && o.Device != devicePlain && s.placed.left > 0 {
		return nil, errors.Join(fmt.Errorf("%w: strict placement: %s left %d of %d nodes to TensorFlow Lite's own kernels",
			backend.ErrUnsupported, o.Device, s.placed.left, s.placed.nodes), s.Close())
	}
	return s, nil
}

// openModel writes g's file and opens it: from the cache folder where g has an
// identity and there is such a folder, else from a file that is gone once it is
// open.
func openModel(g *graph.Graph, allOutputs bool) (*tflite.Model, int64, error) {
	write := func(w io.Writer) error {
		return export.Write(w, g, export.Options{Batch: 1, AllOutputs: allOutputs})
	}
	path, err := "", error(nil)
	if g.ID != "" {
		kind := "run"
		if allOutputs {
			kind = "trace"
		}
		path, err = backend.CacheFile(fmt.Sprintf("%x-%s-%s-1.tflite", sha256.Sum256([]byte(g.ID)), kind, export.Version), write)
	}
	if g.ID == "" || err != nil && !errors.Is(err, graph.ErrInvalid) {
		path, err = temporaryFile(write)
		defer os.Remove(path)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, fmt.Errorf("model file: %w", err)
	}
	m := tflite.NewModelFromFile(path)
	if m == nil {
		return nil, 0, fmt.Errorf("TensorFlow Lite %s cannot read the model file %s", version(), path)
	}
	return m, info.Size(), nil
}

func temporaryFile(write func(io.Writer) error) (string, error) {
	f, err := os.CreateTemp("", "edgevit-*.tflite")
	if err != nil {
		return "", fmt.Errorf("model file: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return f.Name(), fmt.Errorf("model file: %w", err)
	}
	return f.Name(), nil
}

func newInterpreter(m *tflite.Model, o backend.Options) (*interpreter, error) {
	d, err := newDelegate(o.Device, o.Threads)
	if err != nil {
		return nil, err
	}
	x := &interpreter{delegate: d, options: tflite.NewInterpreterOptions()}
	if x.options == nil {
		x.close()
		return nil, errors.New("TensorFlow Lite has no memory for an interpreter")
	}
	x.options.SetNumThread(o.Threads)
	x.options.AddDelegate(d)
	if x.Interpreter = tflite.NewInterpreter(m, x.options); x.Interpreter == nil {
		x.close()
		return nil, fmt.Errorf("TensorFlow Lite %s cannot run the model on %s", version(), o.Device)
	}
	// Not == tflite.Error, which equals OK.
	if x.AllocateTensors() != tflite.OK {
		x.close()
		return nil, fmt.Errorf("TensorFlow Lite %s cannot allocate the model's tensors on %s", version(), o.Device)
	}
	return x, nil
}

// close frees x in the order in which the library wants it.
func (x *interpreter) close() {
	x.Interpreter.Delete()
	x.options.Delete()
	x.delegate.Delete()
}

// run runs one image and reads output i into outs[i].
func (x *interpreter) run(in []float32, outs ...[]float32) error {
	if t := x.GetInputTensor(0); t == nil || t.ByteSize() != uint(4*len(in)) || t.CopyFromBuffer(in) != tflite.OK {
		return errors.New("TensorFlow Lite does not take the input")
	}
	if x.Invoke() != tflite.OK {
		return errors.New("TensorFlow Lite failed to run the model")
	}
	for i, out := range outs {
		if t := x.GetOutputTensor(i); t == nil || t.ByteSize() != uint(4*len(out)) || t.CopyToBuffer(out) != tflite.OK {
			return errors.New("TensorFlow Lite does not give the output")
		}
	}
	return nil
}

// take waits for an interpreter.
func (s *session) take(ctx context.Context) (*interpreter, error) {
	select {
	case x := <-s.pool:
		if x != nil {
			return x, nil
		}
		x, err := newInterpreter(s.model, s.options)
		if err != nil {
			s.pool <- nil
		}
		return x, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Run implements backend.Session. The images of a batch run one after another.
// An image with a value that is not finite is not run, all its logits are not a
// number: the plain kernels would lose it on the way, and what XNNPACK's do
// depends on the processor.
func (s *session) Run(ctx context.Context, in, out []float32) error {
	n, err := s.graph.Batch(in)
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrShape, err)
	}
	size, classes := s.graph.Input().Len(), s.graph.Classes()
	if len(out) != n*classes {
		return fmt.Errorf("%w: output has %d values, want %d", backend.ErrShape, len(out), n*classes)
	}
	x, err := s.take(ctx)
	if err != nil {
		return err
	}
	defer func() { s.pool <- x }()
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		image, logits := in[i*size:][:size], out[i*classes:][:classes]
		if !finite(image) {
			for c := range logits {
				logits[c] = float32(math.NaN())
			}
		} else if err := x.run(image, logits); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func finite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// Trace implements backend.Tracer by a second model, opened on first use, in
// which nothing is folded and every value is an output. The runtime tells no
// times.
func (s *session) Trace(ctx context.Context, in []float32) ([]backend.NodeTrace, error) {
	// Opened for this trace alone: it holds every node's output.
	model, _, err := openModel(s.graph, true)
	if err != nil {
		return nil, err
	}
	defer model.Delete()
	x, err := newInterpreter(model, s.options)
	if err != nil {
		return nil, err
	}
	defer x.close()
	trace := make([]backend.NodeTrace, len(s.graph.Nodes))
	outs := make([][]float32, len(s.graph.Nodes))
	for i, n := range s.graph.Nodes {
		outs[i] = make([]float32, n.Shape.Len())
		trace[i] = backend.NodeTrace{Node: n.Name, Output: outs[i]}
	}
	copy(outs[0], in)
	if err := x.run(in, outs[1:]...); err != nil {
		return nil, err
	}
	return trace, ctx.Err()
}

// Describe implements backend.Describer. WeightBytes is the size of the file,
// which each interpreter packs once more.
func (s *session) Describe() backend.Description {
	d := backend.Description{
		Threads: s.options.Threads, Nodes: s.placed.nodes, DelegatedNodes: s.placed.nodes - s.placed.left,
		Library: tfliteLibrary.path, LibraryVersion: version(), WeightBytes: s.bytes,
	}
	switch s.options.Device {
	case deviceXNNPACK:
		d.Provider = "XNNPACK delegate"
	case deviceGPU:
		d.Provider = "GPU delegate"
	default:
		d.Provider, d.DelegatedNodes = "TensorFlow Lite's own kernels", s.placed.nodes
	}
	return d
}

// Close implements backend.Session.
func (s *session) Close() error {
	for range cap(s.pool) {
		if x := <-s.pool; x != nil {
			x.close()
		}
	}
	s.model.Delete()
	return nil
}

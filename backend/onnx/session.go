//go:build cgo

package onnx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"edgevit/backend"
	"edgevit/backend/onnx/export"
	"edgevit/graph"
)

// session is an open model. Each Run in progress has a buffer of its own; idle
// ones are kept.
type session struct {
	graph   *graph.Graph
	library *library
	device  device
	threads int
	// batch is how many images one call of the runtime takes at most.
	batch int
	// channelsLast: the file takes [N H W C], as images come, not [N C H W].
	channelsLast bool
	native       *ort.DynamicAdvancedSession
	// strict: all nodes are on the device.
	strict bool
	// bytes is the size of the model as it was handed to the runtime.
	bytes int

	mu   sync.Mutex
	idle []*buffer
}

// maxIdle bounds how many buffers wait for the next Run.
const maxIdle = 8

// Open writes g as an ONNX file in memory and opens it.
func (Backend) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	d, err := findDevice(o)
	if err != nil {
		return nil, err
	}
	lib, err := usable(d)
	if err != nil {
		return nil, err
	}
	s := &session{graph: g, library: lib, device: d, threads: o.Threads, batch: d.batch, strict: true}
	if s.threads < 1 {
		s.threads = backend.DefaultThreads()
	}
	if d.isCPU() && s.threads == 1 {
		s.batch = 1 // more gains nothing
	}
	// One image as a fixed size is 1 % faster than as any.
	var options export.Options
	if s.batch == 1 {
		options.Batch = 1
	}
	var file bytes.Buffer
	if err := export.Write(&file, g, options); err != nil {
		return nil, err
	}
	s.bytes = file.Len()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The runtime does not tell where it placed nodes, but whether it can place
	// all of them: so the strict way is tried first.
	outputs := []string{export.OutputName}
	s.native, err = newSession(file.Bytes(), export.InputName, outputs, d, s.threads, true)
	if errors.Is(err, backend.ErrUnsupported) && !o.Strict {
		s.strict = false
		s.native, err = newSession(file.Bytes(), export.InputName, outputs, d, s.threads, false)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Run implements backend.Session. A large batch goes through in parts, so that
// its memory stays bounded.
func (s *session) Run(ctx context.Context, in, out []float32) error {
	n, err := s.graph.Batch(in)
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrShape, err)
	}
	size, classes := s.graph.Input().Len(), s.graph.Classes()
	if len(out) != n*classes {
		return fmt.Errorf("%w: output has %d values, want %d", backend.ErrShape, len(out), n*classes)
	}
	b, err := s.take(min(n, s.batch))
	if err != nil {
		return err
	}
	defer s.give(b)
	return interruptible(ctx, b.options, func() error {
		for i := 0; i < n; i += s.batch {
			part := min(s.batch, n-i)
			for j := range part {
				s.fill(b.in[j*size:][:size], in[(i+j)*size:][:size])
			}
			output, err := tensor(b.out, part, classes)
			if err != nil {
				return err
			}
			err = b.run(s.native, s.shape(part), []ort.Value{output})
			if err := errors.Join(err, nativeError(output.Destroy())); err != nil {
				return err
			}
			copy(out[i*classes:], b.out[:part*classes])
		}
		return nil
	})
}

// interruptible runs f, whose calls of the runtime take the options, and has
// them return at once when ctx ends. The error is then the context's.
func interruptible(ctx context.Context, options *ort.RunOptions, f func() error) error {
	if ctx.Done() == nil {
		return f()
	}
	terminated := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { terminated <- options.Terminate() })
	err := f()
	if stop() {
		return err
	}
	if err := errors.Join(<-terminated, options.UnsetTerminate()); err != nil {
		return nativeError(err)
	}
	return ctx.Err()
}

// fill copies an image, [H W C], in the file's layout.
func (s *session) fill(dst, src []float32) {
	if s.channelsLast {
		copy(dst, src)
		return
	}
	channelsFirst(dst, src, s.graph.Input().C)
}

// shape is that of n images in the file's layout.
func (s *session) shape(n int) []int {
	image := s.graph.Input()
	if s.channelsLast {
		return []int{n, image.H, image.W, image.C}
	}
	return []int{n, image.C, image.H, image.W}
}

// channelsFirst copies an image [H W C] as [C H W].
func channelsFirst(dst, src []float32, c int) {
	pixels := len(src) / c
	for ch := range c {
		plane := dst[ch*pixels:][:pixels]
		for i := range plane {
			plane[i] = src[i*c+ch]
		}
	}
}

// buffer is the memory of one Run at a time.
type buffer struct {
	in, out []float32 // up to session.batch images and their logits
	options *ort.RunOptions
	pins    runtime.Pinner
}

// take returns a buffer for n images.
func (s *session) take(n int) (*buffer, error) {
	b := s.takeIdle()
	if b == nil {
		options, err := ort.NewRunOptions()
		if err != nil {
			return nil, nativeError(err)
		}
		b = &buffer{options: options}
	}
	if size := n * s.graph.Input().Len(); len(b.in) < size {
		b.in, b.out = make([]float32, size), make([]float32, n*s.graph.Classes())
	}
	// Tensors keep the addresses while the runtime works.
	b.pins.Pin(&b.in[0])
	b.pins.Pin(&b.out[0])
	return b, nil
}

func (s *session) takeIdle() *buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	b := s.idle[n-1]
	s.idle = s.idle[:n-1]
	return b
}

func (s *session) give(b *buffer) {
	b.pins.Unpin()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) < maxIdle {
		s.idle = append(s.idle, b)
		return
	}
	b.options.Destroy() // fails only the second time
}

// run takes the first images in the buffer, of that shape, through a native
// session.
func (b *buffer) run(native *ort.DynamicAdvancedSession, shape []int, outputs []ort.Value) error {
	input, err := tensor(b.in, shape...)
	if err != nil {
		return err
	}
	err = nativeError(native.RunWithOptions([]ort.Value{input}, outputs, b.options))
	return errors.Join(err, nativeError(input.Destroy()))
}

// tensor is the start of data with a shape, for the runtime.
func tensor(data []float32, shape ...int) (*ort.Tensor[float32], error) {
	dims := make(ort.Shape, len(shape))
	for i, d := range shape {
		dims[i] = int64(d)
	}
	t, err := ort.NewTensor(dims, data)
	return t, nativeError(err)
}

// Trace implements backend.Tracer by a second session, opened on first use, of
// a file in which nothing is folded and every node is an output. The runtime
// tells no times.
func (s *session) Trace(ctx context.Context, in []float32) ([]backend.NodeTrace, error) {
	// Opened for this trace alone: it holds every node's output.
	tracer, err := s.openTracer()
	if err != nil {
		return nil, err
	}
	defer tracer.Destroy() // fails only the second time
	b, err := s.take(1)
	if err != nil {
		return nil, err
	}
	defer s.give(b)
	s.fill(b.in, in)
	outputs := make([]ort.Value, len(s.graph.Nodes)-1)
	defer func() {
		for _, v := range outputs {
			if v != nil {
				v.Destroy() // always nil
			}
		}
	}()
	err = interruptible(ctx, b.options, func() error {
		return b.run(tracer, s.shape(1), outputs)
	})
	if err != nil {
		return nil, err
	}
	trace := []backend.NodeTrace{{Node: s.graph.Nodes[0].Name, Output: append([]float32(nil), in...)}}
	for i, n := range s.graph.Nodes[1:] {
		t, ok := outputs[i].(*ort.Tensor[float32])
		if !ok {
			return nil, fmt.Errorf("the output %s is not a float32 tensor", n.Name)
		}
		trace = append(trace, backend.NodeTrace{Node: n.Name, Output: append([]float32(nil), t.GetData()...)})
	}
	return trace, nil
}

func (s *session) openTracer() (*ort.DynamicAdvancedSession, error) {
	var file bytes.Buffer
	if err := export.Write(&file, s.graph, export.Options{Batch: 1, AllOutputs: true}); err != nil {
		return nil, err
	}
	var outputs []string
	for _, n := range s.graph.Nodes[1:] {
		outputs = append(outputs, export.ValueName(n))
	}
	return newSession(file.Bytes(), export.InputName, outputs, s.device, s.threads, s.strict)
}

// Describe implements backend.Describer. On other devices than the CPU the
// runtime does not say which nodes it left to the CPU: where there are any, none
// is counted as delegated.
func (s *session) Describe() backend.Description {
	d := backend.Description{
		Threads: s.threads, Provider: s.device.provider, Nodes: len(s.graph.Nodes),
		Library: s.library.path, LibraryVersion: s.library.version, WeightBytes: int64(s.bytes),
	}
	if s.strict {
		d.DelegatedNodes = d.Nodes
	} else {
		d.Provider += ", CPUExecutionProvider (shares unknown)"
	}
	return d
}

// Close implements backend.Session.
func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.idle {
		b.options.Destroy() // fails only the second time
	}
	s.idle = nil
	return nativeError(s.native.Destroy())
}

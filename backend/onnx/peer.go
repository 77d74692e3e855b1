//go:build cgo

package onnx

import (
	"context"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"

	"edgevit/backend"
	"edgevit/graph"
)

// Peer is a classifier in an .onnx file of another program, for comparison: one
// float32 input of images, [N 3 H W] or [N H W 3], and one float32 output
// [N classes], where N is 1 or any.
type Peer struct {
	file          []byte
	input, output string
	channelsLast  bool
	anyBatch      bool
	graph         *graph.Graph
}

// ReadPeer reads what goes into the file's model and what comes out. Weights in
// a file of their own are not found. The error is ErrUnsupported with the
// reason, or ErrUnavailable where ONNX Runtime is.
func ReadPeer(file []byte) (*Peer, error) {
	if _, err := usable(devices[0]); err != nil {
		return nil, err
	}
	inputs, outputs, err := ort.GetInputOutputInfoWithONNXData(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrUnsupported, nativeError(err))
	}
	if len(inputs) != 1 || len(outputs) != 1 {
		return nil, fmt.Errorf("%w: %d inputs and %d outputs, want one of each", backend.ErrUnsupported, len(inputs), len(outputs))
	}
	in, out := inputs[0], outputs[0]
	for _, v := range []ort.InputOutputInfo{in, out} {
		if v.OrtValueType != ort.ONNXTypeTensor || v.DataType != ort.TensorElementDataTypeFloat {
			return nil, fmt.Errorf("%w: %s is a %v of %v, want a tensor of float32", backend.ErrUnsupported, v.Name, v.OrtValueType, v.DataType)
		}
	}
	p := &Peer{file: file, input: in.Name, output: out.Name}
	image, ok := imageShape(in.Dimensions)
	p.channelsLast = ok && in.Dimensions[1] != 3
	if !ok {
		return nil, fmt.Errorf("%w: the input %s is %v, want [N 3 H W] or [N H W 3] of a fixed height and width", backend.ErrUnsupported, in.Name, in.Dimensions)
	}
	if d := out.Dimensions; len(d) != 2 || !oneOrAny(d[0]) || d[1] < 1 {
		return nil, fmt.Errorf("%w: the output %s is %v, want [N classes]", backend.ErrUnsupported, out.Name, d)
	}
	p.anyBatch = in.Dimensions[0] != 1 && out.Dimensions[0] != 1
	// Callers ask a graph for the shape of the input and the number of classes.
	b, x := graph.NewBuilder(image)
	b.Add("head", graph.Conv{Out: int(out.Dimensions[1]), Kernel: 1, Stride: 1, Groups: 1}, b.Add("pool", graph.MeanPool{}, x))
	p.graph, err = b.Graph()
	return p, err
}

// imageShape reads [N 3 H W] or [N H W 3].
func imageShape(d ort.Shape) (graph.Shape, bool) {
	const most = 1 << 13 // pixels of a side
	if len(d) != 4 || !oneOrAny(d[0]) {
		return graph.Shape{}, false
	}
	h, w := d[2], d[3]
	if d[1] != 3 {
		h, w = d[1], d[2]
	}
	ok := (d[1] == 3 || d[3] == 3) && h > 0 && h <= most && w > 0 && w <= most
	return graph.Shape{H: int(h), W: int(w), C: 3}, ok
}

// oneOrAny says whether a batch may be 1: the runtime gives -1 for any.
func oneOrAny(n int64) bool { return n == 1 || n == -1 }

// Graph has the shape of the input and the number of classes; what lies between
// is not the file's.
func (p *Peer) Graph() *graph.Graph { return p.graph }

// Open opens the file on the target onnx. Images are [H W 3], whatever the
// file's layout. A batch larger than what the file takes goes through in parts.
func (p *Peer) Open(ctx context.Context, threads int) (*backend.Classifier, error) {
	var r backend.Registry
	r.Register(peerBackend{peer: p})
	return r.Open(ctx, name, p.graph, backend.Options{Threads: threads})
}

// peerBackend opens a peer, whatever graph it is given.
type peerBackend struct {
	Backend
	peer *Peer
}

func (b peerBackend) Open(_ context.Context, _ *graph.Graph, o backend.Options) (backend.Session, error) {
	p := b.peer
	d, err := findDevice(o)
	if err != nil {
		return nil, err
	}
	lib, err := usable(d)
	if err != nil {
		return nil, err
	}
	s := &session{graph: p.graph, library: lib, device: d, threads: o.Threads, batch: 1, channelsLast: p.channelsLast, strict: true, bytes: len(p.file)}
	if p.anyBatch && s.threads > 1 { // as for graphs
		s.batch = d.batch
	}
	if s.native, err = newSession(p.file, p.input, []string{p.output}, d, s.threads, true); err != nil {
		return nil, err
	}
	return peerSession{s}, nil
}

// peerSession is a session that cannot trace, since its graph is not the file's.
type peerSession struct{ s *session }

func (p peerSession) Run(ctx context.Context, in, out []float32) error { return p.s.Run(ctx, in, out) }
func (p peerSession) Close() error                                     { return p.s.Close() }

// Describe has no nodes: the runtime does not tell how many there are.
func (p peerSession) Describe() backend.Description {
	d := p.s.Describe()
	d.Nodes, d.DelegatedNodes = 0, 0
	return d
}

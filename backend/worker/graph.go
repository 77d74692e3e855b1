package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"unsafe"

	"edgevit/graph"
)

// wireGraph is a graph as it goes to a worker. The values of its weights follow
// as the message's payload: float32 in the machine's byte order, tensor after
// tensor in the order of nodes and of each node's weights.
type wireGraph struct {
	ID    string     `json:"id,omitempty"`
	Nodes []wireNode `json:"nodes"`
}

type wireNode struct {
	Name string `json:"name"`
	// Kind and Op are those of package graph: Conv, {"out":36,"kernel":1,…}.
	Kind string          `json:"kind"`
	Op   json.RawMessage `json:"op,omitempty"`
	// In are the indices of earlier nodes.
	In []int `json:"in,omitempty"`
	// Shape is the output's: height, width, channels.
	Shape   [3]int       `json:"shape"`
	Weights []wireTensor `json:"weights,omitempty"`
}

type wireTensor struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
}

// Limits of a graph that is read.
const (
	maxNodes = 1 << 14
	maxDims  = 8
	maxSide  = 1 << 24 // of a shape
	maxMap   = 1 << 28 // values of one feature map
	maxKind  = 256     // bytes of a node's operation
)

// encodeGraph returns g and its weights' values as payload.
func encodeGraph(g *graph.Graph) (*wireGraph, [][]byte, error) {
	full, err := g.Full()
	if err != nil {
		return nil, nil, err
	}
	w := &wireGraph{ID: g.ID}
	var payload [][]byte
	for _, n := range full.Nodes {
		op, err := json.Marshal(n.Op)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", n.Name, err)
		}
		node := wireNode{Name: n.Name, Kind: n.Op.Kind(), Op: op, Shape: [3]int{n.Shape.H, n.Shape.W, n.Shape.C}}
		for _, in := range n.In {
			node.In = append(node.In, in.Index)
		}
		for _, p := range n.Params() {
			t, ok := n.Weights[p.Name]
			if !ok {
				continue // the backend says what it misses
			}
			// A tensor's own shape may be left out.
			shape := t.Shape
			if size, ok := product(shape, maxPayload); !ok || size != len(t.Data) {
				shape = []int{len(t.Data)}
			}
			node.Weights = append(node.Weights, wireTensor{p.Name, shape})
			payload = append(payload, bytesOf(t.Data))
		}
		w.Nodes = append(w.Nodes, node)
	}
	return w, payload, nil
}

// kinds are the operations by name.
var kinds = func() map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for _, op := range graph.Ops() {
		all[op.Kind()] = reflect.TypeOf(op)
	}
	return all
}()

// decodeGraph builds the graph anew, which checks that operations fit, and reads
// its weights from the payload of the given length. The error is
// graph.ErrInvalid, or that of reading.
func decodeGraph(w *wireGraph, payload io.Reader, length int64) (*graph.Graph, error) {
	invalid := func(where, format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", graph.ErrInvalid, clip(where, maxName), fmt.Sprintf(format, args...))
	}
	if w == nil || len(w.Nodes) < 2 || len(w.Nodes) > maxNodes || w.Nodes[0].Kind != (graph.Input{}).Kind() {
		return nil, invalid("graph", "want an Input and at most %d other nodes", maxNodes)
	}
	var b graph.Builder
	var nodes []*graph.Node
	var total int64
	for i, wire := range w.Nodes {
		shape := graph.Shape{H: wire.Shape[0], W: wire.Shape[1], C: wire.Shape[2]}
		if n, ok := product(wire.Shape[:], maxMap); !ok || n == 0 {
			return nil, invalid(wire.Name, "a feature map %v", shape)
		}
		op, err := decodeOp(wire.Kind, wire.Op)
		if err != nil {
			return nil, invalid(wire.Name, "%v", err)
		}
		if i == 0 {
			var input *graph.Node
			b, input = graph.NewBuilder(shape)
			nodes = append(nodes, input)
			if wire.Name != input.Name || len(wire.In)+len(wire.Weights) > 0 {
				return nil, invalid(wire.Name, "the first node is not an input named %s", input.Name)
			}
			continue
		}
		var in []*graph.Node
		for _, k := range wire.In {
			if k < 0 || k >= i || len(in) == 2 {
				return nil, invalid(wire.Name, "its inputs are %v", wire.In)
			}
			in = append(in, nodes[k])
		}
		n := b.Add(wire.Name, op, in...)
		if n.Shape != shape {
			if _, err := b.Graph(); err != nil {
				return nil, err
			}
			return nil, invalid(wire.Name, "its shape is %v, said to be %v", n.Shape, shape)
		}
		nodes = append(nodes, n)
		for _, t := range wire.Weights {
			size, ok := product(t.Shape, maxPayload/4)
			if !ok || len(t.Shape) > maxDims {
				return nil, invalid(wire.Name, "%s has the shape %v", clip(t.Name, maxName), t.Shape)
			}
			if total += 4 * int64(size); total > length {
				return nil, invalid(wire.Name, "its weights are more than the %d bytes that come", length)
			}
		}
	}
	if total != length {
		return nil, invalid("graph", "%d bytes of weights come, want %d", length, total)
	}
	g, err := b.Graph()
	if err != nil {
		return nil, err
	}
	g.ID = w.ID
	for i, n := range nodes {
		n.Weights = map[string]graph.Tensor{}
		for _, t := range w.Nodes[i].Weights {
			size, _ := product(t.Shape, maxPayload/4)
			data := make([]float32, size)
			if _, err := io.ReadFull(payload, bytesOf(data)); err != nil {
				return nil, fmt.Errorf("reading %s.%s: %w", n.Name, clip(t.Name, maxName), err)
			}
			n.Weights[t.Name] = graph.Tensor{Shape: slices.Clone(t.Shape), Data: data}
		}
	}
	return g, nil
}

func decodeOp(kind string, fields json.RawMessage) (graph.Op, error) {
	t, known := kinds[kind]
	if !known || len(fields) > maxKind {
		return nil, fmt.Errorf("an operation %q of %d bytes", clip(kind, maxName), len(fields))
	}
	v := reflect.New(t)
	if len(fields) > 0 {
		d := json.NewDecoder(bytes.NewReader(fields))
		d.DisallowUnknownFields()
		if err := d.Decode(v.Interface()); err != nil {
			return nil, err
		}
	}
	for i := range t.NumField() {
		// So that no shape that is computed of them runs over.
		if f := v.Elem().Field(i); f.CanInt() && (f.Int() < 0 || f.Int() > maxSide) {
			return nil, fmt.Errorf("%s %d is out of range", t.Field(i).Name, f.Int())
		}
	}
	if d, ok := v.Elem().Interface().(graph.Deconv); ok && d.Kernel < 1 {
		return nil, fmt.Errorf("a kernel of %d", d.Kernel)
	}
	return v.Elem().Interface().(graph.Op), nil
}

// product is the number of values in a shape; ok says that every side is in
// range and the number at most limit.
func product(shape []int, limit int) (n int, ok bool) {
	n = 1
	for _, d := range shape {
		if d < 0 || d > maxSide || d > 0 && n > limit/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// bytesOf is the memory of values.
func bytesOf(values []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
}

// floatsOf is the reverse of bytesOf, for memory that is aligned for it.
func floatsOf(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

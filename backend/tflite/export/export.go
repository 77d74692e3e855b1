// Package export writes a graph as a TensorFlow Lite file. It needs neither cgo
// nor a native library.
//
// fold.go folds norms, scales and residuals into the convolutions beside them,
// lower.go says what each operation becomes, emit.go writes tensors and
// operators. All operators are builtin ones that XNNPACK takes and no tensor has
// more than four axes, so that GPU delegates take them too; which of several
// equivalent forms is chosen was measured: docs/decisions/0005-tflite-formulation.md.
package export

import (
	"fmt"
	"io"

	"edgevit/graph"
)

// Version is part of the names of cached files: it changes with what Write
// writes.
const Version = "1"

// The names of the file's input and output.
const (
	InputName  = "input"
	OutputName = "logits"
)

// Options say what Write writes.
type Options struct {
	// Batch is the number of images of one run, at least 1. It is fixed in
	// the file.
	Batch int
	// AllOutputs makes a file for traces: nothing is folded, and every node's
	// value but the input's is an output, in the graph's order, under the
	// node's name.
	AllOutputs bool
	// Metadata goes into the file's metadata buffers: the model's hash, its
	// labels, its preprocessing, as the caller writes them.
	Metadata map[string]string
}

// Write writes g, whose output is one pixel of logits, as a TensorFlow Lite
// file: its input is "input", float32 [batch H W 3], its output "logits",
// [batch classes]. Every other tensor has the name of the graph node that it
// comes from, with a suffix where it is not the node's value. The error is
// graph.ErrInvalid where weights are missing or g does not end in logits,
// backend.ErrUnsupported where an operation has no lowering.
func Write(w io.Writer, g *graph.Graph, o Options) error {
	if o.Batch < 1 {
		return fmt.Errorf("batch of %d images, want at least 1", o.Batch)
	}
	data, err := encode(g, o)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("write TensorFlow Lite file: %w", err)
	}
	return nil
}

func encode(g *graph.Graph, o Options) ([]byte, error) {
	if s := g.Output().Shape; s.H*s.W != 1 || len(g.Nodes) < 2 {
		return nil, fmt.Errorf("%w: %s is %v, want one pixel of logits", graph.ErrInvalid, g.Output().Name, s)
	}
	nodes, err := lower(g)
	if err != nil {
		return nil, err
	}
	if !o.AllOutputs {
		nodes = fuse(nodes)
	}
	l := &lowering{emitter: newEmitter(), batch: o.Batch, values: map[*node]int{}}
	for _, n := range nodes {
		if err := l.node(n); err != nil {
			return nil, err
		}
	}
	input, last := l.values[nodes[0]], l.values[nodes[len(nodes)-1]]
	var outputs []int
	if o.AllOutputs {
		for _, n := range nodes[1:] {
			outputs = append(outputs, l.values[n])
		}
	} else {
		outputs = []int{l.reshape(OutputName, last, o.Batch, g.Classes())}
	}
	return l.encode([]int{input}, outputs, o.Metadata), nil
}

// Package export writes a graph as an ONNX file. It needs neither cgo nor a
// native library.
//
// fold.go folds norms, scales and residuals into the convolutions beside them,
// lower.go says what each operation becomes, emit.go writes nodes and weights.
// The operations are those of the ONNX standard's opset 20; which of several
// equivalent ones is chosen was measured: docs/decisions/0004-onnx-formulation.md.
//
// The file's input is "input", float32 [N 3 H W]; its output "logits",
// [N classes]. Inside, a value with channels last, [N H W C], has the name of its
// graph node, with channels first that name and "/nchw"; a weight has the node's
// name and its own, as in the authors' checkpoint.
package export

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"edgevit/backend/onnx/export/internal/onnxpb"
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

const (
	// opset is the lowest with Gelu.
	opset = 20
	// irVersion is the one that came with the opset.
	irVersion = 9
)

// Options say how a graph is written.
type Options struct {
	// Batch is the number of images of one run; 0 leaves it open.
	Batch int
	// AllOutputs makes every node but the input an output of the file,
	// [N H W C] under ValueName, and folds nothing: for traces.
	AllOutputs bool
	// Metadata goes into the file's metadata_props.
	Metadata map[string]string
}

// ValueName is the name of the value, [N H W C], that the node makes.
func ValueName(n *graph.Node) string { return valueName(n.Name) }

func valueName(node string) string {
	if node == InputName || node == OutputName {
		return node + "/nhwc" // the names are taken
	}
	return node
}

// Write writes g. The error is graph.ErrInvalid where a weight is missing,
// backend.ErrUnsupported where an operation has no lowering.
func Write(w io.Writer, g *graph.Graph, o Options) error {
	m, err := build(g, o)
	if err != nil {
		return fmt.Errorf("onnx export: %w", err)
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("onnx export: %w", err)
	}
	_, err = w.Write(data)
	return err
}

func build(g *graph.Graph, o Options) (*onnxpb.ModelProto, error) {
	nodes, err := copyNodes(g)
	if err != nil {
		return nil, err
	}
	if !o.AllOutputs {
		nodes = fold(nodes)
	}
	e := newEmitter()
	for _, n := range nodes {
		if err := e.lower(n); err != nil {
			return nil, err
		}
	}
	in, last := g.Input(), nodes[len(nodes)-1]
	e.reshape(OutputName, e.nhwc(last), -1, last.shape.Len())
	e.graph.Input = []*onnxpb.ValueInfoProto{valueInfo(InputName, o.Batch, in.C, in.H, in.W)}
	e.graph.Output = []*onnxpb.ValueInfoProto{valueInfo(OutputName, o.Batch, last.shape.Len())}
	if o.AllOutputs {
		for _, n := range nodes[1:] {
			e.graph.Output = append(e.graph.Output, valueInfo(e.nhwc(n), o.Batch, n.shape.H, n.shape.W, n.shape.C))
		}
	}
	m := &onnxpb.ModelProto{
		IrVersion: proto.Int64(irVersion), ProducerName: proto.String("edgevit"), ProducerVersion: proto.String(Version),
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(opset)}},
		Graph:       e.graph,
	}
	for _, k := range slices.Sorted(maps.Keys(o.Metadata)) {
		m.MetadataProps = append(m.MetadataProps, &onnxpb.StringStringEntryProto{Key: proto.String(k), Value: proto.String(o.Metadata[k])})
	}
	return m, nil
}

// valueInfo describes a float32 tensor of the file's interface.
func valueInfo(name string, batch int, dims ...int) *onnxpb.ValueInfoProto {
	first := &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "batch"}}
	if batch > 0 {
		first = fixed(batch)
	}
	shape := &onnxpb.TensorShapeProto{Dim: []*onnxpb.TensorShapeProto_Dimension{first}}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, fixed(d))
	}
	return &onnxpb.ValueInfoProto{Name: &name, Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
		TensorType: &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(int32(onnxpb.TensorProto_FLOAT)), Shape: shape},
	}}}
}

func fixed(d int) *onnxpb.TensorShapeProto_Dimension {
	return &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: int64(d)}}
}

package export

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"edgevit/backend/onnx/export/internal/onnxpb"
)

// emitter appends nodes and weights to one ONNX graph.
type emitter struct {
	graph *onnxpb.GraphProto
	// written holds the names of the integer constants.
	written map[string]bool
}

func newEmitter() *emitter {
	return &emitter{graph: &onnxpb.GraphProto{Name: proto.String("edgevit")}, written: map[string]bool{}}
}

// add appends an operation whose only output has its name, and returns it.
func (e *emitter) add(kind, name string, in []string, attributes ...*onnxpb.AttributeProto) string {
	e.addMany(kind, name, in, []string{name}, attributes...)
	return name
}

func (e *emitter) addMany(kind, name string, in, out []string, attributes ...*onnxpb.AttributeProto) {
	e.graph.Node = append(e.graph.Node, &onnxpb.NodeProto{
		OpType: &kind, Name: &name, Input: in, Output: out, Attribute: attributes,
	})
}

// reshape and transpose give value another shape.
func (e *emitter) reshape(name, value string, shape ...int) string {
	return e.add("Reshape", name, []string{value, e.ints(shape...)})
}

func (e *emitter) transpose(name, value string, perm ...int) string {
	return e.add("Transpose", name, []string{value}, ints("perm", perm...))
}

// floats adds a float32 weight and returns its name.
func (e *emitter) floats(name string, data []float32, shape ...int) string {
	raw := make([]byte, 0, 4*len(data))
	for _, v := range data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	e.tensor(name, onnxpb.TensorProto_FLOAT, raw, shape)
	return name
}

// ints adds an int64 constant, once per content, and returns its name.
func (e *emitter) ints(data ...int) string {
	name := fmt.Sprint("constant", data)
	if e.written[name] {
		return name
	}
	e.written[name] = true
	var raw []byte
	for _, v := range data {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	e.tensor(name, onnxpb.TensorProto_INT64, raw, []int{len(data)})
	return name
}

func (e *emitter) tensor(name string, kind onnxpb.TensorProto_DataType, raw []byte, shape []int) {
	t := &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(int32(kind)), RawData: raw}
	for _, d := range shape {
		t.Dims = append(t.Dims, int64(d))
	}
	e.graph.Initializer = append(e.graph.Initializer, t)
}

// integer, ints and float are attributes.
func integer(name string, v int) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_INT.Enum(), I: proto.Int64(int64(v))}
}

func ints(name string, values ...int) *onnxpb.AttributeProto {
	a := &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_INTS.Enum()}
	for _, v := range values {
		a.Ints = append(a.Ints, int64(v))
	}
	return a
}

func float(name string, v float64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_FLOAT.Enum(), F: proto.Float32(float32(v))}
}

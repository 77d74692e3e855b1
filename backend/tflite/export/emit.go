package export

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	flatbuffers "github.com/google/flatbuffers/go"

	"edgevit/backend/tflite/export/internal/schema"
)

// alignment is that of every buffer in the file, which the runtime maps into
// memory and computes from.
const alignment = 16

// emitter collects the tensors and operators of one file.
type emitter struct {
	tensors   []tensor
	buffers   [][]byte // the first one stands for no content
	operators []operator
	// ints are the integer constants by content, scalars the float ones.
	ints    map[string]int
	scalars map[float32]int
}

type tensor struct {
	name   string
	kind   schema.TensorType
	shape  []int
	buffer int
}

type operator struct {
	code            schema.BuiltinOperator
	inputs, outputs []int
	options         options
}

// options are an operator's parameters: their type and what writes them.
type options struct {
	kind  schema.BuiltinOptions
	write func(*flatbuffers.Builder) flatbuffers.UOffsetT
}

func newEmitter() *emitter {
	return &emitter{buffers: [][]byte{nil}, ints: map[string]int{}, scalars: map[float32]int{}}
}

// value adds a float32 tensor that is computed, and returns its index.
func (e *emitter) value(name string, shape ...int) int {
	e.tensors = append(e.tensors, tensor{name: name, kind: schema.TensorTypeFLOAT32, shape: shape})
	return len(e.tensors) - 1
}

// floats adds a float32 weight and returns its index.
func (e *emitter) floats(name string, data []float32, shape ...int) int {
	raw := make([]byte, 0, 4*len(data))
	for _, v := range data {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return e.constant(name, schema.TensorTypeFLOAT32, raw, shape)
}

// scalar adds a float32 constant of one element, once per value.
func (e *emitter) scalar(v float32) int {
	t, ok := e.scalars[v]
	if !ok {
		t = e.floats(fmt.Sprint("constant ", v), []float32{v}, 1)
		e.scalars[v] = t
	}
	return t
}

// integers adds an int32 constant, once per content and shape.
func (e *emitter) integers(data []int, shape ...int) int {
	name := fmt.Sprint("constant ", data, shape)
	t, ok := e.ints[name]
	if !ok {
		var raw []byte
		for _, v := range data {
			raw = binary.LittleEndian.AppendUint32(raw, uint32(int32(v)))
		}
		t = e.constant(name, schema.TensorTypeINT32, raw, shape)
		e.ints[name] = t
	}
	return t
}

func (e *emitter) constant(name string, kind schema.TensorType, raw []byte, shape []int) int {
	e.buffers = append(e.buffers, raw)
	e.tensors = append(e.tensors, tensor{name, kind, shape, len(e.buffers) - 1})
	return len(e.tensors) - 1
}

// add appends an operator whose only output is a new value, and returns that.
func (e *emitter) add(code schema.BuiltinOperator, o options, name string, shape []int, inputs ...int) int {
	out := e.value(name, shape...)
	e.operators = append(e.operators, operator{code, inputs, []int{out}, o})
	return out
}

// encode writes the file: tensors input become its inputs, outputs its outputs.
func (e *emitter) encode(inputs, outputs []int, metadata map[string]string) []byte {
	size := 1 << 16
	for _, b := range e.buffers {
		size += len(b) + alignment
	}
	b := flatbuffers.NewBuilder(size)
	buffers := slices.Clone(e.buffers)
	var entries []flatbuffers.UOffsetT
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		buffers = append(buffers, []byte(metadata[key]))
		name := b.CreateString(key)
		schema.MetadataStart(b)
		schema.MetadataAddName(b, name)
		schema.MetadataAddBuffer(b, uint32(len(buffers)-1))
		entries = append(entries, schema.MetadataEnd(b))
	}
	metadataVector := b.CreateVectorOfTables(entries)

	subgraph := b.CreateVectorOfTables([]flatbuffers.UOffsetT{e.encodeSubgraph(b, inputs, outputs)})
	codes := b.CreateVectorOfTables(e.encodeCodes(b))
	var all []flatbuffers.UOffsetT
	for _, data := range buffers {
		all = append(all, encodeBuffer(b, data))
	}
	bufferVector := b.CreateVectorOfTables(all)
	description := b.CreateString("EdgeViT")
	schema.ModelStart(b)
	schema.ModelAddVersion(b, 3)
	schema.ModelAddOperatorCodes(b, codes)
	schema.ModelAddSubgraphs(b, subgraph)
	schema.ModelAddDescription(b, description)
	schema.ModelAddBuffers(b, bufferVector)
	schema.ModelAddMetadata(b, metadataVector)
	schema.FinishModelBuffer(b, schema.ModelEnd(b))
	return b.FinishedBytes()
}

func (e *emitter) encodeSubgraph(b *flatbuffers.Builder, inputs, outputs []int) flatbuffers.UOffsetT {
	var tensors, operators []flatbuffers.UOffsetT
	for _, t := range e.tensors {
		name, shape := b.CreateString(t.name), integers(b, t.shape)
		schema.TensorStart(b)
		schema.TensorAddShape(b, shape)
		schema.TensorAddType(b, t.kind)
		schema.TensorAddBuffer(b, uint32(t.buffer))
		schema.TensorAddName(b, name)
		tensors = append(tensors, schema.TensorEnd(b))
	}
	codes := e.codes()
	for _, op := range e.operators {
		in, out := integers(b, op.inputs), integers(b, op.outputs)
		var o flatbuffers.UOffsetT
		if op.options.write != nil {
			o = op.options.write(b)
		}
		schema.OperatorStart(b)
		schema.OperatorAddOpcodeIndex(b, uint32(slices.Index(codes, op.code)))
		schema.OperatorAddInputs(b, in)
		schema.OperatorAddOutputs(b, out)
		schema.OperatorAddBuiltinOptionsType(b, op.options.kind)
		schema.OperatorAddBuiltinOptions(b, o)
		operators = append(operators, schema.OperatorEnd(b))
	}
	tensorVector, operatorVector := b.CreateVectorOfTables(tensors), b.CreateVectorOfTables(operators)
	in, out := integers(b, inputs), integers(b, outputs)
	name := b.CreateString("main")
	schema.SubGraphStart(b)
	schema.SubGraphAddTensors(b, tensorVector)
	schema.SubGraphAddInputs(b, in)
	schema.SubGraphAddOutputs(b, out)
	schema.SubGraphAddOperators(b, operatorVector)
	schema.SubGraphAddName(b, name)
	return schema.SubGraphEnd(b)
}

// codes lists the operators in use.
func (e *emitter) codes() []schema.BuiltinOperator {
	var codes []schema.BuiltinOperator
	for _, op := range e.operators {
		codes = append(codes, op.code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func (e *emitter) encodeCodes(b *flatbuffers.Builder) []flatbuffers.UOffsetT {
	var all []flatbuffers.UOffsetT
	for _, code := range e.codes() {
		version := int32(1)
		if code == schema.BuiltinOperatorFULLY_CONNECTED {
			version = 5 // the first one that keeps the number of dimensions
		}
		schema.OperatorCodeStart(b)
		schema.OperatorCodeAddDeprecatedBuiltinCode(b, int8(min(code, schema.BuiltinOperatorPLACEHOLDER_FOR_GREATER_OP_CODES)))
		schema.OperatorCodeAddVersion(b, version)
		schema.OperatorCodeAddBuiltinCode(b, code)
		all = append(all, schema.OperatorCodeEnd(b))
	}
	return all
}

// encodeBuffer writes data at a multiple of alignment, which the generated
// code does not know about.
func encodeBuffer(b *flatbuffers.Builder, data []byte) flatbuffers.UOffsetT {
	var content flatbuffers.UOffsetT
	if len(data) > 0 {
		b.Prep(alignment, len(data))
		content = b.CreateByteVector(data)
	}
	schema.BufferStart(b)
	if len(data) > 0 {
		schema.BufferAddData(b, content)
	}
	return schema.BufferEnd(b)
}

func integers(b *flatbuffers.Builder, values []int) flatbuffers.UOffsetT {
	b.StartVector(4, len(values), 4)
	for _, v := range slices.Backward(values) {
		b.PrependInt32(int32(v))
	}
	return b.EndVector(len(values))
}

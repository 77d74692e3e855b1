package oip

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// Datatype is the type of a tensor's elements.
type Datatype string

// Datatypes of the protocol. FP16 and BF16 have no form in JSON.
const (
	Bool   Datatype = "BOOL"
	Uint8  Datatype = "UINT8"
	Uint16 Datatype = "UINT16"
	Uint32 Datatype = "UINT32"
	Uint64 Datatype = "UINT64"
	Int8   Datatype = "INT8"
	Int16  Datatype = "INT16"
	Int32  Datatype = "INT32"
	Int64  Datatype = "INT64"
	FP16   Datatype = "FP16"
	BF16   Datatype = "BF16"
	FP32   Datatype = "FP32"
	FP64   Datatype = "FP64"
	// Bytes elements vary in length: 4 bytes that give it, little-endian, then
	// as many.
	Bytes Datatype = "BYTES"
)

type kind int

const (
	boolean kind = iota + 1
	unsigned
	signed
	float
	half // 16-bit floats
	varying
)

var datatypes = map[Datatype]struct {
	kind kind
	size int // of an element in bytes, 0 where it varies
}{
	Bool:  {boolean, 1},
	Uint8: {unsigned, 1}, Uint16: {unsigned, 2}, Uint32: {unsigned, 4}, Uint64: {unsigned, 8},
	Int8: {signed, 1}, Int16: {signed, 2}, Int32: {signed, 4}, Int64: {signed, 8},
	FP16: {half, 2}, BF16: {half, 2}, FP32: {float, 4}, FP64: {float, 8},
	Bytes: {varying, 0},
}

const maxDims = 16

// Tensor is an input of a request or an output of an answer. It has its elements
// in one of two forms, and the other is nil.
type Tensor struct {
	Name       string     `json:"name"`
	Shape      []int64    `json:"shape"`
	Datatype   Datatype   `json:"datatype"`
	Parameters Parameters `json:"parameters,omitempty"`
	// Data is a JSON array, flat or nested as Shape is.
	Data json.RawMessage `json:"data,omitempty"`
	// Raw is row-major and little-endian, as the binary extension sends it.
	Raw []byte `json:"-"`
}

// Float32Tensor makes an FP32 tensor in its raw form. It panics where shape is
// not that of values.
func Float32Tensor(name string, values []float32, shape ...int64) Tensor {
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return newTensor(name, FP32, len(values), raw, shape)
}

// BytesTensor makes a BYTES tensor in its raw form. It panics where shape is not
// that of elements.
func BytesTensor(name string, elements [][]byte, shape ...int64) Tensor {
	var raw []byte
	for _, e := range elements {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(len(e)))
		raw = append(raw, e...)
	}
	return newTensor(name, Bytes, len(elements), raw, shape)
}

func newTensor(name string, d Datatype, n int, raw []byte, shape []int64) Tensor {
	t := Tensor{Name: name, Shape: shape, Datatype: d, Raw: raw}
	if t.Raw == nil {
		t.Raw = []byte{}
	}
	if count, err := t.Count(); err != nil || count != int64(n) {
		panic(fmt.Sprintf("oip: %d elements for the shape %v", n, shape))
	}
	return t
}

// Count is the number of elements that the shape makes.
func (t *Tensor) Count() (int64, error) {
	if len(t.Shape) > maxDims {
		return 0, t.errorf("its shape has %d dimensions, at most %d", len(t.Shape), maxDims)
	}
	n := int64(1)
	for _, d := range t.Shape {
		if d < 0 {
			return 0, t.errorf("its shape %v has a negative dimension", t.Shape)
		}
		if d > 0 && n > math.MaxInt64/d/8 {
			return 0, t.errorf("its shape %v has more elements than there can be", t.Shape)
		}
		n *= d
	}
	return n, nil
}

// Float32s returns the elements of an FP32 tensor.
func (t *Tensor) Float32s() ([]float32, error) {
	raw, err := t.raw(FP32)
	if err != nil {
		return nil, err
	}
	values := make([]float32, len(raw)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return values, nil
}

// Elements returns the elements of a BYTES tensor, which stay the tensor's.
func (t *Tensor) Elements() ([][]byte, error) {
	raw, err := t.raw(Bytes)
	if err != nil {
		return nil, err
	}
	var elements [][]byte
	for len(raw) > 0 {
		n := 4 + int(binary.LittleEndian.Uint32(raw))
		elements = append(elements, raw[4:n:n])
		raw = raw[n:]
	}
	return elements, nil
}

// raw is the tensor's raw form, checked against its shape.
func (t *Tensor) raw(want Datatype) ([]byte, error) {
	if t.Datatype != want {
		return nil, t.errorf("its datatype is %s, want %s", t.Datatype, want)
	}
	if t.Data != nil {
		return t.parse()
	}
	return t.Raw, t.checkRaw()
}

// checkRaw holds Raw against datatype and shape.
func (t *Tensor) checkRaw() error {
	d, known := datatypes[t.Datatype]
	if !known {
		return t.errorf("its datatype %q is none of the protocol", t.Datatype)
	}
	count, err := t.Count()
	switch {
	case err != nil:
		return err
	case t.Raw == nil:
		return t.errorf("it has no data")
	case d.size > 0 && int64(len(t.Raw)) != count*int64(d.size):
		return t.errorf("its data has %d bytes, %s %v has %d", len(t.Raw), t.Datatype, t.Shape, count*int64(d.size))
	case d.size > 0:
		return nil
	}
	elements := int64(0)
	for rest := t.Raw; len(rest) > 0; elements++ {
		if len(rest) < 4 {
			return t.errorf("element %d ends within its length", elements)
		}
		n := int64(binary.LittleEndian.Uint32(rest))
		if n > int64(len(rest))-4 {
			return t.errorf("element %d has %d bytes by its length, %d follow", elements, n, len(rest)-4)
		}
		rest = rest[4+n:]
	}
	if elements != count {
		return t.errorf("its data has %d elements, its shape %v makes %d", elements, t.Shape, count)
	}
	return nil
}

// parse makes raw data of Data. It allocates in proportion to Data, whatever the
// shape says.
func (t *Tensor) parse() ([]byte, error) {
	d, known := datatypes[t.Datatype]
	switch {
	case !known:
		return nil, t.errorf("its datatype %q is none of the protocol", t.Datatype)
	case d.kind == half:
		return nil, t.errorf("%s has no form in JSON, send it as binary data", t.Datatype)
	}
	raw := []byte{}
	err := t.walk(func(text []byte) (err error) {
		raw, err = appendElement(raw, d.kind, d.size, text)
		return err
	})
	return raw, err
}

// walk calls each with the text of every element of Data, which is valid JSON.
func (t *Tensor) walk(each func(text []byte) error) error {
	count, err := t.Count()
	if err != nil {
		return err
	}
	deep := 0 // as many arrays are within each other
	for _, c := range t.Data {
		if c == '[' {
			deep++
		} else if !isSpace(c) {
			break
		}
	}
	lengths := t.Shape
	switch {
	case deep == 1:
		lengths = []int64{count}
	case deep == 0 || deep != len(t.Shape):
		return t.errorf("its data is %d arrays deep, want a flat array or one as deep as its shape %v", deep, t.Shape)
	}
	seen := make([]int64, deep) // elements of the array at each depth
	depth, element := 0, int64(0)
	for data := t.Data; len(data) > 0; {
		n := 1
		switch c := data[0]; {
		case c == ',' || isSpace(c):
		case c == '{':
			return t.errorf("element %d is an object", element)
		case c == ']':
			depth--
			if seen[depth] != lengths[depth] {
				return t.errorf("an array of its data has %d elements where its shape %v wants %d", seen[depth], t.Shape, lengths[depth])
			}
		case c == '[' && depth == deep || c != '[' && depth < deep:
			return t.errorf("its data is not nested evenly")
		case c == '[':
			if depth > 0 {
				seen[depth-1]++
			}
			seen[depth] = 0
			depth++
		default:
			if seen[deep-1]++; seen[deep-1] > lengths[deep-1] {
				return t.errorf("an array of its data has more elements than its shape %v wants", t.Shape)
			}
			n = token(data)
			if err := each(data[:n]); err != nil {
				return t.errorf("element %d: %w", element, err)
			}
			element++
		}
		data = data[n:]
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// token is the length of the string, number or word that begins valid JSON.
func token(data []byte) int {
	if data[0] != '"' {
		for i, c := range data {
			if c == ',' || c == ']' || isSpace(c) {
				return i
			}
		}
		return len(data)
	}
	for i := 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

func appendElement(raw []byte, k kind, size int, text []byte) ([]byte, error) {
	s := string(text)
	switch k {
	case boolean:
		switch s {
		case "true":
			return append(raw, 1), nil
		case "false":
			return append(raw, 0), nil
		}
		return nil, fmt.Errorf("%s is neither true nor false", clip(s))
	case unsigned:
		v, err := strconv.ParseUint(s, 10, 8*size)
		if err != nil {
			return nil, numberError(s, err)
		}
		return appendLittle(raw, v, size), nil
	case signed:
		v, err := strconv.ParseInt(s, 10, 8*size)
		if err != nil {
			return nil, numberError(s, err)
		}
		return appendLittle(raw, uint64(v), size), nil
	case float:
		v, err := strconv.ParseFloat(s, 8*size)
		if err != nil {
			return nil, numberError(s, err)
		}
		if size == 4 {
			return appendLittle(raw, uint64(math.Float32bits(float32(v))), 4), nil
		}
		return appendLittle(raw, math.Float64bits(v), 8), nil
	default:
		var v string
		if text[0] != '"' || json.Unmarshal(text, &v) != nil {
			return nil, fmt.Errorf("%s is not a string", clip(s))
		}
		raw = binary.LittleEndian.AppendUint32(raw, uint32(len(v)))
		return append(raw, v...), nil
	}
}

func numberError(text string, err error) error {
	if number, ok := err.(*strconv.NumError); ok {
		err = number.Err // without the name of Go's function
	}
	return fmt.Errorf("%s: %w", clip(text), err)
}

func appendLittle(raw []byte, v uint64, size int) []byte {
	return append(raw, binary.LittleEndian.AppendUint64(nil, v)[:size]...)
}

func little(raw []byte) uint64 {
	v := uint64(0)
	for i, b := range raw {
		v |= uint64(b) << (8 * i)
	}
	return v
}

// ToJSON gives a tensor with raw data the form of JSON. The error is ErrNotFinite
// or ErrMessage.
func (t *Tensor) ToJSON() error {
	d := datatypes[t.Datatype]
	if err := t.checkRaw(); err != nil {
		return err
	}
	if d.kind == half {
		return t.errorf("%s has no form in JSON, ask for binary data", t.Datatype)
	}
	text := []byte{'['}
	for rest := t.Raw; len(rest) > 0; {
		if len(text) > 1 {
			text = append(text, ',')
		}
		size := d.size
		if size == 0 {
			size = 4 + int(binary.LittleEndian.Uint32(rest))
		}
		var err error
		if text, err = appendText(text, d.kind, rest[:size]); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		rest = rest[size:]
	}
	t.Data, t.Raw = append(text, ']'), nil
	return nil
}

func appendText(text []byte, k kind, raw []byte) ([]byte, error) {
	bits := 8 * len(raw)
	switch k {
	case boolean:
		return strconv.AppendBool(text, raw[0] != 0), nil
	case unsigned:
		return strconv.AppendUint(text, little(raw), 10), nil
	case signed:
		return strconv.AppendInt(text, int64(little(raw)<<(64-bits))>>(64-bits), 10), nil
	case float:
		v := math.Float64frombits(little(raw))
		if bits == 32 {
			v = float64(math.Float32frombits(uint32(little(raw))))
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%w: JSON has no %v, ask for binary data", ErrNotFinite, v)
		}
		return strconv.AppendFloat(text, v, 'g', -1, bits), nil
	default:
		if !utf8.Valid(raw[4:]) {
			return nil, fmt.Errorf("%w: an element is not UTF-8 text, ask for binary data", ErrMessage)
		}
		s, err := json.Marshal(string(raw[4:]))
		return append(text, s...), err
	}
}

func (t *Tensor) errorf(format string, args ...any) error {
	return fmt.Errorf("%w: tensor %q: %w", ErrMessage, clip(t.Name), fmt.Errorf(format, args...))
}

// clip shortens what is repeated of a message.
func clip(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return s
}

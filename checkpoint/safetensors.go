package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// maxHeader is the limit of the safetensors format.
const maxHeader = 100_000_000

const metadataKey = "__metadata__"

// safetensorsTypes are the format's names of the types read here; the others are of 8 bits and fewer.
var safetensorsTypes = map[string]*dtype{
	"F64": typeFloat64, "F32": typeFloat32, "F16": typeFloat16, "BF16": typeBfloat16,
	"I64": typeInt64, "I32": typeInt32, "I16": typeInt16, "I8": typeInt8,
	"U64": typeUint64, "U32": typeUint32, "U16": typeUint16, "U8": typeUint8,
	"BOOL": typeBool,
}

// readSafetensors reads the format of https://github.com/huggingface/safetensors: the header's length (8 bytes,
// little-endian), the header (a JSON object), the data. The tensors' ranges must cover the data without gap or overlap.
func readSafetensors(file io.ReaderAt, size int64, headerLen uint64, mem *budget) (*File, error) {
	if headerLen > maxHeader {
		return nil, fmt.Errorf("a header of %d bytes is over the format's limit of %d: %w", headerLen, maxHeader, ErrDamaged)
	}
	data := section{file: file, off: 8 + int64(headerLen)}
	if data.size = size - data.off; data.size < 0 {
		return nil, fmt.Errorf("a header of %d bytes in a file of %d: %w", headerLen, size, ErrDamaged)
	}
	if err := mem.take(int64(headerLen)); err != nil {
		return nil, err
	}
	header := make([]byte, headerLen)
	if err := readFull(file, header, 8); err != nil {
		return nil, err
	}
	f := &File{Format: "safetensors", Metadata: make(map[string]any)}
	s := headerScanner{b: header, mem: mem}
	seen := make(map[string]bool)
	s.object(func(name string) {
		if seen[name] {
			s.fail("tensor %q is there twice", name)
		}
		if s.charge(costTensor); s.err != nil {
			return
		}
		seen[name] = true
		if name == metadataKey {
			s.object(func(key string) {
				if _, ok := f.Metadata[key]; ok {
					s.fail("the metadata has %q twice", key)
				}
				if s.charge(costNode); s.err == nil {
					f.Metadata[key] = s.string()
				}
			})
			return
		}
		t, err := s.tensor(name, data)
		if s.check(err); s.err == nil {
			f.Tensors = append(f.Tensors, t)
		}
	})
	s.space()
	if s.err == nil && s.pos < len(s.b) {
		s.fail("something follows the object")
	}
	if s.err != nil {
		return nil, fmt.Errorf("header: %w", s.err)
	}
	if err := checkRanges(f.Tensors, data); err != nil {
		return nil, err
	}
	stripDataParallel(f.Tensors)
	return f, nil
}

// checkRanges checks that the tensors' ranges follow each other from the beginning to the end of the data.
func checkRanges(tensors []Tensor, data section) error {
	byOffset := make([]*Tensor, len(tensors))
	for i := range tensors {
		byOffset[i] = &tensors[i]
	}
	slices.SortStableFunc(byOffset, func(a, b *Tensor) int {
		s, t := a.view.storage.data, b.view.storage.data
		return cmp.Or(cmp.Compare(s.off, t.off), cmp.Compare(s.size, t.size))
	})
	end := data.off
	for _, t := range byOffset {
		s := t.view.storage.data
		if s.off != end {
			return fmt.Errorf("tensor %q begins at byte %d of the data instead of %d: %w", t.Name, s.off-data.off, end-data.off, ErrDamaged)
		}
		end += s.size
	}
	if end != data.off+data.size {
		return fmt.Errorf("the tensors end at byte %d of %d of the data: %w", end-data.off, data.size, ErrDamaged)
	}
	return nil
}

// headerScanner reads what JSON a safetensors header may have. encoding/json would hold it several times over, and
// doesn't report a key that is there twice. The first error sticks.
type headerScanner struct {
	b   []byte
	pos int
	mem *budget
	err error
}

func (s *headerScanner) check(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *headerScanner) fail(format string, args ...any) {
	s.check(fmt.Errorf("byte %d: %s: %w", s.pos, fmt.Sprintf(format, args...), ErrDamaged))
}

func (s *headerScanner) charge(n int64) { s.check(s.mem.take(n)) }

func (s *headerScanner) space() {
	for s.pos < len(s.b) && (s.b[s.pos] == ' ' || s.b[s.pos] == '\n' || s.b[s.pos] == '\r' || s.b[s.pos] == '\t') {
		s.pos++
	}
}

// skip reports whether c is next, and skips it.
func (s *headerScanner) skip(c byte) bool {
	s.space()
	if s.err != nil || s.pos == len(s.b) || s.b[s.pos] != c {
		return false
	}
	s.pos++
	return true
}

func (s *headerScanner) expect(c byte) {
	if !s.skip(c) {
		s.fail("expected %q", c)
	}
}

// sequence reads from open to close what item reads, with commas between.
func (s *headerScanner) sequence(open, close byte, item func()) {
	s.expect(open)
	if s.skip(close) {
		return
	}
	for s.err == nil {
		item()
		if s.skip(close) {
			return
		}
		s.expect(',')
	}
}

func (s *headerScanner) object(value func(key string)) {
	s.sequence('{', '}', func() {
		key := s.string()
		s.expect(':')
		if s.err == nil {
			value(key)
		}
	})
}

func (s *headerScanner) string() string {
	s.expect('"')
	begin, escaped := s.pos, false
	for s.pos < len(s.b) && s.b[s.pos] != '"' {
		if s.b[s.pos] < ' ' {
			s.fail("a control character in a string")
		}
		if s.b[s.pos] == '\\' {
			escaped = true
			s.pos++
		}
		s.pos++
	}
	if s.err != nil {
		return ""
	}
	if s.pos >= len(s.b) {
		s.fail("a string without an end")
		return ""
	}
	raw := s.b[begin:s.pos]
	s.pos++
	if !utf8.Valid(raw) {
		s.fail("a string that is not UTF-8")
	}
	if !escaped {
		if s.charge(costString + int64(len(raw))); s.err != nil {
			return ""
		}
		return string(raw)
	}
	if s.charge(costObject + 3*int64(len(raw))); s.err != nil {
		return ""
	}
	var v string
	if json.Unmarshal(s.b[begin-1:s.pos], &v) != nil {
		s.fail("a string with an unknown escape")
	}
	return v
}

func (s *headerScanner) number() int64 {
	s.space()
	begin := s.pos
	for s.pos < len(s.b) && '0' <= s.b[s.pos] && s.b[s.pos] <= '9' {
		s.pos++
	}
	digits := s.b[begin:s.pos]
	if len(digits) > len("9223372036854775807") {
		s.fail("a number of %d digits", len(digits))
		return 0
	}
	v, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		s.fail("expected a whole number up to %d", int64(math.MaxInt64))
	}
	return v
}

func (s *headerScanner) numbers(limit int) []int64 {
	var v []int64
	s.sequence('[', ']', func() {
		if len(v) == limit {
			s.fail("more than %d numbers", limit)
		}
		s.charge(costItem)
		v = append(v, s.number())
	})
	return v
}

// tensor reads {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}.
func (s *headerScanner) tensor(name string, data section) (Tensor, error) {
	var kind string
	var shape, offsets []int64
	var seen [3]bool
	once := func(i int, key string) {
		if seen[i] {
			s.fail("%q is there twice", key)
		}
		seen[i] = true
	}
	s.object(func(key string) {
		switch key {
		case "dtype":
			once(0, key)
			kind = s.string()
		case "shape":
			once(1, key)
			shape = s.numbers(maxDims)
		case "data_offsets":
			once(2, key)
			offsets = s.numbers(2)
		default:
			s.fail("an unknown %q", key)
		}
	})
	damaged := func(format string, args ...any) (Tensor, error) {
		return Tensor{}, fmt.Errorf("tensor %q: %s: %w", name, fmt.Sprintf(format, args...), ErrDamaged)
	}
	switch {
	case s.err != nil:
		s.err = fmt.Errorf("tensor %q: %w", name, s.err)
		return Tensor{}, s.err
	case seen != [3]bool{true, true, true}:
		return damaged("dtype, shape or data_offsets is missing")
	case len(offsets) != 2 || offsets[0] > offsets[1] || offsets[1] > data.size:
		return damaged("data_offsets %v in %d bytes of data", offsets, data.size)
	}
	d, ok := safetensorsTypes[kind]
	if !ok {
		return Tensor{}, fmt.Errorf("tensor %q: dtype %q: %w", name, kind, ErrUnsupported)
	}
	size := offsets[1] - offsets[0]
	n, overflow := int64(1), false
	for _, dim := range shape {
		overflow = overflow || dim > 0 && n > math.MaxInt64/dim
		n *= dim
	}
	if overflow || n > math.MaxInt64/d.size || n*d.size != size {
		return damaged("shape %v of %s is not the %d bytes of data_offsets", shape, kind, size)
	}
	strides := make([]int64, len(shape))
	stride := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		strides[i] = stride
		stride *= max(shape[i], 1)
	}
	st := &storage{
		name:  "data",
		dtype: d,
		len:   n,
		data:  section{file: data.file, off: data.off + offsets[0], size: size},
	}
	return newTensor(name, shape, view{storage: st, dtype: d, strides: strides}, s.mem)
}

// NamedTensor is a tensor for WriteSafetensors: Data is row-major and as long as Shape says.
type NamedTensor struct {
	Name  string
	Shape []int
	Data  []float32
}

// WriteSafetensors writes the tensors as float32, sorted by name, with the data aligned to 8 bytes: the same tensors and
// metadata always give the same bytes. Names must be unique; metadata may be nil.
func WriteSafetensors(w io.Writer, tensors []NamedTensor, metadata map[string]string) error {
	tensors = slices.SortedStableFunc(slices.Values(tensors), func(a, b NamedTensor) int { return cmp.Compare(a.Name, b.Name) })
	var header bytes.Buffer
	header.WriteByte('{')
	if len(metadata) > 0 {
		m, err := json.Marshal(metadata)
		if err != nil {
			return fmt.Errorf("checkpoint: metadata: %w", err)
		}
		fmt.Fprintf(&header, "%q:%s", metadataKey, m)
	}
	end := 0
	for i, t := range tensors {
		if err := t.check(); err != nil {
			return fmt.Errorf("checkpoint: tensor %q: %w", t.Name, err)
		}
		if i > 0 && tensors[i-1].Name == t.Name {
			return fmt.Errorf("checkpoint: tensor %q is given twice", t.Name)
		}
		if header.Len() > 1 {
			header.WriteByte(',')
		}
		begin := end
		end += 4 * len(t.Data)
		name, err := json.Marshal(t.Name)
		if err != nil {
			return fmt.Errorf("checkpoint: tensor %q: %w", t.Name, err)
		}
		shape, err := json.Marshal(append([]int{}, t.Shape...)) // [] for a scalar, not null
		if err != nil {
			return fmt.Errorf("checkpoint: tensor %q: %w", t.Name, err)
		}
		fmt.Fprintf(&header, `%s:{"dtype":"F32","shape":%s,"data_offsets":[%d,%d]}`, name, shape, begin, end)
	}
	header.WriteByte('}')
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	if header.Len() > maxHeader {
		return fmt.Errorf("checkpoint: a header of %d bytes: %w", header.Len(), ErrTooLarge)
	}
	buf := binary.LittleEndian.AppendUint64(nil, uint64(header.Len()))
	if _, err := w.Write(append(buf, header.Bytes()...)); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	for _, t := range tensors {
		if err := WriteFloats(w, t.Data); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	return nil
}

// WriteFloats writes values as they stand in a .safetensors file, little-endian.
func WriteFloats(w io.Writer, values []float32) error {
	if littleEndian {
		_, err := w.Write(bytesOf(values))
		return err
	}
	return binary.Write(w, binary.LittleEndian, values)
}

func (t NamedTensor) check() error {
	n := 1
	for _, d := range t.Shape {
		if d < 0 || d > 0 && n > math.MaxInt/d {
			return fmt.Errorf("shape %v", t.Shape)
		}
		n *= d
	}
	switch {
	case n != len(t.Data):
		return fmt.Errorf("shape %v with %d values", t.Shape, len(t.Data))
	case t.Name == metadataKey:
		return fmt.Errorf("the name is reserved")
	case !utf8.ValidString(t.Name):
		return fmt.Errorf("the name is not UTF-8")
	}
	return nil
}

package checkpoint

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
)

// Tensor is one named tensor of a File, read when asked for.
type Tensor struct {
	Name  string
	DType string // torch's name: "float32", "float16", "bfloat16", "float64", "int64", "bool", ...
	Shape []int  // outermost dimension first; empty for a scalar. Not to be changed.

	view view
}

// Len returns the number of elements.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Float32 reads the tensor from the file into a new slice of Len values in row-major order. Other types are converted
// to the nearest float32. The error is ErrDamaged where the file's own checksum or length disagrees.
func (t Tensor) Float32() ([]float32, error) {
	s := t.view.storage
	if s == nil { // the zero Tensor
		return nil, fmt.Errorf("checkpoint: tensor %q: not from a file", t.Name)
	}
	if err := s.verify(); err != nil {
		return nil, fmt.Errorf("checkpoint: tensor %q: %s: %w", t.Name, s.name, err)
	}
	out := make([]float32, t.Len())
	if err := t.view.read(out, t.Shape); err != nil {
		return nil, fmt.Errorf("checkpoint: tensor %q: %s: %w", t.Name, s.name, err)
	}
	return out, nil
}

// A storage is a run of elements in the file that tensors are views of.
type storage struct {
	name  string // for errors
	dtype *dtype // nil: untyped, the views have their own
	len   int64  // elements; bytes if untyped
	data  section

	once sync.Once
	err  error // why it can't be read: known from the container, or found by verify
}

// A section is a range of the file, with a CRC-32 (IEEE) if the container has one.
type section struct {
	file      io.ReaderAt
	off, size int64
	crc       uint32
	hasCRC    bool
}

// verify compares the checksum, once.
func (s *storage) verify() error {
	s.once.Do(func() {
		if s.err == nil {
			s.err = s.data.verify()
		}
	})
	return s.err
}

func (s section) verify() error {
	if !s.hasCRC {
		return nil
	}
	w := windows.Get().(*window)
	defer windows.Put(w)
	sum := uint32(0)
	for off := int64(0); off < s.size; off += int64(len(w.bytes)) {
		b := w.bytes[:min(int64(len(w.bytes)), s.size-off)]
		if err := readFull(s.file, b, s.off+off); err != nil {
			return err
		}
		sum = crc32.Update(sum, crc32.IEEETable, b)
	}
	if sum != s.crc {
		return fmt.Errorf("its CRC-32 is %08x, the archive says %08x: %w", sum, s.crc, ErrDamaged)
	}
	return nil
}

// A view is the part of a storage that a tensor shows: element (i, j, ...) is at offset + i·strides[0] + j·strides[1] ...
type view struct {
	storage *storage
	dtype   *dtype
	offset  int64
	strides []int64
}

// A window holds consecutive elements of a storage. Windows are pooled so that reading many tensors makes no garbage.
type window struct {
	bytes [windowLen * 8]byte
	elems [windowLen]float32
}

const windowLen = 8 << 10

var windows = sync.Pool{New: func() any { return new(window) }}

// dim is a dimension of a view: its length and the distance of neighbours in the storage (src) and in the result (dst).
type dim struct{ n, src, dst int64 }

// dims returns the dimensions of more than one element, widest stride in the storage first. Walking in that order
// reads the file forwards, whatever the view transposes.
func (v *view) dims(shape []int) []dim {
	var dims []dim
	dst := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] > 1 {
			dims = append(dims, dim{int64(shape[i]), v.strides[i], dst})
		}
		dst *= int64(shape[i])
	}
	slices.SortStableFunc(dims, func(a, b dim) int { return cmp.Compare(b.src, a.src) })
	return dims
}

// read fills out, row-major, from the file.
func (v *view) read(out []float32, shape []int) error {
	if len(out) == 0 {
		return nil
	}
	dims := v.dims(shape)
	last := v.offset
	contiguous := true
	for _, d := range dims {
		last += (d.n - 1) * d.src
		contiguous = contiguous && d.src == d.dst
	}
	if contiguous && v.dtype == typeFloat32 && littleEndian { // as in the file
		return readFull(v.storage.data.file, bytesOf(out), v.storage.data.off+4*v.offset)
	}
	w := windows.Get().(*window)
	defer windows.Put(w)
	if contiguous {
		for i := 0; i < len(out); i += windowLen {
			chunk := out[i:min(i+windowLen, len(out))]
			if err := v.decode(w, chunk, v.offset+int64(i)); err != nil {
				return err
			}
		}
		return nil
	}

	begin, end := int64(0), int64(0) // what w holds
	var walk func(dims []dim, src, dst int64) error
	walk = func(dims []dim, src, dst int64) error {
		d := dims[0]
		for range d.n {
			if len(dims) > 1 {
				if err := walk(dims[1:], src, dst); err != nil {
					return err
				}
			} else {
				if src < begin || src >= end {
					begin, end = src, min(src+windowLen, last+1)
					if err := v.decode(w, w.elems[:end-begin], begin); err != nil {
						return err
					}
				}
				out[dst] = w.elems[src-begin]
			}
			src, dst = src+d.src, dst+d.dst
		}
		return nil
	}
	return walk(dims, v.offset, 0)
}

// decode reads len(dst) <= windowLen consecutive elements of the storage, the first at index from.
func (v *view) decode(w *window, dst []float32, from int64) error {
	b := w.bytes[:int64(len(dst))*v.dtype.size]
	if err := readFull(v.storage.data.file, b, v.storage.data.off+from*v.dtype.size); err != nil {
		return err
	}
	v.dtype.decode(dst, b)
	return nil
}

const maxDims = 64 // torch's limit

// newTensor checks the view against its storage and charges its values to mem.
func newTensor(name string, shape []int64, v view, mem *budget) (Tensor, error) {
	fail := func(kind error, format string, args ...any) (Tensor, error) {
		return Tensor{}, fmt.Errorf("tensor %q: %s: %w", name, fmt.Sprintf(format, args...), kind)
	}
	if len(shape) != len(v.strides) || len(shape) > maxDims {
		return fail(ErrDamaged, "%d dimensions with %d strides", len(shape), len(v.strides))
	}
	if err := mem.take(costTensor + costValue*int64(len(shape))); err != nil {
		return fail(err, "shape %v", shape)
	}
	t := Tensor{Name: name, DType: v.dtype.name, Shape: make([]int, len(shape)), view: v}
	for i, d := range shape {
		if t.Shape[i] = int(d); d < 0 || int64(t.Shape[i]) != d || v.strides[i] < 0 {
			return fail(ErrDamaged, "shape %v, strides %v", shape, v.strides)
		}
	}
	if slices.Contains(shape, 0) {
		return t, nil
	}

	s := v.storage
	if s.err != nil {
		return fail(s.err, "%s", s.name)
	}
	elems := s.len
	if s.dtype == nil {
		elems /= v.dtype.size
	}
	if elems > s.data.size/v.dtype.size {
		return fail(ErrDamaged, "%s has %d bytes, too few for %d of %s", s.name, s.data.size, elems, v.dtype.name)
	}
	if v.offset < 0 || v.offset >= elems {
		return fail(ErrDamaged, "it begins at element %d of %s, which has %d", v.offset, s.name, elems)
	}
	n, last := int64(1), v.offset
	for i, d := range shape {
		stride := v.strides[i]
		if d > 1 && stride > 0 {
			if d-1 > (elems-1-last)/stride {
				return fail(ErrDamaged, "shape %v, strides %v, offset %d need more than the %d elements of %s",
					shape, v.strides, v.offset, elems, s.name)
			}
			last += (d - 1) * stride
		}
		if d > mem.left/4/n {
			if v.dtype.size == 1 && stride > 0 {
				return fail(ErrUnsupported, "a file that is mostly %s is not one of trained weights", v.dtype.name)
			}
			return fail(ErrDamaged, "shape %v is more than a file of %d bytes can hold", shape, mem.size)
		}
		n *= d
	}
	// Overlapping windows (Tensor.unfold) don't occur in weights, and reading them would not go forwards.
	dims, span := v.dims(t.Shape), int64(0)
	for i := len(dims) - 1; i >= 0; i-- {
		if dims[i].src != 0 && dims[i].src <= span {
			return fail(ErrUnsupported, "shape %v, strides %v name elements more than once", shape, v.strides)
		}
		span += (dims[i].n - 1) * dims[i].src
	}
	return t, mem.take(4 * n)
}

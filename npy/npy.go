// Package npy reads and writes NumPy's .npy files (format versions 1.0 to 3.0,
// numpy.lib.format) and reads the .npz archives of them: as much as comparing
// with Python needs.
package npy

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// ErrFormat is that of a file that is not a .npy file, or of a kind that is not
// read.
var ErrFormat = errors.New("not a readable .npy file")

// Array is an array in C order.
type Array struct {
	Shape []int
	// Float holds the values of float32 and float64 arrays, Bytes those of
	// uint8 arrays.
	Float []float32
	Bytes []uint8
}

// maxHeader and maxValues bound what is read: 4 GiB of float32.
const (
	maxHeader = 1 << 16
	maxValues = 1 << 30
)

var (
	descr = regexp.MustCompile(`'descr':\s*'([^']*)'`)
	order = regexp.MustCompile(`'fortran_order':\s*(True|False)`)
	shape = regexp.MustCompile(`'shape':\s*\(([^)]*)\)`)
)

// Read reads one array of float32, float64 or uint8.
func Read(r io.Reader) (*Array, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:6]) != "\x93NUMPY" {
		return nil, fmt.Errorf("%w: the magic number is missing", ErrFormat)
	}
	size := make([]byte, 2)
	if head[6] >= 2 {
		size = make([]byte, 4)
	}
	if _, err := io.ReadFull(r, size); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	n := int(binary.LittleEndian.Uint16(size))
	if len(size) == 4 {
		n = int(binary.LittleEndian.Uint32(size))
	}
	if n > maxHeader {
		return nil, fmt.Errorf("%w: a header of %d bytes", ErrFormat, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	d, o, s := descr.FindSubmatch(text), order.FindSubmatch(text), shape.FindSubmatch(text)
	if d == nil || o == nil || s == nil {
		return nil, fmt.Errorf("%w: header %q", ErrFormat, text)
	}
	a := &Array{Shape: []int{}}
	count := 1
	for _, field := range strings.Split(string(s[1]), ",") {
		if field = strings.TrimSpace(field); field == "" {
			continue
		}
		v, err := strconv.Atoi(field)
		if err != nil || v < 0 || v > maxValues || count*max(v, 1) > maxValues {
			return nil, fmt.Errorf("%w: shape (%s)", ErrFormat, s[1])
		}
		a.Shape = append(a.Shape, v)
		count *= v
	}
	if string(o[1]) == "True" && len(a.Shape) > 1 {
		return nil, fmt.Errorf("%w: Fortran order; save numpy.ascontiguousarray of it", ErrFormat)
	}
	return a, a.read(r, string(d[1]), count)
}

func (a *Array) read(r io.Reader, dtype string, count int) error {
	width := map[string]int{"<f4": 4, "<f8": 8, "|u1": 1}[dtype]
	if width == 0 {
		return fmt.Errorf("%w: type %s; want float32, float64 or uint8", ErrFormat, dtype)
	}
	// Chunks, so that a claimed size costs nothing before its bytes arrive.
	buf := make([]byte, 1<<16)
	for done := 0; done < count; {
		k := min(count-done, len(buf)/width)
		if _, err := io.ReadFull(r, buf[:k*width]); err != nil {
			return fmt.Errorf("%w: %d of %d values: %w", ErrFormat, done, count, err)
		}
		for i := range k {
			switch width {
			case 1:
				a.Bytes = append(a.Bytes, buf[i])
			case 4:
				a.Float = append(a.Float, math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:])))
			case 8:
				a.Float = append(a.Float, float32(math.Float64frombits(binary.LittleEndian.Uint64(buf[8*i:]))))
			}
		}
		done += k
	}
	return nil
}

// ReadZip reads every array of an .npz archive under its name.
func ReadZip(data []byte) (map[string]*Array, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	arrays := map[string]*Array{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrFormat, f.Name, err)
		}
		a, err := Read(r)
		r.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		arrays[strings.TrimSuffix(f.Name, ".npy")] = a
	}
	return arrays, nil
}

// WriteBytes writes a uint8 array.
func WriteBytes(w io.Writer, shape []int, data []uint8) error {
	if err := writeHeader(w, "|u1", shape); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// WriteFloats writes a float32 array.
func WriteFloats(w io.Writer, shape []int, data []float32) error {
	if err := writeHeader(w, "<f4", shape); err != nil {
		return err
	}
	return binary.Write(w, binary.LittleEndian, data)
}

func writeHeader(w io.Writer, dtype string, shape []int) error {
	dims := ""
	for _, d := range shape {
		dims += strconv.Itoa(d) + ", "
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", dtype, strings.TrimSuffix(dims, " "))
	// Magic number, version, length and text fill a multiple of 64 bytes.
	text += strings.Repeat(" ", 63-(10+len(text))%64) + "\n"
	head := binary.LittleEndian.AppendUint16([]byte("\x93NUMPY\x01\x00"), uint16(len(text)))
	_, err := w.Write(append(head, text...))
	return err
}

// NHWC returns a float array [N C H W], PyTorch's order, as [N H W C].
func (a *Array) NHWC() ([]float32, error) {
	if len(a.Shape) != 4 || a.Float == nil {
		return nil, fmt.Errorf("an array of shape %v, want float32 [N C H W]", a.Shape)
	}
	n, c, pixels := a.Shape[0], a.Shape[1], a.Shape[2]*a.Shape[3]
	out := make([]float32, 0, len(a.Float))
	for i := range n {
		image := a.Float[i*c*pixels:][:c*pixels]
		for p := range pixels {
			for ch := range c {
				out = append(out, image[ch*pixels+p])
			}
		}
	}
	return out, nil
}

package npy

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	var b bytes.Buffer
	want := []float32{1, -2.5, 3, 4, 5, 6}
	if err := WriteFloats(&b, []int{2, 3}, want); err != nil {
		t.Fatal(err)
	}
	if b.Len()%64 != 24 { // the header is a multiple of 64
		t.Errorf("%d bytes in all, want a header of a multiple of 64", b.Len())
	}
	a, err := Read(&b)
	if err != nil || !slices.Equal(a.Shape, []int{2, 3}) || !slices.Equal(a.Float, want) {
		t.Errorf("read %+v, %v, want %v", a, err, want)
	}

	b.Reset()
	if err := WriteBytes(&b, []int{3}, []byte{7, 8, 9}); err != nil {
		t.Fatal(err)
	}
	a, err = Read(&b)
	if err != nil || !slices.Equal(a.Shape, []int{3}) || !slices.Equal(a.Bytes, []byte{7, 8, 9}) {
		t.Errorf("read %+v, %v, want [7 8 9]", a, err)
	}
}

// file is a version 1.0 file with the given header and data.
func file(header, data string) string {
	return "\x93NUMPY\x01\x00" + string([]byte{byte(len(header)), byte(len(header) >> 8)}) + header + data
}

func TestRead(t *testing.T) {
	for _, row := range []struct {
		name, file, err string
		shape           []int
	}{
		{"float64", file("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n", "\x00\x00\x00\x00\x00\x00\xf0\x3f"), "", []int{1}},
		{"scalar", file("{'descr': '<f4', 'fortran_order': False, 'shape': (), }\n", "\x00\x00\x80\x3f"), "", []int{}},
		{"one-dimensional Fortran order", file("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }\n", "\x00\x00\x80\x3f"), "", []int{1}},
		{"empty", "", "magic", nil},
		{"text", "hello, world", "magic", nil},
		{"Fortran order", file("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }\n", "\x00\x00\x80\x3f"), "Fortran", nil},
		{"integers", file("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }\n", "12345678"), "<i8", nil},
		{"truncated", file("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", "1234"), "0 of 2", nil},
		{"huge", file("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }\n", ""), "shape", nil},
		{"negative", file("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }\n", ""), "shape", nil},
		{"no header", file("{}", ""), "header", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, err := Read(strings.NewReader(row.file))
			if row.err == "" {
				if err != nil || !slices.Equal(a.Shape, row.shape) || a.Float[0] != 1 {
					t.Errorf("read %+v, %v, want shape %v of ones", a, err, row.shape)
				}
				return
			}
			if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), row.err) {
				t.Errorf("error %v, want ErrFormat that says %q", err, row.err)
			}
		})
	}
}

func TestNHWC(t *testing.T) {
	a := &Array{Shape: []int{1, 2, 1, 3}, Float: []float32{1, 2, 3, 10, 20, 30}}
	got, err := a.NHWC()
	if want := []float32{1, 10, 2, 20, 3, 30}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if _, err := (&Array{Shape: []int{3}, Float: []float32{1, 2, 3}}).NHWC(); err == nil {
		t.Error("an array of one axis has been taken for images")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(file("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }\n", "\x00\x00\x80\x3f")))
	f.Add([]byte(file("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }\n", "abc")))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		n := 1
		for _, d := range a.Shape {
			n *= d
		}
		if len(a.Float)+len(a.Bytes) != n {
			t.Errorf("%d values for the shape %v", len(a.Float)+len(a.Bytes), a.Shape)
		}
	})
}

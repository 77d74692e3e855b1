package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// checkRoundTrip writes the tensors and reads them again.
func checkRoundTrip(t *testing.T, tensors []NamedTensor, metadata map[string]string) {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSafetensors(&b, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	got, f, err := readAll(b.Bytes())
	if err != nil {
		t.Fatalf("%v in\n%.300q", err, b.Bytes())
	}
	want := make(map[string][]float32)
	for _, tensor := range tensors {
		want[tensor.Name] = tensor.Data
	}
	if len(got) == len(want) && !sameValues(got, want) { // names may have lost a "module."
		for name := range want {
			if !strings.HasPrefix(name, "module.") {
				t.Fatalf("wrote %v, read %v", want, got)
			}
		}
	}
	if len(got) != len(want) || len(f.Metadata) != len(metadata) {
		t.Fatalf("wrote %d tensors and %d entries, read %d and %d", len(want), len(metadata), len(got), len(f.Metadata))
	}
	for k, v := range metadata {
		if f.Metadata[k] != any(v) {
			t.Fatalf("metadata %q: wrote %q, read %q", k, v, f.Metadata[k])
		}
	}
}

func TestWriteSafetensors(t *testing.T) {
	nan := float32(math.NaN())
	tensors := []NamedTensor{
		{"b.weight", []int{2, 3}, []float32{1, -2, 3.5, float32(math.Inf(1)), nan, 1e-45}},
		{"a", []int{}, []float32{7}},
		{"nil shape", nil, []float32{8}},
		{"empty", []int{0, 3}, nil},
		{`quo"ted\ <☃>` + "\n", []int{1}, []float32{9}},
		{"large", []int{20000}, slices.Repeat([]float32{0.25}, 20000)},
	}
	metadata := map[string]string{"z": "1", "a": `"☃"`, "": ""}
	checkRoundTrip(t, tensors, metadata)
	checkRoundTrip(t, nil, nil)

	var first, second bytes.Buffer
	if err := WriteSafetensors(&first, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(tensors)
	if err := WriteSafetensors(&second, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("another order of the tensors gives other bytes")
	}
	if n := binary.LittleEndian.Uint64(first.Bytes()); n%8 != 0 {
		t.Errorf("a header of %d bytes does not align the data to 8", n)
	}
	f, err := Read(bytes.NewReader(first.Bytes()), int64(first.Len()), 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tensor := range f.Tensors {
		names = append(names, tensor.Name)
	}
	if !slices.IsSorted(names) {
		t.Errorf("order %q", names)
	}
}

// TestWriteSafetensorsBytes holds the writer to the format, byte for byte.
func TestWriteSafetensorsBytes(t *testing.T) {
	var b bytes.Buffer
	err := WriteSafetensors(&b, []NamedTensor{{"w", []int{1, 2}, []float32{1, 2}}, {"b", nil, []float32{-1}}}, map[string]string{"k": "v"})
	if err != nil {
		t.Fatal(err)
	}
	header := `{"__metadata__":{"k":"v"},"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := le(64, uint64(len(header))) + header + "\x00\x00\x80\xbf\x00\x00\x80\x3f\x00\x00\x00\x40"
	if b.String() != want {
		t.Errorf("wrote\n%q, want\n%q", b.String(), want)
	}
}

func TestWriteSafetensorsErrors(t *testing.T) {
	for _, row := range []struct {
		name    string
		tensors []NamedTensor
		says    string
	}{
		{"too few values", []NamedTensor{{"w", []int{3}, []float32{1}}}, `tensor "w": shape [3] with 1 values`},
		{"negative shape", []NamedTensor{{"w", []int{-1, -1}, []float32{1}}}, `tensor "w": shape [-1 -1]`},
		{"overflow", []NamedTensor{{"w", []int{math.MaxInt, math.MaxInt}, nil}}, `tensor "w": shape`},
		{"a name twice", []NamedTensor{{"w", nil, []float32{1}}, {"w", nil, []float32{1}}}, `tensor "w" is given twice`},
		{"reserved name", []NamedTensor{{"__metadata__", nil, []float32{1}}}, "reserved"},
		{"not UTF-8", []NamedTensor{{"\xff", nil, []float32{1}}}, "UTF-8"},
	} {
		var b bytes.Buffer
		err := WriteSafetensors(&b, row.tensors, nil)
		if err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: error %v, want %q", row.name, err, row.says)
		}
		if b.Len() > 0 {
			t.Errorf("%s: %d bytes were written before the error", row.name, b.Len())
		}
	}
	if err := WriteSafetensors(brokenWriter{}, []NamedTensor{{"w", nil, []float32{1}}}, nil); !errors.Is(err, errDisk) {
		t.Errorf("error %v of a broken writer", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errDisk }

// TestSafetensorsSpaces: JSON allows white space between tokens, the format any order of the fields.
func TestSafetensorsSpaces(t *testing.T) {
	data := safetensorsFile("{ \"__metadata__\" : { \"a\" : \"b\" } ,\n\t\"w\" : { \"shape\" : [ 1 , 2 ] , \"data_offsets\" : [ 0 , 2 ] , \"dtype\" : \"I8\" } } \n ", "\x01\xff")
	values, f, err := readAll(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string][]float32{"w": {1, -1}}; !reflect.DeepEqual(values, want) {
		t.Errorf("values %v, want %v", values, want)
	}
	if want := map[string]any{"a": "b"}; !reflect.DeepEqual(f.Metadata, want) {
		t.Errorf("metadata %v, want %v", f.Metadata, want)
	}
}

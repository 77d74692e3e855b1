package checkpoint

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
)

// TestGolden compares what torch and safetensors read from the files of testdata/make.py, bit for bit.
func TestGolden(t *testing.T) {
	b, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var expected map[string]struct {
		Format   string
		Metadata map[string]any
		Tensors  []struct {
			Name, DType string
			Shape       []int
			Values      []any // a number, or "inf", "-inf", "nan"
		}
	}
	if err := json.Unmarshal(b, &expected); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.*t*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.Contains([]string{".pth", ".safetensors"}, filepath.Ext(file)) {
			continue
		}
		want, ok := expected[filepath.Base(file)]
		delete(expected, filepath.Base(file))
		t.Run(filepath.Base(file), func(t *testing.T) {
			if !ok {
				t.Fatal("not in expected.json")
			}
			f, err := Open(file, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Format != want.Format {
				t.Errorf("format %q, want %q", f.Format, want.Format)
			}
			if got := jsonNumbers(f.Metadata); !reflect.DeepEqual(got, any(want.Metadata)) {
				t.Errorf("metadata\n%v, want\n%v", got, want.Metadata)
			}
			if len(f.Tensors) != len(want.Tensors) {
				t.Fatalf("%d tensors, want %d", len(f.Tensors), len(want.Tensors))
			}
			for i, w := range want.Tensors {
				got := f.Tensors[i]
				if got.Name != w.Name || got.DType != w.DType || !slices.Equal(got.Shape, w.Shape) {
					t.Errorf("tensor %d: %s %s %v, want %s %s %v", i, got.Name, got.DType, got.Shape, w.Name, w.DType, w.Shape)
					continue
				}
				values, err := got.Float32()
				if err != nil {
					t.Error(err)
					continue
				}
				if len(values) != len(w.Values) || len(values) != got.Len() {
					t.Errorf("%s: %d values, want %d", w.Name, len(values), len(w.Values))
					continue
				}
				for j, v := range values {
					if x := wantValue(t, w.Values[j]); math.Float32bits(v) != math.Float32bits(x) && (v == v || x == x) {
						t.Errorf("%s[%d] = %v, want %v", w.Name, j, v, x)
					}
				}
			}
		})
	}
	for file := range expected {
		t.Errorf("%s is missing", file)
	}
}

func wantValue(t *testing.T, v any) float32 {
	switch v := v.(type) {
	case float64:
		return float32(v)
	case string:
		f, err := strconv.ParseFloat(v, 32)
		if err == nil {
			return float32(f)
		}
	}
	t.Fatalf("expected.json: value %v", v)
	return 0
}

// jsonNumbers turns int64 into float64, as encoding/json reads them.
func jsonNumbers(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonNumbers(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any)
		for k := range v {
			out[k] = jsonNumbers(v[k])
		}
		return out
	}
	return v
}

package checkpoint

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// checkAny reads what may be anything: there is no panic, an error is one of the package's, and what is read is no more
// than a file of that size may hold.
func checkAny(t *testing.T, data []byte) *File {
	f, err := Read(bytes.NewReader(data), int64(len(data)), 0)
	if err != nil {
		if !isSentinel(err) {
			t.Fatalf("error %v", err)
		}
		return nil
	}
	total, names := 0, make(map[string]bool)
	for _, tensor := range f.Tensors {
		v, err := tensor.Float32()
		if err != nil {
			if !isSentinel(err) {
				t.Fatalf("error %v", err)
			}
			return nil
		}
		if len(v) != tensor.Len() {
			t.Fatalf("tensor %q: %d values, shape %v", tensor.Name, len(v), tensor.Shape)
		}
		if names[tensor.Name] {
			t.Fatalf("tensor %q is there twice", tensor.Name)
		}
		names[tensor.Name] = true
		total += 4 * len(v)
	}
	if total > 3*len(data)+budgetConst {
		t.Fatalf("%d bytes of values in a file of %d", total, len(data))
	}
	return f
}

func addFiles(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		f.Fatalf("no %s (%v)", pattern, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

// FuzzPickle fuzzes both torch formats. The zip archives without CRC-32 and the legacy streams let changes through.
func FuzzPickle(f *testing.F) {
	addFiles(f, "testdata/*.pth")
	f.Add(legacy(vector(1), 4, "0", "\x00\x00\x80?"))
	f.Fuzz(func(t *testing.T, data []byte) { checkAny(t, data) })
}

// FuzzSafetensors also writes what it has read, and reads it again.
func FuzzSafetensors(f *testing.F) {
	addFiles(f, "testdata/*.safetensors")
	f.Add(safetensorsFile(`{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "1234"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := checkAny(t, data)
		if file == nil || file.Format != "safetensors" {
			return
		}
		var tensors []NamedTensor
		for _, tensor := range file.Tensors {
			v, err := tensor.Float32()
			if err != nil {
				t.Fatal(err)
			}
			if tensor.Name == metadataKey { // module.__metadata__
				return
			}
			tensors = append(tensors, NamedTensor{tensor.Name, tensor.Shape, v})
		}
		metadata := make(map[string]string)
		for k, v := range file.Metadata {
			metadata[k] = v.(string)
		}
		checkRoundTrip(t, tensors, metadata)
	})
}

// Package modeltest holds small checkpoints of every layout with the logits
// that the layout's own PyTorch code gives, for the tests of all packages.
package modeltest

import (
	"bytes"
	"embed"
	"testing"

	"edgevit/checkpoint"
	"edgevit/model"
	"edgevit/npy"
)

//go:embed testdata
var files embed.FS

// Golden is a checkpoint with an input and what its own code makes of it.
type Golden struct {
	Name  string
	Model *model.Model
	// Input is [N H W 3], Logits are [N classes].
	Input, Logits []float32
}

// goldens lists the checkpoints: their path, and the path of their logits.
var goldens = []struct{ checkpoint, input, logits string }{
	{"tiny/official.pth", "tiny/input.npy", "tiny/logits.npy"},
	{"tiny/official_legacy.pth", "tiny/input.npy", "tiny/logits.npy"},
	{"tiny/training_run.pth", "tiny/input.npy", "tiny/logits.npy"},
	{"tiny/easycv.pth", "tiny/input.npy", "tiny/easycv_logits.npy"},
	{"tiny-birder/checkpoint.pt", "tiny-birder/input.npy", "tiny-birder/logits.npy"},
	{"tiny-1hunters/checkpoint.pt", "tiny-1hunters/input.npy", "tiny-1hunters/logits.npy"},
	{"tiny-1hunters-distilled/checkpoint.pt", "tiny-1hunters-distilled/input.npy", "tiny-1hunters-distilled/logits.npy"},
}

// Goldens opens every checkpoint.
func Goldens(t testing.TB) []Golden {
	t.Helper()
	var all []Golden
	for _, g := range goldens {
		input, err := Array(t, g.input).NHWC()
		if err != nil {
			t.Fatalf("%s: %v", g.input, err)
		}
		side := Array(t, g.input).Shape[2]
		m, err := model.New(Checkpoint(t, g.checkpoint), model.Sidecar{Preprocess: model.PreprocessSettings{Size: &side}})
		if err != nil {
			t.Fatalf("%s: %v", g.checkpoint, err)
		}
		all = append(all, Golden{Name: g.checkpoint, Model: m, Input: input, Logits: Array(t, g.logits).Float})
	}
	return all
}

// Tiny is the first golden, a model of the authors' layout with 64-pixel
// inputs.
func Tiny(t testing.TB) Golden { return Goldens(t)[0] }

// Activations are the outputs of Tiny's modules for its inputs, [N C H W], by
// module name.
func Activations(t testing.TB) map[string]*npy.Array {
	t.Helper()
	arrays, err := npy.ReadZip(Bytes(t, "tiny/activations.npz"))
	if err != nil {
		t.Fatal(err)
	}
	return arrays
}

// Bytes is the content of a file in testdata.
func Bytes(t testing.TB, path string) []byte {
	t.Helper()
	data, err := files.ReadFile("testdata/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Array reads a .npy file in testdata.
func Array(t testing.TB, path string) *npy.Array {
	t.Helper()
	a, err := npy.Read(bytes.NewReader(Bytes(t, path)))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return a
}

// Checkpoint opens a checkpoint in testdata.
func Checkpoint(t testing.TB, path string) *checkpoint.File {
	t.Helper()
	data := Bytes(t, path)
	f, err := checkpoint.Read(bytes.NewReader(data), int64(len(data)), 0)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

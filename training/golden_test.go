// Package training_test holds the definition and the preprocessing that
// training/ has in Python to those of the service.
package training_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"edgevit/backend"
	_ "edgevit/backend/purego"
	"edgevit/compare"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/npy"
	"edgevit/preprocess"
)

// tolerance is the largest difference, of the largest value.
const tolerance = 1e-4

// goldens has golden.py write its files into a folder. EDGEVIT_PYTHON names a
// Python with requirements.txt installed, as make training-test does.
func goldens(t *testing.T) string {
	t.Helper()
	python := os.Getenv("EDGEVIT_PYTHON")
	if python == "" {
		t.Skip("EDGEVIT_PYTHON names no Python with requirements.txt installed")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), python, "golden.py", dir).CombinedOutput(); err != nil {
		t.Fatalf("golden.py: %v\n%s", err, out)
	}
	return dir
}

func read(t *testing.T, path string) *npy.Array {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := npy.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return a
}

func narrow(values []float64) []float32 {
	out := make([]float32, len(values))
	for i, v := range values {
		out[i] = float32(v)
	}
	return out
}

func TestPython(t *testing.T) {
	dir := goldens(t)
	networks, err := filepath.Glob(filepath.Join(dir, "*", "net.pth"))
	if err != nil || len(networks) < 2 {
		t.Fatalf("golden.py wrote %d networks, %v", len(networks), err)
	}
	for _, path := range networks {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) { network(t, path) })
	}
	t.Run("preprocessing", func(t *testing.T) { pictures(t, filepath.Join(dir, "pictures")) })
}

// network holds graph.Eval and purego to the logits, and Eval to the output of
// every module.
func network(t *testing.T, path string) {
	m, err := model.Open(path, model.Sidecar{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Config.Layout != "official" || len(m.Notes) > 0 {
		t.Errorf("layout %s, notes %q, want official and none", m.Config.Layout, m.Notes)
	}
	folder := filepath.Dir(path)
	images, err := read(t, filepath.Join(folder, "input.npy")).NHWC()
	if err != nil {
		t.Fatal(err)
	}
	want := read(t, filepath.Join(folder, "logits.npy"))
	c, err := backend.Open(t.Context(), "purego", m.Graph, backend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	logits := make([]float32, len(want.Float))
	if err := c.Run(t.Context(), images, logits); err != nil {
		t.Fatal(err)
	}
	var first [][]float64
	size, classes := m.Graph.Input().Len(), m.Config.Classes
	for i := range want.Shape[0] {
		values, err := graph.Eval(m.Graph, images[i*size:][:size])
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = values
		}
		expected := want.Float[i*classes:][:classes]
		check(t, "logits of graph.Eval", expected, narrow(values[len(values)-1]))
		check(t, "logits of purego", expected, logits[i*classes:][:classes])
	}

	data, err := os.ReadFile(filepath.Join(folder, "activations.npz"))
	if err != nil {
		t.Fatal(err)
	}
	modules, err := npy.ReadZip(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(modules) < 50 {
		t.Errorf("golden.py wrote the outputs of %d modules", len(modules))
	}
	for name, a := range modules {
		n := m.Graph.Find(name)
		if n == nil {
			t.Errorf("the graph has no module %s", name)
			continue
		}
		output, err := a.NHWC()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		check(t, name, output[:len(output)/a.Shape[0]], narrow(first[n.Index]))
	}
}

func check(t *testing.T, what string, want, got []float32) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	if a := compare.Values(want, got); !a.Within(tolerance) {
		t.Errorf("%s: max |Δ| is %g, the largest value %g", what, a.MaxAbs, a.Scale)
	}
}

// pictures holds the evaluation's preprocessing to the service's, to the bit
// before normalisation.
func pictures(t *testing.T, folder string) {
	data, err := os.ReadFile(filepath.Join(folder, "pictures.json"))
	if err != nil {
		t.Fatal(err)
	}
	var settings map[string]struct {
		Size      int     `json:"size"`
		CropRatio float64 `json:"crop_ratio"`
	}
	if err := json.Unmarshal(data, &settings); err != nil || len(settings) == 0 {
		t.Fatalf("pictures.json: %d pictures, %v", len(settings), err)
	}
	for name, s := range settings {
		file, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		im, err := preprocess.Decode(t.Context(), file, preprocess.DefaultLimits())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// Mean 0 and std 1/255 leave the bytes.
		std := 1.0 / 255
		spec := preprocess.Spec{
			Size: s.Size, Resize: "shorter_side", CropRatio: s.CropRatio, Filter: "bicubic",
			Std: [3]float64{std, std, std},
		}
		tensor := make([]float32, 3*s.Size*s.Size)
		if err := im.Tensor(spec, tensor); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := make([]uint8, len(tensor))
		for i, v := range tensor {
			got[i] = uint8(v + 0.5)
		}
		if want := read(t, filepath.Join(folder, name[:len(name)-len(filepath.Ext(name))]+".npy")).Bytes; !slices.Equal(got, want) {
			different := 0
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					different++
				}
			}
			t.Errorf("%s: %d of %d bytes differ", name, different, len(want))
		}
	}
}

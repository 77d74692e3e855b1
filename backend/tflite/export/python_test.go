package export_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"edgevit/backend/tflite/export"
	"edgevit/model/modeltest"
)

// TestPython holds files to the golden logits in an interpreter that is not
// this project's.
func TestPython(t *testing.T) {
	python := os.Getenv("EDGEVIT_PYTHON")
	if python == "" {
		t.Skip("EDGEVIT_PYTHON names no Python with the modules of testdata/requirements.txt")
	}
	folder := t.TempDir()
	goldens := modeltest.Goldens(t)
	for i, g := range goldens {
		var file bytes.Buffer
		if err := export.Write(&file, g.Model.Graph, export.Options{Batch: 1, Metadata: map[string]string{"name": g.Name}}); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(folder, fmt.Sprint(i))
		if err := errors.Join(os.WriteFile(at+".tflite", file.Bytes(), 0o600), writeFloats(at+".input", g.Input), writeFloats(at+".logits", g.Logits)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, filepath.Join("testdata", "check.py"), folder)
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, failure.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(goldens) {
		t.Fatalf("%d results, want %d:\n%s", len(lines), len(goldens), out)
	}
	for _, line := range lines {
		var i int
		var difference float64
		if _, err := fmt.Sscan(line, &i, &difference); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		t.Logf("%s: max |Δ| %.2g of max |logit|", goldens[i].Name, difference)
		if !(difference <= 1e-4) {
			t.Errorf("%s: max |Δ| is %g of max |logit|, want at most 1e-4", goldens[i].Name, difference)
		}
	}
}

func writeFloats(path string, x []float32) error {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, x); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}

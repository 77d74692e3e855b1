//go:build cgo && tflite && (linux || darwin)

package tflite

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"edgevit/backend"
	"edgevit/model/modeltest"
)

// childVariable marks a process that a test started to load libraries in, since
// a loaded one stays. Its value is the device to open.
const childVariable = "EDGEVIT_TFLITE_CHILD"

// TestChild tells its parent what Probe and Open say.
func TestChild(t *testing.T) {
	device := os.Getenv(childVariable)
	if device == "" {
		t.Skip("runs only as a child")
	}
	for _, s := range (Backend{}).Probe(t.Context()) {
		if s.Target.Device == device {
			t.Logf("available %v: %s", s.Available, s.Reason)
		}
	}
	for _, strict := range []bool{false, true} {
		g := modeltest.Tiny(t).Model.Graph
		s, err := Backend{}.Open(t.Context(), g, backend.Options{Device: device, Strict: strict})
		if err != nil {
			t.Logf("strict %v: unavailable %v, unsupported %v: %v", strict, errors.Is(err, backend.ErrUnavailable), errors.Is(err, backend.ErrUnsupported), err)
			continue
		}
		if err := s.Run(t.Context(), randomImages(g, 1), make([]float32, g.Classes())); err != nil {
			t.Error(err)
		}
		d := s.(backend.Describer).Describe()
		t.Logf("strict %v: ran on %s, %d of %v nodes", strict, d.Provider, d.DelegatedNodes, d.Nodes > 0)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// child runs TestChild with the libraries in folder and returns what it said.
func child(t *testing.T, device, folder string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childVariable+"="+device, "EDGEVIT_RUNTIMES="+folder)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the child ended with %v", err)
	}
	return string(out)
}

// says fails for each of want that is not in text.
func says(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("does not say %q:\n%s", w, text)
		}
	}
}

// build compiles a file of testdata to a library.
func build(t *testing.T, source, library string) {
	t.Helper()
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler: ", err)
	}
	cmd := exec.Command(compiler, "-shared", "-fPIC", "-Iforward/include", "-o", library, filepath.Join("testdata", source))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestMissingLibrary(t *testing.T) {
	folder := t.TempDir()
	for _, device := range []string{deviceXNNPACK, devicePlain, deviceGPU} {
		says(t, child(t, device, folder), "available false", filepath.Join(folder, tfliteLibrary.names[0]), tfliteLibrary.names[1],
			"was not found", "`make runtimes`", "unavailable true")
	}
}

func TestUnusableLibrary(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("edits an ELF file")
	}
	good := filepath.Join(t.TempDir(), "good.so")
	build(t, "old_library.c", good)
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	other := append([]byte(nil), data...)
	binary.LittleEndian.PutUint16(other[18:], 0x2a) // e_machine: SuperH
	long := append([]byte(nil), data...)
	// The section table, which nothing loads, goes; the program headers stay.
	binary.LittleEndian.PutUint64(long[40:], 0)
	binary.LittleEndian.PutUint16(long[60:], 0)
	binary.LittleEndian.PutUint16(long[62:], 0)
	for _, row := range []struct {
		name string
		data []byte
		says []string
	}{
		{"too old", data, []string{"too old", "TfLiteInterpreterCreate", "TfLiteXNNPackDelegateCreate"}},
		{"wrong architecture", other, []string{"EM_SH", "this program is for"}},
		{"cut short", data[:len(data)/2], []string{"damaged"}},
		{"cut short without sections", long[:len(long)/2], []string{"cut short"}},
		{"text", []byte("404: Not Found"), []string{"damaged"}},
		{"empty", nil, []string{"damaged"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			path := filepath.Join(folder, tfliteLibrary.names[0])
			if err := os.WriteFile(path, row.data, 0o600); err != nil {
				t.Fatal(err)
			}
			out := child(t, deviceXNNPACK, folder)
			says(t, out, append(row.says, "available false", path, "unavailable true")...)
			if strings.Contains(out, "TfLiteVersion") {
				t.Errorf("says that a function is missing that is there:\n%s", out)
			}
		})
	}
}

// TestSecondCandidate: a broken library does not hide a good one.
func TestSecondCandidate(t *testing.T) {
	need(t)
	folder := t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(folder, tfliteLibrary.names[0]), []byte("broken"), 0o600),
		os.Symlink(tfliteLibrary.path, filepath.Join(folder, tfliteLibrary.names[1])),
	); err != nil {
		t.Fatal(err)
	}
	says(t, child(t, deviceXNNPACK, folder), "available true", "strict true: ran on XNNPACK")
}

func TestGPU(t *testing.T) {
	need(t)
	folder := t.TempDir()
	if err := os.Symlink(tfliteLibrary.path, filepath.Join(folder, tfliteLibrary.names[0])); err != nil {
		t.Fatal(err)
	}
	says(t, child(t, deviceGPU, folder), "available false", "GPU delegate", gpuLibrary.names[0], "unavailable true")

	library := filepath.Join(folder, gpuLibrary.names[0])
	build(t, "gpu_delegate.c", library)
	says(t, child(t, deviceGPU, folder), "available true", "strict false: ran on GPU delegate, 0 of true nodes",
		"strict true: unavailable false, unsupported true", "strict placement: gpu left")

	build(t, "old_library.c", library)
	says(t, child(t, deviceGPU, folder), "available false", "TfLiteGpuDelegateV2Create")
}

//go:build cgo && linux && (amd64 || arm64)

package onnx_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/onnx"
	"edgevit/compare"
	"edgevit/model/modeltest"
)

// A library stays loaded for the life of a process, so what depends on which
// one is loaded, or on the environment it finds, runs in a child process: this
// test binary with one test of those that write their result to the file that
// childResult names.
const childResult = "EDGEVIT_ONNX_TEST_CHILD"

// child runs a test in another process, with more environment variables, and
// reads its result.
func child(t *testing.T, test string, result any, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "result.json")
	c := exec.CommandContext(ctx, program, "-test.run=^"+test+"$")
	c.Env = append(append(os.Environ(), childResult+"="+path), env...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s in a child process: %v\n%s", test, err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, result); err != nil {
		t.Fatalf("%s in a child process wrote %q: %v", test, data, err)
	}
}

// inChild skips a test that is not in a child process.
func inChild(t *testing.T) {
	if os.Getenv(childResult) == "" {
		t.Skip("runs in a child process of another test")
	}
}

func writeResult(t *testing.T, result any) {
	data, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(os.Getenv(childResult), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// probeResult is what a process finds out about the default target.
type probeResult struct {
	Available      bool
	Reason         string
	Open           string // the error of Open
	OpenIsSentinel bool   // that error is ErrUnavailable
}

func TestChildProbe(t *testing.T) {
	inChild(t)
	status := onnx.Backend{}.Probe(t.Context())[0]
	r := probeResult{Available: status.Available, Reason: status.Reason}
	s, err := onnx.Backend{}.Open(t.Context(), modeltest.Tiny(t).Model.Graph, backend.Options{})
	if err == nil {
		s.Close()
	} else {
		r.Open, r.OpenIsSentinel = err.Error(), errors.Is(err, backend.ErrUnavailable)
	}
	writeResult(t, r)
}

// A library that cannot be used gives a reason that says why, and no crash.
func TestUnusableLibraries(t *testing.T) {
	if _, err := os.Stat("/proc/self/exe"); err != nil {
		t.Skip("this system has no /proc, where the program finds its own file")
	}
	program, err := os.ReadFile("/proc/self/exe") // an ELF file at hand
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(program)
	const machineAt, s390 = 18, 22
	binary.LittleEndian.PutUint16(foreign[machineAt:], s390)
	compiled := func(source string) func(*testing.T) []byte {
		return func(t *testing.T) []byte { return sharedLibrary(t, source) }
	}
	fixed := func(content []byte) func(*testing.T) []byte {
		return func(*testing.T) []byte { return content }
	}
	for _, row := range []struct {
		name    string
		content func(*testing.T) []byte // nil: no file
		reason  string
	}{
		{"missing", nil, "not there"},
		{"empty", fixed(nil), "not a whole shared library"},
		{"not a library", fixed([]byte("<html>404</html>")), "not a whole shared library"},
		{"cut in its header", fixed(program[:40]), "not a whole shared library"},
		{"cut in the middle", fixed(program[:len(program)/2]), "not a whole shared library"},
		{"for another processor", fixed(foreign), "built for EM_S390"},
		{"another library", compiled("int nothing;"), "not ONNX Runtime: it has no OrtGetApiBase"},
		{"too old", compiled(`
			#include <stddef.h>
			static const void *get_api(unsigned version) { return NULL; }
			static const char *get_version(void) { return "1.2.0"; }
			static const struct { const void *(*get_api)(unsigned); const char *(*get_version)(void); } base = {get_api, get_version};
			const void *OrtGetApiBase(void) { return &base; }`), "older than ONNX Runtime 1.24"},
		{"without its own dependency", compiled("extern int missing_symbol; int *use(void) { return &missing_symbol; }"), "undefined symbol"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "libonnxruntime.so.1")
			if row.content != nil {
				if err := os.WriteFile(path, row.content(t), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var got probeResult
			child(t, "TestChildProbe", &got, "EDGEVIT_RUNTIMES="+dir)
			if got.Available {
				t.Skip("the system's loader finds another ONNX Runtime")
			}
			if !strings.Contains(got.Reason, path+" (") || !strings.Contains(got.Reason, row.reason) || !strings.Contains(got.Reason, "make runtimes") {
				t.Errorf("Probe gives the reason %q, want it to name %s, %q and what to do", got.Reason, path, row.reason)
			}
			if !got.OpenIsSentinel || !strings.Contains(got.Open, got.Reason) {
				t.Errorf("Open returns %q, want ErrUnavailable with Probe's reason", got.Open)
			}
		})
	}
}

// sharedLibrary compiles source, or skips the test where there is no compiler.
func sharedLibrary(t *testing.T, source string) []byte {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler: ", err)
	}
	path := filepath.Join(t.TempDir(), "library.so")
	c := exec.CommandContext(t.Context(), gcc, "-shared", "-fPIC", "-x", "c", "-o", path, "-")
	c.Stdin = strings.NewReader(source)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// webgpuResult is what a process computes on the device webgpu.
type webgpuResult struct {
	Golden      compare.Agreement
	Trace       compare.Agreement // with the CPU, of the worst node
	Node        string            // that node
	Description backend.Description
}

// TestChildWebGPU takes the tiny model through the device, strictly: no node
// falls back to the CPU.
func TestChildWebGPU(t *testing.T) {
	inChild(t)
	golden := modeltest.Tiny(t)
	g := golden.Model.Graph
	s, err := onnx.Backend{}.Open(t.Context(), g, backend.Options{Device: "webgpu", Strict: true, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	r := webgpuResult{Description: s.(backend.Describer).Describe()}
	out := make([]float32, len(golden.Logits))
	if err := s.Run(t.Context(), golden.Input, out); err != nil {
		t.Fatal(err)
	}
	r.Golden = compare.Values(golden.Logits, out)
	image := golden.Input[:g.Input().Len()]
	want := trace(t, open(t, g, backend.Options{Threads: 1}), image)
	for i, n := range trace(t, s, image) {
		if a := compare.Values(want[i].Output, n.Output); r.Node == "" || a.MaxAbs/a.Scale > r.Trace.MaxAbs/r.Trace.Scale {
			r.Trace, r.Node = a, n.Node
		}
	}
	writeResult(t, r)
}

// The device webgpu is proven on SwiftShader, a Vulkan driver for CPUs that
// comes with Chromium; EDGEVIT_TEST_WEBGPU names its ICD file.
func TestWebGPU(t *testing.T) {
	icd := os.Getenv("EDGEVIT_TEST_WEBGPU")
	if icd == "" {
		icd = "/usr/lib/chromium/vk_swiftshader_icd.json"
	}
	if _, err := os.Stat(icd); err != nil {
		t.Skipf("no Vulkan driver to try: %v; install Debian's chromium or set EDGEVIT_TEST_WEBGPU to an ICD file", err)
	}
	if s := (onnx.Backend{}).Probe(t.Context())[0]; !s.Available {
		backendtest.Skip(t, "onnx", s.Reason)
	}
	// Chromium's own Vulkan loader lies beside the driver.
	loader := "LD_LIBRARY_PATH=" + filepath.Dir(icd) + string(os.PathListSeparator) + os.Getenv("LD_LIBRARY_PATH")
	var got webgpuResult
	child(t, "TestChildWebGPU", &got, "VK_ICD_FILENAMES="+icd, "VK_DRIVER_FILES="+icd, loader)
	t.Logf("golden logits: max |Δ| %.3g of %.3g, SNR %.1f dB; worst node %s: %.3g of %.3g",
		got.Golden.MaxAbs, got.Golden.Scale, got.Golden.SNR, got.Node, got.Trace.MaxAbs, got.Trace.Scale)
	const tolerance = 1e-3
	if !got.Golden.Within(tolerance) {
		t.Errorf("logits: max |Δ| %g of %g is over %g", got.Golden.MaxAbs, got.Golden.Scale, tolerance)
	}
	if !got.Trace.Within(tolerance) {
		t.Errorf("%s: max |Δ| %g of %g is over %g", got.Node, got.Trace.MaxAbs, got.Trace.Scale, tolerance)
	}
	if d := got.Description; d.Provider != "WebGpuExecutionProvider" || d.DelegatedNodes != d.Nodes {
		t.Errorf("Describe says %+v, want all nodes on the device", d)
	}
}

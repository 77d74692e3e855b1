//go:build cgo

package onnx_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/onnx"
	"edgevit/compare"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

// quick is the backend without webgpu: on a software GPU the suite takes
// minutes. TestWebGPU takes its place.
type quick struct{ onnx.Backend }

func (b quick) Targets() []backend.Target {
	return slices.DeleteFunc(b.Backend.Targets(), func(t backend.Target) bool { return t.Device == "webgpu" })
}

func (b quick) Probe(ctx context.Context) []backend.TargetStatus {
	return slices.DeleteFunc(b.Backend.Probe(ctx), func(s backend.TargetStatus) bool { return s.Target.Device == "webgpu" })
}

func TestConformance(t *testing.T) { backendtest.Run(t, quick{}) }

// open opens g, or skips the test where there is no library.
func open(t testing.TB, g *graph.Graph, o backend.Options) backend.Session {
	t.Helper()
	s, err := onnx.Backend{}.Open(t.Context(), g, o)
	if errors.Is(err, backend.ErrUnavailable) {
		backendtest.Skip(t, "onnx", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestProbeExplainsEveryTarget(t *testing.T) {
	b := onnx.Backend{}
	targets, status := b.Targets(), b.Probe(t.Context())
	if len(status) != len(targets) {
		t.Fatalf("Probe reports %d targets of %d", len(status), len(targets))
	}
	for i, s := range status {
		if s.Target != targets[i] || s.Available == (s.Reason != "") {
			t.Errorf("Probe says %+v of %v", s, targets[i])
		}
		if s.Available {
			continue
		}
		_, err := b.Open(t.Context(), modeltest.Tiny(t).Model.Graph, backend.Options{Device: s.Target.Device})
		if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), s.Reason) {
			t.Errorf("%v: Open returns %v, want ErrUnavailable and %q", s.Target, err, s.Reason)
		}
	}
}

func TestDescribe(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	s := open(t, g, backend.Options{Threads: 2, Strict: true})
	defer s.Close()
	d := s.(backend.Describer).Describe()
	if d.Provider != "CPUExecutionProvider" || d.Threads != 2 || d.Nodes != len(g.Nodes) || d.DelegatedNodes != d.Nodes || d.WeightBytes == 0 {
		t.Errorf("Describe says %+v", d)
	}
	if !strings.HasPrefix(d.LibraryVersion, "1.") {
		t.Errorf("the library's version is %q", d.LibraryVersion)
	}
	if _, err := os.Stat(d.Library); err != nil {
		t.Errorf("the library's file: %v", err)
	}
}

// trace traces image and closes s.
func trace(t *testing.T, s backend.Session, image []float32) []backend.NodeTrace {
	t.Helper()
	defer s.Close()
	nodes, err := s.(backend.Tracer).Trace(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

// Batches of all sizes, in turn on one session, go through in parts and give
// each image its own logits.
func TestBatchesInParts(t *testing.T) {
	golden := modeltest.Tiny(t)
	g := golden.Model.Graph
	size, classes := g.Input().Len(), g.Classes()
	images := len(golden.Input) / size
	for _, threads := range []int{1, 2} {
		s := open(t, g, backend.Options{Threads: threads})
		for _, n := range []int{1, 19, 3, 8, 9, 1} {
			var in, want []float32
			for i := range n {
				in = append(in, golden.Input[i%images*size:][:size]...)
				want = append(want, golden.Logits[i%images*classes:][:classes]...)
			}
			out := make([]float32, n*classes)
			if err := s.Run(t.Context(), in, out); err != nil {
				t.Fatalf("%d threads, %d images: %v", threads, n, err)
			}
			if a := compare.Values(want, out); !a.Within(backendtest.Tolerances["fp32"]) {
				t.Errorf("%d threads, %d images: max |Δ| %g of %g", threads, n, a.MaxAbs, a.Scale)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestManyGoroutinesOnOneSession(t *testing.T) {
	golden := modeltest.Tiny(t)
	g := golden.Model.Graph
	size, classes := g.Input().Len(), g.Classes()
	s := open(t, g, backend.Options{Threads: 2})
	defer s.Close()
	n := len(golden.Input) / size
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			image, want := golden.Input[i%n*size:][:size], golden.Logits[i%n*classes:][:classes]
			out := make([]float32, classes)
			for range 8 {
				clear(out)
				if err := s.Run(t.Context(), image, out); err != nil {
					t.Errorf("goroutine %d: %v", i, err)
					return
				}
				if a := compare.Values(want, out); !a.Within(backendtest.Tolerances["fp32"]) {
					t.Errorf("goroutine %d: max |Δ| %g of %g", i, a.MaxAbs, a.Scale)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A context that ends in the middle of an image ends the run there, before there
// are logits, and the session goes on.
func TestCancellationInTheMiddleOfAnImage(t *testing.T) {
	m, err := model.Random("s")
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, m.Graph, backend.Options{Threads: 1})
	defer s.Close()
	in, out := make([]float32, m.Graph.Input().Len()), make([]float32, m.Graph.Classes())
	const untouched = -12345
	cutOff := false
	for i := range 10 {
		out[0] = untouched
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond/2)
		err := s.Run(ctx, in, out)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a run cut off after %d half milliseconds returns %v", i, err)
		}
		cutOff = cutOff || err != nil && out[0] == untouched
		if err := s.Run(t.Context(), in, out); err != nil {
			t.Fatalf("the run after a cancelled one: %v", err)
		}
	}
	if !cutOff {
		t.Error("no run was cut off")
	}
}

// Sessions give back all that they took. EDGEVIT_SOAK=1 makes it 10,000.
func TestOpenAndCloseKeepNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand sessions")
	}
	g := modeltest.Tiny(t).Model.Graph
	in, out := make([]float32, g.Input().Len()), make([]float32, g.Classes())
	const warm = 200
	total := 1000
	if os.Getenv("EDGEVIT_SOAK") == "1" {
		total = 10000
	}
	var rss, files int
	for i := range total {
		s := open(t, g, backend.Options{Threads: 1 + i%2})
		if err := s.Run(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if i == warm {
			rss, files = resident(t), descriptors(t)
		}
	}
	grown, opened := resident(t)-rss, descriptors(t)-files
	t.Logf("%d sessions after the first %d: %d KiB more resident memory, %d more descriptors", total-warm, warm, grown>>10, opened)
	// A session of this model takes some 2.5 MB.
	if grown > 32<<20 {
		t.Errorf("resident memory grew by %d KiB", grown>>10)
	}
	if opened > 0 {
		t.Errorf("%d descriptors stay open", opened)
	}
}

// resident is the process's memory in bytes.
func resident(t *testing.T) int {
	t.Helper()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("the system does not tell its memory use: ", err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("the system does not tell its descriptors: ", err)
	}
	return len(open)
}

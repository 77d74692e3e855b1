package purego_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"runtime/pprof"
	"testing"
	"time"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/purego"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

func TestConformance(t *testing.T) { backendtest.Run(t, purego.Backend{}) }

// TestBounds: what a file or a flag asks for must not end the process. The
// portable kernels need no more than a row of scores, so that they may open it.
func TestBounds(t *testing.T) {
	b, image := graph.NewBuilder(graph.Shape{H: 256, W: 256, C: 12})
	b.Add("pool", graph.MeanPool{}, b.Add("attn", graph.Attention{Heads: 1, Scale: 1}, image))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	s, err := purego.Backend{}.Open(t.Context(), g, backend.Options{Threads: 2})
	if err == nil {
		if n := s.(backend.Describer).Describe().ArenaBytes; n > 1<<30 {
			t.Errorf("attention over 65,536 tokens opened with %d bytes of work space, want an error beyond 1 GiB", n)
		}
		s.Close()
	} else if !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("attention over 65,536 tokens: %v, want ErrUnsupported", err)
	}
	if _, err := (purego.Backend{}).Open(t.Context(), modeltest.Tiny(t).Model.Graph, backend.Options{Threads: 5000}); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("5,000 threads: %v, want ErrUnsupported", err)
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	for _, precision := range []string{"fp32", "bf16", "int8"} {
		s, err := purego.Backend{}.Open(t.Context(), g, backend.Options{Threads: 2, Precision: precision})
		if errors.Is(err, backend.ErrUnavailable) {
			continue // bf16 on an older processor
		}
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		in, out := make([]float32, 2*g.Input().Len()), make([]float32, 2*g.Classes())
		ctx := t.Context()
		allocs := testing.AllocsPerRun(20, func() {
			if err := s.Run(ctx, in, out); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: a Run makes %v allocations, want 0", precision, allocs)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	for _, preset := range []string{"xxs", "xs", "s"} {
		for _, precision := range []string{"fp32", "bf16", "int8"} {
			for _, threads := range []int{1, 2} {
				b.Run(fmt.Sprintf("%s/%s/threads=%d", preset, precision, threads), func(b *testing.B) {
					m, err := model.Random(preset)
					if err != nil {
						b.Fatal(err)
					}
					s, err := purego.Backend{}.Open(b.Context(), m.Graph, backend.Options{Threads: threads, Precision: precision})
					if err != nil {
						b.Fatal(err)
					}
					defer s.Close()
					in, out := make([]float32, m.Graph.Input().Len()), make([]float32, m.Graph.Classes())
					for b.Loop() {
						if err := s.Run(b.Context(), in, out); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(2*float64(m.MACs())*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				})
			}
		}
	}
}

// BenchmarkBatch reports the time of one image in batches of several.
func BenchmarkBatch(b *testing.B) {
	m, err := model.Random("xxs")
	if err != nil {
		b.Fatal(err)
	}
	for _, threads := range []int{1, 2} {
		s, err := purego.Backend{}.Open(b.Context(), m.Graph, backend.Options{Threads: threads})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		for _, n := range []int{1, 8, 16} {
			b.Run(fmt.Sprintf("threads=%d/batch=%d", threads, n), func(b *testing.B) {
				in, out := make([]float32, n*m.Graph.Input().Len()), make([]float32, n*m.Graph.Classes())
				for b.Loop() {
					if err := s.Run(b.Context(), in, out); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N)/float64(n), "ms/image")
			})
		}
	}
}

// TestProfileLabels: a CPU profile that is taken during Profile says of its
// samples which nodes they are of.
func TestProfileLabels(t *testing.T) {
	m, err := model.Random("xxs")
	if err != nil {
		t.Fatal(err)
	}
	c, err := backend.Open(t.Context(), "purego", m.Graph, backend.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	image := make([]float32, m.Graph.Input().Len())
	// How many samples a profile has depends on what else the machine does.
	for range 20 {
		if profile := cpuProfile(t, func() error { _, err := c.Profile(t.Context(), image, 5); return err }); bytes.Contains(profile, []byte("LocalAgg.mlp.fc1")) {
			return
		}
	}
	t.Error("no sample of a CPU profile has a label with LocalAgg.mlp.fc1")
}

// cpuProfile is a profile of half a second of f, whose table of strings holds
// labels as they are.
func cpuProfile(t *testing.T, f func() error) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := pprof.StartCPUProfile(&file); err != nil {
		t.Skip("a process takes one CPU profile at a time, and go test -cpuprofile takes it:", err)
	}
	for begin := time.Now(); time.Since(begin) < 500*time.Millisecond; {
		if err := f(); err != nil {
			t.Error(err)
			break
		}
	}
	pprof.StopCPUProfile()
	r, err := gzip.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	profile, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return profile
}

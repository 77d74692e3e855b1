package purego_test

import (
	"errors"
	"fmt"
	"testing"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/purego"
	"edgevit/model"
	"edgevit/model/modeltest"
)

func TestConformance(t *testing.T) { backendtest.Run(t, purego.Backend{}) }

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

//go:build linux || darwin

package worker

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/onnx"
	"edgevit/backend/purego"
	"edgevit/backend/tflite"
	"edgevit/compare"
	"edgevit/graph"
	"edgevit/model"
)

// natives are the backends of TestNative by role. Targets on a GPU are left
// out: on a software driver the suite takes minutes.
var natives = map[string]backend.Backend{"onnx": onCPU{onnx.Backend{}}, "tflite": onCPU{tflite.Backend{}}}

type onCPU struct{ backend.Backend }

func (b onCPU) Targets() []backend.Target {
	return slices.DeleteFunc(slices.Clone(b.Backend.Targets()), func(t backend.Target) bool { return onGPU(t) })
}

func (b onCPU) Probe(ctx context.Context) []backend.TargetStatus {
	return slices.DeleteFunc(b.Backend.Probe(ctx), func(s backend.TargetStatus) bool { return onGPU(s.Target) })
}

func onGPU(t backend.Target) bool { return t.Device == "webgpu" || t.Device == "gpu" }

// TestNative is the suite with a native runtime in worker processes.
func TestNative(t *testing.T) {
	for name, b := range natives {
		t.Run(name, func(t *testing.T) { backendtest.Run(t, Wrap(b, config(t, name))) })
	}
}

// BenchmarkIsolation times XXS in a worker process and in this one by turns of a
// few runs, and reports the median of the pairs' ratios with its 95 % interval.
func BenchmarkIsolation(b *testing.B) {
	m, err := model.Random("xxs")
	if err != nil {
		b.Fatal(err)
	}
	g := m.Graph
	in, out := make([]float32, g.Input().Len()), make([]float32, g.Classes())
	const block = 4
	all := map[string]backend.Backend{"purego": purego.Backend{}}
	for name, n := range natives {
		all[name] = n
	}
	for name, inner := range all {
		b.Run(name, func(b *testing.B) {
			var timed []compare.Timed
			for _, x := range []backend.Backend{inner, Wrap(inner, config(b, name))} {
				var r backend.Registry
				r.Register(x)
				if s := r.Probe(b.Context())[0]; !s.Available {
					b.Skip(s.Reason)
				}
				c, err := r.Open(b.Context(), x.Name(), g, backend.Options{})
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				timed = append(timed, func(ctx context.Context) (time.Duration, error) {
					begin := time.Now()
					for range block {
						if err := c.Run(ctx, in, out); err != nil {
							return 0, err
						}
					}
					return time.Since(begin) / block, nil
				})
			}
			compare.Interleave(b.Context(), timed, 5, 0) // warm
			times, errs := compare.Interleave(b.Context(), timed, b.N, 1)
			for _, err := range errs {
				if err != nil {
					b.Fatal(err)
				}
			}
			t := compare.TimingOf(times[1], times[0], 1)
			b.ReportMetric(compare.Median(times[0]), "ms-here")
			b.ReportMetric(t.Median.Value, "ms-isolated")
			b.ReportMetric(t.Ratio.Value, "ratio")
			b.ReportMetric(t.Ratio.Low, "ratio-low")
			b.ReportMetric(t.Ratio.High, "ratio-high")
		})
	}
}

// nothing runs a graph in no time.
type nothing struct{ reference }

func (nothing) Open(context.Context, *graph.Graph, backend.Options) (backend.Session, error) {
	return nothingSession{}, nil
}

type nothingSession struct{ referenceSession }

func (nothingSession) Run(context.Context, []float32, []float32) error { return nil }

// BenchmarkRoundTrip is what a run costs beside the runtime: with an image of
// 224 pixels, and with one of a single pixel, whose copying is free.
func BenchmarkRoundTrip(b *testing.B) {
	for _, side := range []int{224, 1} {
		b.Run(strconv.Itoa(side), func(b *testing.B) {
			gb, x := graph.NewBuilder(graph.Shape{H: side, W: side, C: 3})
			gb.Add("pool", graph.MeanPool{}, x)
			g, err := gb.Graph()
			if err != nil {
				b.Fatal(err)
			}
			s, err := Wrap(nothing{}, config(b, "nothing")).Open(b.Context(), g, backend.Options{Device: "cpu", Precision: "fp32"})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			in, out := make([]float32, g.Input().Len()), make([]float32, g.Classes())
			var times []float64
			for b.Loop() {
				begin := time.Now()
				if err := s.Run(b.Context(), in, out); err != nil {
					b.Fatal(err)
				}
				times = append(times, float64(time.Since(begin).Microseconds()))
			}
			slices.Sort(times)
			b.ReportMetric(times[len(times)/2], "p50-µs")
			b.ReportMetric(times[len(times)*9/10], "p90-µs")
		})
	}
}

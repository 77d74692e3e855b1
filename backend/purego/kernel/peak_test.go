package kernel

import (
	"context"
	"testing"
	"time"
)

// TestPeakFLOPS asks for the bounds that any machine keeps: a core does more
// than 10⁷ and less than 10¹³ operations a second.
func TestPeakFLOPS(t *testing.T) {
	gflops, name := PeakFLOPS(t.Context(), 20*time.Millisecond)
	if gflops < 0.01 || gflops > 1e4 || name == "" {
		t.Errorf("%v GFLOP/s of %q", gflops, name)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if gflops, _ := PeakFLOPS(ended, time.Hour); gflops != 0 {
		t.Errorf("after the end of its context: %v GFLOP/s", gflops)
	}
}

func BenchmarkProbe(b *testing.B) {
	for _, k := range Tables() {
		b.Run(k.Name, func(b *testing.B) {
			const rounds = 1 << 16
			for b.Loop() {
				k.Probe(rounds)
			}
			b.ReportMetric(rounds*float64(k.ProbeFlops)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}

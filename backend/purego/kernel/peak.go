package kernel

import (
	"context"
	"slices"
	"time"
)

// PeakFLOPS measures for about d what the core that it runs on reaches in
// float32 multiply-adds, in 10⁹ operations a second, and names the
// instructions. It is the median over pieces of about a millisecond, so that a
// few pieces in which another program ran do not count. EDGEVIT_KERNELS has no
// part in it. Where no set has a probe of its own, the figure is what scalar Go
// reaches, far below what the processor could do, and the name says so. It is 0
// if ctx ends before the first piece.
func PeakFLOPS(ctx context.Context, d time.Duration) (gflops float64, name string) {
	t, name := &Generic, "scalar Go multiply-add"
	for _, k := range Tables() {
		if k.ProbeFlops > t.ProbeFlops {
			t, name = k, k.Name+" FMA"
		}
	}
	rounds := 1 << 10
	var rates []float64
	for begin := time.Now(); time.Since(begin) < d && ctx.Err() == nil; {
		at := time.Now()
		t.Probe(rounds)
		took := time.Since(at)
		if took < time.Millisecond && rounds < 1<<30 { // still looking for the piece's length
			rounds *= 2
			continue
		}
		rates = append(rates, float64(rounds)*float64(t.ProbeFlops)/float64(took.Nanoseconds()))
	}
	if len(rates) == 0 {
		return 0, name
	}
	slices.Sort(rates)
	return rates[len(rates)/2], name
}

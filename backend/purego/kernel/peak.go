package kernel

import (
	"context"
	"slices"
	"time"
)

// Probe is a loop of independent multiply-adds of one precision whose operands
// stay in registers.
type Probe struct {
	// Name is that of the set and of the instructions.
	Name string
	// Run computes rounds, at least 1, of Ops operations each, a
	// multiplication and an addition being two.
	Run func(rounds int)
	Ops int
}

// Peak measures for about d what the core that it runs on reaches in
// multiply-adds of a precision, fp32, int8 or bf16, in 10⁹ operations a second,
// and names the instructions. It is the median over pieces of about a
// millisecond, so that a few pieces in which another program ran do not count.
// EDGEVIT_KERNELS has no part in it. Where no set has a probe of its own for
// fp32, the figure is what scalar Go reaches, far below what the processor could
// do, and the name says so; for another precision it is 0 then, without a name.
// It is 0 too if ctx ends before the first piece.
func Peak(ctx context.Context, precision string, d time.Duration) (gops float64, name string) {
	var p Probe
	for _, t := range Tables() { // the fastest last
		if q, ok := t.Probes[precision]; ok {
			p = q
		}
	}
	if p.Run == nil {
		return 0, ""
	}
	rounds := 1 << 10
	var rates []float64
	for begin := time.Now(); time.Since(begin) < d && ctx.Err() == nil; {
		at := time.Now()
		p.Run(rounds)
		took := time.Since(at)
		if took < time.Millisecond && rounds < 1<<30 { // still looking for the piece's length
			rounds *= 2
			continue
		}
		rates = append(rates, float64(rounds)*float64(p.Ops)/float64(took.Nanoseconds()))
	}
	if len(rates) == 0 {
		return 0, p.Name
	}
	slices.Sort(rates)
	return rates[len(rates)/2], p.Name
}

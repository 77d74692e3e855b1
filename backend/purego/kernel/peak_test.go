package kernel

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"
)

// TestPeak asks for the bounds that any machine keeps: a core does more than
// 10⁷ and less than 10¹³ operations a second.
func TestPeak(t *testing.T) {
	last := Tables()[len(Tables())-1]
	for _, precision := range []string{"fp32", "int8", "bf16", "fp64"} {
		gops, name := Peak(t.Context(), precision, 20*time.Millisecond)
		if p, ok := last.Probes[precision]; !ok {
			if gops != 0 || name != "" {
				t.Errorf("%s, which the %s kernels have no probe of: %v of %q", precision, last.Name, gops, name)
			}
			continue
		} else if gops < 0.01 || gops > 1e4 || name != p.Name {
			t.Errorf("%s: %v GOP/s of %q, want those of %q", precision, gops, name, p.Name)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if gops, _ := Peak(ended, "fp32", time.Hour); gops != 0 {
		t.Errorf("after the end of its context: %v GOP/s", gops)
	}
}

func BenchmarkProbe(b *testing.B) {
	for _, k := range Tables() {
		for _, precision := range slices.Sorted(maps.Keys(k.Probes)) {
			p := k.Probes[precision]
			b.Run(k.Name+"/"+precision, func(b *testing.B) {
				const rounds = 1 << 16
				for b.Loop() {
					p.Run(rounds)
				}
				b.ReportMetric(rounds*float64(p.Ops)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GOP/s")
			})
		}
	}
}

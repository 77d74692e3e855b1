package bench

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"edgevit/backend/purego/kernel"
	"edgevit/compare"
)

// precisions are those that have a peak.
var precisions = []string{"fp32", "int8", "bf16"}

// precisionOf is what a target computes its products in, of those that have a
// peak; empty on devices other than the processor.
func precisionOf(target string) string {
	precision := "fp32"
	for _, part := range strings.Split(target, ":")[1:] {
		switch {
		case strings.Contains(part, "gpu"), part == "cuda", part == "fp16":
			return ""
		case slices.Contains(precisions, part):
			precision = part
		}
	}
	return precision
}

// probe measures the peak of one core, and of several at once, for d each.
func probe(ctx context.Context, precision string, cores int, d time.Duration) Probe {
	p := Probe{Precision: precision, Cores: cores}
	p.OneCore, p.Instructions = kernel.Peak(ctx, precision, d)
	p.AllCores = p.OneCore
	if cores < 2 {
		return p
	}
	rates := make([]float64, cores)
	var wg sync.WaitGroup
	for i := range rates {
		wg.Go(func() { rates[i], _ = kernel.Peak(ctx, precision, d) })
	}
	wg.Wait()
	p.AllCores = 0
	for _, v := range rates {
		p.AllCores += v
	}
	return p
}

// Peak is what the probes of a precision say: medians in 10⁹ operations a
// second, on one core and on Cores at once.
type Peak struct {
	Precision    string  `json:"precision"`
	Instructions string  `json:"instructions"`
	OneCore      float64 `json:"one_core"`
	Cores        int     `json:"cores"`
	AllCores     float64 `json:"all_cores"`
}

// Share is the part of the peak of all its cores, 0 where there is none.
func (p Peak) Share(gflops float64) float64 {
	if p.AllCores == 0 {
		return 0
	}
	return gflops / p.AllCores
}

// peaksOf summarises the probes of each precision.
func peaksOf(probes []Probe) []Peak {
	peaks := []Peak{}
	for _, precision := range precisions {
		p := Peak{Precision: precision}
		var one, all []float64
		for _, q := range probes {
			if q.Precision == precision && q.OneCore > 0 {
				one, all = append(one, q.OneCore), append(all, q.AllCores)
				p.Instructions, p.Cores = q.Instructions, q.Cores
			}
		}
		if len(one) > 0 {
			p.OneCore, p.AllCores = compare.Median(one), compare.Median(all)
			peaks = append(peaks, p)
		}
	}
	return peaks
}

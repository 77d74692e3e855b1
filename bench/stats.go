package bench

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"edgevit/compare"
)

// Interval is an estimate with its 95 % bootstrap interval. Low and High are 0
// where the samples are too few to have one.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low,omitempty"`
	High  float64 `json:"high,omitempty"`
}

// Bounded says whether there is an interval.
func (i Interval) Bounded() bool { return i.High > 0 }

func intervalOf(i compare.Interval) Interval { return Interval{i.Value, i.Low, i.High} }

const (
	resamples = 1000
	// minBlocks is the fewest blocks whose bootstrap interval is not narrower
	// than it should be: the range of six values holds their median in 97 % of
	// cases, that of five in 94 %.
	minBlocks = 6
)

// Percentile is the smallest sample such that at least the share q of all
// samples is at most as large (the nearest rank); 0 of none.
func Percentile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[rank(q, len(sorted))-1]
}

// rank is the smallest whole number that is at least q·n, from 1 to n.
func rank(q float64, n int) int {
	// 1e-9: 0.9 · 10 in floating point may be above 9.
	return min(max(int(math.Ceil(q*float64(n)-1e-9)), 1), n)
}

// enough says whether n samples hold one beyond the quantile with a
// probability of 97.5 %; with fewer, its interval has no upper bound.
func enough(q float64, n int) bool { return 1-math.Pow(q, float64(n)) >= 0.975 }

// percentiles estimates quantiles of the pooled samples of blocks. Blocks, not
// samples, are drawn anew by the bootstrap, since samples of one block are
// alike (cluster bootstrap: Davison and Hinkley 1997, section 3.8). The bounds
// are the same for the same seed.
func percentiles(blocks [][]float64, quantiles []float64, seed uint64) []Interval {
	out := make([]Interval, len(quantiles))
	p := pool(blocks)
	if len(p) == 0 {
		return out
	}
	once := make([]int, len(blocks))
	for i := range once {
		once[i] = 1
	}
	for i, v := range p.quantiles(once, quantiles) {
		out[i].Value = v
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	draws := make([][]float64, len(quantiles))
	for range resamples {
		for i, v := range p.quantiles(drawBlocks(rng, len(blocks)), quantiles) {
			draws[i] = append(draws[i], v)
		}
	}
	for i, q := range quantiles {
		if enough(q, len(p)) && len(blocks) >= minBlocks {
			out[i].Low, out[i].High = middle(draws[i], len(blocks))
		}
	}
	return out
}

// ratioOfMedians estimates the median of a over that of b, two runs of their
// own, by a bootstrap that draws the blocks of each.
func ratioOfMedians(a, b [][]float64, seed uint64) Interval {
	pa, pb := pool(a), pool(b)
	if len(pa) == 0 || len(pb) == 0 {
		return Interval{}
	}
	median := []float64{0.5}
	ratio := func(wa, wb []int) float64 {
		return max(pa.quantiles(wa, median)[0], clockStep) / max(pb.quantiles(wb, median)[0], clockStep)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	var draws []float64
	for range resamples {
		draws = append(draws, ratio(drawBlocks(rng, len(a)), drawBlocks(rng, len(b))))
	}
	out := Interval{Value: Percentile(slices.Concat(a...), 0.5)}
	out.Value = max(out.Value, clockStep) / max(Percentile(slices.Concat(b...), 0.5), clockStep)
	if n := min(len(a), len(b)); n >= minBlocks {
		out.Low, out.High = middle(draws, n)
	}
	return out
}

// clockStep is the shortest time that is told apart from none, 1 ns in ms.
const clockStep = 1e-6

// pooled are the samples of all blocks in rising order.
type pooled []struct {
	value float64
	block int
}

func pool(blocks [][]float64) pooled {
	var p pooled
	for b, samples := range blocks {
		for _, v := range samples {
			p = append(p, struct {
				value float64
				block int
			}{v, b})
		}
	}
	slices.SortFunc(p, func(x, y struct {
		value float64
		block int
	}) int {
		return cmp.Compare(x.value, y.value)
	})
	return p
}

// quantiles takes every block as often as its weight says. The quantiles rise.
func (p pooled) quantiles(weights []int, quantiles []float64) []float64 {
	total := 0
	for _, s := range p {
		total += weights[s.block]
	}
	out := make([]float64, len(quantiles))
	if total == 0 {
		return out
	}
	seen, next := 0, 0
	for _, s := range p {
		seen += weights[s.block]
		for next < len(quantiles) && seen >= rank(quantiles[next], total) {
			out[next] = s.value
			next++
		}
		if next == len(quantiles) {
			break
		}
	}
	return out
}

// drawBlocks draws n of n blocks with replacement.
func drawBlocks(rng *rand.Rand, n int) []int {
	weights := make([]int, n)
	for range n {
		weights[rng.IntN(n)]++
	}
	return weights
}

// middle returns the bounds of the central 95 % of bootstrap draws from n
// blocks, or rather of as much as makes up for the few blocks (the expanded
// percentile interval: Hesterberg 2015, section 5.3): what a t quantile widened by
// √(n/(n-1)) is on the normal scale.
func middle(draws []float64, n int) (low, high float64) {
	slices.Sort(draws)
	// t is a quantile of Student's distribution by the expansion of Cornish and
	// Fisher around the normal z (Abramowitz and Stegun 26.7.5).
	const z = 1.959963984540054
	v := float64(n - 1)
	t := z + (z*z*z+z)/(4*v) + (5*z*z*z*z*z+16*z*z*z+3*z)/(96*v*v)
	tail := math.Erfc(t*math.Sqrt(float64(n)/v)/math.Sqrt2) / 2
	return draws[rank(tail, len(draws))-1], draws[rank(1-tail, len(draws))-1]
}

package bench

import (
	"math"
	"math/rand/v2"
	"testing"

	"edgevit/compare"
)

func TestPercentile(t *testing.T) {
	ten := []float64{10, 1, 9, 2, 8, 3, 7, 4, 6, 5}
	for _, row := range []struct {
		name    string
		samples []float64
		q       float64
		want    float64
	}{
		{"none", nil, 0.5, 0},
		{"one", []float64{3}, 0.99, 3},
		{"median of an even number: the lower", ten, 0.5, 5},
		{"median of an odd number", []float64{3, 1, 2}, 0.5, 2},
		{"p90 of ten is the ninth", ten, 0.9, 9},
		{"p91 of ten is the tenth", ten, 0.91, 10},
		{"p99 of ten is the largest", ten, 0.99, 10},
		{"p0 is the smallest", ten, 0, 1},
		{"p100 is the largest", ten, 1, 10},
	} {
		if got := Percentile(row.samples, row.q); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
	thousand := make([]float64, 1000)
	for i := range thousand {
		thousand[i] = float64(i + 1)
	}
	got := percentiles([][]float64{thousand[500:], thousand[:500]}, []float64{0.5, 0.9, 0.99}, 1)
	for i, want := range []float64{500, 900, 990} {
		if got[i].Value != want || got[i].Bounded() {
			t.Errorf("of 1..1000 in two blocks: %+v, want %v without an interval", got[i], want)
		}
	}
}

func TestEnough(t *testing.T) {
	// log 0.025 / log q: 5.3, 35.01, 367.04.
	for _, row := range []struct {
		q float64
		n int
	}{{0.5, 6}, {0.9, 36}, {0.99, 368}} {
		if !enough(row.q, row.n) || enough(row.q, row.n-1) {
			t.Errorf("p%.0f: %d are enough: %v, %d: %v", 100*row.q, row.n, enough(row.q, row.n), row.n-1, enough(row.q, row.n-1))
		}
	}
}

// TestCoverage simulates 1,000 runs of 20 blocks and counts how often an
// interval holds the value that the samples were drawn around.
func TestCoverage(t *testing.T) {
	const trials, blocks, per = 1000, 20, 20
	rng := rand.New(rand.NewPCG(7, 7))
	const spread, p90 = 0.02, 1.2815515655446004 // of the standard normal
	held := map[string]int{}
	note := func(name string, i Interval, want float64) {
		if i.Low <= want && want <= i.High {
			held[name]++
		}
	}
	for i := range trials {
		alike, unlike := make([][]float64, blocks), make([][]float64, blocks)
		var a, b []float64
		for block := range blocks {
			shift := rng.NormFloat64() * spread
			for range per {
				alike[block] = append(alike[block], math.Exp(rng.NormFloat64()*spread))
				unlike[block] = append(unlike[block], math.Exp(shift+rng.NormFloat64()*spread))
			}
			a = append(a, math.Exp(shift+rng.NormFloat64()*spread))
			b = append(b, 1.5*math.Exp(shift+rng.NormFloat64()*spread))
		}
		q := percentiles(alike, []float64{0.5, 0.9}, uint64(i))
		note("p50", q[0], 1)
		note("p90", q[1], math.Exp(spread*p90))
		note("p50 of blocks that differ", percentiles(unlike, []float64{0.5}, uint64(i))[0], 1)
		note("ratio per block", intervalOf(compare.TimingOf(b, a, uint64(i)).Ratio), 1.5)
		note("ratio of two runs", ratioOfMedians(unlike, alike, uint64(i)), 1)
	}
	for _, name := range []string{"p50", "p90", "p50 of blocks that differ", "ratio per block", "ratio of two runs"} {
		if share := float64(held[name]) / trials; share < 0.93 || share > 0.97 {
			t.Errorf("%s: the interval holds the value in %.1f %% of trials, want 95 ± 2", name, 100*share)
		} else {
			t.Logf("%s: %.1f %%", name, 100*share)
		}
	}
}

// TestAA measures two targets that are the same, with drift that both share.
func TestAA(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	one := 0
	for range 100 {
		b := synthetic([]string{"a", "b"}, 20, 5, lognormal(rng, 0.1, 0.02))
		if r := b.Summary.Subjects[1].Ratio; r.Low <= 1 && 1 <= r.High {
			one++
		}
	}
	if one < 90 {
		t.Errorf("%d of 100 intervals hold 1, want at least 90", one)
	}
	t.Logf("%d of 100", one)
}

// TestRatioSurvivesDrift slows both targets down by half over the run: the
// ratio does not see it.
func TestRatioSurvivesDrift(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	b := synthetic([]string{"a", "b"}, 20, 20, func(subject, block int) float64 {
		return (1 + float64(subject)) * (1 + float64(block)/40) * math.Exp(rng.NormFloat64()*0.01)
	})
	if r := b.Summary.Subjects[1].Ratio; r.Low > 2 || r.High < 2 || r.High-r.Low > 0.05 {
		t.Errorf("ratio %+v, want 2 within a narrow interval", r)
	}
	if !has(b.Summary.Findings, "drift") || b.Summary.Subjects[0].Rank != 0 {
		t.Errorf("rank %d, findings %+v; want drift and no rank", b.Summary.Subjects[0].Rank, b.Summary.Findings)
	}
}

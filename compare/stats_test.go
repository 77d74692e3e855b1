package compare

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, row := range []struct {
		name    string
		samples []float64
		want    float64
	}{
		{"none", nil, 0},
		{"one", []float64{3}, 3},
		{"odd", []float64{9, 1, 4}, 4},
		{"even", []float64{10, 1, 4, 2}, 3},
		{"an outlier", []float64{1, 1, 1, 1e9, 1}, 1},
	} {
		before := slices.Clone(row.samples)
		if got := Median(row.samples); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
		if !slices.Equal(before, row.samples) {
			t.Errorf("%s: the samples were changed to %v", row.name, row.samples)
		}
	}
}

func TestBootstrapMedian(t *testing.T) {
	for _, row := range []struct {
		name    string
		samples []float64
		want    Interval
	}{
		{"none", nil, Interval{}},
		{"one", []float64{3}, Interval{3, 3, 3}},
		{"all equal", []float64{2, 2, 2, 2, 2, 2}, Interval{2, 2, 2}},
		// The median of three draws of {1,2,3} is 1 or 3 in 7 of 27 cases each,
		// so that both ends lie within the central 95 %.
		{"three", []float64{1, 2, 3}, Interval{2, 1, 3}},
	} {
		if got := BootstrapMedian(row.samples, 1); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}
	hundred := make([]float64, 101)
	for i := range hundred {
		hundred[i] = float64(i)
	}
	// Order statistics give the ranks 41 and 61 of 101 for a 95 % interval of
	// the median (binomial, p = 1/2): values 40 and 60.
	got := BootstrapMedian(hundred, 1)
	if got.Value != 50 || got.Low < 38 || got.Low > 42 || got.High < 58 || got.High > 62 {
		t.Errorf("of 0..100: %+v, want 50 between about 40 and 60", got)
	}
	if again := BootstrapMedian(hundred, 1); again != got {
		t.Errorf("the same seed gives %+v, then %+v", got, again)
	}
	if other := BootstrapMedian(hundred, 2); other.Value != got.Value {
		t.Errorf("another seed moves the median: %+v, %+v", got, other)
	}
}

// TestCoverage draws samples whose median is known to be 0 and counts how often
// the interval holds it.
func TestCoverage(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	const trials = 300
	held := 0
	for i := range trials {
		samples := make([]float64, 20)
		for j := range samples {
			samples[j] = rng.NormFloat64()
		}
		if g := BootstrapMedian(samples, uint64(i)); g.Low <= 0 && 0 <= g.High {
			held++
		}
	}
	// 95 % of 300 is 285; three standard deviations are 11.
	if held < 274 || held > 298 {
		t.Errorf("the interval held the median in %d of %d trials, want about 285", held, trials)
	}
}

func TestWilson(t *testing.T) {
	for _, row := range []struct {
		k, n int
		want Interval // bounds: the roots p of |k/n - p| = z √(p(1-p)/n)
	}{
		{0, 0, Interval{}},
		{0, 10, Interval{0, 0, 0.277533}},
		{10, 10, Interval{1, 0.722467, 1}},
		{5, 10, Interval{0.5, 0.236593, 0.763407}},
		{8333, 10000, Interval{0.8333, 0.825867, 0.840477}},
	} {
		got := Wilson(row.k, row.n)
		for i, d := range []float64{got.Value - row.want.Value, got.Low - row.want.Low, got.High - row.want.High} {
			if d > 1e-6 || d < -1e-6 {
				t.Errorf("%d of %d: %v, want %v (%d)", row.k, row.n, got, row.want, i)
			}
		}
	}
}

// TestPairedDifferenceCovers counts how often the interval holds the true
// difference.
func TestPairedDifferenceCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range []struct{ gain, loss float64 }{{0.02, 0.05}, {0.1, 0.1}, {0.01, 0}} {
		const n, runs = 300, 2000
		held := 0
		for range runs {
			gained, lost := 0, 0
			for range n {
				switch u := rng.Float64(); {
				case u < p.gain:
					gained++
				case u < p.gain+p.loss:
					lost++
				}
			}
			d := PairedDifference(gained, lost, n)
			if d.Low <= p.gain-p.loss && p.gain-p.loss <= d.High {
				held++
			}
		}
		if share := float64(held) / runs; share < 0.935 {
			t.Errorf("gain %v, loss %v: %.1f %% hold the difference", p.gain, p.loss, 100*share)
		}
	}
	if d := PairedDifference(0, 0, 0); d != (Interval{}) {
		t.Errorf("of none: %v", d)
	}
}

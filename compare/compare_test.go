package compare

import (
	"encoding/json"
	"math"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-6*math.Max(1, math.Abs(b)) }

func TestValues(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, row := range []struct {
		name string
		a, b []float32
		want Agreement
	}{
		{"equal", []float32{3, -4}, []float32{3, -4}, Agreement{0, 0, 4, 1, MaxSNR}},
		{"apart", []float32{3, 4}, []float32{3, 3}, Agreement{1, 0.5, 4, 21 / (5 * math.Sqrt(18)), 10 * math.Log10(25)}},
		{"opposite", []float32{1}, []float32{-1}, Agreement{2, 2, 1, -1, 10 * math.Log10(0.25)}},
		{"both not a number", []float32{nan, 2}, []float32{nan, 2}, Agreement{0, 0, 2, 1, MaxSNR}},
		{"one not a number", []float32{1, 2}, []float32{1, nan}, Agreement{worst, worst, 0, 0, -MaxSNR}},
		{"one infinite", []float32{inf}, []float32{1}, Agreement{worst, worst, 0, 0, -MaxSNR}},
	} {
		got := Values(row.a, row.b)
		if !near(got.MaxAbs, row.want.MaxAbs) || !near(got.MeanAbs, row.want.MeanAbs) || !near(got.Scale, row.want.Scale) ||
			!near(got.Cosine, row.want.Cosine) || !near(got.SNR, row.want.SNR) {
			t.Errorf("%s: got %+v, want %+v", row.name, got, row.want)
		}
		if _, err := json.Marshal(got); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestWithin(t *testing.T) {
	g := Values([]float32{100}, []float32{100.05})
	if !g.Within(1e-3) || g.Within(1e-4) {
		t.Errorf("a difference of 0.05 of 100 is %+v: want it within 1e-3 and not within 1e-4", g)
	}
	if Values([]float32{1}, []float32{float32(math.NaN())}).Within(1) {
		t.Error("a value that is not a number has been found within tolerance")
	}
}

func TestOfLogits(t *testing.T) {
	a := []float32{1, 5, 2, 0, 3, 4}
	if l := OfLogits(a, a); !l.Top1Equal || !near(l.Top5Overlap, 1) || l.KL != 0 {
		t.Errorf("equal logits: %+v", l)
	}
	// 0 and 1 exchanged: of a's best five (1 5 4 2 0) four remain, since 0
	// comes last in b and 3 enters.
	b := []float32{-1, 1, 2, 0, 3, 4}
	if l := OfLogits(a, b); l.Top1Equal || !near(l.Top5Overlap, 0.8) || l.KL <= 0 {
		t.Errorf("differing logits: %+v", l)
	}
	// Two classes, p = (1/2, 1/2), q = (1/4, 3/4): KL = ln 2 / 2 + ln(2/3) / 2.
	l := OfLogits([]float32{0, 0}, []float32{0, float32(math.Log(3))})
	if want := (math.Log(2) + math.Log(2.0/3)) / 2; !near(l.KL, want) {
		t.Errorf("KL is %v, want %v", l.KL, want)
	}
}

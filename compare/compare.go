// Package compare measures how closely two targets agree on the same input,
// and how long each takes. compare.go holds the metrics, layers.go the same
// node by node, timing.go interleaved runs, stats.go what is made of samples.
package compare

import (
	"math"
	"sort"

	"edgevit/backend"
)

// Agreement says how close the values b are to the reference a.
type Agreement struct {
	MaxAbs  float64 `json:"max_abs"`  // max |a-b|
	MeanAbs float64 `json:"mean_abs"` // mean |a-b|
	// Scale is max |a|, against which MaxAbs is judged.
	Scale  float64 `json:"scale"`
	Cosine float64 `json:"cosine"`
	// SNR is 10 log10(Σa² / Σ(a-b)²) in dB, MaxSNR where there is no difference.
	SNR float64 `json:"snr_db"`
}

// MaxSNR stands for the infinite ratio of equal values, which JSON cannot say.
const MaxSNR = 300

// worst stands for an infinite difference, which JSON cannot say.
const worst = math.MaxFloat64

// Values compares two vectors of one length. Where only one of two values is
// not a number, or infinite, MaxAbs is the largest float64.
func Values(a, b []float32) Agreement {
	var g Agreement
	var dot, aa, bb, dd float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		d := math.Abs(x - y)
		switch {
		case x == y, math.IsNaN(x) && math.IsNaN(y):
			continue
		case math.IsNaN(d) || math.IsInf(d, 0):
			return Agreement{MaxAbs: worst, MeanAbs: worst, SNR: -MaxSNR}
		}
		g.MaxAbs = max(g.MaxAbs, d)
		g.MeanAbs += d
		dd += d * d
	}
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		if math.IsNaN(x) || math.IsInf(x, 0) {
			continue
		}
		g.Scale = max(g.Scale, math.Abs(x))
		dot += x * y
		aa += x * x
		bb += y * y
	}
	g.MeanAbs /= float64(max(len(a), 1))
	g.Cosine = 1
	if aa > 0 && bb > 0 {
		g.Cosine = dot / math.Sqrt(aa*bb)
	}
	g.SNR = MaxSNR
	if dd > 0 {
		g.SNR = math.Max(-MaxSNR, math.Min(MaxSNR, 10*math.Log10(aa/dd)))
	}
	return g
}

// Within says whether the largest difference is at most tolerance times the
// largest reference value.
func (g Agreement) Within(tolerance float64) bool { return g.MaxAbs <= tolerance*g.Scale }

// Logits is the agreement of two outputs of one image.
type Logits struct {
	Agreement
	// KL is the divergence of b's softmax from a's, in nats.
	KL float64 `json:"kl"`
	// Top1Equal says that both name the same class; Top5Overlap is the share
	// of a's five best classes that are among b's.
	Top1Equal   bool    `json:"top1_equal"`
	Top5Overlap float64 `json:"top5_overlap"`
}

// OfLogits compares the logits b of one image with the reference a.
func OfLogits(a, b []float32) Logits {
	l := Logits{Agreement: Values(a, b)}
	p, q := logSoftmax(a), logSoftmax(b)
	for i := range p {
		l.KL += math.Exp(p[i]) * (p[i] - q[i])
	}
	if l.KL = max(l.KL, 0); math.IsNaN(l.KL) || math.IsInf(l.KL, 0) { // below 0 by rounding only
		l.KL = worst
	}
	k := min(5, len(a))
	top, other := best(a, k), best(b, k)
	l.Top1Equal = k > 0 && top[0] == other[0]
	for _, i := range top {
		for _, j := range other {
			if i == j {
				l.Top5Overlap += 1 / float64(k)
			}
		}
	}
	return l
}

// Limits within which two fp32 targets agree.
const (
	fp32Tolerance = 1e-3 // of the largest logit
	fp32SNR       = 80   // dB
)

// Agree says whether l is as close as the two targets should be: fp32 targets
// within a thousandth of the largest logit and an SNR of 80 dB; where one
// computes in less, both name the same class.
func (l Logits) Agree(a, b backend.Target) bool {
	if isFP32(a) && isFP32(b) {
		return l.Within(fp32Tolerance) && l.SNR >= fp32SNR
	}
	return l.Top1Equal
}

// isFP32 takes a canonical target: the default of every backend is fp32.
func isFP32(t backend.Target) bool { return t.Precision == "" || t.Precision == "fp32" }

func logSoftmax(x []float32) []float64 {
	highest := math.Inf(-1)
	for _, v := range x {
		highest = max(highest, float64(v))
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - highest)
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v) - highest - math.Log(sum)
	}
	return out
}

// best returns the indices of the k largest values, the largest first.
func best(x []float32, k int) []int {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return x[order[i]] > x[order[j]] })
	return order[:k]
}

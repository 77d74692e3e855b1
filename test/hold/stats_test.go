//go:build linux

package main

import (
	"math"
	"testing"
)

func TestSlope(t *testing.T) {
	// By hand: x̄ 3, ȳ 4.2, Sxx 10, Sxy 8; residuals' sum of squares 2.4 with 3
	// degrees of freedom.
	s, half := slope([]float64{1, 2, 3, 4, 5}, []float64{2, 4, 5, 4, 6})
	if math.Abs(s-0.8) > 1e-12 {
		t.Errorf("slope %v, want 0.8", s)
	}
	if want := 3.182 * math.Sqrt(2.4/3/10); math.Abs(half-want) > 0.02*want {
		t.Errorf("half width %v, want %v", half, want)
	}
}

func TestStudent(t *testing.T) {
	for free, want := range map[float64]float64{5: 2.5706, 10: 2.2281, 28: 2.0484} {
		if got := student(free); math.Abs(got-want) > 0.01*want {
			t.Errorf("student(%v) is %v, want %v", free, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{3, 1}); got != 2 {
		t.Errorf("median of two is %v, want 2", got)
	}
	if got := median([]float64{9, 1, 3}); got != 3 {
		t.Errorf("median of three is %v, want 3", got)
	}
}

func TestQuantile(t *testing.T) {
	values := []int{1, 2, 3, 4, 5}
	for q, want := range map[float64]int{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if got := quantile([]int(nil), 0.5); got != 0 {
		t.Errorf("quantile of nothing is %d", got)
	}
}

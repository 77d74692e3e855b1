//go:build linux

package main

import (
	"math"
	"slices"
)

// quantile is that of sorted values; the zero value where there are none.
func quantile[T any](sorted []T, q float64) T {
	if len(sorted) == 0 {
		var zero T
		return zero
	}
	return sorted[int(math.Ceil(q*float64(len(sorted)-1)))]
}

// median is the middle value, of an even count the mean of the two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// blockMeans are the means of n equal stretches of a series. Neighbouring
// samples of a process resemble each other; means of long stretches hardly do,
// which an interval from them relies on.
func blockMeans(x, y []float64, n int) (mx, my []float64) {
	for i := range n {
		low, high := i*len(x)/n, (i+1)*len(x)/n
		if low == high {
			continue
		}
		mx, my = append(mx, mean(x[low:high])), append(my, mean(y[low:high]))
	}
	return mx, my
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// slope is that of the line of least squares through the points, with half the
// width of its 95 % interval. It wants three points at least.
func slope(x, y []float64) (slope, half float64) {
	mx, my := mean(x), mean(y)
	var sxx, sxy float64
	for i := range x {
		sxx += (x[i] - mx) * (x[i] - mx)
		sxy += (x[i] - mx) * (y[i] - my)
	}
	slope = sxy / sxx
	rest := 0.0
	for i := range x {
		e := y[i] - my - slope*(x[i]-mx)
		rest += e * e
	}
	free := float64(len(x) - 2)
	return slope, student(free) * math.Sqrt(rest/free/sxx)
}

// student is the 97.5 % quantile of Student's t by Cornish and Fisher's
// expansion (Abramowitz and Stegun, 26.7.5); off by under 1 % from 4 degrees
// of freedom on.
func student(free float64) float64 {
	const z = 1.959964
	g1 := (z*z*z + z) / 4
	g2 := (5*math.Pow(z, 5) + 16*z*z*z + 3*z) / 96
	g3 := (3*math.Pow(z, 7) + 19*math.Pow(z, 5) + 17*z*z*z - 15*z) / 384
	return z + g1/free + g2/(free*free) + g3/(free*free*free)
}

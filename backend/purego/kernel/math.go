package kernel

import "math"

// gelu(x) is x Φ(x) = max(x, 0) + g(|x|) with g(t) = -t Φ(-t), which is smooth
// and vanishes beyond geluRange. g is a polynomial of degree 4 on each of
// geluPieces equal intervals; against the exact function the error is below
// 5e-7 for every float32.
const (
	geluPieces = 16
	geluRange  = 6.0
	geluDegree = 4
)

var geluTable = makeGELUTable()

// makeGELUTable fits g by interpolation at Chebyshev points, in powers of the
// distance from the left end of the interval, measured in intervals.
func makeGELUTable() (table [geluPieces][geluDegree + 1]float32) {
	const n = geluDegree + 1
	for p := range table {
		var m [n][n + 1]float64
		for i := range m {
			u := (1 - math.Cos((float64(i)+0.5)*math.Pi/n)) / 2
			power := 1.0
			for j := range n {
				m[i][j] = power
				power *= u
			}
			t := (float64(p) + u) * geluRange / geluPieces
			m[i][n] = -t * 0.5 * math.Erfc(t/math.Sqrt2)
		}
		for i, v := range solve(m) {
			table[p][i] = float32(v)
		}
	}
	return table
}

// solve returns the solution of a small, well-conditioned linear system, its
// right side being the last column, by Gauss-Jordan elimination.
func solve(m [geluDegree + 1][geluDegree + 2]float64) (x [geluDegree + 1]float64) {
	for i := range m {
		pivot := i
		for r := i; r < len(m); r++ {
			if math.Abs(m[r][i]) > math.Abs(m[pivot][i]) {
				pivot = r
			}
		}
		m[i], m[pivot] = m[pivot], m[i]
		for r := range m {
			if r == i {
				continue
			}
			f := m[r][i] / m[i][i]
			for j := i; j < len(m[r]); j++ {
				m[r][j] -= f * m[i][j]
			}
		}
	}
	for i := range x {
		x[i] = m[i][len(m)] / m[i][i]
	}
	return x
}

func gelu(x float32) float32 {
	t := x
	if t < 0 {
		t = -t
	}
	if !(t < geluRange) { // far out, infinite or not a number
		if x < 0 {
			return 0
		}
		return x
	}
	s := t * (geluPieces / geluRange)
	i := int(s)
	u := s - float32(i)
	p := &geluTable[i&(geluPieces-1)]
	g := p[0] + u*(p[1]+u*(p[2]+u*(p[3]+u*p[4])))
	return max(x, 0) + g
}

// exp is e^x for x ≤ 0 with a relative error below 2e-7; it is 0 below -87 and
// keeps a NaN. 2^n e^r with |r| ≤ ln 2 / 2, e^r by its series to degree 7.
func exp(x float32) float32 {
	if x < -87 {
		return 0
	}
	if x != x {
		return x
	}
	n := float32(math.Floor(float64(x*math.Log2E + 0.5)))
	// ln 2 in two parts, so that the difference keeps its digits.
	r := x - n*0.693359375 + n*2.12194440e-4
	p := 1 + r*(1+r*(1.0/2+r*(1.0/6+r*(1.0/24+r*(1.0/120+r*(1.0/720+r*(1.0/5040)))))))
	return p * math.Float32frombits(uint32(127+int32(n))<<23)
}

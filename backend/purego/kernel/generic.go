package kernel

import "math"

// Generic is the portable set.
var Generic = Table{
	Name:      "generic",
	Pack:      packGeneric,
	Gemm:      gemmGeneric,
	Depthwise: depthwiseGeneric,
	Norm:      normGeneric,
	GELU:      geluGeneric,
	Attention: attentionGeneric,
}

// tile is the side of the block of sums that gemmGeneric keeps in registers:
// of the sizes that fit 16 scalar registers, 3x3 runs fastest.
const tile = 3

// packGeneric lays b out in panels of tile columns, [n/tile][k][tile], the last
// one padded with zeros.
func packGeneric(b []float32, k, n int) []float32 {
	panels := (n + tile - 1) / tile
	packed := make([]float32, panels*k*tile)
	for p := range panels {
		for i := range k {
			for j := range min(tile, n-p*tile) {
				packed[(p*k+i)*tile+j] = b[i*n+p*tile+j]
			}
		}
	}
	return packed
}

func gemmGeneric(g GemmArgs) {
	var sums [tile * tile]float32
	for j := 0; j < g.N; j += tile {
		panel := g.B[j*g.K : (j+tile)*g.K]
		cols := min(tile, g.N-j)
		for i := 0; i < g.M; i += tile {
			rows := min(tile, g.M-i)
			// Rows past the end repeat the last one; their sums are dropped.
			a0 := g.A[i*g.LdA:][:g.K]
			a1 := g.A[(i+min(1, rows-1))*g.LdA:][:g.K]
			a2 := g.A[(i+rows-1)*g.LdA:][:g.K]
			dot3x3(&sums, a0, a1, a2, panel)
			for r := range rows {
				dst := g.Dst[(i+r)*g.LdDst+j:][:cols]
				for c := range dst {
					v := sums[r*tile+c] + g.Bias[j+c]
					if g.GELU {
						v = gelu(v)
					}
					if g.Residual != nil {
						v += g.Residual[(i+r)*g.LdRes+j+c]
					}
					dst[c] = v
				}
			}
		}
	}
}

// dot3x3 computes the products of three rows with the three columns of a panel.
func dot3x3(sums *[tile * tile]float32, a0, a1, a2, panel []float32) {
	a1, a2 = a1[:len(a0)], a2[:len(a0)]
	var c00, c01, c02, c10, c11, c12, c20, c21, c22 float32
	for i, x := range a0 {
		b := panel[tile*i : tile*i+tile : tile*i+tile]
		y, z := a1[i], a2[i]
		v := b[0]
		c00 += x * v
		c10 += y * v
		c20 += z * v
		v = b[1]
		c01 += x * v
		c11 += y * v
		c21 += z * v
		v = b[2]
		c02 += x * v
		c12 += y * v
		c22 += z * v
	}
	*sums = [tile * tile]float32{c00, c01, c02, c10, c11, c12, c20, c21, c22}
}

func depthwiseGeneric(d DepthwiseArgs) {
	for x := range d.W {
		copy(d.Dst[x*d.C:][:d.C], d.Bias)
	}
	pad := d.Kernel / 2
	for ky, row := range d.Rows {
		if row == nil {
			continue
		}
		for kx := range d.Kernel {
			weight := d.Weight[(ky*d.Kernel+kx)*d.C:][:d.C]
			// Output pixels x read input pixels x + kx - pad.
			for x := max(0, pad-kx); x < min(d.W, d.W+pad-kx); x++ {
				src := row[(x+kx-pad)*d.C:][:len(weight)]
				dst := d.Dst[x*d.C:][:len(weight)]
				for c, w := range weight {
					dst[c] += w * src[c]
				}
			}
		}
	}
}

func normGeneric(dst []float32, ldDst int, src []float32, ldSrc, m, c int, eps float32) {
	for i := range m {
		x := src[i*ldSrc:][:c]
		y := dst[i*ldDst:][:c]
		sum := float32(0)
		for _, v := range x {
			sum += v
		}
		mean := sum / float32(c)
		squares := float32(0)
		for _, v := range x {
			squares += (v - mean) * (v - mean)
		}
		scale := 1 / float32(math.Sqrt(float64(squares/float32(c)+eps)))
		for j, v := range x {
			y[j] = (v - mean) * scale
		}
	}
}

func geluGeneric(dst, src []float32) {
	dst = dst[:len(src)]
	for i, v := range src {
		dst[i] = gelu(v)
	}
}

func attentionGeneric(a AttentionArgs) {
	scores := a.Scores[:a.Tokens]
	for i := range a.M {
		q := a.Q[i*a.Ld:][:a.D]
		highest := float32(math.Inf(-1))
		for j := range scores {
			k := a.K[j*a.Ld:][:len(q)]
			dot := float32(0)
			for e, v := range q {
				dot += v * k[e]
			}
			dot *= a.Scale
			scores[j] = dot
			highest = max(highest, dot)
		}
		sum := float32(0)
		for j, s := range scores {
			p := exp(s - highest)
			scores[j] = p
			sum += p
		}
		dst := a.Dst[i*a.LdDst:][:a.D]
		clear(dst)
		for j, p := range scores {
			v := a.V[j*a.Ld:][:len(dst)]
			for e := range dst {
				dst[e] += p * v[e]
			}
		}
		for e := range dst {
			dst[e] /= sum
		}
	}
}

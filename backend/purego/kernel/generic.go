package kernel

import (
	"math"
	"slices"
	"sync/atomic"
)

// Generic is the portable set.
var Generic = Table{
	Name:             "generic",
	Rows:             tile,
	Pack:             packGeneric,
	Gemm:             gemmGeneric,
	PackInt8:         packInt8Generic,
	Quantize:         quantizeGeneric,
	GemmInt8:         gemmInt8Generic,
	PackFilter:       packFilterGeneric,
	Depthwise:        depthwiseGeneric,
	Norm:             normGeneric,
	GELU:             geluGeneric,
	Attention:        attentionGeneric,
	AttentionScratch: func(_, tokens, _ int) int { return tokens },
	Spread:           spreadGeneric,
	Probes:           map[string]Probe{"fp32": {"scalar Go multiply-add", probeGeneric, 2 * 12}},
}

// tile is the side of the block of sums that gemmGeneric keeps in registers:
// of the sizes that fit 16 scalar registers, 3x3 runs fastest.
const tile = 3

// packGeneric lays b out in panels of tile columns, [n/tile][k][tile], the last
// one padded with zeros.
func packGeneric(b, bias []float32, k, n int) *Matrix {
	panels := (n + tile - 1) / tile
	packed := make([]float32, panels*k*tile)
	for p := range panels {
		for i := range k {
			for j := range min(tile, n-p*tile) {
				packed[(p*k+i)*tile+j] = b[i*n+p*tile+j]
			}
		}
	}
	return &Matrix{K: k, N: n, values: packed, bias: slices.Clone(bias)}
}

func gemmGeneric(g GemmArgs) {
	g.plain()
	k, n := g.B.K, g.B.N
	piece := k / g.Segments
	row := func(i, segment int) []float32 {
		return g.A[i/g.GroupRows*g.GroupStep+i%g.GroupRows*g.LdA+segment*g.SegmentStep:][:piece]
	}
	for j := 0; j < n; j += tile {
		panel := g.B.values[j*k : (j+tile)*k]
		cols := min(tile, n-j)
		for i := 0; i < g.M; i += tile {
			rows := min(tile, g.M-i)
			var sums [tile * tile]float32
			for s := range g.Segments {
				// Rows past the end repeat the last one; their sums are dropped.
				dot3x3(&sums, row(i, s), row(i+min(1, rows-1), s), row(i+rows-1, s), panel[s*piece*tile:][:piece*tile])
			}
			for r := range rows {
				dst := g.Dst[(i+r)*g.LdDst+j:][:cols]
				for c := range dst {
					v := sums[r*tile+c] + g.B.bias[j+c]
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

// dot3x3 adds the products of three rows with the three columns of a panel.
func dot3x3(sums *[tile * tile]float32, a0, a1, a2, panel []float32) {
	a1, a2 = a1[:len(a0)], a2[:len(a0)]
	c00, c01, c02 := sums[0], sums[1], sums[2]
	c10, c11, c12 := sums[3], sums[4], sums[5]
	c20, c21, c22 := sums[6], sums[7], sums[8]
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

func packFilterGeneric(weight, bias []float32, kernel, c int) *Filter {
	return &Filter{Kernel: kernel, C: c, values: slices.Clone(weight), bias: slices.Clone(bias)}
}

func depthwiseGeneric(d DepthwiseArgs) {
	kernel, channels := d.Filter.Kernel, d.Filter.C
	for x := range d.W {
		copy(d.Dst[x*channels:][:channels], d.Filter.bias)
	}
	for ky, line := range d.Lines {
		for kx := range kernel {
			weight := d.Filter.values[(ky*kernel+kx)*channels:][:channels]
			for x := range d.W {
				src := line[(x+kx)*channels:][:len(weight)]
				dst := d.Dst[x*channels:][:len(weight)]
				for c, w := range weight {
					dst[c] += w * src[c]
				}
			}
		}
	}
}

func normGeneric(n NormArgs) {
	for i := range n.M {
		x := n.Src[i*n.LdSrc:][:n.C]
		y := n.Dst[i*n.LdDst:][:n.C]
		sum := float32(0)
		for _, v := range x {
			sum += v
		}
		mean := sum / float32(n.C)
		squares := float32(0)
		for _, v := range x {
			squares += (v - mean) * (v - mean)
		}
		scale := 1 / float32(math.Sqrt(float64(squares/float32(n.C)+n.Eps)))
		for j, v := range x {
			y[j] = (v - mean) * scale
		}
		if n.Scale != nil {
			for j := range y {
				y[j] = y[j]*n.Scale[j] + n.Shift[j]
			}
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
	scores := a.Scratch[:a.Tokens]
	for i := range a.M {
		q := a.Q[i*a.Ld:][:a.D]
		for j := range scores {
			k := a.K[j*a.Ld:][:len(q)]
			dot := float32(0)
			for e, v := range q {
				dot += v * k[e]
			}
			scores[j] = dot
		}
		softmaxGeneric(scores, a.Scale)
		dst := a.Dst[i*a.LdDst:][:a.D]
		clear(dst)
		for j, p := range scores {
			v := a.V[j*a.Ld:][:len(dst)]
			for e := range dst {
				dst[e] += p * v[e]
			}
		}
	}
}

// softmaxGeneric turns scores, times scale, into weights that sum to 1.
func softmaxGeneric(scores []float32, scale float32) {
	highest := float32(math.Inf(-1))
	for j, s := range scores {
		scores[j] = s * scale
		highest = max(highest, scores[j])
	}
	sum := float32(0)
	for j, s := range scores {
		p := exp(s - highest)
		scores[j] = p
		sum += p
	}
	for j := range scores {
		scores[j] /= sum
	}
}

func spreadGeneric(s SpreadArgs) {
	for x := range s.W {
		src := s.Src[x*s.C:][:s.C]
		for k := range s.Kernel {
			dst := s.Dst[(x*s.Kernel+k)*s.C:][:s.C]
			weight, bias := s.Weight[k*s.C:][:s.C], s.Bias[:s.C]
			for c, v := range src {
				dst[c] = v*weight[c] + bias[c]
			}
		}
	}
}

// probeGeneric has as many sums as fit 16 registers beside the constants.
func probeGeneric(rounds int) {
	const scale, shift = 0.75, 0.25
	var a, b, c, d, e, f, g, h, i, j, k, l float32 = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
	for range rounds {
		a, b, c, d = a*scale+shift, b*scale+shift, c*scale+shift, d*scale+shift
		e, f, g, h = e*scale+shift, f*scale+shift, g*scale+shift, h*scale+shift
		i, j, k, l = i*scale+shift, j*scale+shift, k*scale+shift, l*scale+shift
	}
	probeSink.Store(math.Float32bits(a + b + c + d + e + f + g + h + i + j + k + l))
}

// probeSink keeps the sums of probeGeneric from being optimised away.
var probeSink atomic.Uint32

package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

const guard = 12345

// random returns n normal values with room for a guard word behind them.
func random(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n, n+1)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// guarded returns n zeros and a function that says whether what lies behind
// them is untouched.
func guarded(n int) ([]float32, func() bool) {
	x := make([]float32, n+8)
	for i := range x[n:] {
		x[n+i] = guard
	}
	return x[:n], func() bool {
		for _, v := range x[n:] {
			if v != guard {
				return false
			}
		}
		return true
	}
}

func each(t *testing.T, f func(t *testing.T, k *Table, rng *rand.Rand)) {
	for _, k := range Tables() {
		t.Run(k.Name, func(t *testing.T) { f(t, k, rand.New(rand.NewPCG(1, 2))) })
	}
}

func TestGemm(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		for _, m := range []int{1, 2, 3, 4, 7, 10} {
			for _, n := range []int{1, 2, 3, 5, 12, 36, 49, 100} {
				for _, depth := range []int{1, 2, 7, 36, 145} {
					for variant := range 4 {
						testGemm(t, k, rng, m, n, depth, variant&1 != 0, variant&2 != 0)
					}
				}
			}
		}
	})
}

func testGemm(t *testing.T, k *Table, rng *rand.Rand, m, n, depth int, activate, residual bool) {
	t.Helper()
	ldA, ldDst := depth+3, n+2
	a, b, bias := random(rng, m*ldA), random(rng, depth*n), random(rng, n)
	dst, untouched := guarded((m-1)*ldDst + n)
	g := GemmArgs{Dst: dst, LdDst: ldDst, A: a, LdA: ldA, B: k.Pack(b, bias, depth, n), M: m, GELU: activate, Part: m % 3, Parts: 3}
	var before []float32
	if residual { // dst itself, as in a block's second half
		copy(dst, random(rng, len(dst)))
		before = append(before, dst...)
		g.Residual, g.LdRes = dst, ldDst
	}
	k.Gemm(g)
	for i := range m {
		for j := range n {
			want, scale := float64(bias[j]), math.Abs(float64(bias[j]))
			for e := range depth {
				p := float64(a[i*ldA+e]) * float64(b[e*n+j])
				want += p
				scale += math.Abs(p)
			}
			if activate {
				want = want * 0.5 * (1 + math.Erf(want/math.Sqrt2))
			}
			if residual {
				want += float64(before[i*ldDst+j])
			}
			if got := float64(dst[i*ldDst+j]); math.Abs(got-want) > 1e-6+3e-7*scale {
				t.Fatalf("%d x %d x %d, gelu %v, residual %v: [%d %d] is %v, want %v", m, depth, n, activate, residual, i, j, got, want)
			}
		}
	}
	if !untouched() {
		t.Fatalf("%d x %d x %d: wrote past the end", m, depth, n)
	}
}

// TestGemmPatches cuts an image into patches without copying them.
func TestGemmPatches(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		for _, size := range []struct{ h, w, c, side, n int }{{2, 3, 3, 4, 5}, {1, 9, 2, 2, 36}, {3, 8, 5, 3, 49}} {
			line := size.w * size.side * size.c
			image := random(rng, size.h*size.side*line)
			depth := size.side * size.side * size.c
			b, bias := random(rng, depth*size.n), random(rng, size.n)
			m := size.h * size.w
			dst, untouched := guarded(m * size.n)
			k.Gemm(GemmArgs{
				Dst: dst, LdDst: size.n, A: image, LdA: size.side * size.c, B: k.Pack(b, bias, depth, size.n), M: m,
				Segments: size.side, SegmentStep: line, GroupRows: size.w, GroupStep: size.side * line,
			})
			for i, got := range dst {
				y, x, col := i/size.n/size.w, i/size.n%size.w, i%size.n
				want := float64(bias[col])
				for e := range depth {
					in := (y*size.side+e/(size.side*size.c))*line + x*size.side*size.c + e%(size.side*size.c)
					want += float64(image[in]) * float64(b[e*size.n+col])
				}
				if math.Abs(float64(got)-want) > 1e-4 {
					t.Fatalf("%+v: patch %d %d column %d is %v, want %v", size, y, x, col, got, want)
				}
			}
			if !untouched() {
				t.Fatalf("%+v: wrote past the end", size)
			}
		}
	})
}

func TestGemmKeepsNaN(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		const m, depth, n = 4, 9, 7
		for name, v := range map[string]float32{"NaN": float32(math.NaN()), "Inf": float32(math.Inf(1))} {
			a := random(rng, m*depth)
			a[depth+2] = v
			dst := make([]float32, m*n)
			k.Gemm(GemmArgs{Dst: dst, LdDst: n, A: a, LdA: depth, B: k.Pack(random(rng, depth*n), make([]float32, n), depth, n), M: m})
			for i, got := range dst {
				if finite := !math.IsNaN(float64(got)) && !math.IsInf(float64(got), 0); finite == (i/n == 1) {
					t.Errorf("%s in row 1: row %d holds %v", name, i/n, got)
				}
			}
		}
	})
}

func TestDepthwise(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		for _, size := range []struct{ w, c, kernel int }{{1, 1, 3}, {2, 3, 5}, {7, 36, 3}, {8, 37, 5}, {14, 16, 7}, {5, 48, 3}, {4, 144, 5}, {3, 2, 1}, {9, 8, 3}, {20, 17, 5}, {14, 16, 3}, {21, 24, 5}} {
			lines := make([][]float32, size.kernel)
			for i := range lines {
				lines[i] = random(rng, (size.w+size.kernel-1)*size.c+LineSlack)
			}
			weight, bias := random(rng, size.kernel*size.kernel*size.c), random(rng, size.c)
			dst, untouched := guarded(size.w * size.c)
			k.Depthwise(DepthwiseArgs{Dst: dst, Lines: lines, Filter: k.PackFilter(weight, bias, size.kernel, size.c), W: size.w})
			for x := range size.w {
				for c := range size.c {
					want := float64(bias[c])
					for ky, line := range lines {
						for kx := range size.kernel {
							want += float64(line[(x+kx)*size.c+c]) * float64(weight[(ky*size.kernel+kx)*size.c+c])
						}
					}
					if got := float64(dst[x*size.c+c]); math.Abs(got-want) > 1e-5 {
						t.Fatalf("%+v: pixel %d channel %d is %v, want %v", size, x, c, got, want)
					}
				}
			}
			if !untouched() {
				t.Fatalf("%+v: wrote past the end", size)
			}
		}
	})
}

func BenchmarkDepthwise(b *testing.B) {
	for _, k := range Tables() {
		for _, size := range []struct{ w, c, kernel int }{{56, 36, 3}, {56, 36, 5}, {28, 72, 5}, {14, 144, 3}, {14, 144, 5}, {14, 240, 5}} {
			b.Run(fmt.Sprintf("%s/%dx%d/%d", k.Name, size.w, size.c, size.kernel), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 2))
				taps := size.kernel * size.kernel
				d := DepthwiseArgs{Dst: make([]float32, size.w*size.c), W: size.w, Filter: k.PackFilter(random(rng, taps*size.c), random(rng, size.c), size.kernel, size.c)}
				for range size.kernel {
					d.Lines = append(d.Lines, random(rng, (size.w+size.kernel-1)*size.c+LineSlack))
				}
				for b.Loop() {
					k.Depthwise(d)
				}
				b.ReportMetric(2*float64(size.w*size.c*taps)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func TestSpread(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		for _, size := range []struct{ w, c, kernel int }{{1, 1, 1}, {3, 5, 2}, {7, 36, 4}, {2, 48, 2}, {4, 100, 3}} {
			src, weight, bias := random(rng, size.w*size.c), random(rng, size.kernel*size.c), random(rng, size.c)
			dst, untouched := guarded(size.w * size.kernel * size.c)
			k.Spread(SpreadArgs{Dst: dst, Src: src, Weight: weight, Bias: bias, W: size.w, C: size.c, Kernel: size.kernel})
			for i, got := range dst {
				c, x := i%size.c, i/size.c
				want := float64(src[x/size.kernel*size.c+c])*float64(weight[x%size.kernel*size.c+c]) + float64(bias[c])
				if math.Abs(float64(got)-want) > 1e-6 {
					t.Fatalf("%+v: pixel %d channel %d is %v, want %v", size, x, c, got, want)
				}
			}
			if !untouched() {
				t.Fatalf("%+v: wrote past the end", size)
			}
		}
	})
}

func TestNorm(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		for _, c := range []int{1, 2, 5, 16, 36, 48, 289} {
			for _, affine := range []bool{false, true} {
				const m, eps = 3, 1e-5
				ld := c + 1
				src := random(rng, m*ld)
				for i := range src {
					src[i] = src[i]*3 + 10
				}
				dst, untouched := guarded((m-1)*ld + c)
				n := NormArgs{Dst: dst, LdDst: ld, Src: src, LdSrc: ld, M: m, C: c, Eps: eps}
				if affine {
					n.Scale, n.Shift = random(rng, c), random(rng, c)
				}
				k.Norm(n)
				for i := range m {
					mean, variance := 0.0, 0.0
					for _, v := range src[i*ld:][:c] {
						mean += float64(v) / float64(c)
					}
					for _, v := range src[i*ld:][:c] {
						variance += (float64(v) - mean) * (float64(v) - mean) / float64(c)
					}
					for j := range c {
						want := (float64(src[i*ld+j]) - mean) / math.Sqrt(variance+eps)
						if affine {
							want = want*float64(n.Scale[j]) + float64(n.Shift[j])
						}
						if got := float64(dst[i*ld+j]); math.Abs(got-want) > 4e-5 {
							t.Fatalf("%d channels, affine %v: [%d %d] is %v, want %v", c, affine, i, j, got, want)
						}
					}
				}
				if !untouched() {
					t.Fatalf("%d channels: wrote past the end", c)
				}
			}
		}
	})
}

func TestGELU(t *testing.T) {
	each(t, func(t *testing.T, k *Table, _ *rand.Rand) {
		var src []float32
		for x := -12.0; x <= 12; x += 1e-4 {
			src = append(src, float32(x))
		}
		src = append(src, 0, 1e-30, -1e-30, 3e38, -3e38, float32(math.Inf(1)), float32(math.Inf(-1)))
		dst, untouched := guarded(len(src))
		k.GELU(dst, src)
		worst := 0.0
		for i, v := range src {
			x := float64(v)
			want := x * 0.5 * math.Erfc(-x/math.Sqrt2)
			if math.IsInf(x, -1) {
				want = 0 // the limit; the formula gives -Inf * 0
			}
			if got := float64(dst[i]); got != want {
				if d := math.Abs(got-want) / math.Max(1, math.Abs(x)); d > worst {
					worst = d
				}
			}
		}
		if worst > 5e-7 {
			t.Errorf("the largest error is %.3g of max(1, |x|), want at most 5e-7", worst)
		}
		nan := []float32{float32(math.NaN())}
		if k.GELU(nan, nan); nan[0] == nan[0] {
			t.Errorf("gelu(NaN) is %v", nan[0])
		}
		if !untouched() {
			t.Error("wrote past the end")
		}
	})
}

func TestExp(t *testing.T) {
	for x := -87.0; x <= 0; x += 1e-3 {
		want := math.Exp(float64(float32(x)))
		if got := float64(exp(float32(x))); math.Abs(got-want) > 2e-7*want {
			t.Fatalf("exp(%v) is %v, want %v", x, got, want)
		}
	}
	if got := exp(float32(math.Inf(-1))); got != 0 {
		t.Errorf("exp(-Inf) is %v", got)
	}
	if got := exp(float32(math.NaN())); got == got {
		t.Errorf("exp(NaN) is %v", got)
	}
}

func TestAttention(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		for _, size := range []struct{ m, tokens, d int }{{1, 1, 1}, {3, 4, 5}, {16, 49, 36}, {5, 196, 48}} {
			const scale = 0.3
			ld, ldDst := 3*size.d+2, size.d+1
			qkv := random(rng, max(size.m, size.tokens)*ld)
			q, key, v := qkv, qkv[size.d:], qkv[2*size.d:]
			dst, untouched := guarded((size.m-1)*ldDst + size.d)
			k.Attention(AttentionArgs{Dst: dst, LdDst: ldDst, Q: q, K: key, V: v, Ld: ld, M: size.m, Tokens: size.tokens, D: size.d, Scale: scale, Scratch: make([]float32, k.AttentionScratch(size.m, size.tokens, size.d))})
			for i := range size.m {
				weights, sum := make([]float64, size.tokens), 0.0
				for j := range weights {
					for e := range size.d {
						weights[j] += float64(q[i*ld+e]) * float64(key[j*ld+e])
					}
					weights[j] = math.Exp(weights[j] * scale)
					sum += weights[j]
				}
				for e := range size.d {
					want := 0.0
					for j, w := range weights {
						want += w / sum * float64(v[j*ld+e])
					}
					if got := float64(dst[i*ldDst+e]); math.Abs(got-want) > 2e-6 {
						t.Fatalf("%+v: [%d %d] is %v, want %v", size, i, e, got, want)
					}
				}
			}
			if !untouched() {
				t.Fatalf("%+v: wrote past the end", size)
			}
		}
	})
}

func BenchmarkGemm(b *testing.B) {
	for _, k := range Tables() {
		for _, size := range []struct{ m, k, n int }{{3136, 36, 144}, {196, 144, 576}, {196, 576, 144}, {49, 288, 1152}} {
			b.Run(fmt.Sprintf("%s/%dx%dx%d", k.Name, size.m, size.k, size.n), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 2))
				g := GemmArgs{
					Dst: make([]float32, size.m*size.n), LdDst: size.n, A: random(rng, size.m*size.k), LdA: size.k,
					B: k.Pack(random(rng, size.k*size.n), make([]float32, size.n), size.k, size.n), M: size.m,
				}
				for b.Loop() {
					k.Gemm(g)
				}
				b.ReportMetric(2*float64(size.m*size.k*size.n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func TestQuantize(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		for _, depth := range []int{1, 15, 16, 36, 145} {
			const m = 4
			src := random(rng, m*depth)
			clear(src[depth : 2*depth])
			src[2*depth] = float32(math.Inf(-1))
			src[4*depth-1] = float32(math.NaN())
			line := QuantizedLine(depth)
			dst, scales := make([]uint8, m*line), make([]float32, m)
			k.Quantize(QuantizeArgs{Dst: dst, LdDst: line, Scales: scales, Src: src, LdSrc: depth, M: m, K: depth})
			highest := 0.0
			for _, v := range src[:depth] {
				highest = max(highest, math.Abs(float64(v)))
			}
			if math.Abs(float64(scales[0])-highest/127) > 1e-8 {
				t.Errorf("%d values: scale %v, want %v", depth, scales[0], highest/127)
			}
			for i, v := range src[:depth] {
				if got := (float64(dst[i]) - 128) * highest / 127; math.Abs(got-float64(v)) > highest/127*0.501 {
					t.Errorf("%d values: %v became %v, a step being %v", depth, v, got, highest/127)
				}
			}
			if scales[1] != 0 || dst[line] != 128 {
				t.Errorf("zeros have the scale %v and became %d, want 0 and 128", scales[1], dst[line])
			}
			for _, row := range []int{2, 3} {
				if s := float64(scales[row]); !math.IsNaN(s) && !math.IsInf(s, 0) {
					t.Errorf("%d values: a row that is not finite has the scale %v", depth, s)
				}
			}
		}
	})
}

func TestGemmInt8(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		for _, m := range []int{1, 6, 7, 17} {
			for _, n := range []int{1, 36, 48, 50} {
				for _, depth := range []int{1, 4, 37, 144} {
					for variant := range 4 {
						testGemmInt8(t, k, rng, m, n, depth, variant&1 != 0, variant&2 != 0)
					}
				}
			}
		}
	})
}

func testGemmInt8(t *testing.T, k *Table, rng *rand.Rand, m, n, depth int, activate, residual bool) {
	t.Helper()
	a, b, bias, before := random(rng, m*depth), random(rng, depth*n), random(rng, n), random(rng, m*n)
	line := QuantizedLine(depth)
	bytes, scales := make([]uint8, m*line), make([]float32, m)
	k.Quantize(QuantizeArgs{Dst: bytes, LdDst: line, Scales: scales, Src: a, LdSrc: depth, M: m, K: depth})
	dst, untouched := guarded(m * n)
	g := Int8Args{Dst: dst, LdDst: n, A: bytes, LdA: line, Scales: scales, B: k.PackInt8(b, bias, depth, n), M: m, GELU: activate}
	if residual {
		g.Residual, g.LdRes = before, n
	}
	k.GemmInt8(g)
	quantized := make([]float64, depth)
	for j := range n {
		highest := 0.0
		for e := range depth {
			highest = max(highest, math.Abs(float64(b[e*n+j])))
		}
		scale := highest / 127
		for e := range quantized {
			quantized[e] = math.RoundToEven(float64(b[e*n+j]) / scale)
		}
		for i := range m {
			sum := 0
			for e, v := range quantized {
				sum += int(v) * (int(bytes[i*line+e]) - 128)
			}
			want := float64(sum)*scale*float64(scales[i]) + float64(bias[j])
			if activate {
				want = want * 0.5 * (1 + math.Erf(want/math.Sqrt2))
			}
			if residual {
				want += float64(before[i*n+j])
			}
			if got := float64(dst[i*n+j]); math.Abs(got-want) > 2e-5 {
				t.Fatalf("%d x %d x %d, gelu %v, residual %v: [%d %d] is %v, want %v", m, depth, n, activate, residual, i, j, got, want)
			}
		}
	}
	if !untouched() {
		t.Fatalf("%d x %d x %d: wrote past the end", m, depth, n)
	}
}

// TestInt8IsExact holds the sets that promise it to the bits of the portable
// one: the products are of integers, the scales taken in one order. Extreme
// rows would exceed 16 bits where pairs of products were added in them.
func TestInt8IsExact(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		if k.Name == "avx512" || k.Name == "neon" {
			t.Skip("this set multiplies and adds its scales in one rounding, so it is held to a tolerance, by TestGemmInt8")
		}
		for _, m := range []int{1, 2, 3, 4, 5, 11} {
			for _, n := range []int{1, 7, 8, 9, 16, 23, 36} {
				for _, depth := range []int{1, 3, 4, 5, 16, 37, 150} {
					a, b, bias, residual := random(rng, m*(depth+2)), random(rng, depth*n), random(rng, n), random(rng, m*(n+1))
					for i := range depth { // a row and a column of largest values only
						a[i], b[i*n] = float32(1-2*(i&1)), float32(1-2*(i>>1&1))
					}
					line := QuantizedLine(depth) + 16
					run := func(k *Table) ([]uint8, []float32, []float32) {
						rows, scales := make([]uint8, m*line), make([]float32, m)
						k.Quantize(QuantizeArgs{Dst: rows, LdDst: line, Scales: scales, Src: a, LdSrc: depth + 2, M: m, K: depth})
						dst, untouched := guarded((m-1)*(n+3) + n)
						k.GemmInt8(Int8Args{
							Dst: dst, LdDst: n + 3, A: rows, LdA: line, Scales: scales, B: k.PackInt8(b, bias, depth, n),
							Residual: residual, LdRes: n + 1, M: m,
						})
						if !untouched() {
							t.Fatalf("%d x %d x %d: wrote past the end", m, depth, n)
						}
						return rows, scales, dst
					}
					rows, scales, got := run(k)
					wantRows, wantScales, want := run(&Generic)
					for i := range m {
						if !slices.Equal(rows[i*line:][:depth], wantRows[i*line:][:depth]) || scales[i] != wantScales[i] {
							t.Fatalf("%d values: row %d is %v times %v, want %v times %v", depth, i, rows[i*line:][:depth], scales[i], wantRows[i*line:][:depth], wantScales[i])
						}
					}
					if !slices.Equal(got, want) {
						t.Fatalf("%d x %d x %d: got %v\nwant %v", m, depth, n, got, want)
					}
				}
			}
		}
	})
}

func BenchmarkGemmInt8(b *testing.B) {
	for _, k := range Tables() {
		for _, size := range []struct{ m, k, n int }{{196, 144, 576}, {196, 576, 144}, {49, 288, 1152}} {
			b.Run(fmt.Sprintf("%s/%dx%dx%d", k.Name, size.m, size.k, size.n), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 2))
				src, line := random(rng, size.m*size.k), QuantizedLine(size.k)
				rows, scales := make([]uint8, size.m*line), make([]float32, size.m)
				g := Int8Args{
					Dst: make([]float32, size.m*size.n), LdDst: size.n, A: rows, LdA: line, Scales: scales,
					B: k.PackInt8(random(rng, size.k*size.n), make([]float32, size.n), size.k, size.n), M: size.m,
				}
				for b.Loop() {
					k.Quantize(QuantizeArgs{Dst: rows, LdDst: line, Scales: scales, Src: src, LdSrc: size.k, M: size.m, K: size.k})
					k.GemmInt8(g)
				}
				b.ReportMetric(2*float64(size.m*size.k*size.n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GOP/s")
			})
		}
	}
}

func TestGemmBFloat16(t *testing.T) {
	each(t, func(t *testing.T, k *Table, rng *rand.Rand) {
		if k.BFloat16 == nil {
			t.Skip("the set has no products of bfloat16")
		}
		widen := func(v uint16) float64 { return float64(math.Float32frombits(uint32(v) << 16)) }
		for _, m := range []int{1, 7, 17} {
			for _, n := range []int{1, 36, 50} {
				for _, depth := range []int{1, 4, 37, 144} {
					a, b, bias := random(rng, m*depth), random(rng, depth*n), random(rng, n)
					line := RoundedLine(depth)
					rounded := make([]uint16, m*line)
					k.BFloat16.Round(RoundArgs{Dst: rounded, LdDst: line, Src: a, LdSrc: depth, M: m, K: depth})
					dst, untouched := guarded(m * n)
					k.BFloat16.Gemm(BFloat16Args{Dst: dst, LdDst: n, A: rounded, LdA: line, B: k.BFloat16.Pack(b, bias, depth, n), M: m})
					for i := range m {
						for j := range n {
							want, scale := float64(bias[j]), 1.0
							for e := range depth {
								if got := rounded[i*line+e]; got != roundBFloat16(a[i*depth+e]) {
									t.Fatalf("%v became %#x, want %#x", a[i*depth+e], got, roundBFloat16(a[i*depth+e]))
								}
								p := widen(rounded[i*line+e]) * widen(roundBFloat16(b[e*n+j]))
								want += p
								scale += math.Abs(p)
							}
							if got := float64(dst[i*n+j]); math.Abs(got-want) > 1e-6*scale {
								t.Fatalf("%d x %d x %d: [%d %d] is %v, want %v", m, depth, n, i, j, got, want)
							}
						}
					}
					if !untouched() {
						t.Fatalf("%d x %d x %d: wrote past the end", m, depth, n)
					}
				}
			}
		}
		nan := make([]uint16, 16)
		k.BFloat16.Round(RoundArgs{Dst: nan, LdDst: 16, Src: []float32{float32(math.NaN()), float32(math.Inf(-1)), 3e38}, LdSrc: 3, M: 1, K: 3})
		if !math.IsNaN(widen(nan[0])) || widen(nan[1]) != math.Inf(-1) {
			t.Errorf("NaN and -Inf became %v and %v", widen(nan[0]), widen(nan[1]))
		}
	})
}

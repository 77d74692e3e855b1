package purego

import (
	"math"

	"edgevit/backend/purego/kernel"
	"edgevit/graph"
)

// step is a part of the plan with a barrier behind it.
type step interface {
	// run does worker w's share.
	run(x *exec, w int)
	// serial says that worker 0 does all of it.
	serial() bool
}

// rowStep takes tiles of rows (pixels) through a list of operations.
type rowStep struct {
	total, tile, workers int
	ops                  []rowOp
}

// rowOp computes rows row..row+m of its destination.
type rowOp interface{ apply(x *exec, w, row, m int) }

func (s *rowStep) run(x *exec, w int) {
	if w >= s.workers {
		return
	}
	from, to := share((s.total+s.tile-1)/s.tile, s.workers, w)
	for t := from; t < to; t++ {
		row := t * s.tile
		m := min(s.tile, s.total-row)
		for _, op := range s.ops {
			op.apply(x, w, row, m)
		}
	}
}

func (s *rowStep) serial() bool { return s.workers == 1 }

// gemm is a 1x1 convolution, or the product with gathered patches.
type gemm struct {
	src, dst, residual place
	k, n               int
	weight, bias       []float32
	gelu, adds         bool
}

func (o *gemm) apply(x *exec, w, row, m int) {
	g := kernel.GemmArgs{
		Dst: x.rows(o.dst, w, row, o.n), LdDst: o.n, A: x.rows(o.src, w, row, o.k), LdA: o.k,
		B: o.weight, Bias: o.bias, M: m, K: o.k, N: o.n, GELU: o.gelu,
	}
	if o.adds {
		g.Residual, g.LdRes = x.rows(o.residual, w, row, o.n), o.n
	}
	x.plan.kernels.Gemm(g)
}

// gather copies the window of each output pixel into a row, [kernel kernel c],
// zeros where the padding is. With kernel 1 it is the sampling.
type gather struct {
	src, dst                  place
	from                      graph.Shape
	kernel, stride, pad, outW int
}

func (o *gather) apply(x *exec, w, row, m int) {
	src, c := x.slice(o.src), o.from.C
	dst := x.rows(o.dst, w, row, o.kernel*o.kernel*c)
	for i := range m {
		y0, x0 := (row+i)/o.outW*o.stride-o.pad, (row+i)%o.outW*o.stride-o.pad
		left, right := max(0, -x0), min(o.kernel, o.from.W-x0)
		for ky := range o.kernel {
			line := dst[:o.kernel*c]
			dst = dst[o.kernel*c:]
			if y := y0 + ky; y < 0 || y >= o.from.H || left >= right {
				clear(line)
				continue
			}
			clear(line[:left*c])
			copy(line[left*c:right*c], src[((y0+ky)*o.from.W+x0+left)*c:])
			clear(line[right*c:])
		}
	}
}

// deconv spreads each pixel over its own window: LocalProp.
type deconv struct {
	src, dst     place
	from         graph.Shape
	kernel       int
	weight, bias []float32 // [kernel kernel c]
}

func (o *deconv) apply(x *exec, w, row, m int) {
	src, c, outW := x.slice(o.src), o.from.C, o.from.W*o.kernel
	dst := x.rows(o.dst, w, row, c)
	for i := range m {
		oy, ox := (row+i)/outW, (row+i)%outW
		in := src[(oy/o.kernel*o.from.W+ox/o.kernel)*c:][:c]
		weight := o.weight[(oy%o.kernel*o.kernel+ox%o.kernel)*c:][:c]
		out, bias := dst[i*c:][:c], o.bias[:c]
		for j, v := range in {
			out[j] = v*weight[j] + bias[j]
		}
	}
}

// affine is a scale and shift of each channel; the empty one does nothing.
type affine struct{ scale, shift []float32 }

func (a affine) apply(x []float32, c int) {
	if a.scale == nil {
		return
	}
	for ; len(x) > 0; x = x[c:] {
		for j, v := range x[:c] {
			x[j] = v*a.scale[j] + a.shift[j]
		}
	}
}

// norm is a LayerNorm.
type norm struct {
	src, dst place
	c        int
	eps      float32
	affine   affine
}

func (o *norm) apply(x *exec, w, row, m int) {
	dst := x.rows(o.dst, w, row, o.c)[:m*o.c]
	x.plan.kernels.Norm(dst, o.c, x.rows(o.src, w, row, o.c), o.c, m, o.c, o.eps)
	o.affine.apply(dst, o.c)
}

// scaleShift is a BatchNorm that could not be folded.
type scaleShift struct {
	src, dst place
	c        int
	affine   affine
}

func (o *scaleShift) apply(x *exec, w, row, m int) {
	dst := x.rows(o.dst, w, row, o.c)[:m*o.c]
	copy(dst, x.rows(o.src, w, row, o.c))
	o.affine.apply(dst, o.c)
}

// gelu is a GELU that could not be folded.
type gelu struct {
	src, dst place
	c        int
}

func (o *gelu) apply(x *exec, w, row, m int) {
	x.plan.kernels.GELU(x.rows(o.dst, w, row, o.c)[:m*o.c], x.rows(o.src, w, row, o.c)[:m*o.c])
}

// add is an Add that could not be folded.
type add struct {
	src, other, dst place
	c               int
}

func (o *add) apply(x *exec, w, row, m int) {
	a, b := x.rows(o.src, w, row, o.c)[:m*o.c], x.rows(o.other, w, row, o.c)[:m*o.c]
	dst := x.rows(o.dst, w, row, o.c)[:m*o.c]
	for i, v := range a {
		dst[i] = v + b[i]
	}
}

// statChunks is into how many parts a feature map is cut for its mean and
// variance. It is fixed, so that the result does not depend on the threads.
const statChunks = 64

// groupStats sums a feature map and its squares, chunk by chunk, for the
// groupNorm that follows.
type groupStats struct {
	src  place
	size int
}

func (s *groupStats) run(x *exec, w int) {
	from, to := share(statChunks, x.plan.threads, w)
	for c := from; c < to; c++ {
		lo, hi := share(s.size, statChunks, c)
		sum, squares := 0.0, 0.0
		for _, v := range x.slice(s.src)[lo:hi] {
			sum += float64(v)
			squares += float64(v) * float64(v)
		}
		x.stats[2*c], x.stats[2*c+1] = sum, squares
	}
}

func (s *groupStats) serial() bool { return false }

// groupNorm normalises by the sums of the groupStats before it.
type groupNorm struct {
	src, dst place
	c, size  int
	eps      float64
	affine   affine
}

func (o *groupNorm) apply(x *exec, w, row, m int) {
	sum, squares := 0.0, 0.0
	for c := range statChunks {
		sum += x.stats[2*c]
		squares += x.stats[2*c+1]
	}
	mean := sum / float64(o.size)
	scale := 1 / math.Sqrt(max(squares/float64(o.size)-mean*mean, 0)+o.eps)
	dst := x.rows(o.dst, w, row, o.c)[:m*o.c]
	for i, v := range x.rows(o.src, w, row, o.c)[:m*o.c] {
		dst[i] = float32((float64(v) - mean) * scale)
	}
	o.affine.apply(dst, o.c)
}

// depthwise is a depthwise convolution, row of pixels by row.
type depthwise struct {
	src, dst        place
	shape           graph.Shape
	kernel, workers int
	weight, bias    []float32 // [kernel kernel c]
}

func (s *depthwise) run(x *exec, w int) {
	from, to := share(s.shape.H, s.workers, w)
	width := s.shape.W * s.shape.C
	src, dst := x.slice(s.src), x.slice(s.dst)
	rows := x.lines[w][:s.kernel]
	for y := from; y < to; y++ {
		for k := range rows {
			rows[k] = nil
			if in := y + k - s.kernel/2; in >= 0 && in < s.shape.H {
				rows[k] = src[in*width:][:width]
			}
		}
		x.plan.kernels.Depthwise(kernel.DepthwiseArgs{
			Dst: dst[y*width:][:width], Rows: rows, Weight: s.weight, Bias: s.bias,
			W: s.shape.W, C: s.shape.C, Kernel: s.kernel,
		})
	}
}

func (s *depthwise) serial() bool { return false }

// attention is softmax(q kᵀ scale) v, by head and block of queries.
type attention struct {
	src, dst                  place
	heads, tokens, c, workers int
	scale                     float32
}

// queryBlock is how many queries are one piece of work.
const queryBlock = 16

func (s *attention) run(x *exec, w int) {
	blocks := (s.tokens + queryBlock - 1) / queryBlock
	from, to := share(s.heads*blocks, s.workers, w)
	src, dst, d, ld := x.slice(s.src), x.slice(s.dst), s.c/s.heads, 3*s.c
	for i := from; i < to; i++ {
		head, first := i/blocks, i%blocks*queryBlock
		x.plan.kernels.Attention(kernel.AttentionArgs{
			Dst: dst[first*s.c+head*d:], LdDst: s.c,
			Q: src[first*ld+head*d:], K: src[s.c+head*d:], V: src[2*s.c+head*d:], Ld: ld,
			M: min(queryBlock, s.tokens-first), Tokens: s.tokens, D: d, Scale: s.scale,
			Scores: x.scratch[w],
		})
	}
}

func (s *attention) serial() bool { return false }

// meanPool is the mean over all pixels.
type meanPool struct {
	src, dst  place
	pixels, c int
}

func (s *meanPool) run(x *exec, _ int) {
	dst := x.slice(s.dst)[:s.c]
	clear(dst)
	for src := x.slice(s.src)[:s.pixels*s.c]; len(src) > 0; src = src[s.c:] {
		for j, v := range src[:s.c] {
			dst[j] += v
		}
	}
	for j := range dst {
		dst[j] /= float32(s.pixels)
	}
}

func (s *meanPool) serial() bool { return true }

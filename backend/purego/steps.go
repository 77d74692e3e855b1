package purego

import (
	"math"

	"edgevit/backend/purego/kernel"
	"edgevit/graph"
)

// step is a part of the plan. It begins when all tiles of the step before are
// done.
type step interface {
	// tiles is the number of pieces of work for so many images, which may be
	// done in any order.
	tiles(images int) int
	// run does one of them as worker w.
	run(x *exec, w, tile int)
}

// rowStep takes tiles of rows (pixels) through a list of operations.
type rowStep struct {
	tiling
	ops []rowOp
}

// tiling cuts rows into tiles: first into equal parts, one for each thread, then
// each part into tiles, of which the last may be smaller. total is the number of
// one image's rows; a tile may hold rows of two images. All cuts are at multiples
// of align, which divides total.
type tiling struct{ total, align, parts, tile int }

func (t tiling) tiles(images int) int {
	sum := 0
	for i := range t.parts {
		from, to := t.part(images, i)
		sum += (to - from + t.tile - 1) / t.tile
	}
	return sum
}

// part is the rows of part i.
func (t tiling) part(images, i int) (from, to int) {
	from, to = share(t.total*images/t.align, t.parts, i)
	return from * t.align, to * t.align
}

// rows is the first row of a tile and how many it has.
func (t tiling) rows(images, tile int) (row, m int) {
	for i := range t.parts {
		from, to := t.part(images, i)
		row = from + tile*t.tile
		if row < to {
			return row, min(t.tile, to-row)
		}
		tile -= (to - from + t.tile - 1) / t.tile
	}
	panic("no such tile")
}

// rowOp computes rows row..row+m of its destination.
type rowOp interface{ apply(x *exec, w, row, m int) }

func (s *rowStep) run(x *exec, w, tile int) {
	row, m := s.rows(x.images, tile)
	for _, op := range s.ops {
		op.apply(x, w, row, m)
	}
}

// byImage calls f for each image's part of the rows row..row+m, of which an
// image has perImage: with the part's first row within the image and its offset
// within the tile.
func byImage(row, m, perImage int, f func(image, row, offset, m int)) {
	for offset := 0; offset < m; {
		image, first := (row+offset)/perImage, (row+offset)%perImage
		n := min(m-offset, perImage-first)
		f(image, first, offset, n)
		offset += n
	}
}

// epilogue is what ends a product: where it goes, after GELU and the addition
// of a residual.
type epilogue struct {
	dst, residual place
	gelu, adds    bool
}

// gemm is a 1x1 convolution, or the product with gathered windows.
type gemm struct {
	src place
	epilogue
	weight *kernel.Matrix
}

func (o *gemm) apply(x *exec, w, row, m int) {
	k, n := o.weight.K, o.weight.N
	g := kernel.GemmArgs{Dst: x.rows(o.dst, w, row, n), LdDst: n, A: x.rows(o.src, w, row, k), LdA: k, B: o.weight, M: m, GELU: o.gelu, Part: w, Parts: x.plan.threads}
	if o.adds {
		g.Residual, g.LdRes = x.rows(o.residual, w, row, n), n
	}
	x.plan.kernels.Gemm(g)
}

// gemmInt8 is gemm in bytes: each row is quantized with its own scale.
type gemmInt8 struct {
	src place
	epilogue
	weight *kernel.Int8Matrix
}

func (o *gemmInt8) apply(x *exec, w, row, m int) {
	k, n := o.weight.K, o.weight.N
	line := kernel.QuantizedLine(k)
	bytes, scales := x.bytes[w], x.scales[w]
	x.plan.kernels.Quantize(kernel.QuantizeArgs{Dst: bytes, LdDst: line, Scales: scales, Src: x.rows(o.src, w, row, k), LdSrc: k, M: m, K: k})
	g := kernel.Int8Args{Dst: x.rows(o.dst, w, row, n), LdDst: n, A: bytes, LdA: line, Scales: scales, B: o.weight, M: m, GELU: o.gelu}
	if o.adds {
		g.Residual, g.LdRes = x.rows(o.residual, w, row, n), n
	}
	x.plan.kernels.GemmInt8(g)
}

// gemmBFloat16 is gemm of rows and weights rounded to bfloat16.
type gemmBFloat16 struct {
	src place
	epilogue
	weight *kernel.BFloat16Matrix
}

func (o *gemmBFloat16) apply(x *exec, w, row, m int) {
	k, n := o.weight.K, o.weight.N
	line, halves := kernel.RoundedLine(k), x.halves[w]
	x.plan.kernels.BFloat16.Round(kernel.RoundArgs{Dst: halves, LdDst: line, Src: x.rows(o.src, w, row, k), LdSrc: k, M: m, K: k})
	g := kernel.BFloat16Args{Dst: x.rows(o.dst, w, row, n), LdDst: n, A: halves, LdA: line, B: o.weight, M: m, GELU: o.gelu, Part: w, Parts: x.plan.threads}
	if o.adds {
		g.Residual, g.LdRes = x.rows(o.residual, w, row, n), n
	}
	x.plan.kernels.BFloat16.Gemm(g)
}

// patches is the product with the patches of an image that they cover whole.
// Tiles are whole rows of patches.
type patches struct {
	src, dst place
	from     graph.Shape
	kernel   int
	weight   *kernel.Matrix
}

func (o *patches) apply(x *exec, w, row, m int) {
	line, across, n := o.from.W*o.from.C, o.from.W/o.kernel, o.weight.N
	dst := x.rows(o.dst, w, row, n)
	byImage(row, m, across*(o.from.H/o.kernel), func(image, row, offset, m int) {
		x.plan.kernels.Gemm(kernel.GemmArgs{
			Dst: dst[offset*n:], LdDst: n,
			A: x.imageSlice(o.src, image, o.from.Len())[row/across*o.kernel*line:], LdA: o.kernel * o.from.C, B: o.weight, M: m,
			Segments: o.kernel, SegmentStep: line, GroupRows: across, GroupStep: o.kernel * line,
		})
	})
}

// gather copies the window of each output pixel into a row, [kernel kernel c],
// zeros where the padding is. With kernel 1 it is the sampling.
type gather struct {
	src, dst            place
	from, to            graph.Shape
	kernel, stride, pad int
}

func (o *gather) apply(x *exec, w, row, m int) {
	c, pixels := o.from.C, o.to.H*o.to.W
	dst := x.rows(o.dst, w, row, o.kernel*o.kernel*c)
	for i := range m {
		src := x.imageSlice(o.src, (row+i)/pixels, o.from.Len())
		pixel := (row + i) % pixels
		y0, x0 := pixel/o.to.W*o.stride-o.pad, pixel%o.to.W*o.stride-o.pad
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

// deconv spreads each pixel over its own window: LocalProp. Tiles begin and end
// with a window.
type deconv struct {
	src, dst     place
	from         graph.Shape
	kernel       int
	weight, bias []float32 // [kernel kernel c]
}

func (o *deconv) apply(x *exec, w, row, m int) {
	c, outW := o.from.C, o.from.W*o.kernel
	dst := x.rows(o.dst, w, row, c)
	// By rows of pixels, which end where images do.
	byImage(row, m, outW, func(line, ox, offset, n int) {
		image, oy := line/(o.from.H*o.kernel), line%(o.from.H*o.kernel)
		x.plan.kernels.Spread(kernel.SpreadArgs{
			Dst: dst[offset*c:], Src: x.imageSlice(o.src, image, o.from.Len())[(oy/o.kernel*o.from.W+ox/o.kernel)*c:],
			Weight: o.weight[oy%o.kernel*o.kernel*c:], Bias: o.bias, W: n / o.kernel, C: c, Kernel: o.kernel,
		})
	})
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
	x.plan.kernels.Norm(kernel.NormArgs{
		Dst: x.rows(o.dst, w, row, o.c), LdDst: o.c, Src: x.rows(o.src, w, row, o.c), LdSrc: o.c,
		M: m, C: o.c, Eps: o.eps, Scale: o.affine.scale, Shift: o.affine.shift,
	})
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

func (s *groupStats) tiles(images int) int { return statChunks * images }

func (s *groupStats) run(x *exec, _, chunk int) {
	from, to := share(s.size, statChunks, chunk%statChunks)
	sum, squares := 0.0, 0.0
	for _, v := range x.imageSlice(s.src, chunk/statChunks, s.size)[from:to] {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	x.stats[2*chunk], x.stats[2*chunk+1] = sum, squares
}

// groupNorm normalises by the sums of the groupStats before it.
type groupNorm struct {
	src, dst place
	c, size  int
	eps      float64
	affine   affine
}

func (o *groupNorm) apply(x *exec, w, row, m int) {
	dst, src := x.rows(o.dst, w, row, o.c)[:m*o.c], x.rows(o.src, w, row, o.c)[:m*o.c]
	byImage(row, m, o.size/o.c, func(image, _, offset, m int) {
		sum, squares := 0.0, 0.0
		for c := range statChunks {
			stats := x.stats[2*(image*statChunks+c):]
			sum += stats[0]
			squares += stats[1]
		}
		mean := sum / float64(o.size)
		scale := 1 / math.Sqrt(max(squares/float64(o.size)-mean*mean, 0)+o.eps)
		for i := offset * o.c; i < (offset+m)*o.c; i++ {
			dst[i] = float32((float64(src[i]) - mean) * scale)
		}
	})
	o.affine.apply(dst, o.c)
}

// depthwise is a depthwise convolution, row of pixels by row. Each input row is
// copied once into a line with padding; a ring of them is the kernel's window.
type depthwise struct {
	src, dst    place
	shape       graph.Shape
	line, bands int
	filter      *kernel.Filter
}

func (s *depthwise) tiles(images int) int { return s.bands * images }

func (s *depthwise) run(x *exec, w, band int) {
	image := band / s.bands
	from, to := share(s.shape.H, s.bands, band%s.bands)
	width, k := s.shape.W*s.shape.C, s.filter.Kernel
	pad := k / 2 * s.shape.C
	src, dst := x.imageSlice(s.src, image, s.shape.Len()), x.imageSlice(s.dst, image, s.shape.Len())
	ring, window := x.lines[w][:(k+1)*s.line], x.window[w][:k]
	clear(ring) // the padding, and the last line, which stands for rows outside
	fill := func(y int) []float32 {
		if y < 0 || y >= s.shape.H {
			return ring[k*s.line:]
		}
		line := ring[y%k*s.line:][:s.line]
		copy(line[pad:], src[y*width:][:width])
		return line
	}
	for y := from; y < to; y++ {
		if y == from {
			for i := range k - 1 {
				window[i+1] = fill(y + i - k/2)
			}
		}
		copy(window, window[1:])
		window[k-1] = fill(y + k - 1 - k/2)
		x.plan.kernels.Depthwise(kernel.DepthwiseArgs{Dst: dst[y*width:][:width], Lines: window, Filter: s.filter, W: s.shape.W})
	}
}

// attention is softmax(q kᵀ scale) v, by head and part of the queries.
type attention struct {
	src, dst                place
	heads, parts, tokens, c int
	scale                   float32
}

func (s *attention) tiles(images int) int { return s.heads * s.parts * images }

func (s *attention) run(x *exec, w, tile int) {
	image, head := tile/(s.heads*s.parts), tile/s.parts%s.heads
	first, end := share(s.tokens, s.parts, tile%s.parts)
	d, ld := s.c/s.heads, 3*s.c
	src, dst := x.imageSlice(s.src, image, s.tokens*ld), x.imageSlice(s.dst, image, s.tokens*s.c)
	x.plan.kernels.Attention(kernel.AttentionArgs{
		Dst: dst[first*s.c+head*d:], LdDst: s.c,
		Q: src[first*ld+head*d:], K: src[s.c+head*d:], V: src[2*s.c+head*d:], Ld: ld,
		M: end - first, Tokens: s.tokens, D: d, Scale: s.scale, Scratch: x.scratch[w],
	})
}

// meanPool is the mean over all pixels.
type meanPool struct {
	src, dst  place
	pixels, c int
}

func (s *meanPool) tiles(images int) int { return images }

func (s *meanPool) run(x *exec, _, image int) {
	dst := x.imageSlice(s.dst, image, s.c)[:s.c]
	clear(dst)
	for src := x.imageSlice(s.src, image, s.pixels*s.c)[:s.pixels*s.c]; len(src) > 0; src = src[s.c:] {
		for j, v := range src[:s.c] {
			dst[j] += v
		}
	}
	for j := range dst {
		dst[j] /= float32(s.pixels)
	}
}

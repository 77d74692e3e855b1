//go:build !purego

package kernel

import (
	"maps"
	"unsafe"

	"golang.org/x/sys/cpu"
)

//go:generate sh -c "cd _asm && go run . -out ../asm_amd64.s -stubs ../asm_amd64.go -pkg kernel"

// Tables lists every set that this processor runs, the fastest last.
func Tables() []*Table {
	tables := []*Table{&Generic}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		tables = append(tables, &avx2)
		if cpu.X86.HasAVXVNNI {
			t := avx2
			t.Name, t.GemmInt8, t.Probes = "avxvnni", gemmInt8TilesAVXVNNI, probesAVXVNNI
			tables = append(tables, &t)
		}
	}
	if x := cpu.X86; x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasFMA {
		t := avx512
		t.Probes = maps.Clone(t.Probes)
		if !x.HasAVX512VNNI {
			t.PackInt8, t.Quantize, t.GemmInt8 = avx2.PackInt8, avx2.Quantize, avx2.GemmInt8
			t.Probes["int8"] = avx2.Probes["int8"]
		}
		if x.HasAVX512BF16 {
			t.BFloat16 = &avx512BFloat16
			t.Probes["bf16"] = Probe{"avx512 VDPBF16PS", probeBFloat16, probeSums * 2 * 2 * lanes}
		}
		tables = append(tables, &t)
	}
	return tables
}

var avx512 = Table{
	Name:             "avx512",
	Rows:             rows,
	Pack:             packAVX512,
	Gemm:             gemmAVX512,
	PackInt8:         packInt8AVX512,
	Quantize:         quantizeAVX512,
	GemmInt8:         gemmInt8AVX512,
	PackFilter:       packFilterAVX512,
	Depthwise:        depthwiseRowsAVX512,
	Norm:             normAVX512,
	GELU:             geluAVX512,
	Attention:        attentionAVX512,
	AttentionScratch: attentionScratchAVX512,
	Spread:           spreadAVX512,
	Probes: map[string]Probe{
		"fp32": {"avx512 VFMADD213PS", probeAVX512, probeSums * 2 * lanes},
		"int8": {"avx512 VPDPBUSD", probeInt8AVX512, probeSums * 2 * 4 * lanes},
	},
}

const (
	lanes = 16        // float32 in a vector
	panel = 3 * lanes // columns of a tile of gemm
	rows  = 7         // rows of it

	probeSums = 24 // of the AVX-512 probes
)

// shape is that of the tiles of a set of gemm kernels.
type shape struct {
	rows, lanes int
	kind        gemmKind
}

type gemmKind uint8

const (
	gemmFloat32 gemmKind = iota
	gemmBFloat16Pairs
	gemmFloat32AVX2
)

var (
	shapeAVX512   = shape{rows, lanes, gemmFloat32}
	shapeBFloat16 = shape{rows, lanes, gemmBFloat16Pairs}
)

// panel is the number of columns of a tile.
func (s shape) panel() int { return 3 * s.lanes }

// up is n rounded up to whole vectors.
func (s shape) up(n int) int { return (n + s.lanes - 1) / s.lanes * s.lanes }

// last is what tells a kernel the lanes of the last vector of n values.
func (s shape) last(n int) uint64 {
	if s.kind == gemmFloat32AVX2 {
		return maskAVX2(n)
	}
	_, mask := vectors(n)
	return mask
}

// vectors is the number of vectors that hold n values, last the mask of the
// lanes of the last one.
func vectors(n int) (count int, last uint64) {
	count = (n + lanes - 1) / lanes
	return count, 1<<(n-(count-1)*lanes) - 1
}

func pointer(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

// packAVX512 lays b out in panels of 48 columns, [k][48], the last one as wide
// as its vectors; columns past the end are zeros.
func packAVX512(b, bias []float32, k, n int) *Matrix { return shapeAVX512.pack(b, bias, k, n) }

func (s shape) pack(b, bias []float32, k, n int) *Matrix {
	m := &Matrix{K: k, N: n, values: Floats(k * s.up(n)), bias: Floats(s.up(n))}
	copy(m.bias, bias)
	s.packPanels(m.values, b, k, n, n)
	return m
}

func (s shape) packPanels(dst, b []float32, k, n, ld int) {
	for j := 0; j < n; j += s.panel() {
		cols := min(s.panel(), n-j)
		width := s.up(cols)
		for i := range k {
			line := dst[i*width:][:width]
			copy(line[:cols], b[i*ld+j:])
			clear(line[cols:])
		}
		dst = dst[k*width:]
	}
}

// gemmTile is the argument of the gemm kernels: tiles of rows one below the
// other, times one panel. Strides are in bytes. The layout is known to _asm.
type gemmTile struct {
	dst, a, b, bias, residual unsafe.Pointer
	ldDst, ldA, ldRes         uintptr
	k, tiles                  int
	mask                      uint64 // of the last vector
	gelu                      unsafe.Pointer
	segments                  int     // of k values each
	segmentStep               uintptr // from the end of one to the next
	up                        uintptr // from the end of a row to its start
	ahead                     uintptr // from a panel to the next
}

// run calls the kernel of a tile's rows and vectors. The calls are direct, so
// that t stays on the stack.
func (t *gemmTile) run(kind gemmKind, rows, vectors int) {
	switch kind {
	case gemmBFloat16Pairs:
		t.runBFloat16(rows, vectors)
		return
	case gemmFloat32AVX2:
		t.runAVX2(rows, vectors)
		return
	}
	p := (*byte)(unsafe.Pointer(t))
	switch rows<<2 | vectors {
	case 7<<2 | 3:
		gemm7x3(p)
	case 7<<2 | 2:
		gemm7x2(p)
	case 7<<2 | 1:
		gemm7x1(p)
	case 6<<2 | 3:
		gemm6x3(p)
	case 6<<2 | 2:
		gemm6x2(p)
	case 6<<2 | 1:
		gemm6x1(p)
	case 5<<2 | 3:
		gemm5x3(p)
	case 5<<2 | 2:
		gemm5x2(p)
	case 5<<2 | 1:
		gemm5x1(p)
	case 4<<2 | 3:
		gemm4x3(p)
	case 4<<2 | 2:
		gemm4x2(p)
	case 4<<2 | 1:
		gemm4x1(p)
	case 3<<2 | 3:
		gemm3x3(p)
	case 3<<2 | 2:
		gemm3x2(p)
	case 3<<2 | 1:
		gemm3x1(p)
	case 2<<2 | 3:
		gemm2x3(p)
	case 2<<2 | 2:
		gemm2x2(p)
	case 2<<2 | 1:
		gemm2x1(p)
	case 1<<2 | 3:
		gemm1x3(p)
	case 1<<2 | 2:
		gemm1x2(p)
	case 1<<2 | 1:
		gemm1x1(p)
	}
}

func gemmAVX512(g GemmArgs) {
	shapeAVX512.gemm(g, g.B.values, g.B.bias, g.B.N, g.B.K, g.B.N)
}

// gemm is Table.Gemm for a packed matrix. The panels behind biasEnd, where that
// is less than n, have the bias from there on.
func (s shape) gemm(g GemmArgs, values, bias []float32, biasEnd, k, n int) {
	g.plain()
	piece := k / g.Segments
	t := gemmTile{
		ldDst: uintptr(g.LdDst) * 4, ldA: uintptr(g.LdA) * 4, ldRes: uintptr(g.LdRes) * 4,
		k: piece, segments: g.Segments, segmentStep: uintptr(g.SegmentStep-piece) * 4,
		up: uintptr((g.Segments-1)*g.SegmentStep+piece) * 4,
	}
	if g.GELU {
		t.gelu = unsafe.Pointer(&geluVectorTable)
	}
	// The slices are checked once; the kernels stay inside.
	end := (g.M-1)/g.GroupRows*g.GroupStep + (g.M-1)%g.GroupRows*g.LdA
	_, _ = g.Dst[(g.M-1)*g.LdDst+n-1], g.A[end+(g.Segments-1)*g.SegmentStep+piece-1]
	panels := (n + s.panel() - 1) / s.panel()
	first := panels * g.Part / max(g.Parts, 1)
	for p := range panels {
		// All panels before one are whole.
		j, next := (first+p)%panels*s.panel(), (first+p+1)%panels*s.panel()
		cols := min(s.panel(), n-j)
		width := s.up(cols)
		t.mask = s.last(cols)
		t.b, t.bias = pointer(values[k*j:]), pointer(bias[min(j, biasEnd):])
		t.ahead = uintptr(4 * k * (next - j))
		for row := 0; row < g.M; row += g.GroupRows {
			from := row / g.GroupRows * g.GroupStep
			m := min(g.GroupRows, g.M-row)
			full, rest := m/s.rows, m%s.rows
			t.dst, t.a, t.tiles = pointer(g.Dst[row*g.LdDst+j:]), pointer(g.A[from:]), full
			if g.Residual != nil {
				t.residual = pointer(g.Residual[row*g.LdRes+j:])
			}
			if full > 0 {
				t.run(s.kind, s.rows, width/s.lanes)
			}
			if rest == 0 {
				continue
			}
			done := full * s.rows
			t.dst, t.a, t.tiles = pointer(g.Dst[(row+done)*g.LdDst+j:]), pointer(g.A[from+done*g.LdA:]), 1
			if g.Residual != nil {
				t.residual = pointer(g.Residual[(row+done)*g.LdRes+j:])
			}
			t.run(s.kind, rest, width/s.lanes)
		}
	}
}

// geluVectorTable is geluTable by power, then the constants of the kernel: the
// bits of |x|, the largest value inside, intervals per unit.
var geluVectorTable = func() (t struct {
	coefficients [geluDegree + 1][geluPieces]float32
	abs          uint32
	limit, scale float32
}) {
	for p, piece := range geluTable {
		for power, c := range piece {
			t.coefficients[power][p] = c
		}
	}
	t.abs, t.limit, t.scale = 1<<31-1, 5.9999995, geluPieces/geluRange
	return t
}()

type geluArgs struct {
	dst, src unsafe.Pointer
	count    int
	mask     uint64
	table    unsafe.Pointer
}

func geluAVX512(dst, src []float32) {
	if len(src) == 0 {
		return
	}
	dst = dst[:len(src)]
	a := geluArgs{dst: pointer(dst), src: pointer(src), table: unsafe.Pointer(&geluVectorTable)}
	a.count, a.mask = vectors(len(src))
	geluVectors((*byte)(unsafe.Pointer(&a)))
}

// normArgs is the argument of normRows. The layout is known to _asm.
type normArgs struct {
	dst, src     unsafe.Pointer
	ldDst, ldSrc uintptr
	rows, count  int
	mask         uint64
	perC, eps    float32
	scale, shift unsafe.Pointer
}

func normAVX512(n NormArgs) {
	_, _ = n.Dst[(n.M-1)*n.LdDst+n.C-1], n.Src[(n.M-1)*n.LdSrc+n.C-1]
	a := normArgs{dst: pointer(n.Dst), src: pointer(n.Src), ldDst: uintptr(n.LdDst) * 4, ldSrc: uintptr(n.LdSrc) * 4, rows: n.M, perC: 1 / float32(n.C), eps: n.Eps}
	a.count, a.mask = vectors(n.C)
	if n.Scale != nil {
		a.scale, a.shift = pointer(n.Scale[:n.C]), pointer(n.Shift[:n.C])
	}
	normRows((*byte)(unsafe.Pointer(&a)))
}

// softmaxArgs is the argument of softmaxRows. The layout is known to _asm.
type softmaxArgs struct {
	src         unsafe.Pointer
	ld          uintptr
	rows, count int
	mask        uint64
	scale       float32
}

// attentionScratch holds keys and values as packed matrices, and scores.
func (s shape) attentionScratch(m, tokens, d int) int {
	return s.up(tokens)*d + tokens*s.up(d) + m*s.up(tokens)
}

func attentionScratchAVX512(m, tokens, d int) int { return shapeAVX512.attentionScratch(m, tokens, d) }

// noBias is the bias of every panel of a product without one.
var noBias = Floats(panel)

func attentionAVX512(a AttentionArgs) {
	shapeAVX512.attention(a, func(scores []float32, ld int) {
		s := softmaxArgs{src: pointer(scores), ld: uintptr(ld) * 4, rows: a.M, scale: a.Scale}
		s.count, s.mask = vectors(a.Tokens)
		softmaxRows((*byte)(unsafe.Pointer(&s)))
	})
}

// attention multiplies queries and keys, calls softmax, and multiplies by the
// values.
func (s shape) attention(a AttentionArgs, softmax func(scores []float32, ld int)) {
	keys, rest := a.Scratch[:s.up(a.Tokens)*a.D], a.Scratch[s.up(a.Tokens)*a.D:]
	values, scores := rest[:a.Tokens*s.up(a.D)], rest[a.Tokens*s.up(a.D):]
	s.packTransposed(keys, a.K, a.D, a.Tokens, a.Ld)
	s.packPanels(values, a.V, a.Tokens, a.D, a.Ld)
	ld := s.up(a.Tokens)
	s.gemm(GemmArgs{Dst: scores, LdDst: ld, A: a.Q, LdA: a.Ld, M: a.M}, keys, noBias, 0, a.D, a.Tokens)
	softmax(scores, ld)
	s.gemm(GemmArgs{Dst: a.Dst, LdDst: a.LdDst, A: scores, LdA: ld, M: a.M}, values, noBias, 0, a.Tokens, a.D)
}

// transposeArgs is the argument of transpose16. The layout is known to _asm.
type transposeArgs struct {
	dst, src      unsafe.Pointer
	ldDst, ldSrc  uintptr
	rows, columns int    // of src
	mask          uint64 // of the columns
}

// transposePanel writes the transpose of x, [cols k] with the stride ld, as a
// panel [k width], width being whole vectors of AVX-512.
func transposePanel(dst, x []float32, k, cols, width, ld int) {
	t := transposeArgs{ldDst: uintptr(width) * 4, ldSrc: uintptr(ld) * 4}
	_ = x[(cols-1)*ld+k-1]
	for c := 0; c < cols; c += lanes {
		t.rows = min(lanes, cols-c)
		for i := 0; i < k; i += lanes {
			t.columns = min(lanes, k-i)
			t.mask = 1<<t.columns - 1
			t.dst, t.src = pointer(dst[i*width+c:]), pointer(x[c*ld+i:])
			transpose16((*byte)(unsafe.Pointer(&t)))
		}
	}
}

// packTransposed is packPanels of the transpose of x, [n k] with the stride ld.
func (s shape) packTransposed(dst, x []float32, k, n, ld int) {
	for j := 0; j < n; j += s.panel() {
		cols := min(s.panel(), n-j)
		width := s.up(cols)
		if s.lanes == lanes {
			transposePanel(dst, x[j*ld:], k, cols, width, ld)
			dst = dst[k*width:]
			continue
		}
		for c := range cols {
			row := x[(j+c)*ld:][:k]
			to := dst[c:]
			for i, v := range row {
				to[i*width] = v
			}
		}
		for c := cols; c < width; c++ {
			for i := range k {
				dst[i*width+c] = 0
			}
		}
		dst = dst[k*width:]
	}
}

// spreadArgs is the argument of spreadRow. The layout is known to _asm.
type spreadArgs struct {
	dst, src, weight, bias unsafe.Pointer
	pixels, taps           int
	c                      uintptr // bytes of a pixel
	count                  int
	mask                   uint64
	tail                   uintptr // bytes of the last vector
}

func spreadAVX512(s SpreadArgs) {
	_, _, _ = s.Dst[s.W*s.Kernel*s.C-1], s.Src[s.W*s.C-1], s.Weight[s.Kernel*s.C-1]
	a := spreadArgs{dst: pointer(s.Dst), src: pointer(s.Src), weight: pointer(s.Weight), bias: pointer(s.Bias[:s.C]), pixels: s.W, taps: s.Kernel, c: uintptr(s.C) * 4}
	a.count, a.mask = vectors(s.C)
	a.tail = uintptr(s.C-(a.count-1)*lanes) * 4
	spreadRow((*byte)(unsafe.Pointer(&a)))
}

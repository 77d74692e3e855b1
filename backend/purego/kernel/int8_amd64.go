//go:build !purego

package kernel

import "unsafe"

// int8Shape is that of the tiles of a set of gemmInt8 kernels.
type int8Shape struct {
	rows, lanes, panel int // panel: columns
	kind               int8Kind
}

type int8Kind uint8

const (
	int8AVX512 int8Kind = iota
	int8AVX2
	int8AVXVNNI
)

var (
	shapeInt8AVX512  = int8Shape{rows, lanes, panel, int8AVX512}
	shapeInt8AVX2    = int8Shape{4, lanesAVX2, 2 * lanesAVX2, int8AVX2}
	shapeInt8AVXVNNI = int8Shape{4, lanesAVX2, 2 * lanesAVX2, int8AVXVNNI}
)

func packInt8AVX512(b, bias []float32, k, n int) *Int8Matrix {
	return shapeInt8AVX512.pack(b, bias, k, n)
}

// pack lays b out in panels, [k/4][panel][4], the last one as wide as its
// vectors.
func (s int8Shape) pack(b, bias []float32, k, n int) *Int8Matrix {
	width := (n + s.lanes - 1) / s.lanes * s.lanes
	steps := (k + 3) / 4
	m := &Int8Matrix{
		K: k, N: n, values: bytesOf(Floats(steps * width)), scale: Floats(width), bias: Floats(width),
		offset: make([]int32, width),
	}
	quantizeMatrix(m, b, bias, func(i int, row []int8) {
		for first := 0; first < n; first += s.panel {
			line := m.values[(first*steps+i/4*min(s.panel, width-first))*4+i%4:]
			for j, v := range row[first:min(first+s.panel, n)] {
				line[4*j] = v
			}
		}
	})
	return m
}

// bytesOf is the same memory as bytes.
func bytesOf(x []float32) []int8 {
	return unsafe.Slice((*int8)(pointer(x)), 4*len(x))
}

// int8Tile is the argument of the gemmInt8 kernels. The layout is known to
// _asm.
type int8Tile struct {
	dst, a, b, bias, residual     unsafe.Pointer
	ldDst, ldA, ldRes             uintptr
	steps, tiles                  int // of four bytes; of rows
	mask                          uint64
	gelu                          unsafe.Pointer
	offset, columnScale, rowScale unsafe.Pointer
	ahead                         uintptr // from a panel to the next
}

func gemmInt8AVX512(g Int8Args) { shapeInt8AVX512.gemm(g) }

// gemm is Table.GemmInt8. Only the AVX-512 kernels apply GELU.
func (s int8Shape) gemm(g Int8Args) {
	k, n := g.B.K, g.B.N
	steps := (k + 3) / 4
	t := int8Tile{ldDst: uintptr(g.LdDst) * 4, ldA: uintptr(g.LdA), ldRes: uintptr(g.LdRes) * 4, steps: steps}
	if g.GELU {
		t.gelu = unsafe.Pointer(&geluVectorTable)
	}
	full, rest := g.M/s.rows, g.M%s.rows
	_, _, _ = g.Dst[(g.M-1)*g.LdDst+n-1], g.A[(g.M-1)*g.LdA+steps*4-1], g.Scales[g.M-1]
	values := g.B.values
	for j := 0; j < n; j += s.panel {
		columns := min(s.panel, n-j)
		count := (columns + s.lanes - 1) / s.lanes
		if t.mask = maskAVX2(columns); s.kind == int8AVX512 {
			_, t.mask = vectors(columns)
		}
		t.ahead = uintptr(steps * count * s.lanes * 4)
		t.b, t.bias, t.columnScale = unsafe.Pointer(unsafe.SliceData(values)), pointer(g.B.bias[j:]), pointer(g.B.scale[j:])
		t.offset = unsafe.Pointer(unsafe.SliceData(g.B.offset[j:]))
		for _, part := range [2]struct{ row, tiles, rows int }{{0, full, s.rows}, {full * s.rows, 1, rest}} {
			if part.tiles*part.rows == 0 {
				continue
			}
			t.tiles = part.tiles
			t.dst, t.a, t.rowScale = pointer(g.Dst[part.row*g.LdDst+j:]), unsafe.Pointer(&g.A[part.row*g.LdA]), pointer(g.Scales[part.row:])
			if g.Residual != nil {
				t.residual = pointer(g.Residual[part.row*g.LdRes+j:])
			}
			t.run(s.kind, part.rows, count)
		}
		values = values[steps*4*count*s.lanes:]
	}
}

// run calls the kernel of a tile's rows and vectors.
func (t *int8Tile) run(kind int8Kind, rows, vectors int) {
	switch kind {
	case int8AVX2:
		t.runAVX2(rows, vectors)
		return
	case int8AVXVNNI:
		t.runAVXVNNI(rows, vectors)
		return
	}
	p := (*byte)(unsafe.Pointer(t))
	switch rows<<2 | vectors {
	case 7<<2 | 3:
		gemmInt8x7x3(p)
	case 7<<2 | 2:
		gemmInt8x7x2(p)
	case 7<<2 | 1:
		gemmInt8x7x1(p)
	case 6<<2 | 3:
		gemmInt8x6x3(p)
	case 6<<2 | 2:
		gemmInt8x6x2(p)
	case 6<<2 | 1:
		gemmInt8x6x1(p)
	case 5<<2 | 3:
		gemmInt8x5x3(p)
	case 5<<2 | 2:
		gemmInt8x5x2(p)
	case 5<<2 | 1:
		gemmInt8x5x1(p)
	case 4<<2 | 3:
		gemmInt8x4x3(p)
	case 4<<2 | 2:
		gemmInt8x4x2(p)
	case 4<<2 | 1:
		gemmInt8x4x1(p)
	case 3<<2 | 3:
		gemmInt8x3x3(p)
	case 3<<2 | 2:
		gemmInt8x3x2(p)
	case 3<<2 | 1:
		gemmInt8x3x1(p)
	case 2<<2 | 3:
		gemmInt8x2x3(p)
	case 2<<2 | 2:
		gemmInt8x2x2(p)
	case 2<<2 | 1:
		gemmInt8x2x1(p)
	case 1<<2 | 3:
		gemmInt8x1x3(p)
	case 1<<2 | 2:
		gemmInt8x1x2(p)
	case 1<<2 | 1:
		gemmInt8x1x1(p)
	}
}

// quantizeRowsArgs is the argument of quantizeRows. The layout is known to _asm.
type quantizeRowsArgs struct {
	dst, src, scales unsafe.Pointer
	ldDst, ldSrc     uintptr
	rows, count      int
	mask             uint64
}

func quantizeAVX512(q QuantizeArgs) {
	line := QuantizedLine(q.K)
	_, _, _ = q.Dst[(q.M-1)*q.LdDst+line-1], q.Src[(q.M-1)*q.LdSrc+q.K-1], q.Scales[q.M-1]
	a := quantizeRowsArgs{dst: unsafe.Pointer(&q.Dst[0]), src: pointer(q.Src), scales: pointer(q.Scales), ldDst: uintptr(q.LdDst), ldSrc: uintptr(q.LdSrc) * 4, rows: q.M}
	a.count, a.mask = vectors(q.K)
	quantizeRows((*byte)(unsafe.Pointer(&a)))
}

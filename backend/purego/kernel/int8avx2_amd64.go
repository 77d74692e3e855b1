//go:build !purego

package kernel

import "unsafe"

func packInt8AVX2(b, bias []float32, k, n int) *Int8Matrix {
	return shapeInt8AVX2.pack(b, bias, k, n)
}

func gemmInt8TilesAVX2(g Int8Args)    { shapeInt8AVX2.gemmThenGELU(g) }
func gemmInt8TilesAVXVNNI(g Int8Args) { shapeInt8AVXVNNI.gemmThenGELU(g) }

// gemmThenGELU applies GELU in a pass of its own.
func (s int8Shape) gemmThenGELU(g Int8Args) {
	n := g.B.N
	thenGELU(g.Dst, g.LdDst, g.Residual, g.LdRes, g.M, n, g.GELU, func(residual []float32) {
		g.GELU, g.Residual = false, residual
		s.gemm(g)
	})
}

func (t *int8Tile) runAVX2(rows, vectors int) {
	p := (*byte)(unsafe.Pointer(t))
	switch rows<<2 | vectors {
	case 4<<2 | 2:
		gemmInt8AVX2x4x2(p)
	case 4<<2 | 1:
		gemmInt8AVX2x4x1(p)
	case 3<<2 | 2:
		gemmInt8AVX2x3x2(p)
	case 3<<2 | 1:
		gemmInt8AVX2x3x1(p)
	case 2<<2 | 2:
		gemmInt8AVX2x2x2(p)
	case 2<<2 | 1:
		gemmInt8AVX2x2x1(p)
	case 1<<2 | 2:
		gemmInt8AVX2x1x2(p)
	case 1<<2 | 1:
		gemmInt8AVX2x1x1(p)
	}
}

func (t *int8Tile) runAVXVNNI(rows, vectors int) {
	p := (*byte)(unsafe.Pointer(t))
	switch rows<<2 | vectors {
	case 4<<2 | 2:
		gemmAVXVNNIx4x2(p)
	case 4<<2 | 1:
		gemmAVXVNNIx4x1(p)
	case 3<<2 | 2:
		gemmAVXVNNIx3x2(p)
	case 3<<2 | 1:
		gemmAVXVNNIx3x1(p)
	case 2<<2 | 2:
		gemmAVXVNNIx2x2(p)
	case 2<<2 | 1:
		gemmAVXVNNIx2x1(p)
	case 1<<2 | 2:
		gemmAVXVNNIx1x2(p)
	case 1<<2 | 1:
		gemmAVXVNNIx1x1(p)
	}
}

// quantizeRow is the argument of highestVectorsAVX2, which sets highest, and of
// bytesVectorsAVX2. The layout is known to _asm.
type quantizeRow struct {
	dst, src         unsafe.Pointer
	highest, inverse float32
	_                uint64
	count            int
	mask             uint64
}

func quantizeAVX2(q QuantizeArgs) {
	_, _, _ = q.Dst[(q.M-1)*q.LdDst+QuantizedLine(q.K)-1], q.Src[(q.M-1)*q.LdSrc+q.K-1], q.Scales[q.M-1]
	r := quantizeRow{count: (q.K + lanesAVX2 - 1) / lanesAVX2, mask: maskAVX2(q.K)}
	for i := range q.M {
		r.dst, r.src = unsafe.Pointer(&q.Dst[i*q.LdDst]), pointer(q.Src[i*q.LdSrc:])
		highestVectorsAVX2((*byte)(unsafe.Pointer(&r)))
		scale := r.highest / 127
		q.Scales[i] = scale
		r.inverse = min(1/scale, 1e38) // as the portable one, where a row is zeros
		bytesVectorsAVX2((*byte)(unsafe.Pointer(&r)))
	}
}

//go:build !purego

package kernel

import "unsafe"

// avx2 is the set for processors with AVX2 and FMA: the products, of bytes too,
// GELU and depthwise convolutions in vectors of 8, the rest portable. avxVNNI is
// the same with AVX-VNNI's dot products of bytes.
var avx2 = Table{
	Name:             "avx2",
	Rows:             4,
	Pack:             packAVX2,
	Gemm:             gemmTilesAVX2,
	PackInt8:         packInt8AVX2,
	Quantize:         quantizeAVX2,
	GemmInt8:         gemmInt8TilesAVX2,
	PackFilter:       packFilterAVX2,
	Depthwise:        depthwiseRowsAVX2,
	Norm:             normGeneric,
	GELU:             geluRowAVX2,
	Attention:        attentionAVX2,
	AttentionScratch: shapeAVX2.attentionScratch,
	Spread:           spreadGeneric,
	Probes: map[string]Probe{
		"fp32": {"avx2 VFMADD213PS", probeAVX2, 12 * 2 * lanesAVX2},
		"int8": {"avx2 VPMADDUBSW, VPMADDWD, VPADDD", probeInt8AVX2, 6 * 2 * 4 * lanesAVX2},
	},
}

var probesAVXVNNI = map[string]Probe{
	"fp32": avx2.Probes["fp32"],
	"int8": {"avxvnni VPDPBUSD", probeAVXVNNI, 12 * 2 * 4 * lanesAVX2},
}

const lanesAVX2 = 8

var shapeAVX2 = shape{4, lanesAVX2, gemmFloat32AVX2}

// masksAVX2 holds at 8-n the mask of the first n lanes.
var masksAVX2 = [16]int32{-1, -1, -1, -1, -1, -1, -1, -1}

// maskAVX2 is the address of the mask of the last vector of n values.
func maskAVX2(n int) uint64 {
	return uint64(uintptr(unsafe.Pointer(&masksAVX2[(n+lanesAVX2-1)/lanesAVX2*lanesAVX2-n])))
}

func packAVX2(b, bias []float32, k, n int) *Matrix { return shapeAVX2.pack(b, bias, k, n) }

// gemmTilesAVX2 applies GELU in a pass of its own.
func gemmTilesAVX2(g GemmArgs) {
	thenGELU(g.Dst, g.LdDst, g.Residual, g.LdRes, g.M, g.B.N, g.GELU, func(residual []float32) {
		g.GELU, g.Residual = false, residual
		shapeAVX2.gemm(g, g.B.values, g.B.bias, g.B.N, g.B.K, g.B.N)
	})
}

// thenGELU calls gemm, which writes m rows of n values to dst and adds the
// residual that it gets, and applies GELU between the two where it is asked for.
func thenGELU(dst []float32, ld int, residual []float32, ldRes, m, n int, activate bool, gemm func(residual []float32)) {
	if !activate {
		gemm(residual)
		return
	}
	var added []float32
	if residual != nil { // no EdgeViT has both
		for i := range m { // a copy, since it may be dst
			added = append(added, residual[i*ldRes:][:n]...)
		}
	}
	gemm(nil)
	for i := range m {
		row := dst[i*ld:][:n]
		geluRowAVX2(row, row)
		for j := range min(n, len(added)) {
			row[j] += added[i*n+j]
		}
	}
}

// runAVX2 calls the kernel of a tile's rows and vectors.
func (t *gemmTile) runAVX2(rows, vectors int) {
	p := (*byte)(unsafe.Pointer(t))
	switch rows<<2 | vectors {
	case 4<<2 | 3:
		gemmAVX2x4x3(p)
	case 4<<2 | 2:
		gemmAVX2x4x2(p)
	case 4<<2 | 1:
		gemmAVX2x4x1(p)
	case 3<<2 | 3:
		gemmAVX2x3x3(p)
	case 3<<2 | 2:
		gemmAVX2x3x2(p)
	case 3<<2 | 1:
		gemmAVX2x3x1(p)
	case 2<<2 | 3:
		gemmAVX2x2x3(p)
	case 2<<2 | 2:
		gemmAVX2x2x2(p)
	case 2<<2 | 1:
		gemmAVX2x2x1(p)
	case 1<<2 | 3:
		gemmAVX2x1x3(p)
	case 1<<2 | 2:
		gemmAVX2x1x2(p)
	case 1<<2 | 1:
		gemmAVX2x1x1(p)
	}
}

func geluRowAVX2(dst, src []float32) {
	dst = dst[:len(src)]
	whole := len(src) / lanesAVX2
	if whole > 0 {
		a := geluArgs{dst: pointer(dst), src: pointer(src), count: whole, table: unsafe.Pointer(&geluVectorTable)}
		geluVectorsAVX2((*byte)(unsafe.Pointer(&a)))
	}
	geluGeneric(dst[whole*lanesAVX2:], src[whole*lanesAVX2:])
}

func attentionAVX2(a AttentionArgs) {
	shapeAVX2.attention(a, func(scores []float32, ld int) {
		for i := range a.M {
			softmaxGeneric(scores[i*ld:][:a.Tokens], a.Scale)
		}
	})
}

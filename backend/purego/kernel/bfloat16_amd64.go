//go:build !purego

package kernel

import (
	"math"
	"unsafe"
)

var avx512BFloat16 = BFloat16Kernels{Pack: packBFloat16, Round: roundAVX512, Gemm: gemmBFloat16}

// packBFloat16 is packAVX512 of pairs: [k/2][48][2].
func packBFloat16(b, bias []float32, k, n int) *BFloat16Matrix {
	steps := (k + 1) / 2
	pairs := make([]float32, steps*n)
	at := func(i, j int) uint32 {
		if i >= k {
			return 0
		}
		return uint32(roundBFloat16(b[i*n+j]))
	}
	for i := range steps {
		for j := range n {
			pairs[i*n+j] = math.Float32frombits(at(2*i, j) | at(2*i+1, j)<<16)
		}
	}
	packed := packAVX512(pairs, bias, steps, n)
	return &BFloat16Matrix{K: k, N: n, values: packed.values, bias: packed.bias}
}

// roundRowsArgs is the argument of roundRows. The layout is known to _asm.
type roundRowsArgs struct {
	dst, src     unsafe.Pointer
	ldDst, ldSrc uintptr
	rows, count  int
	mask         uint64
}

func roundAVX512(r RoundArgs) {
	_, _ = r.Dst[(r.M-1)*r.LdDst+RoundedLine(r.K)-1], r.Src[(r.M-1)*r.LdSrc+r.K-1]
	a := roundRowsArgs{dst: unsafe.Pointer(&r.Dst[0]), src: pointer(r.Src), ldDst: uintptr(r.LdDst) * 2, ldSrc: uintptr(r.LdSrc) * 4, rows: r.M}
	a.count, a.mask = vectors(r.K)
	roundRows((*byte)(unsafe.Pointer(&a)))
}

// gemmBFloat16 is gemm over pairs.
func gemmBFloat16(g BFloat16Args) {
	steps := (g.B.K + 1) / 2
	pairs := unsafe.Slice((*float32)(unsafe.Pointer(&g.A[0])), len(g.A)/2)
	shapeBFloat16.gemm(GemmArgs{
		Dst: g.Dst, LdDst: g.LdDst, A: pairs, LdA: g.LdA / 2, Residual: g.Residual, LdRes: g.LdRes, M: g.M, GELU: g.GELU,
		Part: g.Part, Parts: g.Parts,
	}, g.B.values, g.B.bias, g.B.N, steps, g.B.N)
}

// runBFloat16 is run for pairs of bfloat16.
func (t *gemmTile) runBFloat16(rows, vectors int) {
	p := (*byte)(unsafe.Pointer(t))
	switch rows<<2 | vectors {
	case 7<<2 | 3:
		gemmBFloat16x7x3(p)
	case 7<<2 | 2:
		gemmBFloat16x7x2(p)
	case 7<<2 | 1:
		gemmBFloat16x7x1(p)
	case 6<<2 | 3:
		gemmBFloat16x6x3(p)
	case 6<<2 | 2:
		gemmBFloat16x6x2(p)
	case 6<<2 | 1:
		gemmBFloat16x6x1(p)
	case 5<<2 | 3:
		gemmBFloat16x5x3(p)
	case 5<<2 | 2:
		gemmBFloat16x5x2(p)
	case 5<<2 | 1:
		gemmBFloat16x5x1(p)
	case 4<<2 | 3:
		gemmBFloat16x4x3(p)
	case 4<<2 | 2:
		gemmBFloat16x4x2(p)
	case 4<<2 | 1:
		gemmBFloat16x4x1(p)
	case 3<<2 | 3:
		gemmBFloat16x3x3(p)
	case 3<<2 | 2:
		gemmBFloat16x3x2(p)
	case 3<<2 | 1:
		gemmBFloat16x3x1(p)
	case 2<<2 | 3:
		gemmBFloat16x2x3(p)
	case 2<<2 | 2:
		gemmBFloat16x2x2(p)
	case 2<<2 | 1:
		gemmBFloat16x2x1(p)
	case 1<<2 | 3:
		gemmBFloat16x1x3(p)
	case 1<<2 | 2:
		gemmBFloat16x1x2(p)
	case 1<<2 | 1:
		gemmBFloat16x1x1(p)
	}
}

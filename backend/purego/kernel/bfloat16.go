package kernel

import "math"

// BFloat16Kernels are the kernels for products of bfloat16, the upper half of
// a float32. They are nil where the processor has no instruction for them.
type BFloat16Kernels struct {
	// Pack rounds b, [k n], and arranges it for Gemm.
	Pack func(b, bias []float32, k, n int) *BFloat16Matrix
	// Round turns M rows of K float32 into bfloat16, each row of Dst having
	// room for RoundedLine(K) values.
	Round func(r RoundArgs)
	// Gemm is Table.Gemm of rounded rows, with sums in float32.
	Gemm func(g BFloat16Args)
}

// BFloat16Matrix is a packed matrix [K N] of bfloat16 with a float32 bias.
type BFloat16Matrix struct {
	K, N         int
	values, bias []float32 // values are pairs
}

// Bytes is the size of the packed values.
func (m *BFloat16Matrix) Bytes() int64 { return 4 * int64(len(m.values)+len(m.bias)) }

// RoundArgs are the arguments of BFloat16Kernels.Round.
type RoundArgs struct {
	Dst          []uint16
	Src          []float32
	LdDst, LdSrc int
	M, K         int
}

// RoundedLine is the length of a row of k bfloat16, whole vectors.
func RoundedLine(k int) int { return (k + 15) / 16 * 16 }

// BFloat16Args are the arguments of BFloat16Kernels.Gemm, as those of
// Table.Gemm.
type BFloat16Args struct {
	Dst      []float32
	LdDst    int
	A        []uint16
	LdA      int
	B        *BFloat16Matrix
	Residual []float32
	LdRes    int
	M        int
	GELU     bool

	Part, Parts int
}

// roundBFloat16 is the nearest bfloat16, ties to even.
func roundBFloat16(x float32) uint16 {
	bits := math.Float32bits(x)
	if x != x {
		return 0x7fc0
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

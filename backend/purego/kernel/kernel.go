// Package kernel holds the inner loops of the pure-Go engine behind one table
// of functions. generic.go is the portable set, compiled everywhere: it is the
// specification of every other set.
//
// All matrices are row-major float32; a stride (ld) counts elements from one
// row to the next.
package kernel

// Table is one set of kernels.
type Table struct {
	// Name says which set it is: generic.
	Name string

	// Pack arranges b, [k n] row-major, for Gemm.
	Pack func(b []float32, k, n int) []float32

	// Gemm computes dst = act(a · b + bias) + residual for m rows: a is [m k],
	// b was made by Pack, bias has n values, dst and residual are [m n].
	// residual may be nil or dst itself; act is GELU or nothing.
	Gemm func(g GemmArgs)

	// Depthwise computes one row of output pixels of a depthwise convolution
	// with stride 1.
	Depthwise func(d DepthwiseArgs)

	// Norm scales each of m rows of c values to mean 0 and variance 1 over the
	// row: dst = (src - mean) / sqrt(variance + eps). dst may be src.
	Norm func(dst []float32, ldDst int, src []float32, ldSrc, m, c int, eps float32)

	// GELU computes dst = gelu(src), |error| below 1e-6. dst may be src.
	GELU func(dst, src []float32)

	// Attention computes softmax(q kᵀ scale) v of one head.
	Attention func(a AttentionArgs)
}

// GemmArgs are the arguments of Table.Gemm.
type GemmArgs struct {
	Dst      []float32
	LdDst    int
	A        []float32
	LdA      int
	B        []float32
	Bias     []float32
	Residual []float32
	LdRes    int
	M, K, N  int
	GELU     bool
}

// DepthwiseArgs are the arguments of Table.Depthwise. Dst is one row of W
// pixels of C channels; Rows are the Kernel input rows above, at and below it,
// nil where the padding is; Weight is [Kernel Kernel C], Bias has C values.
type DepthwiseArgs struct {
	Dst    []float32
	Rows   [][]float32
	Weight []float32
	Bias   []float32
	W, C   int
	Kernel int
}

// AttentionArgs are the arguments of Table.Attention. Q holds M queries of D
// values, K and V Tokens keys and values, all with the stride Ld; Dst gets M
// rows with the stride LdDst. Scores is scratch of Tokens values.
type AttentionArgs struct {
	Dst          []float32
	LdDst        int
	Q, K, V      []float32
	Ld           int
	M, Tokens, D int
	Scale        float32
	Scores       []float32
}

// Best returns the fastest set that this processor runs.
func Best() *Table { return &Generic }

// Tables lists every set that this processor runs, the portable one first.
func Tables() []*Table { return []*Table{&Generic} }

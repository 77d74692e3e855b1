// Package kernel holds the inner loops of the pure-Go engine behind one table
// of functions. generic.go is the portable set, compiled everywhere: it is the
// specification of every other set. The AVX-512 set is kernel_amd64.go, the AVX2
// set avx2_amd64.go, over assembly that _asm generates; the NEON set of arm64 is
// kernel_arm64.go over assembly written by hand.
//
// All matrices are row-major float32; a stride (ld) counts elements from one
// row to the next.
package kernel

import (
	"fmt"
	"os"
	"strings"
	"unsafe"
)

// Table is one set of kernels.
type Table struct {
	// Name says which set it is: generic, avx2, avxvnni, avx512, neon.
	Name string
	// Rows is the number of rows that Gemm takes at a time.
	Rows int

	// Pack arranges b, [k n], and a bias of n values for Gemm.
	Pack func(b, bias []float32, k, n int) *Matrix
	// Gemm computes dst = act(a · b + bias) + residual.
	Gemm func(g GemmArgs)

	// PackInt8 is Pack to signed bytes.
	PackInt8 func(b, bias []float32, k, n int) *Int8Matrix
	// Quantize turns rows into unsigned bytes, each with its own scale.
	Quantize func(q QuantizeArgs)
	// GemmInt8 is Gemm of quantized rows.
	GemmInt8 func(g Int8Args)

	// BFloat16 is nil where the processor has no products of bfloat16.
	BFloat16 *BFloat16Kernels

	// PackFilter arranges a depthwise weight, [kernel kernel c], and a bias of
	// c values for Depthwise.
	PackFilter func(weight, bias []float32, kernel, c int) *Filter
	// Depthwise computes one row of pixels of a depthwise convolution with
	// stride 1.
	Depthwise func(d DepthwiseArgs)

	// Norm scales rows to mean 0 and variance 1.
	Norm func(n NormArgs)
	// GELU computes dst = gelu(src), |error| below 5e-7. dst may be src.
	GELU func(dst, src []float32)
	// Attention computes softmax(q kᵀ scale) v of one head.
	Attention func(a AttentionArgs)
	// AttentionScratch is how much scratch Attention needs.
	AttentionScratch func(m, tokens, d int) int
	// Spread computes one row of pixels of a depthwise transposed convolution
	// whose kernel equals its stride.
	Spread func(s SpreadArgs)

	// Probes are what the set's instructions reach at most, by precision: fp32,
	// int8, bf16. One without instructions of its own is absent.
	Probes map[string]Probe
}

// Matrix is a packed matrix [K N] with a bias.
type Matrix struct {
	K, N         int
	values, bias []float32
}

// Bytes is the size of the packed values.
func (m *Matrix) Bytes() int64 { return 4 * int64(len(m.values)+len(m.bias)) }

// GemmArgs are the arguments of Table.Gemm: A is [M K], Dst and Residual are
// [M N]. Residual may be nil or Dst itself.
//
// With Segments, A is an image cut into patches: a row is Segments pieces, each
// a row of the patch, SegmentStep apart, and every GroupRows rows the next row
// of patches begins, GroupStep behind the one before.
type GemmArgs struct {
	Dst      []float32
	LdDst    int
	A        []float32
	LdA      int
	B        *Matrix
	Residual []float32
	LdRes    int
	M        int
	GELU     bool

	// Part of Parts is about where in B to begin, 0 of 0 being its start:
	// threads that share B then do not wait for the same of it at once.
	Part, Parts int

	Segments, SegmentStep int
	GroupRows, GroupStep  int
}

// plain fills in what a matrix without segments leaves out.
func (g *GemmArgs) plain() {
	if g.Segments == 0 {
		g.Segments, g.GroupRows = 1, g.M
	}
}

// Filter is a packed depthwise kernel.
type Filter struct {
	Kernel, C    int
	values, bias []float32
}

// Bytes is the size of the packed values.
func (f *Filter) Bytes() int64 { return 4 * int64(len(f.values)+len(f.bias)) }

// LineSlack is how many values must be readable behind a line.
const LineSlack = 16

// DepthwiseArgs are the arguments of Table.Depthwise. Dst is one row of W
// pixels of C channels; Lines are the Kernel input rows at, above and below it,
// each with Kernel/2 pixels of padding on both sides and LineSlack behind.
type DepthwiseArgs struct {
	Dst    []float32
	Lines  [][]float32
	Filter *Filter
	W      int
}

// NormArgs are the arguments of Table.Norm: M rows of C values, Dst = (Src -
// mean) / sqrt(variance + Eps) * Scale + Shift. Scale and Shift have C values
// or are nil. Dst may be Src.
type NormArgs struct {
	Dst, Src     []float32
	LdDst, LdSrc int
	M, C         int
	Eps          float32
	Scale, Shift []float32
}

// AttentionArgs are the arguments of Table.Attention. Q holds M queries of D
// values, K and V Tokens keys and values, all with the stride Ld; Dst gets M
// rows with the stride LdDst. Scratch has AttentionScratch values.
type AttentionArgs struct {
	Dst          []float32
	LdDst        int
	Q, K, V      []float32
	Ld           int
	M, Tokens, D int
	Scale        float32
	Scratch      []float32
}

// SpreadArgs are the arguments of Table.Spread: Src is a row of W pixels of C
// channels; pixel x fills the pixels Kernel x … of Dst, each with its own
// weights, Weight being [Kernel C], plus Bias.
type SpreadArgs struct {
	Dst, Src, Weight, Bias []float32
	W, C, Kernel           int
}

// Variable is the environment variable that forces a set of kernels by name.
const Variable = "EDGEVIT_KERNELS"

// Best returns the fastest set that this processor runs, or the one that
// EDGEVIT_KERNELS names.
func Best() (*Table, error) {
	tables := Tables()
	name := os.Getenv(Variable)
	if name == "" {
		return tables[len(tables)-1], nil
	}
	var names []string
	for _, t := range tables {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return nil, fmt.Errorf("%s is %q; this processor runs %s", Variable, name, strings.Join(names, ", "))
}

// Floats returns n zeros that begin on a cache line.
func Floats(n int) []float32 {
	const line = 64
	x := make([]float32, n+line/4)
	skip := 0
	if over := uintptr(unsafe.Pointer(unsafe.SliceData(x))) % line; over != 0 {
		skip = int(line-over) / 4
	}
	return x[skip : skip+n : skip+n]
}

package kernel

import "math"

// Int8Matrix is a packed matrix [K N] of signed bytes, each column times its
// own scale, with a float32 bias.
type Int8Matrix struct {
	K, N   int
	values []int8
	scale  []float32 // of each column
	offset []int32   // -128 times the sum of each column
	bias   []float32
}

// Bytes is the size of the packed values.
func (m *Int8Matrix) Bytes() int64 {
	return int64(len(m.values) + 4*(len(m.scale)+len(m.offset)+len(m.bias)))
}

// QuantizeArgs are the arguments of Table.Quantize: M rows of K float32 become
// bytes round(x / scale) + 128, the row's scale being its largest |x| over 127.
// The scale of a row that is not finite is not finite either. A row of Dst has
// room for QuantizedLine(K) bytes.
type QuantizeArgs struct {
	Dst          []uint8
	Scales       []float32
	Src          []float32
	LdDst, LdSrc int
	M, K         int
}

// QuantizedLine is the length of a row of K bytes, whole vectors.
func QuantizedLine(k int) int { return (k + 15) / 16 * 16 }

// Int8Args are the arguments of Table.GemmInt8, as those of Table.Gemm: dst =
// act(scale · (a · b) + bias) + residual, A being quantized rows.
type Int8Args struct {
	Dst      []float32
	LdDst    int
	A        []uint8
	LdA      int
	Scales   []float32
	B        *Int8Matrix
	Residual []float32
	LdRes    int
	M        int
	GELU     bool
}

// quantizeMatrix quantizes b, [k n], by column, whose scale is its largest |x|
// over 127; put stores a row.
func quantizeMatrix(m *Int8Matrix, b, bias []float32, put func(i int, row []int8)) {
	highest := make([]float32, m.N)
	for i := range m.K {
		for j, v := range b[i*m.N:][:m.N] {
			highest[j] = max(highest[j], v, -v)
		}
	}
	inverse := make([]float64, m.N)
	for j, h := range highest {
		m.scale[j] = float32(float64(h) / 127)
		if h != 0 {
			inverse[j] = 127 / float64(h)
		}
	}
	row := make([]int8, m.N)
	for i := range m.K {
		for j, v := range b[i*m.N:][:m.N] {
			row[j] = int8(math.RoundToEven(float64(v) * inverse[j]))
			m.offset[j] -= 128 * int32(row[j])
		}
		put(i, row)
	}
	copy(m.bias, bias)
}

func packInt8Generic(b, bias []float32, k, n int) *Int8Matrix {
	m := &Int8Matrix{K: k, N: n, values: make([]int8, k*n), scale: make([]float32, n), offset: make([]int32, n), bias: make([]float32, n)}
	quantizeMatrix(m, b, bias, func(i int, row []int8) {
		for j, v := range row {
			m.values[j*k+i] = v
		}
	})
	return m
}

func quantizeGeneric(q QuantizeArgs) {
	for i := range q.M {
		src, dst := q.Src[i*q.LdSrc:][:q.K], q.Dst[i*q.LdDst:][:q.K]
		highest, sum := float32(0), float32(0)
		for _, v := range src {
			highest = max(highest, v, -v)
			sum += v - v // not a number if v is not finite
		}
		scale := highest / 127
		q.Scales[i] = scale + sum
		inverse := min(1/scale, 1e38)
		for j, v := range src {
			x := math.RoundToEven(float64(v * inverse))
			dst[j] = uint8(128 + min(max(x, -127), 127))
		}
	}
}

func gemmInt8Generic(g Int8Args) {
	k := g.B.K
	for j := range g.B.N {
		column := g.B.values[j*k:][:k]
		for i := range g.M {
			sum := g.B.offset[j]
			for e, v := range g.A[i*g.LdA:][:k] {
				sum += int32(v) * int32(column[e])
			}
			v := float32(sum)*g.B.scale[j]*g.Scales[i] + g.B.bias[j]
			if g.GELU {
				v = gelu(v)
			}
			if g.Residual != nil {
				v += g.Residual[i*g.LdRes+j]
			}
			g.Dst[i*g.LdDst+j] = v
		}
	}
}

package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A tile of gemmAVX2 is at most 4 rows by 3 vectors of 8 columns: 12 sums, 3
// vectors of b and one broadcast are the 16 registers there are.
const (
	maxRowsAVX2    = 4
	maxVectorsAVX2 = 3
)

// gemmAVX2 is gemm for processors with AVX2 and FMA, without GELU in it: there
// are no registers left for its table. The mask is a vector in memory.
func gemmAVX2(rows, vectors int) {
	TEXT(fmt.Sprintf("gemmAVX2x%dx%d", rows, vectors), NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, a, residual := field(args, 0), field(args, 8), field(args, 32)
	ldDst, ldA, ldRes := field(args, 40), field(args, 48), field(args, 56)
	tiles := field(args, 72)
	a3 := GP64()
	LEAQ(Mem{Base: a, Index: ldA, Scale: 2}, a3)
	ADDQ(ldA, a3)
	bases := []GPVirtual{a, a3}[:(rows+2)/3]
	row := func(r, disp int) Mem {
		m := Mem{Base: bases[r/3], Disp: disp}
		if r%3 > 0 {
			m.Index, m.Scale = ldA, uint8(r%3)
		}
		return m
	}

	sums := make([][]VecVirtual, rows)
	Label("tile")
	bias := field(args, 24)
	for r := range rows {
		sums[r] = make([]VecVirtual, vectors)
		for v := range vectors {
			sums[r][v] = YMM()
			VMOVUPS(Mem{Base: bias, Disp: 32 * v}, sums[r][v])
		}
	}
	b, k, segments := field(args, 16), field(args, 64), field(args, 96)
	bs := make([]VecVirtual, vectors)
	for v := range bs {
		bs[v] = YMM()
	}
	x := YMM()
	step := func(i int) {
		for v := range vectors {
			VMOVUPS(Mem{Base: b, Disp: 32 * (i*vectors + v)}, bs[v])
		}
		for r := range rows {
			VBROADCASTSS(row(r, 4*i), x)
			for v := range vectors {
				VFMADD231PS(bs[v], x, sums[r][v])
			}
		}
	}
	advance := func(n int) {
		ADDQ(U32(uint32(32*vectors*n)), b)
		for _, p := range bases {
			ADDQ(Imm(uint64(4*n)), p)
		}
	}
	overSegments(args, k, segments, bases, step, advance)

	Label("epilogue")
	// What is left of the registers holds the mask and what is added.
	storeAVX2(args, sums, dst, ldDst, residual, ldRes, bs[0], x)
	down := GP64()
	IMUL3Q(U32(uint32(rows)), ldA, down)
	SUBQ(Mem{Base: args, Disp: 112}, down)
	for _, p := range bases {
		ADDQ(down, p)
	}
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// geluAVX2 applies GELU to count whole vectors.
func geluAVX2() {
	TEXT("geluVectorsAVX2", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, src, count, table := field(args, 0), field(args, 8), field(args, 16), field(args, 32)
	constantAt := func(i int) VecVirtual {
		y := YMM()
		VBROADCASTSS(Mem{Base: table, Disp: 64*5 + 4*i}, y)
		return y
	}
	abs, limit, scale := constantAt(0), constantAt(1), constantAt(2)
	x, u, i, n, p, low, high := YMM(), YMM(), YMM(), YMM(), YMM(), YMM(), YMM()
	// The coefficients of a power fill two vectors: the interval's number
	// chooses within both, and its bit of 8, moved to the sign, between them.
	choose := func(power int, to VecVirtual) {
		VPERMPS(Mem{Base: table, Disp: 64 * power}, i, low)
		VPERMPS(Mem{Base: table, Disp: 64*power + 32}, i, high)
		VBLENDVPS(n, high, low, to)
	}
	Label("loop")
	VMOVUPS(Mem{Base: src}, x)
	VANDPS(abs, x, u)
	VMINPS(limit, u, u)
	VMULPS(scale, u, u)
	VCVTTPS2DQ(u, i)
	VCVTDQ2PS(i, n)
	VSUBPS(n, u, u)
	VPSLLD(Imm(28), i, n)
	choose(4, p)
	t := YMM()
	for power := 3; power >= 0; power-- {
		choose(power, t)
		VFMADD213PS(t, u, p)
	}
	VXORPS(t, t, t)
	VMAXPS(x, t, x)
	VADDPS(p, x, x)
	VMOVUPS(x, Mem{Base: dst})
	ADDQ(Imm(32), src)
	ADDQ(Imm(32), dst)
	DECQ(count)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

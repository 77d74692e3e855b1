package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// gemmInt8 computes tiles of `rows` rows by `vectors` vectors of a product of
// bytes: a unsigned, b signed, four of each to a step. The layout of its
// argument is int8Tile in int8_amd64.go.
func gemmInt8(rows, vectors int) {
	TEXT(fmt.Sprintf("gemmInt8x%dx%d", rows, vectors), NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, a, residual := field(args, 0), field(args, 8), field(args, 32)
	ldDst, ldA, ldRes := field(args, 40), field(args, 48), field(args, 56)
	tiles, rowScale := field(args, 72), field(args, 112)
	last := mask(args, 80)

	a3, a6 := GP64(), GP64()
	LEAQ(Mem{Base: a, Index: ldA, Scale: 2}, a3)
	ADDQ(ldA, a3)
	LEAQ(Mem{Base: a3, Index: ldA, Scale: 2}, a6)
	ADDQ(ldA, a6)
	row := func(r, disp int) Mem {
		m := Mem{Base: []GPVirtual{a, a3, a6}[r/3], Disp: disp}
		if r%3 > 0 {
			m.Index, m.Scale = ldA, uint8(r%3)
		}
		return m
	}

	ahead := field(args, 120)
	sums := make([][]VecVirtual, rows)
	Label("tile")
	offset := field(args, 96)
	for r := range rows {
		sums[r] = make([]VecVirtual, vectors)
		for v := range vectors {
			sums[r][v] = ZMM()
			if r == 0 {
				VMOVDQU32(Mem{Base: offset, Disp: 64 * v}, sums[r][v])
			} else {
				VMOVDQA32(sums[0][v], sums[r][v])
			}
		}
	}
	b, k := field(args, 16), field(args, 64)
	bs := make([]VecVirtual, vectors)
	for v := range bs {
		bs[v] = ZMM()
	}
	x := ZMM()
	step := func(i int) {
		for v := range vectors {
			VMOVDQU32(Mem{Base: b, Disp: 64 * (i*vectors + v)}, bs[v])
		}
		PREFETCHT1(Mem{Base: b, Index: ahead, Scale: 1, Disp: 64 * i * vectors})
		for r := range rows {
			VPBROADCASTD(row(r, 4*i), x)
			for v := range vectors {
				VPDPBUSD(bs[v], x, sums[r][v])
			}
		}
	}
	advance := func(n int) {
		ADDQ(U32(64*vectors*n), b)
		for _, p := range []GPVirtual{a, a3, a6}[:(rows+2)/3] {
			ADDQ(Imm(uint64(4*n)), p)
		}
	}
	unrolled(k, "scale", step, advance)

	// To float32: times the column's scale and the row's, plus the bias.
	Label("scale")
	columnScale, bias := field(args, 104), field(args, 24)
	c, t := bs[0], ZMM()
	for v := range vectors {
		VMOVUPS(Mem{Base: columnScale, Disp: 64 * v}, c)
		VMOVUPS(Mem{Base: bias, Disp: 64 * v}, x)
		for r := range rows {
			VCVTDQ2PS(sums[r][v], sums[r][v])
			VMULPS_BCST(Mem{Base: rowScale, Disp: 4 * r}, c, t)
			VFMADD213PS(x, t, sums[r][v])
		}
	}
	ADDQ(Imm(uint64(4*rows)), rowScale)

	table := field(args, 88)
	TESTQ(table, table)
	JZ(LabelRef("nogelu"))
	g := newGELU(table)
	for r := range rows {
		for v := range vectors {
			g.apply(sums[r][v])
		}
	}
	Label("nogelu")
	for r := range rows {
		TESTQ(residual, residual)
		JZ(LabelRef(fmt.Sprintf("store%d", r)))
		for v := range vectors {
			m := Mem{Base: residual, Disp: 64 * v}
			if v == vectors-1 {
				VADDPS(m, sums[r][v], last, sums[r][v])
			} else {
				VADDPS(m, sums[r][v], sums[r][v])
			}
		}
		ADDQ(ldRes, residual)
		Label(fmt.Sprintf("store%d", r))
		for v := range vectors {
			m := Mem{Base: dst, Disp: 64 * v}
			if v == vectors-1 {
				VMOVUPS(sums[r][v], last, m)
			} else {
				VMOVUPS(sums[r][v], m)
			}
		}
		ADDQ(ldDst, dst)
	}

	// Back to the start of the rows, and down by `rows` of them.
	size, down := field(args, 64), GP64()
	SHLQ(Imm(2), size)
	IMUL3Q(U32(uint32(rows)), ldA, down)
	SUBQ(size, down)
	ADDQ(Imm(64), ahead)
	for _, p := range []GPVirtual{a, a3, a6}[:(rows+2)/3] {
		ADDQ(down, p)
	}
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// quantize turns rows of float32 into bytes: round(x / scale) + 128, the scale
// being the row's largest |x| over 127. Of a row that is not finite the scale
// is not either, and so is whatever is computed from it.
func quantize() {
	TEXT("quantizeRows", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, src, scales := field(args, 0), field(args, 8), field(args, 16)
	ldDst, ldSrc, rows := field(args, 24), field(args, 32), field(args, 40)
	last := mask(args, 56)
	abs, limit, middle, one := constant(0x7fffffff), constantF(1.0/127), constant(128), constantF(1)
	x, highest, t, inverse := ZMM(), ZMM(), ZMM(), ZMM()
	s, d, count := GP64(), GP64(), GP64()
	walk := func(name string, body func(masked bool), also func()) {
		MOVQ(src, s)
		MOVQ(dst, d)
		MOVQ(Mem{Base: args, Disp: 48}, count)
		DECQ(count)
		JZ(LabelRef(name + "last"))
		Label(name)
		body(false)
		ADDQ(Imm(64), s)
		also()
		DECQ(count)
		JNZ(LabelRef(name))
		Label(name + "last")
		body(true)
	}
	load := func(masked bool) {
		if masked {
			VMOVUPS_Z(Mem{Base: s}, last, x)
		} else {
			VMOVUPS(Mem{Base: s}, x)
		}
	}
	Label("row")
	VPXORD(highest, highest, highest)
	// As integers: the largest bits of |x| are those of the largest |x|, an
	// infinity, or a NaN.
	walk("highest", func(masked bool) {
		load(masked)
		VPANDD(abs, x, x)
		VPMAXUD(x, highest, highest)
	}, func() {})
	VSHUFF64X2(Imm(0x4e), highest, highest, t)
	VPMAXUD(t, highest, highest)
	VSHUFF64X2(Imm(0xb1), highest, highest, t)
	VPMAXUD(t, highest, highest)
	VPERMILPS(Imm(0x4e), highest, t)
	VPMAXUD(t, highest, highest)
	VPERMILPS(Imm(0xb1), highest, t)
	VPMAXUD(t, highest, highest)
	VMULPS(limit, highest, highest)
	VMOVSS(highest.AsX(), Mem{Base: scales})
	// Of zeros the inverse is infinite, and 0 times it no number; the minimum
	// with a large number gives that number.
	VDIVPS(highest, one, inverse)
	huge := constantF(1e38)
	VMINPS(huge, inverse, inverse)
	walk("bytes", func(masked bool) {
		load(masked)
		VMULPS(inverse, x, x)
		VCVTPS2DQ(x, x)
		VPADDD(middle, x, x)
		// Whole vectors are written; the rows have room for them.
		VPMOVUSDB(x, Mem{Base: d})
	}, func() { ADDQ(Imm(16), d) })
	ADDQ(Imm(4), scales)
	ADDQ(ldSrc, src)
	ADDQ(ldDst, dst)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

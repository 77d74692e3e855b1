package main

import (
	"fmt"
	"regexp"
	"strconv"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// A tile of gemmInt8AVX2 is at most 4 rows by 2 vectors of 8 columns: 8 sums, 2
// vectors of b and 5 registers for a.
const maxVectorsInt8AVX2 = 2

const avxVNNIPrefix = "gemmAVXVNNIx"

// gemmInt8AVX2 is gemmInt8 for processors with AVX2. VPMADDUBSW adds the
// products of two pairs of bytes in 16 bits, which a byte up to 255 and a weight
// could exceed. So a is taken as what it stands for, x from -128 to 127, and |x|
// is multiplied with b times the sign of x: 2 · 128 · 127 is less than 2^15.
// With vnni VPDPBUSD does it all, in 32 bits; see patch.
func gemmInt8AVX2(rows, vectors int, vnni bool) {
	name := "gemmInt8AVX2x"
	if vnni {
		name = avxVNNIPrefix
	}
	TEXT(fmt.Sprintf("%s%dx%d", name, rows, vectors), NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, a, residual := field(args, 0), field(args, 8), field(args, 32)
	ldDst, ldA, ldRes := field(args, 40), field(args, 48), field(args, 56)
	tiles, rowScale := field(args, 72), field(args, 112)
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
	every := func(bits uint32) VecVirtual {
		r, x, y := GP32(), XMM(), YMM()
		MOVL(U32(bits), r)
		VMOVD(r, x)
		VPBROADCASTD(x, y)
		return y
	}

	sums := make([][]VecVirtual, rows)
	Label("tile")
	var signs, ones VecVirtual
	if !vnni {
		signs, ones = every(0x80808080), every(0x00010001)
	}
	offset := field(args, 96)
	for r := range rows {
		sums[r] = make([]VecVirtual, vectors)
		for v := range vectors {
			sums[r][v] = YMM()
			if vnni {
				VMOVDQU(Mem{Base: offset, Disp: 32 * v}, sums[r][v])
			} else {
				VPXOR(sums[r][v], sums[r][v], sums[r][v])
			}
		}
	}
	b, k := field(args, 16), field(args, 64)
	bs := make([]VecVirtual, vectors)
	for v := range bs {
		bs[v] = YMM()
	}
	x, magnitude, t := YMM(), YMM(), YMM()
	step := func(i int) {
		for v := range vectors {
			VMOVDQU(Mem{Base: b, Disp: 32 * (i*vectors + v)}, bs[v])
		}
		for r := range rows {
			VPBROADCASTD(row(r, 4*i), x)
			if vnni {
				for v := range vectors {
					VPDPBUSD(bs[v], x, sums[r][v])
				}
				continue
			}
			VPXOR(signs, x, x)
			VPABSB(x, magnitude)
			for v := range vectors {
				VPSIGNB(x, bs[v], t)
				VPMADDUBSW(t, magnitude, t)
				VPMADDWD(ones, t, t)
				VPADDD(t, sums[r][v], sums[r][v])
			}
		}
	}
	advance := func(n int) {
		ADDQ(U32(uint32(32*vectors*n)), b)
		for _, p := range bases {
			ADDQ(Imm(uint64(4*n)), p)
		}
	}
	unrolled(k, "scale", step, advance)

	// To float32, in the order of the portable kernel: times the column's scale,
	// times the row's, plus the bias.
	Label("scale")
	columnScale, bias := field(args, 104), field(args, 24)
	for r := range rows {
		VBROADCASTSS(Mem{Base: rowScale, Disp: 4 * r}, x)
		for v := range vectors {
			VCVTDQ2PS(sums[r][v], sums[r][v])
			VMULPS(Mem{Base: columnScale, Disp: 32 * v}, sums[r][v], sums[r][v])
			VMULPS(x, sums[r][v], sums[r][v])
			VADDPS(Mem{Base: bias, Disp: 32 * v}, sums[r][v], sums[r][v])
		}
	}
	ADDQ(Imm(uint64(4*rows)), rowScale)
	storeAVX2(args, sums, dst, ldDst, residual, ldRes, bs[0], x)

	// Back to the start of the rows, and down by `rows` of them.
	size, down := field(args, 64), GP64()
	SHLQ(Imm(2), size)
	IMUL3Q(U32(uint32(rows)), ldA, down)
	SUBQ(size, down)
	for _, p := range bases {
		ADDQ(down, p)
	}
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// storeAVX2 adds the residual, if there is one, to a tile's sums and stores
// them; last gets the mask of the last vector, which the field at 80 points to.
func storeAVX2(args Register, sums [][]VecVirtual, dst, ldDst, residual, ldRes Register, last, more VecVirtual) {
	vectors := len(sums[0])
	VMOVUPS(Mem{Base: field(args, 80)}, last)
	for r := range sums {
		TESTQ(residual, residual)
		JZ(LabelRef(fmt.Sprintf("store%d", r)))
		for v := range vectors {
			m := Mem{Base: residual, Disp: 32 * v}
			if v == vectors-1 {
				VMASKMOVPS(m, last, more)
			} else {
				VMOVUPS(m, more)
			}
			VADDPS(more, sums[r][v], sums[r][v])
		}
		ADDQ(ldRes, residual)
		Label(fmt.Sprintf("store%d", r))
		for v := range vectors {
			m := Mem{Base: dst, Disp: 32 * v}
			if v == vectors-1 {
				VMASKMOVPS(sums[r][v], last, m)
			} else {
				VMOVUPS(sums[r][v], m)
			}
		}
		ADDQ(ldDst, dst)
	}
}

// highestAVX2 finds the largest |x| of a row of count vectors, the last one
// masked, as an integer: of the bits, so that an infinity or a NaN is largest.
func highestAVX2() {
	TEXT("highestVectorsAVX2", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	src, count := field(args, 8), field(args, 32)
	abs, x, highest, last := YMM(), YMM(), YMM(), YMM()
	VPCMPEQD(abs, abs, abs)
	VPSRLD(Imm(1), abs, abs)
	VPXOR(highest, highest, highest)
	VMOVUPS(Mem{Base: field(args, 40)}, last)
	over := func() {
		VPAND(abs, x, x)
		VPMAXUD(x, highest, highest)
	}
	DECQ(count)
	JZ(LabelRef("last"))
	Label("loop")
	VMOVUPS(Mem{Base: src}, x)
	over()
	ADDQ(Imm(32), src)
	DECQ(count)
	JNZ(LabelRef("loop"))
	Label("last")
	VMASKMOVPS(Mem{Base: src}, last, x)
	over()
	VEXTRACTI128(Imm(1), highest, x.AsX())
	VPMAXUD(x.AsX(), highest.AsX(), highest.AsX())
	VPSHUFD(Imm(0x4e), highest.AsX(), x.AsX())
	VPMAXUD(x.AsX(), highest.AsX(), highest.AsX())
	VPSHUFD(Imm(0xb1), highest.AsX(), x.AsX())
	VPMAXUD(x.AsX(), highest.AsX(), highest.AsX())
	VMOVD(highest.AsX(), Mem{Base: args, Disp: 16})
	VZEROUPPER()
	RET()
}

// bytesAVX2 writes round(x · inverse) + 128 of the same row.
func bytesAVX2() {
	TEXT("bytesVectorsAVX2", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, src, count := field(args, 0), field(args, 8), field(args, 32)
	inverse, x, last, middle := YMM(), YMM(), YMM(), YMM()
	VBROADCASTSS(Mem{Base: args, Disp: 20}, inverse)
	VMOVUPS(Mem{Base: field(args, 40)}, last)
	r, low, high := GP32(), XMM(), XMM()
	MOVL(U32(128), r)
	VMOVD(r, middle.AsX())
	VPBROADCASTD(middle.AsX(), middle)
	vector := func() {
		VMULPS(inverse, x, x)
		VCVTPS2DQ(x, x)
		VPADDD(middle, x, x)
		VEXTRACTI128(Imm(1), x, high)
		VMOVDQA(x.AsX(), low)
		VPACKUSDW(high, low, low)
		VPACKUSWB(low, low, low)
		// Whole vectors are written; the rows have room for them.
		VMOVQ(low, Mem{Base: dst})
	}
	DECQ(count)
	JZ(LabelRef("last"))
	Label("loop")
	VMOVUPS(Mem{Base: src}, x)
	vector()
	ADDQ(Imm(32), src)
	ADDQ(Imm(8), dst)
	DECQ(count)
	JNZ(LabelRef("loop"))
	Label("last")
	VMASKMOVPS(Mem{Base: src}, last, x)
	vector()
	VZEROUPPER()
	RET()
}

var vnniLine = regexp.MustCompile(`^\tVPDPBUSD\s+Y(\d+), Y(\d+), Y(\d+)$`)

// encodeAVXVNNI is VEX.256.66.0F38.W0 50 /r, VPDPBUSD of AVX-VNNI (Intel's
// manual, volume 2): Go's assembler has the one of AVX-512 only.
func encodeAVXVNNI(src2, src1, dst int) string {
	inverted := func(register, bit, at int) int { return (^register >> bit & 1) << at }
	return byteText(0xc4, inverted(dst, 3, 7)|1<<6|inverted(src2, 3, 5)|2, (^src1&15)<<3|1<<2|1, 0x50, 3<<6|(dst&7)<<3|src2&7)
}

func registers(match []string) (r [3]int) {
	for i := range r {
		r[i], _ = strconv.Atoi(match[i+1])
	}
	return r
}

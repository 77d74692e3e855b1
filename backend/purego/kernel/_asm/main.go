// Command _asm writes the AVX-512 and AVX2 kernels: go generate in the folder
// above.
package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("!purego")
	for rows := 1; rows <= maxRows; rows++ {
		for vectors := 1; vectors <= maxVectors; vectors++ {
			gemm(rows, vectors, false)
			gemm(rows, vectors, true)
			gemmInt8(rows, vectors)
		}
	}
	for rows := 1; rows <= maxRowsAVX2; rows++ {
		for vectors := 1; vectors <= maxVectorsAVX2; vectors++ {
			gemmAVX2(rows, vectors)
		}
		for vectors := 1; vectors <= maxVectorsInt8AVX2; vectors++ {
			gemmInt8AVX2(rows, vectors, false)
			gemmInt8AVX2(rows, vectors, true)
		}
	}
	highestAVX2()
	bytesAVX2()
	geluAVX2()
	for _, kernel := range []int{3, 5} {
		for _, pixels := range []int{1, 7} {
			depthwise("depthwiseAVX2", kernel, pixels, 32, YMM)
			depthwise("depthwiseAVX512", kernel, pixels, 64, ZMM)
		}
	}
	norm()
	softmax()
	transpose()
	gelu()
	spread()
	quantize()
	round()
	probes()
	Generate()
	patch()
}

// A tile of gemm is at most 7 rows by 3 vectors of 16 columns: 21 sums, 3
// vectors of b and one broadcast fit the 32 registers, and 7 divides the length
// of every row of an EdgeViT's feature maps at 224 pixels.
const (
	maxRows    = 7
	maxVectors = 3
)

// field loads a field of the struct that the first argument points to.
func field(args Register, offset int) GPVirtual {
	r := GP64()
	MOVQ(Mem{Base: args, Disp: offset}, r)
	return r
}

// unrolled does step k times, four at once where there are as many, and goes on
// behind the label end, which the caller sets. step gets the number of steps
// since advance.
func unrolled(k Register, end string, step, advance func(int)) {
	const unroll = 4
	SUBQ(Imm(unroll), k)
	JL(LabelRef("rest"))
	Label("loop")
	for i := range unroll {
		step(i)
	}
	advance(unroll)
	SUBQ(Imm(unroll), k)
	JGE(LabelRef("loop"))
	Label("rest")
	ADDQ(Imm(unroll), k)
	JZ(LabelRef(end))
	Label("restloop")
	step(0)
	advance(1)
	DECQ(k)
	JNZ(LabelRef("restloop"))
}

// overSegments does step for every k of each segment of the reduction: a tap of
// a convolution whose rows lie apart. It goes on at the label epilogue.
func overSegments(args, k, segments Register, bases []GPVirtual, step, advance func(int)) {
	Label("segment")
	unrolled(k, "end", step, advance)
	Label("end")
	DECQ(segments)
	JZ(LabelRef("epilogue"))
	across := field(args, 104)
	for _, p := range bases {
		ADDQ(across, p)
	}
	MOVQ(Mem{Base: args, Disp: 64}, k)
	JMP(LabelRef("segment"))
}

// mask loads the low 16 bits of a field as a mask register.
func mask(args Register, offset int) OpmaskVirtual {
	r, k := field(args, offset), K()
	KMOVW(r.As32(), k)
	return k
}

func constant(bits uint32) VecVirtual {
	r, z := GP32(), ZMM()
	MOVL(U32(bits), r)
	VPBROADCASTD(r, z)
	return z
}

func constantF(v float32) VecVirtual { return constant(math.Float32bits(v)) }

// gemm computes tiles of `rows` rows by `vectors` vectors, one below the other.
// The layout of its argument is gemmTile in kernel_amd64.go. One of bfloat16
// has pairs of them where the one of float32 has values.
func gemm(rows, vectors int, bfloat16 bool) {
	name := "gemm"
	if bfloat16 {
		name = bfloat16Prefix
	}
	TEXT(fmt.Sprintf("%s%dx%d", name, rows, vectors), NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, a, residual := field(args, 0), field(args, 8), field(args, 32)
	ldDst, ldA, ldRes := field(args, 40), field(args, 48), field(args, 56)
	tiles := field(args, 72)
	last := mask(args, 80)

	// Rows 0..2 are addressed from a, 3..5 from a3, 6 from a6.
	a3, a6 := GP64(), GP64()
	LEAQ(Mem{Base: a, Index: ldA, Scale: 2}, a3)
	ADDQ(ldA, a3)
	LEAQ(Mem{Base: a3, Index: ldA, Scale: 2}, a6)
	ADDQ(ldA, a6)
	row := func(r, disp int) Mem {
		switch base := []GPVirtual{a, a3, a6}[r/3]; r % 3 {
		case 0:
			return Mem{Base: base, Disp: disp}
		default:
			return Mem{Base: base, Index: ldA, Scale: uint8(r % 3), Disp: disp}
		}
	}

	// The next panel's lines are fetched while this one is used: of each step's
	// vectors one in this tile, one in the next.
	ahead := field(args, 120)
	sums := make([][]VecVirtual, rows)
	Label("tile")
	bias := field(args, 24)
	for r := range rows {
		sums[r] = make([]VecVirtual, vectors)
		for v := range vectors {
			sums[r][v] = ZMM()
			if r == 0 {
				VMOVUPS(Mem{Base: bias, Disp: 64 * v}, sums[r][v])
			} else {
				VMOVAPS(sums[0][v], sums[r][v])
			}
		}
	}

	b, k, segments := field(args, 16), field(args, 64), field(args, 96)
	bs := make([]VecVirtual, vectors)
	for v := range bs {
		bs[v] = ZMM()
	}
	x := ZMM()
	step := func(i int) {
		for v := range vectors {
			VMOVUPS(Mem{Base: b, Disp: 64 * (i*vectors + v)}, bs[v])
		}
		PREFETCHT1(Mem{Base: b, Index: ahead, Scale: 1, Disp: 64 * i * vectors})
		for r := range rows {
			VBROADCASTSS(row(r, 4*i), x)
			for v := range vectors {
				if bfloat16 {
					VPDPBUSD(bs[v], x, sums[r][v]) // see patch
				} else {
					VFMADD231PS(bs[v], x, sums[r][v])
				}
			}
		}
	}
	advance := func(n int) {
		ADDQ(U32(64*vectors*n), b)
		for _, p := range []GPVirtual{a, a3, a6}[:(rows+2)/3] {
			ADDQ(Imm(uint64(4*n)), p)
		}
	}
	overSegments(args, k, segments, []GPVirtual{a, a3, a6}[:(rows+2)/3], step, advance)

	Label("epilogue")
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

	// dst and residual walk down the rows.
	full := GP64()
	KMOVW(last, full.As32())
	CMPL(full.As32(), U32(0xffff))
	JNE(LabelRef("partial"))
	store := func(suffix string, masked bool) {
		TESTQ(residual, residual)
		JZ(LabelRef("store" + suffix))
		for r := range rows {
			for v := range vectors {
				m := Mem{Base: residual, Disp: 64 * v}
				if masked && v == vectors-1 {
					VADDPS(m, sums[r][v], last, sums[r][v])
				} else {
					VADDPS(m, sums[r][v], sums[r][v])
				}
			}
			ADDQ(ldRes, residual)
		}
		Label("store" + suffix)
		for r := range rows {
			for v := range vectors {
				m := Mem{Base: dst, Disp: 64 * v}
				if masked && v == vectors-1 {
					VMOVUPS(sums[r][v], last, m)
				} else {
					VMOVUPS(sums[r][v], m)
				}
			}
			ADDQ(ldDst, dst)
		}
	}
	store("full", false)
	JMP(LabelRef("next"))
	Label("partial")
	store("partial", true)

	Label("next")
	// Back to the start of the rows, and down by `rows` of them.
	down := GP64()
	IMUL3Q(U32(uint32(rows)), ldA, down)
	SUBQ(Mem{Base: args, Disp: 112}, down)
	ADDQ(Imm(64), ahead)
	for _, p := range []GPVirtual{a, a3, a6}[:(rows+2)/3] {
		ADDQ(down, p)
	}
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

// geluKernel is max(x, 0) + g(|x|), g a polynomial of degree 4 on each of 16
// intervals. The table, geluVectorTable in kernel_amd64.go, holds the
// coefficients, 16 of each power, lowest first, and then three constants. With
// the 21 sums of a tile it leaves two registers free.
type geluKernel struct {
	table        Register
	coefficients [5]VecVirtual
	u, i, p, t   VecVirtual
}

func newGELU(table Register) *geluKernel {
	g := &geluKernel{table: table, u: ZMM(), i: ZMM(), p: ZMM(), t: ZMM()}
	for i := range g.coefficients {
		g.coefficients[i] = ZMM()
		VMOVUPS(Mem{Base: table, Disp: 64 * i}, g.coefficients[i])
	}
	return g
}

// apply keeps a NaN: of two operands of which one is a NaN, MAX gives the first
// as written here.
func (g *geluKernel) apply(x VecVirtual) {
	constant := func(i int) Mem { return Mem{Base: g.table, Disp: 64*5 + 4*i} }
	VPANDD_BCST(constant(0), x, g.u)   // |x|
	VMINPS_BCST(constant(1), g.u, g.u) // just inside the last interval
	VMULPS_BCST(constant(2), g.u, g.u) // in intervals
	VCVTTPS2DQ(g.u, g.i)
	VREDUCEPS(Imm(0x0b), g.u, g.u) // the part behind the point, towards zero
	VPERMPS(g.coefficients[4], g.i, g.p)
	for power := 3; power >= 0; power-- {
		VPERMPS(g.coefficients[power], g.i, g.t)
		VFMADD213PS(g.t, g.u, g.p)
	}
	VPXORD(g.t, g.t, g.t)
	VMAXPS(x, g.t, x)
	VADDPS(g.p, x, x)
}

// gelu applies GELU to count vectors, the last one masked.
func gelu() {
	TEXT("geluVectors", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, src, count := field(args, 0), field(args, 8), field(args, 16)
	last := mask(args, 24)
	g := newGELU(field(args, 32))
	x := ZMM()
	DECQ(count)
	JZ(LabelRef("last"))
	Label("loop")
	VMOVUPS(Mem{Base: src}, x)
	g.apply(x)
	VMOVUPS(x, Mem{Base: dst})
	ADDQ(Imm(64), src)
	ADDQ(Imm(64), dst)
	DECQ(count)
	JNZ(LabelRef("loop"))
	Label("last")
	VMOVUPS_Z(Mem{Base: src}, last, x)
	g.apply(x)
	VMOVUPS(x, last, Mem{Base: dst})
	VZEROUPPER()
	RET()
}

// sum adds the 16 lanes of z into all lanes.
func sum(z, t VecVirtual) {
	VSHUFF64X2(Imm(0x4e), z, z, t) // halves exchanged
	VADDPS(t, z, z)
	VSHUFF64X2(Imm(0xb1), z, z, t) // quarters within halves
	VADDPS(t, z, z)
	VPERMILPS(Imm(0x4e), z, t)
	VADDPS(t, z, z)
	VPERMILPS(Imm(0xb1), z, t)
	VADDPS(t, z, z)
}

// norm scales rows to mean 0 and variance 1, and then by an affine where there
// is one.
func norm() {
	TEXT("normRows", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, src := field(args, 0), field(args, 8)
	ldDst, ldSrc, rows := field(args, 16), field(args, 24), field(args, 32)
	last := mask(args, 48)
	perC, eps := ZMM(), ZMM()
	VBROADCASTSS(Mem{Base: args, Disp: 56}, perC)
	VBROADCASTSS(Mem{Base: args, Disp: 60}, eps)
	one := constantF(1)

	Label("row")
	x, mean, squares, t := ZMM(), ZMM(), ZMM(), ZMM()
	s, d, count := GP64(), GP64(), GP64()
	begin := func() {
		MOVQ(src, s)
		MOVQ(dst, d)
		MOVQ(Mem{Base: args, Disp: 40}, count)
	}
	load := func(masked bool) {
		if masked {
			VMOVUPS_Z(Mem{Base: s}, last, x)
		} else {
			VMOVUPS(Mem{Base: s}, x)
		}
	}
	walk := func(name string, also []GPVirtual, body func(masked bool)) {
		begin()
		DECQ(count)
		JZ(LabelRef(name + "last"))
		Label(name)
		body(false)
		ADDQ(Imm(64), s)
		for _, r := range also {
			ADDQ(Imm(64), r)
		}
		DECQ(count)
		JNZ(LabelRef(name))
		Label(name + "last")
		body(true)
	}
	VPXORD(mean, mean, mean)
	walk("mean", nil, func(masked bool) {
		load(masked)
		VADDPS(x, mean, mean)
	})
	sum(mean, t)
	VMULPS(perC, mean, mean)

	VPXORD(squares, squares, squares)
	walk("variance", nil, func(masked bool) {
		load(masked)
		if masked {
			VSUBPS_Z(mean, x, last, x)
		} else {
			VSUBPS(mean, x, x)
		}
		VFMADD231PS(x, x, squares)
	})
	sum(squares, t)
	VFMADD213PS(eps, perC, squares)
	VSQRTPS(squares, squares)
	VDIVPS(squares, one, squares) // now the scale

	w, b := field(args, 64), field(args, 72)
	TESTQ(w, w)
	JNZ(LabelRef("affine"))
	store := func(masked bool) {
		if masked {
			VMOVUPS(x, last, Mem{Base: d})
		} else {
			VMOVUPS(x, Mem{Base: d})
		}
	}
	walk("plain", []GPVirtual{d}, func(masked bool) {
		load(masked)
		VSUBPS(mean, x, x)
		VMULPS(squares, x, x)
		store(masked)
	})
	JMP(LabelRef("next"))
	Label("affine")
	walk("scaled", []GPVirtual{d, w, b}, func(masked bool) {
		load(masked)
		VSUBPS(mean, x, x)
		VMULPS(squares, x, x)
		if masked {
			VMOVUPS_Z(Mem{Base: b}, last, t)
			VMULPS_Z(Mem{Base: w}, x, last, x)
			VADDPS(t, x, x)
		} else {
			VMOVUPS(Mem{Base: b}, t)
			VFMADD132PS(Mem{Base: w}, t, x)
		}
		store(masked)
	})
	Label("next")
	ADDQ(ldSrc, src)
	ADDQ(ldDst, dst)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// softmax turns rows of scores into weights that sum to 1, in place.
func softmax() {
	TEXT("softmaxRows", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	src, ld, rows := field(args, 0), field(args, 8), field(args, 16)
	last := mask(args, 32)
	scale := ZMM()
	VBROADCASTSS(Mem{Base: args, Disp: 40}, scale)
	lowest, infinite := constantF(-87), constant(0xff800000)
	log2e, ln2hi, ln2lo := constantF(math.Log2E), constantF(0.693359375), constantF(-2.12194440e-4)
	var powers [8]VecVirtual
	factorial := 1.0
	for i := range powers {
		if i > 0 {
			factorial *= float64(i)
		}
		powers[i] = constantF(float32(1 / factorial))
	}

	Label("row")
	x, t, n, p, highest, total := ZMM(), ZMM(), ZMM(), ZMM(), ZMM(), ZMM()
	s, count := GP64(), GP64()
	walk := func(name string, body func(masked bool)) {
		MOVQ(src, s)
		MOVQ(Mem{Base: args, Disp: 24}, count)
		DECQ(count)
		JZ(LabelRef(name + "last"))
		Label(name)
		body(false)
		ADDQ(Imm(64), s)
		DECQ(count)
		JNZ(LabelRef(name))
		Label(name + "last")
		body(true)
	}
	load := func(masked bool) {
		if masked {
			VMOVAPS(infinite, x)
			VMOVUPS(Mem{Base: s}, last, x)
		} else {
			VMOVUPS(Mem{Base: s}, x)
		}
		VMULPS(scale, x, x)
	}
	store := func(masked bool) {
		if masked {
			VMOVUPS(x, last, Mem{Base: s})
		} else {
			VMOVUPS(x, Mem{Base: s})
		}
	}
	VMOVAPS(infinite, highest)
	walk("highest", func(masked bool) {
		load(masked)
		VMAXPS(x, highest, highest)
	})
	VSHUFF64X2(Imm(0x4e), highest, highest, t)
	VMAXPS(t, highest, highest)
	VSHUFF64X2(Imm(0xb1), highest, highest, t)
	VMAXPS(t, highest, highest)
	VPERMILPS(Imm(0x4e), highest, t)
	VMAXPS(t, highest, highest)
	VPERMILPS(Imm(0xb1), highest, t)
	VMAXPS(t, highest, highest)

	VPXORD(total, total, total)
	walk("exp", func(masked bool) {
		load(masked)
		VSUBPS(highest, x, x)
		VMAXPS(x, lowest, x) // keeps a NaN
		VMULPS(log2e, x, n)
		VRNDSCALEPS(Imm(8), n, n)
		VFNMADD231PS(ln2hi, n, x)
		VFNMADD231PS(ln2lo, n, x)
		VMOVAPS(powers[7], p)
		for i := 6; i >= 0; i-- {
			VFMADD213PS(powers[i], x, p)
		}
		if masked {
			VSCALEFPS_Z(n, p, last, x)
		} else {
			VSCALEFPS(n, p, x)
		}
		VADDPS(x, total, total)
		store(masked)
	})
	sum(total, t)
	one := powers[0]
	VDIVPS(total, one, total)
	walk("scale", func(masked bool) {
		if masked {
			VMOVUPS_Z(Mem{Base: s}, last, x)
		} else {
			VMOVUPS(Mem{Base: s}, x)
		}
		VMULPS(total, x, x)
		store(masked)
	})
	ADDQ(ld, src)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// spread computes one row of a deconvolution: each pixel times the weights of
// its own window, plus the bias.
func spread() {
	TEXT("spreadRow", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, src := field(args, 0), field(args, 8)
	pixels := field(args, 32)
	c := field(args, 48) // in bytes
	last := mask(args, 64)
	x := ZMM()
	Label("pixel")
	w, taps := field(args, 16), field(args, 40)
	Label("tap")
	b, count, s := field(args, 24), field(args, 56), GP64()
	MOVQ(src, s)
	DECQ(count)
	JZ(LabelRef("last"))
	Label("loop")
	VMOVUPS(Mem{Base: s}, x)
	VMULPS(Mem{Base: w}, x, x)
	VADDPS(Mem{Base: b}, x, x)
	VMOVUPS(x, Mem{Base: dst})
	for _, r := range []GPVirtual{s, w, b, dst} {
		ADDQ(Imm(64), r)
	}
	DECQ(count)
	JNZ(LabelRef("loop"))
	Label("last")
	VMOVUPS_Z(Mem{Base: s}, last, x)
	VMULPS_Z(Mem{Base: w}, x, last, x)
	VADDPS_Z(Mem{Base: b}, x, last, x)
	VMOVUPS(x, last, Mem{Base: dst})
	tail := field(args, 72) // bytes of the last vector
	ADDQ(tail, w)
	ADDQ(tail, dst)
	DECQ(taps)
	JNZ(LabelRef("tap"))
	ADDQ(c, src)
	DECQ(pixels)
	JNZ(LabelRef("pixel"))
	VZEROUPPER()
	RET()
}

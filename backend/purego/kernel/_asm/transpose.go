package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// transpose turns up to 16 rows of up to 16 values into columns: the value k of
// the row r goes to the lane r of the vector k, the lanes of absent rows being 0.
// The layout of the argument is transposeArgs in kernel_amd64.go.
func transpose() {
	TEXT("transpose16", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, src, ldDst, ldSrc := field(args, 0), field(args, 8), field(args, 16), field(args, 24)
	rows, columns := field(args, 32), field(args, 40)
	inside := mask(args, 48)
	var a, b [16]VecVirtual
	for i := range a {
		a[i] = ZMM()
		VPXORD(a[i], a[i], a[i])
	}
	for i := range a {
		CMPQ(rows, Imm(uint64(i)))
		JLE(LabelRef("loaded"))
		VMOVUPS_Z(Mem{Base: src}, inside, a[i])
		ADDQ(ldSrc, src)
	}
	Label("loaded")
	for i := range b {
		b[i] = ZMM()
	}
	// Pairs of values, then of pairs, then of quarters, then of halves.
	for i := 0; i < 16; i += 2 {
		VUNPCKLPS(a[i+1], a[i], b[i])
		VUNPCKHPS(a[i+1], a[i], b[i+1])
	}
	for i := 0; i < 16; i += 4 {
		for j := range 2 {
			VUNPCKLPD(b[i+2+j], b[i+j], a[i+2*j])
			VUNPCKHPD(b[i+2+j], b[i+j], a[i+2*j+1])
		}
	}
	// a[4g+j] has in its quarter q the column 4q+j of the rows 4g…4g+3.
	for j := range 4 {
		VSHUFF32X4(Imm(0x88), a[4+j], a[j], b[j])
		VSHUFF32X4(Imm(0xdd), a[4+j], a[j], b[4+j])
		VSHUFF32X4(Imm(0x88), a[12+j], a[8+j], b[8+j])
		VSHUFF32X4(Imm(0xdd), a[12+j], a[8+j], b[12+j])
	}
	for j := range 4 {
		VSHUFF32X4(Imm(0x88), b[8+j], b[j], a[j])
		VSHUFF32X4(Imm(0xdd), b[8+j], b[j], a[8+j])
		VSHUFF32X4(Imm(0x88), b[12+j], b[4+j], a[4+j])
		VSHUFF32X4(Imm(0xdd), b[12+j], b[4+j], a[12+j])
	}
	for i := range a {
		CMPQ(columns, Imm(uint64(i)))
		JLE(LabelRef("stored"))
		VMOVUPS(a[i], Mem{Base: dst})
		ADDQ(ldDst, dst)
	}
	Label("stored")
	VZEROUPPER()
	RET()
}

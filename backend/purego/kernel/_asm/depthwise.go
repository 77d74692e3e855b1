package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// depthwise computes a row of output in tiles of pixels, the last one of which
// may begin inside the one before, and each of them in vectors of channels of
// width bytes, of which the last one may too. An input vector is loaded once for
// all taps of its row, and a weight once for all pixels. The layout of the
// argument is depthwiseRow in depthwise_amd64.go.
func depthwise(name string, kernel, pixels, width int, vector func() VecVirtual) {
	TEXT(fmt.Sprintf("%sx%dx%d", name, kernel, pixels), NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, c, tiles := field(args, 0), field(args, 16), field(args, 40)
	lines := make([]GPVirtual, kernel)
	for i := range lines {
		lines[i] = field(args, 64+8*i)
	}
	sums, weights := make([]VecVirtual, pixels), make([]VecVirtual, kernel)
	for _, registers := range [][]VecVirtual{sums, weights} {
		for i := range registers {
			registers[i] = vector()
		}
	}
	x := vector()
	Label("tile")
	weight, vectors, at, p := field(args, 8), field(args, 24), GP64(), GP64()
	XORQ(at, at)
	Label("vector")
	CMPQ(vectors, Imm(1))
	JNE(LabelRef("inside"))
	MOVQ(Mem{Base: args, Disp: 32}, at)
	Label("inside")
	for i := range sums {
		VMOVUPS(Mem{Base: weight}, sums[i]) // the bias
	}
	for ky := range kernel {
		LEAQ(Mem{Base: lines[ky], Index: at, Scale: 1}, p)
		for kx := range kernel {
			VMOVUPS(Mem{Base: weight, Disp: width * (1 + ky*kernel + kx)}, weights[kx])
		}
		for column := range pixels + kernel - 1 {
			if column > 0 {
				ADDQ(c, p)
			}
			VMOVUPS(Mem{Base: p}, x)
			for kx := range kernel {
				if i := column - kx; 0 <= i && i < pixels {
					VFMADD231PS(weights[kx], x, sums[i])
				}
			}
		}
	}
	LEAQ(Mem{Base: dst, Index: at, Scale: 1}, p)
	for i := range sums {
		if i > 0 {
			ADDQ(c, p)
		}
		VMOVUPS(sums[i], Mem{Base: p})
	}
	ADDQ(U32(uint32(width*(1+kernel*kernel))), weight)
	ADDQ(U32(uint32(width)), at)
	DECQ(vectors)
	JNZ(LabelRef("vector"))

	step := field(args, 48)
	CMPQ(tiles, Imm(2))
	JNE(LabelRef("next"))
	MOVQ(Mem{Base: args, Disp: 56}, step)
	Label("next")
	ADDQ(step, dst)
	for _, l := range lines {
		ADDQ(step, l)
	}
	DECQ(tiles)
	JNZ(LabelRef("tile"))
	VZEROUPPER()
	RET()
}

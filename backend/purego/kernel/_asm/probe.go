package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The probes' independent sums are more than the latency of an instruction
// times the units that do it, and fit the registers beside their operands. How
// many they are is known to the tables of kernels.
const (
	probeSums         = 24
	probeSumsAVX2     = 12
	probeSumsInt8AVX2 = 6

	probeBFloat16 = "probeBFloat16"
	probeAVXVNNI  = "probeAVXVNNI"
)

func probes() {
	probe("probeAVX512", probeSums, ZMM, func(c []VecVirtual, sum VecVirtual) {
		VFMADD213PS(c[0], c[1], sum) // tends to 1
	}, math.Float32bits(0.25), math.Float32bits(0.75))
	probe("probeInt8AVX512", probeSums, ZMM, dot, 0x01010101, 0x02020202)
	probe(probeBFloat16, probeSums, ZMM, dot, 0x3f803f80, 0x3f803f80) // see patch; ones
	probe("probeAVX2", probeSumsAVX2, YMM, func(c []VecVirtual, sum VecVirtual) {
		VFMADD213PS(c[0], c[1], sum)
	}, math.Float32bits(0.25), math.Float32bits(0.75))
	probe(probeAVXVNNI, probeSumsAVX2, YMM, dot, 0x01010101, 0x02020202) // see patch
	products := map[VecVirtual]VecVirtual{}
	probe("probeInt8AVX2", probeSumsInt8AVX2, YMM, func(c []VecVirtual, sum VecVirtual) {
		if products[sum] == nil {
			products[sum] = YMM()
		}
		t := products[sum]
		VPMADDUBSW(c[0], c[1], t)
		VPMADDWD(c[2], t, t)
		VPADDD(t, sum, sum)
	}, 0x01010101, 0x02020202, 0x00010001)
}

func dot(c []VecVirtual, sum VecVirtual) { VPDPBUSD(c[0], c[1], sum) }

// probe does step to each of the sums, rounds times, with constants of which
// the bits are given.
func probe(name string, sums int, vector func() VecVirtual, step func(constants []VecVirtual, sum VecVirtual), bits ...uint32) {
	TEXT(name, NOSPLIT, "func(rounds int)")
	rounds := Load(Param("rounds"), GP64())
	every := func(bits uint32) VecVirtual {
		r, x, v := GP32(), XMM(), vector()
		MOVL(U32(bits), r)
		VMOVD(r, x)
		VPBROADCASTD(x, v)
		return v
	}
	var constants, all []VecVirtual
	for _, b := range bits {
		constants = append(constants, every(b))
	}
	for i := range sums {
		all = append(all, every(math.Float32bits(float32(i))))
	}
	Label("loop")
	for _, sum := range all {
		step(constants, sum)
	}
	DECQ(rounds)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

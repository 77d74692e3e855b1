package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"regexp"
	"strings"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

const bfloat16Prefix = "gemmBFloat16x"

var (
	textLine = regexp.MustCompile(`^TEXT ·(\w+)\(SB\)`)
	dotLine  = regexp.MustCompile(`^\tVPDPBUSD\s+Z(\d+), Z(\d+), Z(\d+)$`)
)

// patch writes what neither avo nor Go's assembler has in the place of the
// VPDPBUSD that stands for it: VDPBF16PS, the dot products of pairs of bfloat16,
// added to float32, in the bfloat16 kernels and probe, and the VPDPBUSD of AVX-VNNI.
func patch() {
	file := flag.Lookup("out").Value.String()
	data, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	kernel := ""
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		if m := textLine.FindStringSubmatch(line); m != nil {
			kernel = m[1]
		}
		if m := dotLine.FindStringSubmatch(line); m != nil && (strings.HasPrefix(kernel, bfloat16Prefix) || kernel == probeBFloat16) {
			z := registers(m)
			lines[i] = fmt.Sprintf("\t%s // VDPBF16PS Z%d, Z%d, Z%d", encodeVDPBF16PS(z[0], z[1], z[2]), z[0], z[1], z[2])
		}
		if m := vnniLine.FindStringSubmatch(line); m != nil && (strings.HasPrefix(kernel, avxVNNIPrefix) || kernel == probeAVXVNNI) {
			y := registers(m)
			lines[i] = fmt.Sprintf("\t%s // VPDPBUSD Y%d, Y%d, Y%d", encodeAVXVNNI(y[0], y[1], y[2]), y[0], y[1], y[2])
		}
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		log.Fatal(err)
	}
}

// encodeVDPBF16PS is EVEX.512.F3.0F38.W0 52 /r (Intel's manual, volume 2).
func encodeVDPBF16PS(src2, src1, dst int) string {
	inverted := func(register, bit, at int) int { return (^register >> bit & 1) << at }
	p0 := inverted(dst, 3, 7) | inverted(src2, 4, 6) | inverted(src2, 3, 5) | inverted(dst, 4, 4) | 2
	p1 := (^src1&15)<<3 | 4 | 2
	p2 := 2<<5 | inverted(src1, 4, 3)
	modrm := 3<<6 | (dst&7)<<3 | src2&7
	return byteText(0x62, p0, p1, p2, 0x52, modrm)
}

// byteText is an instruction in the assembler's BYTE directives.
func byteText(code ...int) string {
	text := make([]string, len(code))
	for i, b := range code {
		text[i] = fmt.Sprintf("BYTE $0x%02x", b)
	}
	return strings.Join(text, "; ")
}

// round turns rows of float32 into bfloat16, the nearest, ties to even. A NaN
// stays one.
func round() {
	TEXT("roundRows", NOSPLIT, "func(t *byte)")
	Pragma("noescape")
	args := Load(Param("t"), GP64())
	dst, src := field(args, 0), field(args, 8)
	ldDst, ldSrc, rows := field(args, 16), field(args, 24), field(args, 32)
	last := mask(args, 48)
	half, one, quiet := constant(0x7fff), constant(1), constant(0x7fc00000)
	x, t := ZMM(), ZMM()
	nan := K()
	s, d, count := GP64(), GP64(), GP64()
	vector := func() {
		VCMPPS(Imm(3), x, x, nan)
		VPSRLD(Imm(16), x, t)
		VPANDD(one, t, t)
		VPADDD(half, t, t)
		VPADDD(t, x, x)
		VMOVDQA32(quiet, nan, x)
		VPSRLD(Imm(16), x, x)
		// Whole vectors are written; the rows have room for them.
		VPMOVDW(x, Mem{Base: d})
	}
	Label("row")
	MOVQ(src, s)
	MOVQ(dst, d)
	MOVQ(Mem{Base: args, Disp: 40}, count)
	DECQ(count)
	JZ(LabelRef("last"))
	Label("loop")
	VMOVUPS(Mem{Base: s}, x)
	vector()
	ADDQ(Imm(64), s)
	ADDQ(Imm(32), d)
	DECQ(count)
	JNZ(LabelRef("loop"))
	Label("last")
	VMOVUPS_Z(Mem{Base: s}, last, x)
	vector()
	ADDQ(ldSrc, src)
	ADDQ(ldDst, dst)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

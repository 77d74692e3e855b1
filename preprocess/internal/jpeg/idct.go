package jpeg

// The inverse transform is the one of libjpeg's default, JDCT_ISLOW
// (jidctint.c): Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT
// algorithms with 11 multiplications", 1989, the variant with 12, in fixed point,
// columns first. Constants have fraction bits, samples between the passes
// between.
const (
	fraction = 13
	between  = 2

	c0298 = 2446 // 0.298631336
	c0390 = 3196 // 0.390180644
	c0541 = 4433 // 0.541196100
	c0765 = 6270 // 0.765366865
	c0899 = 7373 // 0.899976223
	c1175 = 9633 // 1.175875602
	c1501 = 12299
	c1847 = 15137
	c1961 = 16069
	c2053 = 16819
	c2562 = 20995
	c3072 = 25172
)

// idct writes the samples of dequantized coefficients, in natural order, to 8
// rows of dst. It uses b as scratch.
func idct(b *[blockSize]int32, dst []uint8, stride int) {
	for i := range 8 {
		s1, s2, s3, s4, s5, s6, s7 := b[8+i], b[16+i], b[24+i], b[32+i], b[40+i], b[48+i], b[56+i]
		if s1|s2|s3|s4|s5|s6|s7 == 0 {
			v := b[i] << between
			b[i], b[8+i], b[16+i], b[24+i], b[32+i], b[40+i], b[48+i], b[56+i] = v, v, v, v, v, v, v, v
			continue
		}
		const half = 1 << (fraction - between - 1)
		e0, e1, e2, e3, o0, o1, o2, o3 := lines(b[i], s1, s2, s3, s4, s5, s6, s7, half)
		const shift = fraction - between
		b[i], b[56+i] = (e0+o3)>>shift, (e0-o3)>>shift
		b[8+i], b[48+i] = (e1+o2)>>shift, (e1-o2)>>shift
		b[16+i], b[40+i] = (e2+o1)>>shift, (e2-o1)>>shift
		b[24+i], b[32+i] = (e3+o0)>>shift, (e3-o0)>>shift
	}
	for i := range 8 {
		s := b[8*i : 8*i+8 : 8*i+8]
		// The level shift of 128 comes with the rounding.
		const shift = fraction + between + 3
		const half = 1<<(shift-1) + 128<<shift
		e0, e1, e2, e3, o0, o1, o2, o3 := lines(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], half)
		d := dst[i*stride : i*stride+8 : i*stride+8]
		d[0], d[7] = clip((e0+o3)>>shift), clip((e0-o3)>>shift)
		d[1], d[6] = clip((e1+o2)>>shift), clip((e1-o2)>>shift)
		d[2], d[5] = clip((e2+o1)>>shift), clip((e2-o1)>>shift)
		d[3], d[4] = clip((e3+o0)>>shift), clip((e3-o0)>>shift)
	}
}

// lines is the transform of one line without its last butterfly: the even part,
// with half added, and the odd one.
func lines(s0, s1, s2, s3, s4, s5, s6, s7, half int32) (e0, e1, e2, e3, o0, o1, o2, o3 int32) {
	z := (s2 + s6) * c0541
	t2, t3 := z-s6*c1847, z+s2*c0765
	t0, t1 := (s0+s4)<<fraction+half, (s0-s4)<<fraction+half
	e0, e3 = t0+t3, t0-t3
	e1, e2 = t1+t2, t1-t2

	z1, z2, z3, z4 := (s7+s1)*-c0899, (s5+s3)*-c2562, s7+s3, s5+s1
	z5 := (z3 + z4) * c1175
	z3 = z3*-c1961 + z5
	z4 = z4*-c0390 + z5
	return e0, e1, e2, e3, s7*c0298 + z1 + z3, s5*c2053 + z2 + z4, s3*c3072 + z2 + z3, s1*c1501 + z1 + z4
}

// flat is idct of a block whose only coefficient is dc.
func flat(dc int32, dst []uint8, stride int) {
	v := uint64(clip((dc+4)>>3+128)) * 0x0101010101010101
	for i := range 8 {
		d := dst[i*stride : i*stride+8 : i*stride+8]
		d[0], d[1], d[2], d[3] = uint8(v), uint8(v), uint8(v), uint8(v)
		d[4], d[5], d[6], d[7] = uint8(v), uint8(v), uint8(v), uint8(v)
	}
}

// clip limits v to a byte.
func clip(v int32) uint8 {
	if uint32(v) <= 255 {
		return uint8(v)
	}
	return uint8(^(v >> 31))
}

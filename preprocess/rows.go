package preprocess

import (
	"image"
	"image/color"
)

var black, white = [3]uint8{}, [3]uint8{255, 255, 255}

// rows reads an image's stored rows as RGB on white, one at a time, so that no
// second copy of the pixels is made.
type rows struct {
	im      *Image
	palette [256][3]uint8
	cb, cr  []uint8 // chroma of one row at full width
	sums    []int32
}

func newRows(im *Image) *rows {
	r := &rows{im: im}
	switch p := im.pixels.(type) {
	case *image.Paletted:
		for i, c := range p.Palette[:min(256, len(p.Palette))] {
			n, ok := c.(color.NRGBA)
			if !ok {
				c16 := color.NRGBA64Model.Convert(c).(color.NRGBA64)
				n = color.NRGBA{uint8(c16.R >> 8), uint8(c16.G >> 8), uint8(c16.B >> 8), uint8(c16.A >> 8)}
			}
			r.palette[i] = [3]uint8{onWhite(n.R, n.A), onWhite(n.G, n.A), onWhite(n.B, n.A)}
		}
	case *image.YCbCr, *image.NYCbCrA:
		w := p.Bounds().Dx()
		r.cb, r.cr, r.sums = make([]uint8, w+1), make([]uint8, w+1), make([]int32, (w+1)/2)
	}
	return r
}

// read writes stored row y, [Width 3], to dst.
func (r *rows) read(dst []uint8, y int) {
	size := r.im.pixels.Bounds().Size()
	x0, y0 := r.im.at.X, r.im.at.Y
	beside := size.X != r.im.Width || size.Y != r.im.Height
	if beside && r.im.only.Empty() { // else what lies there was not asked for
		for i := 0; i < len(dst); i += 3 {
			copy(dst[i:], r.im.canvas[:])
		}
	}
	if y >= y0 && y < y0+size.Y {
		r.pixels(dst[3*x0:3*(x0+size.X)], y-y0)
	}
}

// pixels writes row y of the decoded pixels to dst. 16-bit samples keep their
// high byte, which is what Pillow does with 16-bit RGB. (Its 16-bit grey clips
// at 255 instead, which shows white.)
func (r *rows) pixels(dst []uint8, y int) {
	n := len(dst) / 3
	switch p := r.im.pixels.(type) {
	case *image.Gray:
		for x, v := range p.Pix[y*p.Stride:][:n] {
			dst[3*x], dst[3*x+1], dst[3*x+2] = v, v, v
		}
	case *image.Gray16:
		src := p.Pix[y*p.Stride:][:2*n]
		for x := range n {
			v := src[2*x]
			dst[3*x], dst[3*x+1], dst[3*x+2] = v, v, v
		}
	case *image.Paletted:
		for x, v := range p.Pix[y*p.Stride:][:n] {
			copy(dst[3*x:], r.palette[v][:])
		}
	case *image.NRGBA:
		straight(dst, p.Pix[y*p.Stride:][:4*n], 1)
	case *image.NRGBA64:
		straight(dst, p.Pix[y*p.Stride:][:8*n], 2)
	case *image.RGBA:
		premultiplied(dst, p.Pix[y*p.Stride:][:4*n], 1)
	case *image.RGBA64:
		premultiplied(dst, p.Pix[y*p.Stride:][:8*n], 2)
	case *image.CMYK:
		for x, src := 0, p.Pix[y*p.Stride:][:4*n]; x < n; x, src = x+1, src[4:] {
			for c := range 3 {
				dst[3*x+c] = uncmyk(src[c], src[3])
			}
		}
	case *image.YCbCr:
		r.ycbcr(dst, p, y)
	case *image.NYCbCrA:
		r.ycbcr(dst, &p.YCbCr, y)
		for x, a := range p.A[y*p.AStride:][:n] {
			for c := range 3 {
				dst[3*x+c] = onWhite(dst[3*x+c], a)
			}
		}
	}
}

// straight reads RGBA with colours not multiplied by alpha; size is the bytes
// of a sample.
func straight(dst, src []uint8, size int) {
	for i, k := 0, 0; i < len(dst); i, k = i+3, k+4*size {
		r, g, b, a := src[k], src[k+size], src[k+2*size], src[k+3*size]
		if a != 255 {
			r, g, b = onWhite(r, a), onWhite(g, a), onWhite(b, a)
		}
		dst[i], dst[i+1], dst[i+2] = r, g, b
	}
}

// premultiplied reads RGBA with colours multiplied by alpha.
func premultiplied(dst, src []uint8, size int) {
	for i, k := 0, 0; i < len(dst); i, k = i+3, k+4*size {
		white := 255 - int32(src[k+3*size])
		for c := range 3 {
			dst[i+c] = clip(int32(src[k+c*size]) + white)
		}
	}
}

// onWhite is colour v of opacity a on white, rounded as Pillow's
// alpha_composite and paste do.
func onWhite(v, a uint8) uint8 {
	return div255(uint32(v)*uint32(a) + 255*(255-uint32(a)))
}

// uncmyk is the light an ink and black leave. Pillow: Convert.c, cmyk2rgb.
func uncmyk(ink, black uint8) uint8 {
	light := 255 - int32(black)
	return clip(light - int32(div255(uint32(ink)*uint32(light))))
}

// div255 is v/255 rounded, for v up to 255*255.
func div255(v uint32) uint8 {
	v += 128
	return uint8((v + v>>8) >> 8)
}

// ycbcr converts a row. JPEG: libjpeg's jdcolor.c, full range. WebP: libwebp's
// dsp/yuv.h, where luma is 16..235.
func (r *rows) ycbcr(dst []uint8, p *image.YCbCr, y int) {
	n := len(dst) / 3
	cbs := r.upsample(r.cb, p.Cb, p, y)[:n]
	crs := r.upsample(r.cr, p.Cr, p, y)[:n]
	luma := p.Y[y*p.YStride:][:n]
	if r.im.Format == webpFormat {
		for x := range luma {
			yy := int32(luma[x]) * 19077 >> 8
			u, v := int32(cbs[x]), int32(crs[x])
			d := dst[3*x:][:3]
			d[0] = clip((yy + v*26149>>8 - 14234) >> 6)
			d[1] = clip((yy - u*6419>>8 - v*13320>>8 + 8708) >> 6)
			d[2] = clip((yy + u*33050>>8 - 17685) >> 6)
		}
		return
	}
	for x := range luma {
		yy := int32(luma[x])
		cb, cr := int32(cbs[x])-128, int32(crs[x])-128
		d := dst[3*x:][:3]
		d[0] = clip(yy + (91881*cr+1<<15)>>16)
		d[1] = clip(yy + (-22554*cb-46802*cr+1<<15)>>16)
		d[2] = clip(yy + (116130*cb+1<<15)>>16)
	}
}

// upsample gives the chroma samples of row y at full width. Halved chroma is
// interpolated with libjpeg's triangle filter (jdsample.c, "fancy upsampling"),
// which Pillow shows and the standard library does not; libwebp's differs from
// it by rounding. Other ratios repeat samples, as libjpeg does.
func (r *rows) upsample(dst, plane []uint8, p *image.YCbCr, y int) []uint8 {
	w, h := p.Rect.Dx(), p.Rect.Dy()
	half := (w + 1) / 2
	switch p.SubsampleRatio {
	case image.YCbCrSubsampleRatio444:
		return plane[y*p.CStride:][:w]
	case image.YCbCrSubsampleRatio440:
		near, far := chromaRows(plane, p.CStride, w, h, y)
		bias := int32(1 + y&1)
		for x := range near {
			dst[x] = uint8((3*int32(near[x]) + int32(far[x]) + bias) >> 2)
		}
		return dst
	case image.YCbCrSubsampleRatio422:
		if half > 2 || r.im.Format == webpFormat {
			for x, v := range plane[y*p.CStride:][:half] {
				r.sums[x] = int32(v)
			}
			widen(dst, r.sums[:half], 2, 1, 2)
			return dst
		}
	case image.YCbCrSubsampleRatio420:
		if half > 2 || r.im.Format == webpFormat {
			near, far := chromaRows(plane, p.CStride, half, h, y)
			for x := range near {
				r.sums[x] = 3*int32(near[x]) + int32(far[x])
			}
			widen(dst, r.sums[:half], 4, 8, 7)
			return dst
		}
	}
	for x := range w {
		dst[x] = plane[p.COffset(p.Rect.Min.X+x, p.Rect.Min.Y+y)-p.COffset(p.Rect.Min.X, p.Rect.Min.Y)]
	}
	return dst
}

// chromaRows are the rows of vertically halved chroma nearest and second
// nearest to row y of h rows.
func chromaRows(plane []uint8, stride, n, h, y int) (near, far []uint8) {
	c := y / 2
	other := c - 1 + 2*(y&1)
	other = min(max(other, 0), (h+1)/2-1)
	return plane[c*stride:][:n], plane[other*stride:][:n]
}

// widen doubles the samples of sums: three parts the nearer, one part the
// farther one, shifted down by bits with the bias of its side.
func widen(dst []uint8, sums []int32, bits uint, leftBias, rightBias int32) {
	for x, v := range sums {
		left, right := v, v
		if x > 0 {
			left = sums[x-1]
		}
		if x+1 < len(sums) {
			right = sums[x+1]
		}
		dst[2*x] = uint8((3*v + left + leftBias) >> bits)
		dst[2*x+1] = uint8((3*v + right + rightBias) >> bits)
	}
}

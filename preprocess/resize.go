package preprocess

import (
	"fmt"
	"image"
	"math"
)

// filter is a resampling kernel: its value at x, which is 0 from support on.
// Source: Pillow, src/libImaging/Resample.c.
type filter struct {
	support float64
	at      func(x float64) float64
}

const nearest = "nearest" // not a kernel in Pillow but a choice of pixels

var filters = map[string]filter{
	"bilinear": {1, func(x float64) float64 {
		return max(0, 1-math.Abs(x))
	}},
	"bicubic": {2, func(x float64) float64 {
		const a = -0.5
		switch x = math.Abs(x); {
		case x < 1:
			return ((a+2)*x-(a+3))*x*x + 1
		case x < 2:
			return (((x-5)*x+8)*x - 4) * a
		}
		return 0
	}},
	"lanczos": {3, func(x float64) float64 {
		if -3 <= x && x < 3 {
			return sinc(x) * sinc(x/3)
		}
		return 0
	}},
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// precision is the number of fraction bits of a weight: Pillow's
// PRECISION_BITS, which leaves 8 bits for the pixel and 2 for overshoot.
const precision = 32 - 8 - 2

// window is where one output sample comes from: the input samples from first
// on, each with its weight. No weights stand for black.
type window struct {
	first   int
	weights []int32
}

// windows are those of the n output samples from index from on, when in samples
// are resized to out. Pillow: precompute_coeffs and normalize_coeffs_8bpc.
// Without antialias the kernel keeps its width, so that shrinking skips samples.
func windows(name string, in, out, from, n int, antialias bool) []window {
	if name == nearest {
		return nearestWindows(in, out, from, n)
	}
	f := filters[name]
	scale := float64(in) / float64(out)
	stretch := 1.0
	if antialias {
		stretch = max(scale, 1) // the kernel grows when shrinking
	}
	support := f.support * stretch
	ws := make([]window, n)
	weights := make([]float64, int(math.Ceil(support))*2+1)
	for i := range ws {
		if o := from + i; o < 0 || o >= out {
			continue
		}
		center := (float64(from+i) + 0.5) * scale
		first := max(0, int(center-support+0.5))
		count := min(in, int(center+support+0.5)) - first
		sum := 0.0
		for k := range count {
			weights[k] = f.at((float64(k+first) - center + 0.5) * (1 / stretch))
			sum += weights[k]
		}
		w := window{first, make([]int32, count)}
		for k := range w.weights {
			v := weights[k]
			if sum != 0 {
				v /= sum
			}
			w.weights[k] = int32(math.Copysign(0.5, v) + v*(1<<precision))
		}
		ws[i] = w
	}
	return ws
}

// nearestWindows follow Pillow's ImagingScaleAffine (Geometry.c), whose
// position is a running sum, rounding errors included.
func nearestWindows(in, out, from, n int) []window {
	ws := make([]window, n)
	one := []int32{1 << precision}
	step := float64(in) / float64(out)
	at := step * 0.5
	for o := range min(out, from+n) {
		if o >= from {
			ws[o-from] = window{min(int(at), in-1), one}
		}
		at += step
	}
	return ws
}

// reach is which input samples those windows can need, from first to before
// end. It allows for the widest of them, so that no weight is computed.
func reach(name string, in, out, from, n int) (first, end int) {
	scale := float64(in) / float64(out)
	support := (filters[name].support + 1) * max(scale, 1) // 1 for roundings, and for nearest
	low, high := max(from, 0), min(from+n, out)
	return max(0, int(float64(low)*scale-support)), min(in, int(float64(high)*scale+support)+1)
}

// flip turns windows over in samples into those over the mirrored samples.
func flip(ws []window, in int) {
	for i, w := range ws {
		mirrored := make([]int32, len(w.weights))
		for k, v := range w.weights {
			mirrored[len(mirrored)-1-k] = v
		}
		ws[i] = window{in - w.first - len(w.weights), mirrored}
	}
}

// placement says which sides an image is resized to and where the crop begins.
// Source: torchvision, transforms/functional.py: _compute_resized_output_size,
// center_crop.
func (s Spec) placement(width, height int) (rw, rh, left, top int) {
	if s.Resize == "squash" {
		return s.Size, s.Size, 0, 0
	}
	short := s.shorterSide()
	rw, rh = short, short
	if width <= height {
		rh = short * height / width
	} else {
		rw = short * width / height
	}
	return rw, rh, cropOffset(rw, s.Size), cropOffset(rh, s.Size)
}

// cropOffset is where a centred crop begins. Halves go to the even number, as
// Python rounds; a side shorter than the crop is padded, the smaller half first.
func cropOffset(side, crop int) int {
	if side < crop {
		return -((crop - side) / 2)
	}
	return int(math.RoundToEven(float64(side-crop) / 2))
}

// Crop resizes the upright image and crops it: the result, [Size Size 3] RGB,
// is what torchvision's Resize and CenterCrop make of a PIL image. Only the
// pixels of the crop are computed. The only errors are Validate's, and that the
// image was decoded for other crops.
func (im *Image) Crop(s Spec) ([]uint8, error) { return im.crop(s, true) }

// region is the part of the stored image that a crop may need: s is valid.
func (i Info) region(s Spec) image.Rectangle {
	width, height := i.Width, i.Height
	if i.Orientation >= 5 {
		width, height = height, width
	}
	rw, rh, left, top := s.placement(width, height)
	x0, x1 := reach(s.Filter, width, rw, left, s.Size)
	y0, y1 := reach(s.Filter, height, rh, top, s.Size)
	switch i.Orientation {
	case 2, 3, 6, 7:
		x0, x1 = width-x1, width-x0
	}
	switch i.Orientation {
	case 3, 4, 7, 8:
		y0, y1 = height-y1, height-y0
	}
	if i.Orientation >= 5 {
		return image.Rect(y0, x0, y1, x1)
	}
	return image.Rect(x0, y0, x1, y1)
}

func (im *Image) crop(s Spec, antialias bool) ([]uint8, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if im.only != (image.Rectangle{}) && !im.region(s).In(im.only) {
		return nil, fmt.Errorf("preprocess: the image was decoded for crops that do not cover this one: %+v", s)
	}
	// Stored rows of a transposed image are columns of the upright one.
	width, height := im.Width, im.Height
	transposed := im.Orientation >= 5
	if transposed {
		width, height = height, width
	}
	rw, rh, left, top := s.placement(width, height)
	across := windows(s.Filter, width, rw, left, s.Size, antialias)
	down := windows(s.Filter, height, rh, top, s.Size, antialias)
	switch im.Orientation {
	case 2, 3, 6, 7:
		flip(across, width)
	}
	switch im.Orientation {
	case 3, 4, 7, 8:
		flip(down, height)
	}

	// Pillow resamples across first and rounds to bytes before it resamples
	// down. (From 12.2 on it turns that order round for some tall images; the
	// published models were made before.) The rounding makes the order matter,
	// so a transposed image, whose stored rows run down, is first combined over
	// several of them.
	out := make([]uint8, 3*s.Size*s.Size)
	source := newRows(im)
	row := make([]uint8, 3*im.Width)
	sums := make([]int32, 3*max(im.Width, s.Size))
	if transposed {
		cache := newRowCache(across, len(row), source.read)
		for x, w := range across {
			combine(row, cache, w, sums)
			resample(out[3*x:], 3*s.Size, row, down)
		}
	} else {
		cache := newRowCache(down, 3*s.Size, func(dst []uint8, y int) {
			source.read(row, y)
			resample(dst, 3, row, across)
		})
		for y, w := range down {
			combine(out[3*s.Size*y:][:3*s.Size], cache, w, sums)
		}
	}
	return out, nil
}

// rowCache makes rows and keeps as many as one window spans.
type rowCache struct {
	fill  func(dst []uint8, y int)
	rows  [][]uint8
	holds []int // which row each of rows is
}

func newRowCache(ws []window, length int, fill func(dst []uint8, y int)) *rowCache {
	span := 0
	for _, w := range ws {
		span = max(span, len(w.weights))
	}
	c := &rowCache{fill, make([][]uint8, span), make([]int, span)}
	for i := range c.rows {
		c.rows[i], c.holds[i] = make([]uint8, length), -1
	}
	return c
}

func (c *rowCache) row(y int) []uint8 {
	i := y % len(c.rows)
	if c.holds[i] != y {
		c.fill(c.rows[i], y)
		c.holds[i] = y
	}
	return c.rows[i]
}

// combine writes the weighted sum of the window's rows to dst: Pillow's
// vertical pass. sums is scratch.
func combine(dst []uint8, c *rowCache, w window, sums []int32) {
	sums = sums[:len(dst)]
	for i := range sums {
		sums[i] = 1 << (precision - 1)
	}
	// Four rows at once, so that each sum is loaded and stored less often.
	k := 0
	for ; k+4 <= len(w.weights); k += 4 {
		y, ws := w.first+k, w.weights[k:k+4:k+4]
		r0, r1, r2, r3 := c.row(y)[:len(sums)], c.row(y + 1)[:len(sums)], c.row(y + 2)[:len(sums)], c.row(y + 3)[:len(sums)]
		w0, w1, w2, w3 := ws[0], ws[1], ws[2], ws[3]
		for i := range sums {
			sums[i] += int32(r0[i])*w0 + int32(r1[i])*w1 + int32(r2[i])*w2 + int32(r3[i])*w3
		}
	}
	for ; k < len(w.weights); k++ {
		weight := w.weights[k]
		for i, v := range c.row(w.first + k)[:len(sums)] {
			sums[i] += int32(v) * weight
		}
	}
	for i, v := range sums {
		dst[i] = clip(v >> precision)
	}
}

// resample writes one RGB pixel for each window over the RGB pixels of src,
// step bytes apart in dst: Pillow's horizontal pass.
func resample(dst []uint8, step int, src []uint8, ws []window) {
	for i, w := range ws {
		r, g, b := int32(1<<(precision-1)), int32(1<<(precision-1)), int32(1<<(precision-1))
		pixels := src[3*w.first:][:3*len(w.weights)]
		for _, weight := range w.weights {
			p := pixels[:3:3]
			r += int32(p[0]) * weight
			g += int32(p[1]) * weight
			b += int32(p[2]) * weight
			pixels = pixels[3:]
		}
		p := dst[i*step:][:3]
		p[0], p[1], p[2] = clip(r>>precision), clip(g>>precision), clip(b>>precision)
	}
}

// clip limits v to a byte.
func clip(v int32) uint8 {
	if uint32(v) <= 255 {
		return uint8(v)
	}
	return uint8(^(v >> 31)) // negative: 0; above: 255
}

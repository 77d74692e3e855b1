// Package preprocess turns the bytes of a photograph into a model's input
// tensor, as Pillow and torchvision do: EXIF orientation, RGB on white, resize,
// centre crop, mean and standard deviation. The resize follows Pillow's
// Resample.c to the bit, and JPEG in grey and YCbCr is decoded as by libjpeg;
// only the other lossy decoders may differ.
//
//	im, err := preprocess.Decode(ctx, data, preprocess.DefaultLimits(), spec)
//	err = im.Tensor(spec, tensor)
//
// Bytes pass through the files in this order: sniff.go names the format;
// jpeg.go, png.go, webp.go (with vp8l.go), gif.go, bmp.go and tiff.go each read
// a header and say what decoding would take; decode.go holds that against the
// limits and decodes, most JPEGs by internal/jpeg; rows.go turns stored rows into
// RGB; resize.go does the rest. Nothing bigger than the decoded image, the
// coefficients of a progressive JPEG and a few rows is ever held.
package preprocess

import (
	"fmt"
	"math"
)

// Spec says how a photograph becomes a model's input. Its fields are those of
// model.Preprocess, so that one converts to the other.
type Spec struct {
	// Size is the side of the square input in pixels.
	Size int
	// Resize is "shorter_side": the shorter side to int(Size/CropRatio), then
	// a centre crop; or "squash": both sides to Size.
	Resize string
	// CropRatio is used by shorter_side only. Above 1 the crop is larger than
	// the resized image and gets a black border, as in torchvision.
	CropRatio float64
	// Filter is bicubic, bilinear, lanczos or nearest.
	Filter string
	// Mean and Std normalise red, green and blue in 0..1.
	Mean, Std [3]float64
}

const maxSize = 4096 // keeps [Size Size 3] small; EdgeViT inputs end at a few hundred pixels

// Validate says which field of s cannot be used, and why.
func (s Spec) Validate() error {
	if s.Size < 1 || s.Size > maxSize {
		return fmt.Errorf("preprocess: size %d is not between 1 and %d", s.Size, maxSize)
	}
	switch s.Resize {
	case "shorter_side":
		if !(s.CropRatio >= 0.1 && s.CropRatio <= 2) || s.shorterSide() < 1 {
			return fmt.Errorf("preprocess: crop_ratio %v is not between 0.1 and 2 (and size/crop_ratio at least 1)", s.CropRatio)
		}
	case "squash":
	default:
		return fmt.Errorf("preprocess: resize %q is not shorter_side or squash", s.Resize)
	}
	if _, ok := filters[s.Filter]; !ok && s.Filter != nearest {
		return fmt.Errorf("preprocess: filter %q is not bicubic, bilinear, lanczos or nearest", s.Filter)
	}
	for c := range 3 {
		if math.IsNaN(s.Mean[c]) || math.IsInf(s.Mean[c], 0) {
			return fmt.Errorf("preprocess: mean %v is not finite", s.Mean)
		}
		if !(s.Std[c] > 0) || math.IsInf(s.Std[c], 0) {
			return fmt.Errorf("preprocess: std %v is not positive and finite", s.Std)
		}
	}
	return nil
}

// shorterSide is the length the shorter side is resized to.
func (s Spec) shorterSide() int { return int(float64(s.Size) / s.CropRatio) }

// Normalize writes (v/255 - mean) / std of each byte of crop to dst; both are
// [Size Size 3]. It computes in float32 as torchvision's ToTensor and Normalize
// do. It panics if dst is shorter than crop.
func Normalize(dst []float32, crop []uint8, s Spec) {
	var table [3][256]float32
	for c := range table {
		for v := range table[c] {
			table[c][v] = (float32(v)/255 - float32(s.Mean[c])) / float32(s.Std[c])
		}
	}
	dst = dst[:len(crop)]
	for i := 0; i+2 < len(crop); i += 3 {
		dst[i] = table[0][crop[i]]
		dst[i+1] = table[1][crop[i+1]]
		dst[i+2] = table[2][crop[i+2]]
	}
}

// Tensor writes the model's input to dst, [Size Size 3]: Crop, then Normalize.
func (im *Image) Tensor(s Spec, dst []float32) error { return im.tensor(s, dst, true) }

// TensorNoAntialias is Tensor with a kernel that is not widened when an image
// shrinks: what OpenCV's and TensorFlow's resize do by default, up to their
// rounding. When it grows the result is Tensor's.
func (im *Image) TensorNoAntialias(s Spec, dst []float32) error { return im.tensor(s, dst, false) }

func (im *Image) tensor(s Spec, dst []float32, antialias bool) error {
	if want := 3 * s.Size * s.Size; len(dst) != want {
		return fmt.Errorf("preprocess: tensor of %d values for size %d, want %d", len(dst), s.Size, want)
	}
	crop, err := im.crop(s, antialias)
	if err != nil {
		return err
	}
	Normalize(dst, crop, s)
	return nil
}

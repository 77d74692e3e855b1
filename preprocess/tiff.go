package preprocess

import (
	"encoding/binary"
	"image"
	"io"
	"slices"

	"golang.org/x/image/tiff"
)

// Tags: TIFF 6.0, appendix A.
const (
	tagWidth           = 256
	tagHeight          = 257
	tagBitsPerSample   = 258
	tagCompression     = 259
	tagPhotometric     = 262
	tagFillOrder       = 266
	tagStripOffsets    = 273
	tagSamplesPerPixel = 277
	tagRowsPerStrip    = 278
	tagStripByteCounts = 279
	tagPlanarConfig    = 284
	tagT4Options       = 292
	tagT6Options       = 293
	tagPredictor       = 317
	tagColorMap        = 320
	tagTileWidth       = 322
	tagTileLength      = 323
	tagTileOffsets     = 324
	tagTileByteCounts  = 325
	tagExtraSamples    = 338
	tagSampleFormat    = 339
)

const (
	photometricBlackIsZero = 1
	photometricRGB         = 2
	photometricCMYK        = 5

	compressionNone     = 1
	compressionGroup3   = 3
	compressionGroup4   = 4
	compressionPackBits = 32773
)

// tiffHeader reads the first directory, refuses what x/image/tiff would
// misread, bounds what it would allocate, and gives it a clean directory: tags
// in order, CMYK passed through as RGB with alpha, which it has the bytes of.
func tiffHeader(data []byte, l Limits) (header, error) {
	h := header{Info: Info{Format: tiffFormat, Orientation: 1}}
	if hasMagic(data, "II+") || hasMagic(data, "MM\x00+") {
		return h, fail(ErrUnsupportedFormat, "tiff: BigTIFF is not supported")
	}
	d := readIFD(data)
	if d.cut {
		return h, fail(ErrDamaged, "tiff: truncated: its %d bytes end in the image directory", len(data))
	}
	for _, tag := range decoderTags {
		if e := d.find(tag); e != nil {
			if raw, _ := d.raw(e); raw == nil {
				return h, fail(ErrDamaged, "tiff: truncated or damaged: the values of tag %d lie beyond its %d bytes", tag, len(data))
			}
		}
	}
	width, height := d.value(tagWidth, 0), d.value(tagHeight, 0)
	if d.find(tagWidth) == nil || d.find(tagHeight) == nil {
		return h, fail(ErrDamaged, "tiff: damaged or truncated: no image directory in its %d bytes", len(data))
	}
	if err := h.setSize(width, height, l); err != nil {
		return h, err
	}
	h.Orientation = d.orientation()

	bits := d.values(tagBitsPerSample, 16)
	samples := d.value(tagSamplesPerPixel, max(1, int64(len(bits))))
	photometric := d.value(tagPhotometric, 0)
	depth := int64(1)
	if len(bits) > 0 {
		depth = bits[0]
	}
	switch {
	case d.value(tagPlanarConfig, 1) != 1 && samples > 1:
		return h, fail(ErrUnsupportedFormat, "tiff: separate colour planes are not supported")
	case slices.ContainsFunc(d.values(tagSampleFormat, 16), func(f int64) bool { return f != 1 && f != 4 }):
		return h, fail(ErrUnsupportedFormat, "tiff: samples that are not unsigned integers are not supported")
	case photometric == photometricCMYK && (depth != 8 || samples != 4 || len(bits) != 4):
		return h, fail(ErrUnsupportedFormat, "tiff: CMYK other than four 8-bit samples is not supported")
	}

	var err error
	if h.memory, err = tiffMemory(d, width, height, samples, depth); err != nil {
		return h, err
	}
	extra := d.value(tagExtraSamples, 0)
	opaque := photometric == photometricRGB && samples == 4 && extra == 0 // the fourth means nothing
	compression := d.value(tagCompression, compressionNone)
	inverted := photometric == photometricBlackIsZero && (compression == compressionGroup3 || compression == compressionGroup4)
	h.input = rewriteIFD(d, photometric == photometricCMYK || opaque)
	h.decode = func(r io.Reader) (image.Image, error) {
		m, err := tiff.Decode(r)
		switch m := m.(type) {
		case *image.NRGBA:
			if photometric == photometricCMYK {
				return &image.CMYK{Pix: m.Pix, Stride: m.Stride, Rect: m.Rect}, err
			}
		case *image.Gray:
			// A fax's black is 1: libtiff lets the photometric tag turn it
			// white, x/image/tiff shows it black always.
			for i := range m.Pix {
				if inverted {
					m.Pix[i] = ^m.Pix[i]
				}
			}
		}
		if opaque {
			makeOpaque(m)
		}
		return m, err
	}
	return h, nil
}

// makeOpaque sets the alpha of every pixel.
func makeOpaque(m image.Image) {
	switch m := m.(type) {
	case *image.NRGBA:
		for i := 3; i < len(m.Pix); i += 4 {
			m.Pix[i] = 255
		}
	case *image.NRGBA64:
		for i := 6; i < len(m.Pix); i += 8 {
			m.Pix[i] = 255
		}
	}
}

// tiffMemory bounds what x/image/tiff allocates: the image; the buffer of one
// strip or tile, which a bomb may fill up to 8 bytes a pixel and which grows by
// doubling; and the decompressors of all blocks, which are garbage and so at
// most as much as the live heap before they are collected.
func tiffMemory(d ifd, width, height, samples, depth int64) (int64, error) {
	size := int64(1)
	if samples > 1 {
		size = 4
	}
	if depth > 8 {
		size *= 2
	}
	live := size * width * height

	blockWidth, blockHeight := width, height
	offsets, counts := uint16(tagStripOffsets), uint16(tagStripByteCounts)
	if d.value(tagTileWidth, 0) != 0 {
		blockWidth, blockHeight = d.value(tagTileWidth, 0), d.value(tagTileLength, 0)
		offsets, counts = tagTileOffsets, tagTileByteCounts
		if blockWidth < 8 || blockHeight < 8 || blockWidth > max(width, 1024)+16 || blockHeight > max(height, 1024)+16 {
			return 0, fail(ErrDamaged, "tiff: damaged: tiles of %d x %d pixels", blockWidth, blockHeight)
		}
	} else if rows := d.value(tagRowsPerStrip, 0); rows > 0 {
		blockHeight = min(blockHeight, rows)
	}
	blocks := ((width + blockWidth - 1) / blockWidth) * ((height + blockHeight - 1) / blockHeight)
	ends := d.values(offsets, int(blocks))
	sum := int64(0)
	for i, n := range d.values(counts, len(ends)) {
		ends[i] += n
		sum += n
	}
	if sum > int64(len(d.data)) {
		return 0, fail(ErrDamaged, "tiff: truncated or damaged: its blocks claim %d bytes, it has %d", sum, len(d.data))
	}
	// The decoder would find the directory of rewriteIFD behind the file's end.
	if end := slices.Max(append(ends, 0)); end > int64(len(d.data)) {
		return 0, fail(ErrDamaged, "tiff: truncated after %d of %d bytes", len(d.data), end)
	}

	block := 8 * blockWidth * blockHeight
	switch d.value(tagCompression, compressionNone) {
	case compressionNone, 0:
		return live + sum, nil
	case compressionPackBits:
		live += 4 * block
		return live + min(live, 4*64*sum), nil
	default:
		live += 4 * block
		return live + min(live, blocks<<16), nil
	}
}

// decoderTags are those that x/image/tiff needs, in ascending order.
var decoderTags = []uint16{
	tagWidth, tagHeight, tagBitsPerSample, tagCompression, tagPhotometric, tagFillOrder,
	tagStripOffsets, tagRowsPerStrip, tagStripByteCounts, tagT4Options, tagT6Options, tagPredictor, tagColorMap,
	tagTileWidth, tagTileLength, tagTileOffsets, tagTileByteCounts, tagExtraSamples,
}

// rewriteIFD is the file with a directory of decoderTags behind it. With alpha,
// it says RGB with alpha.
func rewriteIFD(d ifd, alpha bool) []byte {
	var entries [][]byte
	for _, tag := range decoderTags {
		e := d.find(tag)
		if alpha && tag == tagPhotometric {
			e = shortEntry(d.order, tag, photometricRGB)
		}
		if alpha && tag == tagExtraSamples {
			e = shortEntry(d.order, tag, 2)
		}
		if e != nil {
			entries = append(entries, e)
		}
	}
	at := len(d.data)
	file := slices.Grow(slices.Clone(d.data), 2+12*len(entries))
	d.order.PutUint32(file[4:], uint32(at))
	file = append(file, 0, 0)
	d.order.PutUint16(file[at:], uint16(len(entries)))
	return append(file, slices.Concat(entries...)...)
}

func shortEntry(order binary.ByteOrder, tag, value uint16) []byte {
	e := make([]byte, 12)
	order.PutUint16(e, tag)
	order.PutUint16(e[2:], 3)
	order.PutUint32(e[4:], 1)
	order.PutUint16(e[8:], value)
	return e
}

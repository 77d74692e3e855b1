package preprocess

import (
	"encoding/binary"
	"image"
	"image/png"
	"io"
	"slices"
)

// pngHeader reads IHDR and looks through the chunks for transparency, which
// widens the decoder's pixels, and EXIF.
func pngHeader(data []byte, l Limits) (header, error) {
	h := header{Info: Info{Format: pngFormat, Orientation: 1}, input: data}
	if len(data) < 29 {
		return h, fail(ErrDamaged, "png: truncated after %d bytes", len(data))
	}
	if string(data[8:16]) != "\x00\x00\x00\x0dIHDR" {
		return h, fail(ErrDamaged, "png: damaged: it does not begin with an IHDR chunk")
	}
	width, height := int64(binary.BigEndian.Uint32(data[16:])), int64(binary.BigEndian.Uint32(data[20:]))
	if err := l.checkSize(h.Format, width, height); err != nil {
		return h, err
	}
	h.Width, h.Height = int(width), int(height)

	depth, colour, interlaced := data[24], data[25], data[28] != 0
	transparent, pixels, ended := false, false, false
	at := 8
	for at+12 <= len(data) && !ended {
		end := at + 12 + int(binary.BigEndian.Uint32(data[at:]))
		name := string(data[at+4 : at+8])
		transparent = transparent || name == "tRNS"
		if end > len(data) {
			if name == "IDAT" || !pixels {
				h.length = int64(end)
			}
			break
		}
		if name == "eXIf" {
			h.Orientation = exifOrientation(data[at+8 : end-4])
		}
		pixels, ended = pixels || name == "IDAT", name == "IEND"
		at = end
	}
	if pixels && !ended && h.length == 0 {
		// Pillow does without what should follow the pixels, image/png wants
		// an end. Where pixels are missing it still says so.
		h.input = slices.Concat(data[:at], []byte("\x00\x00\x00\x00IEND\xae\x42\x60\x82"))
	}

	// Bytes a pixel of the image types that image/png chooses.
	const grey, palette = 0, 3
	size := int64(4)
	if colour == palette || colour == grey && !transparent {
		size = 1
	}
	if depth == 16 {
		size *= 2
	}
	h.memory = size * width * height
	if interlaced {
		h.memory *= 2 // the seven passes are images of their own
	}
	h.decode = func(r io.Reader) (image.Image, error) { return png.Decode(r) }
	return h, nil
}

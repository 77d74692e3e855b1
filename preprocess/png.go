package preprocess

import (
	"encoding/binary"
	"image"
	"image/png"
	"io"
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
	transparent := false
	for at := 8; at+12 <= len(data); {
		length := int(binary.BigEndian.Uint32(data[at:]))
		end := at + 12 + length
		switch name := string(data[at+4 : at+8]); {
		case name == "tRNS":
			transparent = true
		case name == "eXIf" && end <= len(data):
			h.Orientation = exifOrientation(data[at+8 : end-4])
		}
		if end > len(data) {
			h.length = int64(end)
		}
		at = end
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

package preprocess

import (
	"encoding/binary"
	"image"
	"io"
	"slices"

	"golang.org/x/image/bmp"
)

// bmpHeader reads the two headers and writes them anew in the one form that
// x/image/bmp accepts: a 40-byte header (or 108 with an alpha mask) and the
// pixels straight after the palette. Alpha counts only where masks say so, as
// in Pillow.
func bmpHeader(data []byte, l Limits) (header, error) {
	h := header{Info: Info{Format: bmpFormat, Orientation: 1}}
	if len(data) < 26 {
		return h, fail(ErrDamaged, "bmp: truncated after %d bytes", len(data))
	}
	le := binary.LittleEndian
	pixelsAt, infoLength := int64(le.Uint32(data[10:])), int64(le.Uint32(data[14:]))
	if int64(len(data)) < 14+infoLength {
		return h, fail(ErrDamaged, "bmp: truncated after %d bytes", len(data))
	}
	info := data[14 : 14+infoLength]

	const core = 12 // OS/2's header: 16-bit sizes, palette entries of 3 bytes
	var width, height int64
	var depth uint16
	var compression, colours uint32
	entry := int64(4)
	if infoLength == core {
		width, height, depth = int64(le.Uint16(info[4:])), int64(le.Uint16(info[6:])), le.Uint16(info[10:])
		entry = 3
	} else {
		width, height, depth = int64(int32(le.Uint32(info[4:]))), int64(int32(le.Uint32(info[8:]))), le.Uint16(info[14:])
		compression, colours = le.Uint32(info[16:]), le.Uint32(info[32:])
	}
	topDown := height < 0
	if topDown {
		height = -height
	}
	if err := l.checkSize(h.Format, width, height); err != nil {
		return h, err
	}
	h.Width, h.Height = int(width), int(height)

	paletteAt := 14 + infoLength
	alpha := false
	switch {
	case compression == 0:
	case compression == 3 && depth == 32: // BI_BITFIELDS
		masks := data[54:min(len(data), 70)]
		if infoLength == 40 {
			masks = masks[:min(len(masks), 12)] // they follow a header of 40 bytes
		}
		if len(masks) < 12 || le.Uint32(masks) != 0xff0000 || le.Uint32(masks[4:]) != 0xff00 || le.Uint32(masks[8:]) != 0xff {
			return h, fail(ErrUnsupportedFormat, "bmp: channel masks other than 8-bit BGR are not supported")
		}
		alpha = infoLength >= 56 && len(masks) == 16 && le.Uint32(masks[12:]) == 0xff000000
	default:
		return h, fail(ErrUnsupportedFormat, "bmp: compression %d with %d bits a pixel is not supported", compression, depth)
	}
	size, palette := int64(4), []byte(nil)
	switch depth {
	case 1, 2, 4, 8:
		size = 1
		if colours == 0 {
			colours = 1 << depth
		}
		if colours > 1<<depth {
			return h, fail(ErrDamaged, "bmp: damaged: %d colours at %d bits a pixel", colours, depth)
		}
		end := paletteAt + int64(colours)*entry
		if end > int64(len(data)) {
			return h, fail(ErrDamaged, "bmp: truncated after %d bytes", len(data))
		}
		for c := range slices.Chunk(data[paletteAt:end], int(entry)) {
			palette = append(palette, c[0], c[1], c[2], 0)
		}
	case 24, 32:
	default:
		return h, fail(ErrUnsupportedFormat, "bmp: %d bits a pixel are not supported", depth)
	}

	rowLength := (width*int64(depth) + 31) / 32 * 4
	h.length = pixelsAt + rowLength*height
	h.memory = size * width * height
	if h.length > int64(len(data)) {
		return h, fail(ErrDamaged, "bmp: truncated after %d of %d bytes", len(data), h.length)
	}

	head := make([]byte, 54, 122)
	if alpha {
		head = head[:122]
		copy(head[54:], data[54:70])
		le.PutUint32(head[30:], 3)
	}
	copy(head, "BM")
	le.PutUint32(head[10:], uint32(len(head)+len(palette)))
	le.PutUint32(head[14:], uint32(len(head)-14))
	le.PutUint32(head[18:], uint32(width))
	le.PutUint32(head[22:], uint32(height))
	if topDown {
		le.PutUint32(head[22:], uint32(-height))
	}
	le.PutUint16(head[26:], 1) // planes
	le.PutUint16(head[28:], depth)
	le.PutUint32(head[46:], uint32(len(palette)/4))
	h.input = slices.Concat(head, palette, data[pixelsAt:h.length])
	h.decode = func(r io.Reader) (image.Image, error) { return bmp.Decode(r) }
	return h, nil
}

package preprocess

import (
	"encoding/binary"
	"image"
	"io"

	"golang.org/x/image/webp"
)

// webpHeader reads the RIFF chunks (the WebP container specification, which
// also has ANMF) and packs the first frame's into a file of its own, because
// x/image/webp reads no animations.
func webpHeader(data []byte, l Limits) (header, error) {
	h := header{Info: Info{Format: webpFormat, Orientation: 1}, canvas: white}
	le := binary.LittleEndian
	h.length = 8 + int64(le.Uint32(data[4:]))
	if h.length > int64(len(data)) {
		return h, fail(ErrDamaged, "webp: truncated after %d of %d bytes", len(data), h.length)
	}

	var frame webpFrame
	var animated, extended, hasAlpha bool
	var frameWidth, frameHeight int64
	err := eachChunk(data[12:max(12, h.length)], func(name string, body []byte) error {
		switch {
		case name == "VP8X" && len(body) >= 10 && !extended:
			extended = true
			animated, hasAlpha = body[0]&2 != 0, body[0]&16 != 0
			return h.setSize(u24(body[4:])+1, u24(body[7:])+1, l)
		case name == "ANMF" && animated && frame.image == nil && len(body) >= 16:
			h.at = image.Pt(int(2*u24(body)), int(2*u24(body[3:])))
			frameWidth, frameHeight = u24(body[6:])+1, u24(body[9:])+1
			return eachChunk(body[16:], frame.take)
		case name == "EXIF":
			h.Orientation = exifOrientation(body)
		case !animated:
			return frame.take(name, body)
		}
		return nil
	})
	if err != nil {
		return h, err
	}
	width, height, ok := frame.size()
	if !ok {
		return h, fail(ErrDamaged, "webp: damaged: no image in its %d bytes", len(data))
	}
	if !extended {
		if err := h.setSize(width, height, l); err != nil {
			return h, err
		}
		hasAlpha = frame.lossless && frame.image[4]&16 != 0
	} else if !animated {
		frameWidth, frameHeight = int64(h.Width), int64(h.Height)
		hasAlpha = hasAlpha || frame.alpha != nil
	}
	if extended && (width != frameWidth || height != frameHeight ||
		int64(h.at.X)+width > int64(h.Width) || int64(h.at.Y)+height > int64(h.Height)) {
		return h, fail(ErrDamaged, "webp: damaged: a frame of %d x %d pixels does not fit its place", width, height)
	}
	if !hasAlpha {
		h.canvas = black
		frame.alpha = nil
	}

	if h.memory, err = frame.memory(width, height); err != nil {
		return h, err
	}
	h.input = frame.file(width, height)
	h.decode = func(r io.Reader) (image.Image, error) {
		m, err := webp.Decode(r)
		if !hasAlpha {
			makeOpaque(m)
		}
		return m, err
	}
	return h, nil
}

func (h *header) setSize(width, height int64, l Limits) error {
	h.Width, h.Height = int(width), int(height)
	return l.checkSize(h.Format, width, height)
}

func u24(b []byte) int64 { return int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16 }

// eachChunk calls do with each chunk. Bytes too few for a chunk are ignored.
func eachChunk(data []byte, do func(name string, body []byte) error) error {
	for len(data) >= 8 {
		length := int64(binary.LittleEndian.Uint32(data[4:]))
		if length > int64(len(data)-8) {
			return fail(ErrDamaged, "webp: truncated: a chunk of %d bytes ends after %d", length, len(data)-8)
		}
		if err := do(string(data[:4]), data[8:8+length]); err != nil {
			return err
		}
		data = data[min(int64(len(data)), 8+length+length&1):]
	}
	return nil
}

// webpFrame are the chunks that make one image.
type webpFrame struct {
	alpha, image []byte // ALPH; VP8 or VP8L
	lossless     bool   // VP8L
}

func (f *webpFrame) take(name string, body []byte) error {
	switch {
	case f.image != nil: // only the first counts
	case name == "ALPH":
		f.alpha = body
	case name == "VP8 ":
		f.image = body
	case name == "VP8L":
		f.image, f.lossless, f.alpha = body, true, nil
	}
	return nil
}

// size is what the bitstream claims: RFC 6386, section 9.1; WebP lossless
// bitstream specification, section 3.
func (f *webpFrame) size() (width, height int64, ok bool) {
	if f.lossless {
		if len(f.image) < 5 || f.image[0] != 0x2f {
			return 0, 0, false
		}
		bits := int64(binary.LittleEndian.Uint32(f.image[1:]))
		return bits&0x3fff + 1, bits>>14&0x3fff + 1, true
	}
	if len(f.image) < 10 {
		return 0, 0, false
	}
	return int64(binary.LittleEndian.Uint16(f.image[6:])) & 0x3fff, int64(binary.LittleEndian.Uint16(f.image[8:])) & 0x3fff, true
}

// memory bounds what x/image/webp allocates. Lossy: planes of whole 16 x 16
// blocks, a copy of the data, and alpha, which may be coded as the green of a
// lossless image without its header.
func (f *webpFrame) memory(width, height int64) (int64, error) {
	if f.lossless {
		return vp8lMemory(f.image[5:], width, height)
	}
	lossy := (width+15)&^15*((height+15)&^15)*7/4 + int64(len(f.image))
	if f.alpha == nil {
		return lossy, nil
	}
	lossy += width * height
	if len(f.alpha) == 0 || f.alpha[0]&3 != 1 {
		return lossy, nil
	}
	alpha, err := vp8lMemory(f.alpha[1:], width, height)
	return lossy + alpha, err
}

// file is a WebP file of the frame alone.
func (f *webpFrame) file(width, height int64) []byte {
	file := []byte("RIFF\x00\x00\x00\x00WEBP")
	add := func(name string, body []byte) {
		file = append(file, name...)
		file = binary.LittleEndian.AppendUint32(file, uint32(len(body)))
		file = append(file, body...)
		if len(body)&1 != 0 {
			file = append(file, 0)
		}
	}
	switch {
	case f.lossless:
		add("VP8L", f.image)
	case f.alpha == nil:
		add("VP8 ", f.image)
	default:
		w, h := width-1, height-1
		add("VP8X", []byte{16, 0, 0, 0, byte(w), byte(w >> 8), byte(w >> 16), byte(h), byte(h >> 8), byte(h >> 16)})
		add("ALPH", f.alpha)
		add("VP8 ", f.image)
	}
	binary.LittleEndian.PutUint32(file[4:], uint32(len(file)-8))
	return file
}

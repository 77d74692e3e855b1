package preprocess

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/gif"
	"io"
)

// gifHeader finds the first frame. It lies somewhere on the logical screen,
// which Pillow enlarges where the frame does not fit in and the standard
// library does not. As in Pillow, the screen beside the frame is transparent if
// the frame has a transparent colour, and of colour 0 if not.
func gifHeader(data []byte, l Limits) (header, error) {
	h := header{Info: Info{Format: gifFormat, Orientation: 1}, input: data}
	descriptor, palette, transparent := gifFrame(data)
	if descriptor == nil {
		return h, fail(ErrDamaged, "gif: damaged or truncated: no frame in its %d bytes", len(data))
	}
	u16 := func(b []byte) int64 { return int64(binary.LittleEndian.Uint16(b)) }
	left, top := u16(descriptor), u16(descriptor[2:])
	frameWidth, frameHeight := u16(descriptor[4:]), u16(descriptor[6:])
	screenWidth, screenHeight := u16(data[6:]), u16(data[8:])
	width, height := max(screenWidth, left+frameWidth), max(screenHeight, top+frameHeight)
	for _, size := range [][2]int64{{width, height}, {frameWidth, frameHeight}} {
		if err := l.checkSize(h.Format, size[0], size[1]); err != nil {
			return h, err
		}
	}
	h.Width, h.Height, h.at = int(width), int(height), image.Pt(int(left), int(top))
	if width != screenWidth || height != screenHeight {
		h.input = bytes.Clone(data)
		binary.LittleEndian.PutUint16(h.input[6:], uint16(width))
		binary.LittleEndian.PutUint16(h.input[8:], uint16(height))
	}
	if transparent || len(palette) < 3 {
		h.canvas = white
	} else {
		h.canvas = [3]uint8(palette)
	}
	h.memory = 2 * frameWidth * frameHeight // interlaced ones are copied once
	h.decode = func(r io.Reader) (image.Image, error) { return gif.Decode(r) }
	return h, nil
}

// gifFrame walks to the first image descriptor (GIF89a, section 20; nil if
// there is none) and finds the frame's colours.
func gifFrame(data []byte) (descriptor, palette []byte, transparent bool) {
	table := func(flags byte) int { return 3 << (1 + flags&7) }
	if len(data) < 13 {
		return nil, nil, false
	}
	at := 13
	if flags := data[10]; flags&0x80 != 0 {
		at += table(flags)
		palette = data[13:min(at, len(data))]
	}
	for at+10 <= len(data) {
		switch data[at] {
		case ',':
			descriptor = data[at+1 : at+10]
			if flags := descriptor[8]; flags&0x80 != 0 {
				palette = data[at+10 : min(at+10+table(flags), len(data))]
			}
			return descriptor, palette, transparent
		case '!':
			if data[at+1] == 0xf9 { // graphic control, section 23
				transparent = data[at+3]&1 != 0
			}
			at += 2
			for at < len(data) && data[at] != 0 {
				at += 1 + int(data[at])
			}
			at++
		default:
			return nil, nil, false
		}
	}
	return nil, nil, false
}

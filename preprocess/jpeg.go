package preprocess

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/jpeg"
	"io"
	"slices"

	planes "edgevit/preprocess/internal/jpeg"
)

// Markers: ITU-T T.81, table B.1.
const (
	markerSOF0  = 0xc0
	markerSOF2  = 0xc2 // progressive
	markerDHT   = 0xc4
	markerJPG   = 0xc8
	markerSOF9  = 0xc9 // from here on arithmetic coding
	markerDAC   = 0xcc
	markerSOF15 = 0xcf
	markerRST0  = 0xd0
	markerRST7  = 0xd7
	markerEOI   = 0xd9
	markerSOS   = 0xda
	markerAPP0  = 0xe0
	markerAPP1  = 0xe1
	markerAPP14 = 0xee
)

// jpegHeader walks all markers, because scans can be counted in no other way.
func jpegHeader(data []byte, l Limits) (header, error) {
	h := header{Info: Info{Format: jpegFormat, Orientation: 1}, input: data}
	var exif, adobe []byte
	var components, scans int
	var progressive, jfif, namedRGB bool

	at := 2
	for {
		marker, segment, next := nextSegment(data, at)
		if next == 0 || marker == markerEOI {
			break
		}
		at = next
		switch {
		case marker == markerAPP1 && bytes.HasPrefix(segment, []byte("Exif\x00\x00")) && exif == nil:
			exif = segment
		case marker == markerAPP14 && bytes.HasPrefix(segment, []byte("Adobe")):
			adobe = segment
		case marker == markerSOS:
			if scans++; scans > l.Scans {
				return h, fail(ErrTooLarge, "jpeg has more than %d scans, the limit", l.Scans)
			}
		case marker >= markerSOF0 && marker <= markerSOF15 && marker != markerDHT && marker != markerJPG && marker != markerDAC && components == 0:
			if err := h.jpegFrame(marker, segment, l); err != nil {
				return h, err
			}
			components, progressive = int(segment[5]), marker == markerSOF2
			namedRGB = components == 3 && segment[6] == 'R' && segment[9] == 'G' && segment[12] == 'B'
		case marker == markerAPP0:
			jfif = bytes.HasPrefix(segment, []byte("JFIF\x00"))
		}
	}
	if components == 0 {
		return h, fail(ErrDamaged, "jpeg: damaged: no image in its %d bytes", len(data))
	}
	h.Orientation = exifOrientation(exif)
	// What three components are is libjpeg's to say (jdapimin.c). RGB and inks,
	// which are rare, are left to the standard library.
	rgb := components == 3 && !jfif && (namedRGB || len(adobe) >= 12 && adobe[11] == 0)
	coefficient := int64(2) // bytes
	if rgb || components == 4 {
		coefficient = 4
		h.decode = func(r io.Reader) (image.Image, error) { return jpeg.Decode(r) }
	} else {
		h.decodePart = func(f *feed, part image.Rectangle) (image.Image, image.Point, error) {
			m, at, err := planes.Decode(f.data, part, f.stop)
			f.ended = errors.Is(err, io.ErrUnexpectedEOF)
			return m, at, err
		}
	}
	if progressive {
		h.memory += coefficient * h.memory
	}
	if rgb || components == 4 {
		h.memory += 4 * int64(h.Width) * int64(h.Height) // stored as RGB, or converted from inks
	}
	if components == 4 && adobe == nil {
		// Pillow takes four components for inverted CMYK; the standard library
		// wants Adobe's marker to say so.
		h.input = slices.Concat(data[:2], []byte("\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"), data[2:])
	}
	return h, nil
}

// nextSegment finds the marker at or after at, as the standard library does:
// bytes before it are skipped, so the entropy-coded data of a scan is too. next
// is 0 at the end of the data.
func nextSegment(data []byte, at int) (marker byte, segment []byte, next int) {
	for {
		i := bytes.IndexByte(data[at:], 0xff)
		if i < 0 {
			return 0, nil, 0
		}
		at += i
		for at < len(data) && data[at] == 0xff { // fill bytes
			at++
		}
		if at == len(data) {
			return 0, nil, 0
		}
		marker = data[at]
		at++
		if marker == 0 || marker >= markerRST0 && marker <= markerRST7 {
			continue
		}
		if marker == markerEOI {
			return marker, nil, at
		}
		if at+2 > len(data) {
			return 0, nil, 0
		}
		length := int(binary.BigEndian.Uint16(data[at:]))
		if length < 2 || at+length > len(data) {
			return 0, nil, 0
		}
		return marker, data[at+2 : at+length], at + length
	}
}

// jpegFrame reads a frame header, T.81 section B.2.2, and estimates what its
// planes take: 8 bits a sample, whole MCUs.
func (h *header) jpegFrame(marker byte, segment []byte, l Limits) error {
	if len(segment) < 6 || len(segment) < 6+3*int(segment[5]) || segment[5] == 0 {
		return fail(ErrDamaged, "jpeg: damaged: frame header of %d bytes", len(segment))
	}
	height, width := int64(binary.BigEndian.Uint16(segment[1:])), int64(binary.BigEndian.Uint16(segment[3:]))
	if err := l.checkSize(h.Format, width, height); err != nil {
		return err
	}
	h.Width, h.Height = int(width), int(height)
	if marker >= markerSOF9 {
		return fail(ErrUnsupportedFormat, "jpeg: arithmetic coding is not supported")
	}
	if marker > markerSOF2 {
		return fail(ErrUnsupportedFormat, "jpeg: lossless and hierarchical coding are not supported")
	}
	if segment[0] != 8 {
		return fail(ErrUnsupportedFormat, "jpeg: %d bits a sample are not supported", segment[0])
	}

	components := int(segment[5])
	var area, hMax, vMax int64 // of the sampling factors
	for i := range components {
		hv := segment[7+3*i]
		ch, cv := int64(hv>>4), int64(hv&15)
		area += ch * cv
		hMax, vMax = max(hMax, ch), max(vMax, cv)
	}
	if components == 1 {
		area, hMax, vMax = 1, 1, 1
	}
	if area == 0 || hMax > 4 || vMax > 4 {
		return fail(ErrDamaged, "jpeg: damaged: sampling factors out of range")
	}
	// Decoders count MCUs by the first component's factors, which they make sure
	// are the largest.
	mcus := ((width + 8*hMax - 1) / (8 * hMax)) * ((height + 8*vMax - 1) / (8 * vMax))
	h.memory = 64 * area * mcus
	return nil
}

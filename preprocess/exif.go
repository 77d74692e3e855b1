package preprocess

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// ifd is the first image file directory of a TIFF file, of which EXIF is one:
// TIFF 6.0, section 2. Nothing it claims is trusted.
type ifd struct {
	data    []byte
	order   binary.ByteOrder
	entries [][]byte // 12 bytes each: tag, type, count, value or its offset
	cut     bool     // the file ends before the directory does
}

// readIFD finds no entries where data is not TIFF or the directory lies outside
// of it; a directory cut short has the entries that are there.
func readIFD(data []byte) ifd {
	d := ifd{data: data, order: binary.LittleEndian}
	if hasMagic(data, "MM\x00*") {
		d.order = binary.BigEndian
	} else if !hasMagic(data, "II*\x00") {
		return d
	}
	if len(data) < 8 {
		return d
	}
	at := int64(d.order.Uint32(data[4:]))
	if at+2 > int64(len(data)) {
		return d
	}
	count := int(d.order.Uint16(data[at:]))
	for entries := data[at+2:]; count > 0 && len(entries) >= 12; count-- {
		d.entries = append(d.entries, entries[:12])
		entries = entries[12:]
	}
	d.cut = count > 0
	return d
}

func (d ifd) find(tag uint16) []byte {
	i := slices.IndexFunc(d.entries, func(e []byte) bool { return d.order.Uint16(e) == tag })
	if i < 0 {
		return nil
	}
	return d.entries[i]
}

// values are the first values of a tag of type BYTE, SHORT or LONG, at most n;
// none where the tag is missing, of another type or outside of the file.
func (d ifd) values(tag uint16, n int) []int64 {
	e := d.find(tag)
	if e == nil {
		return nil
	}
	raw, size := d.raw(e)
	if raw == nil || size == 0 {
		return nil
	}
	count := int64(d.order.Uint32(e[4:]))
	vs := make([]int64, min(count, int64(n)))
	for i := range vs {
		switch size {
		case 1:
			vs[i] = int64(raw[i])
		case 2:
			vs[i] = int64(d.order.Uint16(raw[2*i:]))
		case 4:
			vs[i] = int64(d.order.Uint32(raw[4*i:]))
		}
	}
	return vs
}

// raw are the bytes of an entry's values, nil if they lie outside of the file,
// and the size of one, 0 if it is of another type.
func (d ifd) raw(e []byte) (raw []byte, size int64) {
	size = map[uint16]int64{1: 1, 3: 2, 4: 4}[d.order.Uint16(e[2:])]
	length := size * int64(d.order.Uint32(e[4:]))
	if length <= 4 {
		return e[8:12], size
	}
	at := int64(d.order.Uint32(e[8:]))
	if at+length > int64(len(d.data)) {
		return nil, size
	}
	return d.data[at : at+length], size
}

// value is the first value of a tag, or otherwise.
func (d ifd) value(tag uint16, otherwise int64) int64 {
	if vs := d.values(tag, 1); len(vs) > 0 {
		return vs[0]
	}
	return otherwise
}

// orientation is tag 274, 1 where it is missing or nonsense.
func (d ifd) orientation() int {
	if o := d.value(274, 1); 1 <= o && o <= 8 {
		return int(o)
	}
	return 1
}

// exifOrientation reads an EXIF block, with or without the prefix it has in
// JPEG (and, of some writers, in WebP).
func exifOrientation(block []byte) int {
	return readIFD(bytes.TrimPrefix(block, []byte("Exif\x00\x00"))).orientation()
}

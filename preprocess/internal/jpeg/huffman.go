package jpeg

import (
	"bytes"
	"encoding/binary"
	"io"
)

// bits reads entropy-coded data: T.81, B.1.1.5 and F.2.2.
type bits struct {
	data []byte
	at   int // the next byte

	// acc holds the n bits that were taken and not yet used, the first one
	// highest. Below them may stand some that come next. Behind the data zeros
	// are taken, pad in all.
	acc    uint64
	n, pad int
}

// needed is how many bits there are after fill: a code and what follows it.
const needed = 32

// fill takes bytes until there are at least needed bits.
func (b *bits) fill() {
	if b.at+8 <= len(b.data) {
		const ones = 0x0101010101010101
		if w := binary.BigEndian.Uint64(b.data[b.at:]); (^w-ones)&w&(ones<<7) == 0 { // no byte is 0xff
			b.acc |= w >> (b.n & 63)
			bytes := (63 - b.n) >> 3
			b.at += bytes
			b.n += 8 * bytes
			return
		}
	}
	for b.n <= 56 {
		if b.at >= len(b.data) {
			b.padded()
			return
		}
		v := b.data[b.at]
		if v == 0xff {
			if b.at+1 >= len(b.data) || b.data[b.at+1] != 0 {
				b.padded()
				return
			}
			b.at++
		}
		b.at++
		b.acc |= uint64(v) << (56 - b.n)
		b.n += 8
	}
}

// padded takes zeros for bits that are not there.
func (b *bits) padded() {
	b.pad += 63 - b.n
	b.n = 63
}

// overrun is the error of having used more bits than there were.
func (b *bits) overrun() error {
	switch {
	case b.n >= b.pad:
		return nil
	case b.at+1 >= len(b.data):
		return io.ErrUnexpectedEOF
	}
	return formatError("short Huffman data")
}

// reset drops what was taken.
func (b *bits) reset() { b.acc, b.n, b.pad = 0, 0, 0 }

// take returns the next n bits, at most 16, as a number.
func (b *bits) take(n int) int32 {
	if b.n < needed {
		b.fill()
	}
	v := int32(b.acc >> (64 - n))
	b.acc <<= n
	b.n -= n
	return v
}

// extended is the value that the first size bits of acc stand for: EXTEND of
// T.81, F.2.2.1.
func extended(acc uint64, size uint32) int32 {
	v := int32(acc >> (64 - size))
	negative := ^(int64(acc) >> 63)
	return v + int32(negative)&(1-1<<size)
}

// takeExtended returns the value of the next size bits, at most 16.
func (b *bits) takeExtended(size uint32) int32 {
	if b.n < needed {
		b.fill()
	}
	v := extended(b.acc, size)
	b.acc <<= size
	b.n -= int(size)
	return v
}

// restart goes behind the restart marker of number n, which must be the next
// marker.
func (b *bits) restart(n int) error {
	b.reset()
	for {
		i := bytes.IndexByte(b.data[b.at:], 0xff)
		if i < 0 || b.at+i+1 >= len(b.data) {
			b.at = len(b.data)
			return io.ErrUnexpectedEOF
		}
		b.at += i
		switch b.data[b.at+1] {
		case byte(rst0 + n):
			b.at += 2
			return nil
		case 0:
			b.at += 2
		case 0xff:
			b.at++
		default:
			return formatError("bad RST marker")
		}
	}
}

// lookup is how many bits are looked up at once.
const lookup = 10

// huffman is a table of codes, each standing for a symbol of one byte: T.81,
// annex C.
type huffman struct {
	symbols []byte // in the order of their codes; nil if not defined
	// codes holds, by the first bits, the symbol and below it the length of its
	// code; 0 if that is longer than lookup.
	codes [1 << lookup]uint16
	// values holds the same with the bits that follow the code, in sequential
	// scans.
	values [1 << lookup]value
	// isValues says that values is filled, isDC for which kind of coefficient.
	isValues bool

	// For each length the first code, and the number of the symbol it stands for.
	first, index, count [17]int32
}

// value is what some first bits mean: how many they are, how many zeros stand
// before the coefficient, and the coefficient. Where not all its bits could be
// looked up, more is set, the bits are those of the code, and the coefficient's
// place has its size. 0 stands for a code that is longer.
type value uint32

const (
	more value = 0x80
	// end is a number of zeros: of an end of block. The size is then that of the
	// length of its run.
	end = 64
	// unknown is a number of zeros too: of a symbol that is no size of a DC
	// difference.
	unknown = 127
)

func (v value) bits() int      { return int(v & 0x7f) }
func (v value) zeros() int     { return int(v >> 8 & 0x7f) }
func (v value) size() uint32   { return uint32(v >> 16) }
func (v value) level() int32   { return int32(v) >> 16 }
func (v value) isWhole() bool  { return v&more == 0 }
func (v value) isLonger() bool { return v == 0 }

// code finds the symbol that acc begins with, and the length of its code, 0 if
// there is none.
func (h *huffman) code(acc uint64) (symbol byte, length int) {
	if c := h.codes[acc>>(64-lookup)]; c != 0 {
		return byte(c >> 8), int(c & 0xff)
	}
	for l := lookup + 1; l <= 16; l++ {
		if i := int32(acc>>(64-l)) - h.first[l]; i < h.count[l] {
			if i < 0 {
				break
			}
			return h.symbols[h.index[l]+i], l
		}
	}
	return 0, 0
}

// errCode means that the next bits are no code of their table.
const errCode = formatError("bad Huffman code")

// symbol reads one symbol.
func (b *bits) symbol(h *huffman) (byte, error) {
	if h.symbols == nil {
		return 0, errUndefined
	}
	if b.n < needed {
		b.fill()
	}
	s, length := h.code(b.acc)
	if length == 0 {
		return 0, errCode
	}
	b.acc <<= length
	b.n -= length
	return s, nil
}

const (
	errUndefined      = formatError("uninitialized Huffman table")
	errOversubscribed = formatError("Huffman table has more codes than there can be")
)

// huffmanTables reads Huffman tables: T.81, B.2.4.2.
func (d *decoder) huffmanTables(segment []byte) error {
	for len(segment) > 0 {
		if len(segment) < 17 {
			return formatError("DHT has wrong length")
		}
		class, number := segment[0]>>4, segment[0]&15
		if class > 1 {
			return formatError("bad Tc value")
		}
		if number >= maxTables || d.baseline && number > 1 {
			return formatError("bad Th value")
		}
		h := &d.dc[number]
		if class == 1 {
			h = &d.ac[number]
		}
		counts, n := segment[1:17], 0
		for _, c := range counts {
			n += int(c)
		}
		switch {
		case n == 0:
			return formatError("Huffman table has zero length")
		case n > 256:
			return formatError("Huffman table has excessive length")
		case n > len(segment)-17:
			return formatError("DHT has wrong length")
		}
		if err := h.define(counts, segment[17:17+n]); err != nil {
			return err
		}
		segment = segment[17+n:]
	}
	return nil
}

// define makes the table of the given numbers of codes of each length.
func (h *huffman) define(counts, symbols []byte) error {
	*h = huffman{}
	code, at := 0, 0
	for i, c := range counts {
		l, n := i+1, int(c)
		code <<= 1
		if code+n > 1<<l {
			return errOversubscribed
		}
		h.first[l], h.index[l], h.count[l] = int32(code), int32(at), int32(n)
		for range n {
			if l <= lookup {
				span := h.codes[code<<(lookup-l):][:1<<(lookup-l)]
				for j := range span {
					span[j] = uint16(symbols[at])<<8 | uint16(l)
				}
			}
			code++
			at++
		}
	}
	h.symbols = symbols
	return nil
}

// fillValues makes the table of values.
func (h *huffman) fillValues(dc bool) {
	if h.isValues {
		return
	}
	h.isValues = true
	for i, c := range h.codes {
		if c == 0 {
			continue
		}
		v, size := meaning(byte(c>>8), int(c&0xff), dc)
		if total := v.bits() + int(size); v.zeros() < end && total <= lookup {
			level := extended(uint64(i)<<(64-lookup)<<v.bits(), size)
			v = value(total) | value(v.zeros())<<8 | value(level)<<16
		}
		h.values[i] = v
	}
}

// meaning is the value of a symbol whose code has the given length, without the
// bits that follow, and how many these are.
func meaning(symbol byte, length int, dc bool) (v value, size uint32) {
	zeros, size := int(symbol>>4), uint32(symbol&15)
	switch {
	case dc && symbol > 16:
		zeros = unknown
	case dc:
		zeros, size = 0, uint32(symbol)
	case size == 0 && zeros < 15:
		size = uint32(zeros)
		zeros = end
	}
	return more | value(length) | value(zeros)<<8 | value(size)<<16, size
}

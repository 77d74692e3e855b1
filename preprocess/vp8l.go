package preprocess

import "encoding/binary"

// vp8lMemory is how many bytes x/image/vp8l allocates, garbage included, to
// decode a lossless WebP bitstream of width x height pixels; data begins after
// the bitstream's header of 5 bytes. The size says little of it: up to 2600
// groups of Huffman trees, of 80 KB each if somebody tries, stand before the
// pixels. So this reads all that comes before them: RFC 9649, sections 3.4 to
// 3.7. What it cannot read, libwebp cannot either. Its time is bounded by the
// length of data and by the three images of a sixteenth of the pixels.
func vp8lMemory(data []byte, width, height int64) (int64, error) {
	r := &vp8lReader{data: data}
	w, h := int(width), int(height)
	for seen := 0; r.bits(1) == 1 && !r.damaged; {
		kind := r.bits(2)
		r.damaged = r.damaged || seen>>kind&1 != 0
		seen |= 1 << kind
		switch kind {
		case transformPredictor, transformCrossColour:
			tile := 2 + r.bits(3)
			r.image(tiles(w, tile), tiles(h, tile))
		case transformColourIndexing:
			colours := 1 + r.bits(8)
			r.image(colours, 1)
			r.memory += 4 * 256
			packed := 0 // the logarithm of the pixels in one
			switch {
			case colours <= 2:
				packed = 3
			case colours <= 4:
				packed = 2
			case colours <= 16:
				packed = 1
			}
			if packed > 0 {
				r.memory += 4 * int64(w) * int64(h)
				w = tiles(w, packed)
			}
		}
	}

	cacheBits := r.cacheBits()
	groups := map[int]bool{0: true} // the numbers in use
	last := 0
	if r.bits(1) == 1 {
		tile := 2 + r.bits(3)
		clear(groups)
		for _, p := range r.image(tiles(w, tile), tiles(h, tile)) {
			group := int(p >> 8 & 0xffff)
			groups[group] = true
			last = max(last, group)
		}
	}
	if last >= vp8lMaxGroups {
		return 0, fail(ErrDamaged, "webp: damaged: more than %d groups of Huffman trees", vp8lMaxGroups)
	}
	for g := range last + 1 {
		if r.damaged {
			break
		}
		// Up to 1000 groups the decoder keeps unused ones too.
		r.group(cacheBits, last < 1000 || groups[g])
	}
	if r.damaged {
		return 0, fail(ErrDamaged, "webp: damaged or truncated: its lossless bitstream cannot be read")
	}
	return r.memory + 4*int64(w)*int64(h), nil
}

const (
	transformPredictor      = 0
	transformCrossColour    = 1
	transformColourIndexing = 3

	vp8lMaxGroups = 2600 // libwebp and x/image/vp8l take no more
)

// tiles is how many tiles of 1<<bits pixels cover size pixels.
func tiles(size, bits int) int { return (size + 1<<bits - 1) >> bits }

// vp8lReader reads a bitstream, lowest bit first, and sums up what x/image/vp8l
// and it itself allocate for that. Past the end there are zeros.
type vp8lReader struct {
	data    []byte
	at      int // in bits
	damaged bool
	memory  int64
}

// bits reads up to 24 bits.
func (r *vp8lReader) bits(n int) int {
	var window [4]byte
	copy(window[:], r.data[min(r.at>>3, len(r.data)):])
	v := int(binary.LittleEndian.Uint32(window[:])>>(r.at&7)) & (1<<n - 1)
	r.at += n
	r.damaged = r.damaged || r.at > 8*len(r.data)
	return v
}

// cacheBits is the logarithm of the colour cache's size; 0 is none.
func (r *vp8lReader) cacheBits() int {
	if r.bits(1) == 0 {
		return 0
	}
	n := r.bits(4)
	if n < 1 || n > 11 {
		r.damaged = true
		return 0
	}
	r.memory += 2 * 4 << n
	return n
}

// image reads an image of one group of Huffman trees, such as the transforms
// and the groups' numbers are stored in, as ARGB.
func (r *vp8lReader) image(width, height int) []uint32 {
	const literals, lengths = 256, 24
	cacheBits := r.cacheBits()
	var cache []uint32
	if cacheBits > 0 {
		cache = make([]uint32, 1<<cacheBits)
	}
	codes := r.group(cacheBits, true)
	if r.damaged {
		return nil
	}
	n := width * height
	r.memory += 2 * 4 * int64(n)
	pixels := make([]uint32, 0, n)
	add := func(argb uint32) {
		pixels = append(pixels, argb)
		if cache != nil {
			cache[argb*0x1e35a7bd>>(32-cacheBits)] = argb
		}
	}
	for len(pixels) < n && !r.damaged {
		green := r.symbol(&codes[0])
		switch {
		case green < literals:
			red, blue, alpha := r.symbol(&codes[1]), r.symbol(&codes[2]), r.symbol(&codes[3])
			add(uint32(alpha<<24 | red<<16 | green<<8 | blue))
		case green < literals+lengths:
			length := r.lz77(green - literals)
			distance := vp8lDistance(r.lz77(r.symbol(&codes[4])), width)
			if length > n-len(pixels) || distance > len(pixels) {
				r.damaged = true
				return nil
			}
			for range length {
				add(pixels[len(pixels)-distance])
			}
		default:
			add(cache[green-literals-lengths])
		}
	}
	return pixels
}

// lz77 is a length or distance: section 3.6.2.2's prefix coding.
func (r *vp8lReader) lz77(symbol int) int {
	if symbol < 4 {
		return symbol + 1
	}
	extra := (symbol - 2) >> 1
	return (2+symbol&1)<<extra + r.bits(extra) + 1
}

// vp8lDistance maps a distance code to pixels back in scan order: the lowest
// 120 codes are places near by, of which vp8lNear has rows times 16, and 8 less
// columns.
func vp8lDistance(code, width int) int {
	if code > len(vp8lNear) {
		return code - len(vp8lNear)
	}
	near := int(vp8lNear[code-1])
	return max(1, near>>4*width+8-near&15)
}

const vp8lNear = "\x18\x07\x17\x19\x28\x06\x27\x29\x16\x1a\x26\x2a\x38\x05\x37\x39\x15\x1b\x36\x3a" +
	"\x25\x2b\x48\x04\x47\x49\x14\x1c\x35\x3b\x46\x4a\x24\x2c\x58\x45\x4b\x34\x3c\x03" +
	"\x57\x59\x13\x1d\x56\x5a\x23\x2d\x44\x4c\x55\x5b\x33\x3d\x68\x02\x67\x69\x12\x1e" +
	"\x66\x6a\x22\x2e\x54\x5c\x43\x4d\x65\x6b\x32\x3e\x78\x01\x77\x79\x53\x5d\x11\x1f" +
	"\x64\x6c\x42\x4e\x76\x7a\x21\x2f\x75\x7b\x31\x3f\x63\x6d\x52\x5e\x00\x74\x7c\x41" +
	"\x4f\x10\x20\x62\x6e\x30\x73\x7d\x51\x5f\x40\x72\x7e\x61\x6f\x50\x71\x7f\x60\x70"

// group reads the five Huffman codes of a group: green with lengths and cached
// colours, red, blue, alpha, distances. kept says whether the decoder builds
// trees of them.
func (r *vp8lReader) group(cacheBits int, kept bool) (codes [5]huffmanCode) {
	if kept {
		r.memory += 5 * 536 // look-up tables
	}
	for i, alphabet := range []int{256 + 24, 256, 256, 256, 40} {
		if i == 0 && cacheBits > 0 {
			alphabet += 1 << cacheBits
		}
		codes[i] = r.code(alphabet)
		if kept {
			r.memory += allocated(8 * (2*len(codes[i].symbols) - 1))
		}
	}
	return codes
}

// huffmanCode is a canonical code: how many symbols have each length, and the
// symbols by length and value. That of one symbol takes no bits.
type huffmanCode struct {
	counts  [16]int
	symbols []uint16
}

// code reads a Huffman code of symbols below alphabet: section 3.7.2.1.
func (r *vp8lReader) code(alphabet int) huffmanCode {
	if r.bits(1) == 1 { // one or two symbols
		n := 1 + r.bits(1)
		symbols := []uint16{uint16(r.bits(1 + 7*r.bits(1)))}
		if n == 2 {
			symbols = append(symbols, uint16(r.bits(8)))
		}
		for _, s := range symbols {
			r.damaged = r.damaged || int(s) >= alphabet
		}
		return huffmanCode{counts: [16]int{1: n}, symbols: symbols}
	}

	const repeat = 16
	order := [19]int{17, 18, 0, 1, 2, 3, 4, 5, repeat, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	var lengthLengths [19]uint8
	for _, symbol := range order[:min(len(order), 4+r.bits(4))] {
		lengthLengths[symbol] = uint8(r.bits(3))
	}
	lengthCode := r.newCode(lengthLengths[:])
	left := alphabet // code lengths that are written
	if r.bits(1) == 1 {
		left = r.bits(2+2*r.bits(3)) + 2
	}
	if left > alphabet {
		r.damaged = true
	}
	// The lengths, the codes, ours, and those of the code of lengths.
	r.memory += 2*allocated(4*alphabet) + allocated(3*alphabet) + 512
	lengths := make([]uint8, 0, alphabet)
	previous := uint8(8)
	for ; left > 0 && len(lengths) < alphabet && !r.damaged; left-- {
		symbol := r.symbol(&lengthCode)
		length, times := uint8(symbol), 1
		switch symbol {
		case repeat:
			length, times = previous, 3+r.bits(2)
		case 17:
			length, times = 0, 3+r.bits(3)
		case 18:
			length, times = 0, 11+r.bits(7)
		}
		if times > alphabet-len(lengths) {
			r.damaged = true
			break
		}
		if length != 0 {
			previous = length
		}
		for range times {
			lengths = append(lengths, length)
		}
	}
	return r.newCode(lengths)
}

// newCode gives the symbols codes of the given lengths, which must use up all
// codes there are.
func (r *vp8lReader) newCode(lengths []uint8) (c huffmanCode) {
	for _, length := range lengths {
		c.counts[length]++
	}
	c.counts[0] = 0
	n, free := 0, 1
	var at [16]int
	for length, count := range c.counts {
		at[length] = n
		n += count
		if length > 0 {
			free = 2*free - count
		}
		r.damaged = r.damaged || free < 0
	}
	if n == 0 || n > 1 && free != 0 {
		r.damaged = true
	}
	c.symbols = make([]uint16, n)
	for symbol, length := range lengths {
		if length != 0 {
			c.symbols[at[length]] = uint16(symbol)
			at[length]++
		}
	}
	return c
}

// symbol reads a symbol.
func (r *vp8lReader) symbol(c *huffmanCode) int {
	if len(c.symbols) == 1 {
		return int(c.symbols[0])
	}
	code, first, at := 0, 0, 0 // of the codes of one length
	for _, count := range c.counts[1:] {
		code = code<<1 | r.bits(1)
		first <<= 1
		if code-first < count {
			return int(c.symbols[at+code-first])
		}
		first += count
		at += count
	}
	r.damaged = true
	return 0
}

// allocated bounds what an allocation of n bytes takes: the runtime rounds up
// to a size class, by up to an eighth.
func allocated(n int) int64 { return int64(n + n/8 + 16) }

package jpeg

import "image"

// zigzag is the place of each coefficient in a block: T.81, figure A.6.
var zigzag = [blockSize]uint8{
	0, 1, 8, 16, 9, 2, 3, 10,
	17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34,
	27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36,
	29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46,
	53, 60, 61, 54, 47, 55, 62, 63,
}

// scanComponent is a component's part in a scan.
type scanComponent struct {
	*component
	dc, ac     *huffman
	difference int32 // DC, of the last block
}

// scanBand is what a progressive scan brings: the coefficients first to last in
// zig-zag order, down to the bit low; the bit high was the last one known, 0 if
// none.
type scanBand struct {
	first, last int
	high, low   uint
}

// scan reads a scan's header, T.81, B.2.3, and its blocks.
func (d *decoder) scan(segment []byte) error {
	if d.components == nil {
		return formatError("missing SOF marker")
	}
	n := 0
	if len(segment) > 0 {
		n = int(segment[0])
	}
	if n < 1 || n > len(d.components) || len(segment) != 4+2*n {
		return formatError("SOS has wrong length")
	}
	parts := make([]scanComponent, n)
	samples := 0
	for i := range parts {
		id, dc, ac := segment[1+2*i], segment[2+2*i]>>4, segment[2+2*i]&15
		for j := range d.components {
			if d.components[j].id == id {
				parts[i].component = &d.components[j]
			}
		}
		if parts[i].component == nil {
			return formatError("unknown component selector")
		}
		for _, other := range parts[:i] {
			if other.component == parts[i].component {
				return formatError("repeated component selector")
			}
		}
		if dc >= maxTables || d.baseline && dc > 1 {
			return formatError("bad Td value")
		}
		if ac >= maxTables || d.baseline && ac > 1 {
			return formatError("bad Ta value")
		}
		parts[i].dc, parts[i].ac = &d.dc[dc], &d.ac[ac]
		samples += parts[i].h * parts[i].v
	}
	if len(d.components) > 1 && samples > 10 {
		return formatError("total sampling factors too large")
	}
	p := segment[1+2*n:]
	band := scanBand{0, blockSize - 1, 0, 0}
	if d.progressive {
		band = scanBand{int(p[0]), int(p[1]), uint(p[2] >> 4), uint(p[2] & 15)}
		switch {
		case band.first == 0 && band.last != 0 || band.first > band.last || band.last >= blockSize:
			return formatError("bad spectral selection bounds")
		case band.first != 0 && n != 1:
			return formatError("progressive AC coefficients for more than one component")
		case band.high != 0 && band.high != band.low+1:
			return formatError("bad successive approximation values")
		}
	}
	if !d.scanned {
		d.allocate()
	}
	for i := range parts {
		c := &parts[i]
		if c.quant == nil { // as libjpeg: what holds when the component begins
			table := d.quant[c.table]
			c.quant = &table
		}
		if d.progressive && c.coefficients == nil {
			c.coefficients = make([]int16, blockSize*c.blocks*d.mcusDown*c.v)
		}
		if !d.progressive {
			c.dc.fillValues(true)
			c.ac.fillValues(false)
		}
	}
	d.reset()
	if n == 1 {
		return d.blocks(parts, band)
	}
	return d.mcus(parts, band)
}

// mcus reads the blocks of interleaved components: T.81, A.2.3.
func (d *decoder) mcus(parts []scanComponent, band scanBand) error {
	read := 0
	for y := range d.mcusDown {
		if err := d.stop(); err != nil {
			return err
		}
		for x := range d.mcusAcross {
			if err := d.nextInterval(read, parts); err != nil {
				return err
			}
			read++
			for i := range parts {
				c := &parts[i]
				for v := range c.v {
					for h := range c.h {
						if err := d.block(c, band, c.h*x+h, c.v*y+v); err != nil {
							return d.because(err)
						}
					}
				}
			}
			if err := d.overrun(); err != nil {
				return err
			}
		}
	}
	return nil
}

// blocks reads those of one component, as many as cover it: T.81, A.2.2.
func (d *decoder) blocks(parts []scanComponent, band scanBand) error {
	c, read := &parts[0], 0
	for y := range c.down {
		if err := d.stop(); err != nil {
			return err
		}
		for x := range c.across {
			if err := d.nextInterval(read, parts); err != nil {
				return err
			}
			read++
			if err := d.block(c, band, x, y); err != nil {
				return d.because(err)
			}
			if err := d.overrun(); err != nil {
				return err
			}
		}
	}
	return nil
}

// because is err, or that the data ended, which led to it.
func (d *decoder) because(err error) error {
	if end := d.overrun(); end != nil {
		return end
	}
	return err
}

// nextInterval goes over the restart marker where one is due: T.81, F.2.1.3.1.
func (d *decoder) nextInterval(read int, parts []scanComponent) error {
	if d.restartInterval == 0 || read == 0 || read%d.restartInterval != 0 {
		return nil
	}
	d.eobRun = 0
	for i := range parts {
		parts[i].difference = 0
	}
	return d.restart((read/d.restartInterval - 1) % 8)
}

// block reads block x, y of a component.
func (d *decoder) block(c *scanComponent, band scanBand, x, y int) error {
	if d.progressive {
		b := (*[blockSize]int16)(c.coefficients[blockSize*(y*c.blocks+x):])
		if band.high != 0 {
			return d.refine(b, c.ac, band)
		}
		return d.first(b, c, band)
	}
	var b [blockSize]int32
	last, err := d.sequential(&b, c)
	if err != nil {
		return err
	}
	if at := (image.Point{X: x, Y: y}); at.In(c.wanted) {
		c.put(&b, last, at)
	}
	return nil
}

// put transforms a block into its place of the plane.
func (c *component) put(b *[blockSize]int32, last int, at image.Point) {
	at = at.Sub(c.wanted.Min)
	dst := c.plane[8*(at.Y*c.stride+at.X):]
	if last == 0 {
		flat(b[0], dst, c.stride)
	} else {
		idct(b, dst, c.stride)
	}
}

// sequential reads a block of a sequential scan, T.81, F.2.2, times its
// quantization, and returns which coefficient was the last. The registers of
// bits are kept in variables: this is where decoding spends most of its time.
func (d *decoder) sequential(b *[blockSize]int32, c *scanComponent) (last int, err error) {
	if c.dc.symbols == nil {
		return 0, errUndefined
	}
	quant, table := c.quant, &c.ac.values
	if d.n < needed {
		d.fill()
	}
	v := c.dc.values[d.acc>>(64-lookup)]
	if v.isLonger() {
		s, length := c.dc.code(d.acc)
		if length == 0 {
			return 0, errCode
		}
		v, _ = meaning(s, length, true)
	}
	if v.zeros() == unknown {
		return 0, unsupportedError("excessive DC component")
	}
	d.acc <<= v.bits()
	d.n -= v.bits()
	switch {
	case v.isWhole():
		c.difference += v.level()
	case v.size() > 0:
		c.difference += d.takeExtended(v.size())
	}
	b[0] = c.difference * quant[0]

	if d.eobRun > 0 { // not in T.81, but image/jpeg knows such runs here too
		d.eobRun--
		return 0, nil
	}
	if c.ac.symbols == nil {
		return 0, errUndefined
	}
	acc, n := d.acc, d.n
	for k := 1; k < blockSize; k++ {
		if n < needed {
			d.acc, d.n = acc, n
			d.fill()
			acc, n = d.acc, d.n
		}
		v := table[acc>>(64-lookup)]
		if v.isLonger() {
			s, length := c.ac.code(acc)
			if length == 0 {
				d.acc, d.n = acc, n
				return last, errCode
			}
			v, _ = meaning(s, length, false)
		}
		k += v.zeros()
		if k >= blockSize {
			// The end of the block, or more zeros than it has room for.
			_, length := c.ac.code(acc)
			d.acc, d.n = acc<<length, n-length
			if v.zeros() == end {
				d.eobRun = d.run(v.size()) - 1
			}
			return last, nil
		}
		acc <<= v.bits() & 63
		n -= v.bits()
		level := v.level()
		if !v.isWhole() {
			size := v.size()
			level = 0
			if size > 0 {
				level = extended(acc, size)
			}
			acc <<= size & 63
			n -= int(size)
		}
		b[zigzag[k]&63] = level * quant[k]
		last = k
	}
	d.acc, d.n = acc, n
	return last, nil
}

// run reads how many blocks end, this one included: T.81, G.1.2.2.
func (d *decoder) run(size uint32) int {
	if size == 0 {
		return 1
	}
	return 1<<size | int(d.take(int(size)))
}

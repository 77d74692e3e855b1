package jpeg

import (
	"image"
	"math"
)

// first reads a block's part of the first scan of a band: T.81, G.1.2.
func (d *decoder) first(b *[blockSize]int16, c *scanComponent, band scanBand) error {
	if band.first == 0 {
		size, err := d.symbol(c.dc)
		if err != nil {
			return err
		}
		if size > 16 {
			return unsupportedError("excessive DC component")
		}
		if size > 0 {
			c.difference += d.takeExtended(uint32(size))
		}
		b[0] = narrow(c.difference, band.low)
		return nil
	}
	if d.eobRun > 0 {
		d.eobRun--
		return nil
	}
	for k := band.first; k <= band.last; k++ {
		s, err := d.symbol(c.ac)
		if err != nil {
			return err
		}
		zeros, size := int(s>>4), uint32(s&15)
		if size == 0 && zeros < 15 {
			d.eobRun = d.run(uint32(zeros)) - 1
			return nil
		}
		if k += zeros; k > band.last {
			return nil
		}
		if size > 0 {
			b[zigzag[k]] = narrow(d.takeExtended(size), band.low)
		}
	}
	return nil
}

// narrow is v shifted left, within 16 bits. What does not fit is no coefficient
// of 8-bit samples; it must not become 0, which would be another file.
func narrow(v int32, low uint) int16 {
	return int16(min(max(int64(v)<<low, math.MinInt16), math.MaxInt16))
}

// refine reads one more bit of a block's band: T.81, G.1.2.3.
func (d *decoder) refine(b *[blockSize]int16, h *huffman, band scanBand) error {
	bit := int16(1) << band.low
	if band.first == 0 {
		if d.take(1) != 0 {
			b[0] |= bit
		}
		return nil
	}
	k := band.first
	if d.eobRun == 0 {
	band:
		for ; k <= band.last; k++ {
			s, err := d.symbol(h)
			if err != nil {
				return err
			}
			zeros, size := int(s>>4), s&15
			level := int16(0)
			switch {
			case size == 0 && zeros < 15:
				d.eobRun = d.run(uint32(zeros))
				break band
			case size == 1:
				level = bit
				if d.take(1) == 0 {
					level = -bit
				}
			case size > 1:
				return formatError("unexpected Huffman code")
			}
			k = d.refineKnown(b, k, band.last, zeros, bit)
			if k > band.last {
				return formatError("too many coefficients")
			}
			if level != 0 {
				b[zigzag[k]] = level
			}
		}
	}
	if d.eobRun > 0 {
		d.eobRun--
		d.refineKnown(b, k, band.last, -1, bit)
	}
	return nil
}

// refineKnown reads the bit of each coefficient that is not zero, from k over
// the given number of zeros, and returns where it ends. A negative number has
// no end but last.
func (d *decoder) refineKnown(b *[blockSize]int16, k, last, zeros int, bit int16) int {
	for ; k <= last; k++ {
		p := &b[zigzag[k]]
		switch {
		case *p == 0:
			if zeros == 0 {
				return k
			}
			zeros--
		case d.take(1) == 0:
		case *p > 0:
			*p += bit
		default:
			*p -= bit
		}
	}
	return k
}

// transform makes the samples of the coefficients that all scans together gave.
func (d *decoder) transform() error {
	for i := range d.components {
		c := &d.components[i]
		if c.coefficients == nil {
			continue
		}
		for y := c.wanted.Min.Y; y < c.wanted.Max.Y; y++ {
			if err := d.stop(); err != nil {
				return err
			}
			for x := c.wanted.Min.X; x < c.wanted.Max.X; x++ {
				coefficients := (*[blockSize]int16)(c.coefficients[blockSize*(y*c.blocks+x):])
				var b [blockSize]int32
				last := 0
				for k, at := range zigzag {
					if v := coefficients[at]; v != 0 {
						b[at] = int32(v) * c.quant[k]
						last = k
					}
				}
				c.put(&b, last, image.Point{X: x, Y: y})
			}
		}
	}
	return nil
}

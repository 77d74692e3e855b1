// Package jpeg decodes JPEG files (ITU-T T.81) of 8 bits a sample, Huffman-coded,
// sequential or progressive, in grey or YCbCr, to planes. Its inverse transform
// is that of libjpeg's default method, so that the planes are libjpeg's byte for
// byte. It accepts and refuses what image/jpeg does, with the same kinds of
// errors, but for what is listed at Decode.
//
// decode.go walks the markers, scan.go the blocks of a scan, with huffman.go,
// which reads its bits; progressive.go keeps coefficients from scan to scan;
// idct.go turns a block into samples.
package jpeg

import (
	"encoding/binary"
	"image"
	"image/jpeg"
	"io"
)

// The errors are those of image/jpeg, and io.ErrUnexpectedEOF for a file that
// ends early.
type (
	formatError      = jpeg.FormatError
	unsupportedError = jpeg.UnsupportedError
)

const (
	blockSize     = 64
	maxComponents = 3
	maxTables     = 4

	sof0  = 0xc0
	sof1  = 0xc1
	sof2  = 0xc2
	dht   = 0xc4
	rst0  = 0xd0
	rst7  = 0xd7
	soi   = 0xd8
	eoi   = 0xd9
	sos   = 0xda
	dqt   = 0xdb
	dri   = 0xdd
	app0  = 0xe0
	app15 = 0xef
	com   = 0xfe
)

// component of a frame: T.81, B.2.2.
type component struct {
	id    byte
	h, v  int // sampling factors
	table byte

	across, down int             // blocks of a scan of this component alone
	wanted       image.Rectangle // the blocks that are transformed
	plane        []uint8         // their samples
	stride       int
	quant        *[blockSize]int32 // in zig-zag order

	blocks       int     // in a line of coefficients
	coefficients []int16 // progressive only, in natural order
}

type decoder struct {
	bits
	stop func() error

	baseline, progressive bool
	width, height         int
	components            []component
	mcusAcross, mcusDown  int
	region                image.Rectangle // in pixels; whole MCUs once there is a frame
	restartInterval       int

	quant  [maxTables][blockSize]int32
	dc, ac [maxTables]huffman

	scanned bool
	eobRun  int // blocks that end at once: T.81, G.1.2.2
	gray    *image.Gray
	ycbcr   *image.YCbCr
}

// Decode returns the planes of a file of one component, an *image.Gray, or
// three, an *image.YCbCr. What the three are is for the caller to know: they are
// not converted. If region is not empty only pixels around it are transformed,
// those that its own depend on when chroma is interpolated; the result, whose
// bounds begin at 0, lies at the point at of the image. stop is asked before
// each row of blocks, and its error returned.
//
// Unlike image/jpeg it refuses Huffman tables with more codes than there are
// bits for, and four components. In scans of one component it counts restart
// intervals in blocks and takes the component's own width, as T.81 (A.2.2) says.
func Decode(data []byte, region image.Rectangle, stop func() error) (m image.Image, at image.Point, err error) {
	d := &decoder{bits: bits{data: data}, region: region, stop: stop}
	if err := d.segments(); err != nil {
		return nil, at, err
	}
	if !d.scanned {
		return nil, at, formatError("missing SOS marker")
	}
	if d.progressive {
		if err := d.transform(); err != nil {
			return nil, at, err
		}
	}
	if d.gray != nil {
		return d.gray, d.region.Min, nil
	}
	return d.ycbcr, d.region.Min, nil
}

// segments reads the file up to the end of the image.
func (d *decoder) segments() error {
	if err := d.stop(); err != nil {
		return err
	}
	if len(d.data) < 2 {
		return io.ErrUnexpectedEOF
	}
	if d.data[0] != 0xff || d.data[1] != soi {
		return formatError("missing SOI marker")
	}
	d.at = 2
	for {
		marker, err := d.marker()
		if err != nil {
			return err
		}
		if marker == eoi {
			return nil
		}
		if rst0 <= marker && marker <= rst7 { // some encoders write one behind the last interval
			continue
		}
		segment, err := d.segment()
		if err != nil {
			return err
		}
		switch {
		case marker == sof0 || marker == sof1 || marker == sof2:
			d.baseline, d.progressive = marker == sof0, marker == sof2
			err = d.frame(segment)
		case marker == dht:
			err = d.huffmanTables(segment)
		case marker == dqt:
			err = d.quantTables(segment)
		case marker == dri:
			if len(segment) != 2 {
				return formatError("DRI has wrong length")
			}
			d.restartInterval = int(binary.BigEndian.Uint16(segment))
		case marker == sos:
			err = d.scan(segment)
		case app0 <= marker && marker <= app15 || marker == com:
		case marker < sof0:
			return formatError("unknown marker")
		default:
			return unsupportedError("unknown marker")
		}
		if err != nil {
			return err
		}
	}
}

// marker finds the next marker, over any bytes before it.
func (d *decoder) marker() (byte, error) {
	for ; d.at+1 < len(d.data); d.at++ {
		if d.data[d.at] != 0xff {
			continue
		}
		d.at++
		if d.data[d.at] == 0 { // a byte of entropy-coded data
			continue
		}
		for d.at+1 < len(d.data) && d.data[d.at] == 0xff { // fill
			d.at++
		}
		if m := d.data[d.at]; m != 0xff {
			d.at++
			return m, nil
		}
	}
	return 0, io.ErrUnexpectedEOF
}

// segment takes the parameters behind a marker: T.81, B.1.1.4.
func (d *decoder) segment() ([]byte, error) {
	rest := d.data[d.at:]
	if len(rest) < 2 {
		return nil, io.ErrUnexpectedEOF
	}
	n := int(binary.BigEndian.Uint16(rest))
	if n < 2 {
		return nil, formatError("short segment length")
	}
	if n > len(rest) {
		return nil, io.ErrUnexpectedEOF
	}
	d.at += n
	return rest[2:n], nil
}

// frame reads a frame header: T.81, B.2.2.
func (d *decoder) frame(segment []byte) error {
	if d.components != nil {
		return formatError("multiple SOF markers")
	}
	n := (len(segment) - 6) / 3
	if len(segment) != 6+3*n || n != 1 && n != maxComponents {
		return unsupportedError("number of components")
	}
	if segment[0] != 8 {
		return unsupportedError("precision")
	}
	d.height, d.width = int(binary.BigEndian.Uint16(segment[1:])), int(binary.BigEndian.Uint16(segment[3:]))
	if int(segment[5]) != n {
		return formatError("SOF has wrong length")
	}
	cs := make([]component, n)
	for i := range cs {
		p := segment[6+3*i:]
		c := component{id: p[0], h: int(p[1] >> 4), v: int(p[1] & 15), table: p[2]}
		for _, other := range cs[:i] {
			if other.id == c.id {
				return formatError("repeated component identifier")
			}
		}
		if c.table >= maxTables {
			return formatError("bad Tq value")
		}
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 {
			return formatError("luma/chroma subsampling ratio")
		}
		luma := c
		if i > 0 {
			luma = cs[0]
		}
		if c.h == 3 || c.v == 3 || n > 1 && (luma.v == 4 || luma.h%c.h != 0 || luma.v%c.v != 0) ||
			i == 2 && (c.h != cs[1].h || c.v != cs[1].v) {
			return unsupportedError("luma/chroma subsampling ratio")
		}
		if n == 1 {
			c.h, c.v = 1, 1 // one component is never interleaved: A.2.2
		}
		cs[i] = c
	}
	d.components = cs
	d.mcusAcross, d.mcusDown = ceil(d.width, 8*cs[0].h), ceil(d.height, 8*cs[0].v)
	for i := range cs {
		c := &cs[i]
		c.across = ceil(ceil(d.width*c.h, cs[0].h), 8)
		c.down = ceil(ceil(d.height*c.v, cs[0].v), 8)
		c.blocks = d.mcusAcross * c.h
	}
	return nil
}

func ceil(a, b int) int { return (a + b - 1) / b }

// ratios are those an image.YCbCr may have, by how much wider and higher luma is.
var ratios = map[[2]int]image.YCbCrSubsampleRatio{
	{1, 1}: image.YCbCrSubsampleRatio444, {1, 2}: image.YCbCrSubsampleRatio440,
	{2, 1}: image.YCbCrSubsampleRatio422, {2, 2}: image.YCbCrSubsampleRatio420,
	{4, 1}: image.YCbCrSubsampleRatio411, {4, 2}: image.YCbCrSubsampleRatio410,
}

// allocate makes the planes of the region's MCUs, with the first scan.
func (d *decoder) allocate() {
	const margin = 4 // pixels: two samples of halved chroma
	luma := d.components[0]
	w, h := 8*luma.h, 8*luma.v
	mcus := image.Rect(0, 0, d.mcusAcross, d.mcusDown)
	if r := d.region; !r.Empty() {
		r = r.Inset(-margin).Intersect(image.Rect(0, 0, d.width, d.height))
		mcus = image.Rect(r.Min.X/w, r.Min.Y/h, ceil(r.Max.X, w), ceil(r.Max.Y, h))
	}
	padded := image.Rect(0, 0, mcus.Dx()*w, mcus.Dy()*h)
	d.region = image.Rect(mcus.Min.X*w, mcus.Min.Y*h, min(mcus.Max.X*w, d.width), min(mcus.Max.Y*h, d.height))
	whole := image.Rectangle{Max: d.region.Size()}
	if len(d.components) == 1 {
		d.gray = image.NewGray(padded)
		d.components[0].plane, d.components[0].stride = d.gray.Pix, d.gray.Stride
		d.gray = d.gray.SubImage(whole).(*image.Gray)
	} else {
		chroma := d.components[1]
		m := image.NewYCbCr(padded, ratios[[2]int{luma.h / chroma.h, luma.v / chroma.v}])
		for i, plane := range [][]uint8{m.Y, m.Cb, m.Cr} {
			d.components[i].plane, d.components[i].stride = plane, []int{m.YStride, m.CStride, m.CStride}[i]
		}
		d.ycbcr = m.SubImage(whole).(*image.YCbCr)
	}
	for i := range d.components {
		c := &d.components[i]
		c.wanted = image.Rect(mcus.Min.X*c.h, mcus.Min.Y*c.v, mcus.Max.X*c.h, mcus.Max.Y*c.v)
	}
	d.scanned = true
}

// quantTables reads quantization tables: T.81, B.2.4.1.
func (d *decoder) quantTables(segment []byte) error {
	for len(segment) > 0 {
		precision, table := segment[0]>>4, segment[0]&15
		segment = segment[1:]
		if table >= maxTables {
			return formatError("bad Tq value")
		}
		if precision > 1 {
			return formatError("bad Pq value")
		}
		size := int(1 + precision)
		if len(segment) < size*blockSize {
			break
		}
		q := &d.quant[table]
		for i := range q {
			if size == 1 {
				q[i] = int32(segment[i])
			} else {
				q[i] = int32(binary.BigEndian.Uint16(segment[2*i:]))
			}
		}
		segment = segment[size*blockSize:]
	}
	if len(segment) != 0 {
		return formatError("DQT has wrong length")
	}
	return nil
}

package preprocess

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// What Decode returns is one of these, with a message of its own, or the
// context's error.
var (
	ErrEmpty             = errors.New("the image is empty")
	ErrUnknownFormat     = errors.New("not an image")
	ErrUnsupportedFormat = errors.New("unsupported image format")
	ErrDamaged           = errors.New("damaged image")
	ErrTooLarge          = errors.New("image too large")
	ErrDeadline          = errors.New("decoding the image took too long")
)

// failure is a sentinel with a message for the user.
type failure struct {
	kind    error
	message string
}

func (f *failure) Error() string { return f.message }
func (f *failure) Unwrap() error { return f.kind }

func fail(kind error, format string, args ...any) error {
	return &failure{kind, fmt.Sprintf(format, args...)}
}

// Limits bound what one image may cost. Begin with DefaultLimits: a field left
// zero refuses every image.
type Limits struct {
	// Bytes is the longest file.
	Bytes int64
	// Pixels is the largest width times height, Side the longest side; both
	// as the header claims them.
	Pixels, Side int
	// Scans is how many scans a JPEG may have; progressive ones have about ten.
	Scans int
	// DecodeBytes is the most memory that decoding may take, estimated from
	// the header before it is taken.
	DecodeBytes int64
	// DecodeTime is how long decoding may take.
	DecodeTime time.Duration
}

// DefaultLimits are 10 MiB, 16 MP (4096 x 4096, which lets in what cameras call
// 16 megapixels), sides of 16,384, 100 scans, 144 MiB of memory (enough for
// 16 MP of JPEG with 4:2:0 chroma, baseline or progressive, or 8-bit RGBA, and
// with 16 MiB to spare for all else under a growth of 160 MiB) and 1 s.
func DefaultLimits() Limits {
	return Limits{
		Bytes:       10 << 20,
		Pixels:      1 << 24,
		Side:        1 << 14,
		Scans:       100,
		DecodeBytes: 144 << 20,
		DecodeTime:  time.Second,
	}
}

// Info is what the header says.
type Info struct {
	// Format is one of Sniff's names.
	Format string
	// Width and Height are in pixels as stored, before the orientation.
	Width, Height int
	// Orientation is EXIF's, 1 to 8; 1, upright, where there is none or it
	// cannot be read.
	Orientation int
}

// Image is a decoded image of any colour model. It is not changed after it is
// made and may be shared.
type Image struct {
	Info
	pixels image.Image
	at     image.Point     // where pixels lie on the canvas of Width x Height
	canvas [3]uint8        // the colour of the canvas beside them
	only   image.Rectangle // what was decoded; all if empty
}

// header is what a format's header function finds, before a pixel is decoded.
type header struct {
	Info
	at     image.Point
	canvas [3]uint8
	// memory is how many bytes decode may allocate and not yet have collected.
	memory int64
	// length is how many bytes the image has if it is whole; 0 if not known.
	length int64
	// input is what decode reads: the file, mended where the decoder is
	// stricter than Pillow.
	input  []byte
	decode func(r io.Reader) (image.Image, error)
	// decodePart, where it is set, decodes only a part of the image, or a
	// little more, which lies at the point at.
	decodePart func(f *feed, part image.Rectangle) (m image.Image, at image.Point, err error)
}

// headers read the header of each supported format and check its size against
// the limits.
var headers map[string]func(data []byte, l Limits) (header, error)

func init() { // a literal would be an initialisation cycle through Sniff
	headers = map[string]func([]byte, Limits) (header, error){
		jpegFormat: jpegHeader,
		pngFormat:  pngHeader,
		webpFormat: webpHeader,
		gifFormat:  gifHeader,
		bmpFormat:  bmpHeader,
		tiffFormat: tiffHeader,
	}
}

// Decode reads an image: its first frame, if it is animated. Claims are checked
// before memory is taken for them, and no input makes it panic. Trailing bytes
// are ignored. With specs the image is good for their crops; what they do not
// need may be left out.
func Decode(ctx context.Context, data []byte, l Limits, specs ...Spec) (*Image, error) {
	p, err := Open(data, l)
	if err != nil {
		return nil, err
	}
	return p.Decode(ctx, specs...)
}

// Pending is an image of which the header has been read, and checked.
type Pending struct {
	header
	limits Limits
	bytes  int // of the file
}

// Memory is the most that decoding takes, in bytes, as far as the header tells.
// Whoever decodes many images at once takes it from a budget first.
func (p *Pending) Memory() int64 { return p.memory }

// Open reads an image's header. It takes no memory worth counting.
func Open(data []byte, l Limits) (p *Pending, err error) {
	if len(data) == 0 {
		return nil, fail(ErrEmpty, "the image is empty")
	}
	if int64(len(data)) > l.Bytes {
		return nil, fail(ErrTooLarge, "the image has %d bytes, the limit is %d", len(data), l.Bytes)
	}
	format, supported := Sniff(data)
	if format == "" {
		return nil, fail(ErrUnknownFormat, "not an image in a known format; send JPEG, PNG, WebP, GIF, BMP or TIFF")
	}
	if !supported {
		return nil, fail(ErrUnsupportedFormat, "%s images are not supported; send JPEG, PNG, WebP, GIF, BMP or TIFF", displayName(format))
	}
	defer notWithPanic(format, &err)
	h, err := headers[format](data, l)
	if err != nil {
		return nil, err
	}
	h.memory += int64(len(h.input))
	if h.memory > l.DecodeBytes {
		return nil, fail(ErrTooLarge, "%s: decoding %d x %d pixels of this kind may take %d MiB of memory, the limit is %d MiB",
			format, h.Width, h.Height, h.memory>>20, l.DecodeBytes>>20)
	}
	return &Pending{h, l, len(data)}, nil
}

// notWithPanic makes a panic the error of the function that defers it: a
// decoder's bug, met by hostile bytes.
func notWithPanic(format string, err *error) {
	if p := recover(); p != nil {
		*err = fail(ErrDamaged, "%s: the decoder failed: %v", format, p)
	}
}

// Decode decodes the image, within the limits that it was opened with. With
// specs it is good for their crops.
func (p *Pending) Decode(ctx context.Context, specs ...Spec) (im *Image, err error) {
	defer notWithPanic(p.Format, &err)
	makeRoom(p.memory, p.limits.DecodeBytes)
	f := &feed{ctx: ctx, deadline: time.Now().Add(p.limits.DecodeTime), data: p.input}
	result := &Image{Info: p.Info, at: p.at, canvas: p.canvas}
	if p.decodePart != nil {
		result.only = p.regions(specs)
		result.pixels, result.at, err = p.decodePart(f, result.only)
	} else {
		result.pixels, err = p.decode(f)
	}
	if err != nil {
		return nil, explain(err, f, p.header, p.bytes)
	}
	return result, nil
}

// regions is what the crops of all specs need; empty, for everything, if there
// are none or one is not valid, which Crop will say.
func (i Info) regions(specs []Spec) image.Rectangle {
	var all image.Rectangle
	for _, s := range specs {
		if s.Validate() != nil {
			return image.Rectangle{}
		}
		all = all.Union(i.region(s))
	}
	return all
}

// explain turns a decoder's error into one of ours.
func explain(err error, f *feed, h header, have int) error {
	var (
		own             *failure
		jpegUnsupported jpeg.UnsupportedError
		pngUnsupported  png.UnsupportedError
		tiffUnsupported tiff.UnsupportedError
	)
	switch {
	case f.stopped != nil:
		return fmt.Errorf("%s: %w", h.Format, f.stopped)
	case errors.As(err, &own):
		return err
	case errors.As(err, &jpegUnsupported), errors.As(err, &pngUnsupported), errors.As(err, &tiffUnsupported), errors.Is(err, bmp.ErrUnsupported):
		return fail(ErrUnsupportedFormat, "%s: %v", h.Format, err)
	case f.ended && h.length > int64(have):
		return fail(ErrDamaged, "%s: truncated after %d of %d bytes", h.Format, have, h.length)
	case f.ended || errors.Is(err, io.ErrUnexpectedEOF):
		return fail(ErrDamaged, "%s: truncated after %d bytes", h.Format, have)
	}
	return fail(ErrDamaged, "%s: damaged: %v", h.Format, err)
}

// checkSize holds the size that a header claims against the limits. After it
// the product of the sides cannot overflow.
func (l Limits) checkSize(format string, width, height int64) error {
	if width <= 0 || height <= 0 {
		return fail(ErrDamaged, "%s: damaged: it claims %d x %d pixels", format, width, height)
	}
	if width > int64(l.Side) || height > int64(l.Side) || width > int64(l.Pixels)/height {
		return fail(ErrTooLarge, "%s claims %d x %d pixels, the limit is %d pixels and %d a side", format, width, height, l.Pixels, l.Side)
	}
	return nil
}

// taken counts the bytes decoded since memory was last given back.
var taken atomic.Int64

// makeRoom keeps the memory of earlier images, which is garbage that the
// collector may not have met yet, from adding to this one's: as it paces itself
// by the live heap, two images would otherwise peak at twice the limit. Small
// images come here hundreds of times before the sum is reached.
func makeRoom(memory, limit int64) {
	if taken.Add(memory) > limit {
		debug.FreeOSMemory()
		taken.Store(memory)
	}
}

// feed hands a decoder its input until time is over. It is an io.Reader and,
// for TIFF, an io.ReaderAt.
type feed struct {
	ctx      context.Context
	deadline time.Time
	data     []byte
	offset   int   // of the next Read
	stopped  error // ErrDeadline or the context's error
	ended    bool  // more was asked for than there is
}

// piece is how much is read before the clock is looked at again. It is small
// because a progressive JPEG can send the decoder over the whole image with 40
// bytes.
const piece = 64

func (f *feed) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p[:min(len(p), piece)], int64(f.offset))
	f.offset += n
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *feed) ReadAt(p []byte, off int64) (int, error) {
	if err := f.stop(); err != nil {
		return 0, err
	}
	n := 0
	if off < int64(len(f.data)) {
		n = copy(p, f.data[off:])
	}
	if n < len(p) {
		f.ended = f.ended || n == 0
		return n, io.EOF
	}
	return n, nil
}

// stop says why decoding must end, from the first time on that it must.
func (f *feed) stop() error {
	if f.stopped == nil {
		f.stopped = f.reasonToStop()
	}
	return f.stopped
}

func (f *feed) reasonToStop() error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	if time.Now().After(f.deadline) {
		return ErrDeadline
	}
	return nil
}

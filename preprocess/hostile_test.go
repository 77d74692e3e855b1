package preprocess

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// hostile are images that claim too much, are broken, or both, with what
// Decode must say of each.
var hostile = []struct {
	name string
	make func() []byte
	want error
	text string // in the message
}{
	{"png 30000x30000", func() []byte { return pngFile(30000, 30000, 8, 2, false, nil) }, ErrTooLarge, "30000 x 30000"},
	{"png 2^31-1 a side", func() []byte { return pngFile(1<<31-1, 1<<31-1, 8, 2, false, nil) }, ErrTooLarge, "limit"},
	{"png 2^32-1 a side", func() []byte { return pngFile(1<<32-1, 1<<32-1, 8, 2, false, nil) }, ErrTooLarge, "limit"},
	{"png 16 MP interlaced of 16 bits", func() []byte { return pngFile(4096, 4096, 16, 6, true, nil) }, ErrTooLarge, "memory"},
	{"png 16 MP without pixels", func() []byte { return pngFile(4096, 4096, 8, 6, false, deflated(0)) }, ErrDamaged, "png"},
	{"png 16 MP half", func() []byte { return pngFile(4096, 4096, 8, 6, false, deflated(32<<20)) }, ErrDamaged, "png"},
	{"png 16 MP half of 16 bits", func() []byte { return pngFile(4096, 4096, 16, 6, false, deflated(64<<20)) }, ErrDamaged, "png"},
	{"png 16 MP of 16 bits, wrong at its end", func() []byte {
		idat := deflated(4096 * (8*4096 + 1))
		idat[len(idat)-1]++
		return pngFile(4096, 4096, 16, 6, false, idat)
	}, ErrDamaged, "checksum"},
	{"png small with 64 MiB of pixels", func() []byte { return pngFile(8, 8, 8, 2, false, deflated(64<<20)) }, ErrDamaged, "png"},
	{"png no pixels", func() []byte { return pngFile(0, 10, 8, 2, false, nil) }, ErrDamaged, "0 x 10"},

	{"jpeg 65500 a side", func() []byte { return jpegFile(65500, 65500, 0xc0, 0x22, 1) }, ErrTooLarge, "65500 x 65500"},
	{"jpeg progressive 4:4:4 16 MP", func() []byte { return jpegFile(4096, 4096, 0xc2, 0x11, 1) }, ErrTooLarge, "memory"},
	{"jpeg progressive 4:2:0 16 MP truncated", func() []byte { return jpegFile(4096, 4096, 0xc2, 0x22, 1) }, ErrDamaged, "truncated after"},
	{"jpeg progressive 4:2:0 16 MP without its end", func() []byte { return bytes.TrimSuffix(jpegScans(4096, 4096, 3), []byte("\xff\xd9")) }, ErrDamaged, "truncated after"},
	{"jpeg baseline 4:4:4 16 MP truncated", func() []byte { return jpegFile(4096, 4096, 0xc0, 0x11, 1) }, ErrDamaged, "truncated after"},
	{"jpeg 10000 scans", func() []byte { return jpegFile(64, 64, 0xc2, 0x22, 10000) }, ErrTooLarge, "100 scans"},
	{"jpeg 1 x 16384 x 4:1:0", func() []byte { return jpegFile(1, 16384, 0xc2, 0x42, 1) }, ErrDamaged, "truncated after"},
	{"jpeg without a frame", func() []byte { return []byte("\xff\xd8\xff\xe0\x00\x02\xff\xd9") }, ErrDamaged, "jpeg"},
	{"jpeg arithmetic", func() []byte { return jpegFile(64, 64, 0xc9, 0x22, 1) }, ErrUnsupportedFormat, "arithmetic"},
	{"jpeg no pixels", func() []byte { return jpegFile(0, 64, 0xc0, 0x22, 1) }, ErrDamaged, "0 x 64"},

	{"gif screen 65535 a side", func() []byte { return gifFile(65535, 65535, 1, 1) }, ErrTooLarge, "65535 x 65535"},
	{"gif frame 65535 a side", func() []byte { return gifFile(1, 1, 65535, 65535) }, ErrTooLarge, "65535 x 65535"},
	{"gif 16 MP truncated", func() []byte { return gifFile(4096, 4096, 4096, 4096) }, ErrDamaged, "gif"},
	{"gif without a frame", func() []byte { return []byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;") }, ErrDamaged, "no frame"},

	{"bmp of 54 bytes claims 3 GB", func() []byte { return bmpFile(32768, 32768, 24) }, ErrTooLarge, "32768 x 32768"},
	{"bmp of 54 bytes claims 16 MP", func() []byte { return bmpFile(4096, 4096, 32) }, ErrDamaged, "truncated after 54 of 67108918 bytes"},
	{"bmp negative", func() []byte { return bmpFile(-5, -1<<31, 24) }, ErrDamaged, "-5 x"},
	{"bmp of 64 bits", func() []byte { return bmpFile(5, 5, 64) }, ErrUnsupportedFormat, "64 bits"},

	{"webp canvas 2^24 a side", func() []byte { return webpFile(1<<24, 1<<24, 16, 16) }, ErrTooLarge, "16777216 x 16777216"},
	{"webp lossless 16383 a side", func() []byte { return webpFile(0, 0, 16383, 16383) }, ErrTooLarge, "16383 x 16383"},
	{"webp lossless 16 MP truncated", func() []byte { return webpFile(0, 0, 4096, 4096) }, ErrDamaged, "webp"},
	{"webp lossless 16 MP of Huffman trees", func() []byte { return losslessFile(huffmanBomb(2600, 1)) }, ErrTooLarge, "memory"},
	{"webp lossless 16 MP of as many Huffman trees as may be", func() []byte { return losslessFile(huffmanBomb(810, 1)) }, ErrDamaged, "truncated"},
	{"webp lossless 16 MP of unused Huffman trees", func() []byte { return losslessFile(huffmanBomb(2600, 4)) }, ErrTooLarge, "memory"},
	{"webp lossless 16 MP of too many Huffman trees", func() []byte { return losslessFile(huffmanBomb(2601, 1)) }, ErrDamaged, "2600 groups"},
	{"webp alpha 16 MP of Huffman trees", func() []byte { return alphaFile(huffmanBomb(1000, 1)) }, ErrTooLarge, "memory"},
	{"webp alpha 16 MP of as many Huffman trees as may be", func() []byte { return alphaFile(huffmanBomb(350, 1)) }, ErrDamaged, "truncated"},
	{"webp frame beyond its canvas", func() []byte { return webpFile(16, 16, 4096, 4096) }, ErrDamaged, "does not fit"},
	{"webp cut", func() []byte { return webpFile(0, 0, 16, 16)[:24] }, ErrDamaged, "truncated after 24 of"},

	{"tiff 2^32-1 a side", func() []byte { return tiffFile(tiffTags{256: 1<<32 - 1, 257: 1<<32 - 1}, nil) }, ErrTooLarge, "4294967295"},
	{"tiff 16 MP with nothing in it", func() []byte { return tiffFile(tiffTags{256: 4096, 257: 4096}, nil) }, ErrDamaged, "tiff"},
	{"tiff strip of 4 GB", func() []byte { return tiffFile(tiffTags{256: 64, 257: 64, 279: 1<<32 - 1}, nil) }, ErrDamaged, "4294967295 bytes"},
	{"tiff strip far away", func() []byte { return tiffFile(tiffTags{256: 64, 257: 64, 273: 1<<32 - 9, 279: 100}, nil) }, ErrDamaged, "tiff"},
	{"tiff tile of 2^31 a side", func() []byte {
		return tiffFile(tiffTags{256: 64, 257: 64, 322: 1 << 31, 323: 1 << 31, 324: 8, 325: 8}, nil)
	}, ErrDamaged, "tiles"},
	{"tiff 16 MP deflate bomb in one strip", func() []byte {
		return tiffFile(tiffTags{256: 4096, 257: 4096, 259: 8}, deflated(64<<20))
	}, ErrTooLarge, "memory"},
	{"tiff 4 MP deflate bomb in one strip", func() []byte {
		return tiffFile(tiffTags{256: 2000, 257: 2000, 259: 8, 258: 16}, deflated(3<<20))
	}, ErrDamaged, "tiff"},
	{"tiff 16 MP of strips of one row, bomb", func() []byte {
		return tiffFile(tiffTags{256: 4096, 257: 4096, 259: 8, 278: 1}, deflated(64<<20))
	}, ErrDamaged, "tiff"},
	{"tiff directory in a loop", func() []byte { return []byte("II*\x00\x00\x00\x00\x00") }, ErrDamaged, "image directory"},
	{"tiff strips beyond its end", func() []byte {
		return tiffFile(tiffTags{256: 64, 257: 62, 273: 150, 279: 3968}, make([]byte, 3900))
	}, ErrDamaged, "truncated after"},
	{"bigtiff", func() []byte { return []byte("II+\x00\x08\x00\x00\x00") }, ErrUnsupportedFormat, "BigTIFF"},

	{"heic", func() []byte { return []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic") }, ErrUnsupportedFormat, "HEIC images are not supported; send JPEG, PNG, WebP, GIF, BMP or TIFF"},
	{"text", func() []byte { return []byte("BMWs are cars, and this is text") }, ErrUnknownFormat, "not an image"},
	{"nothing", func() []byte { return nil }, ErrEmpty, "empty"},
	{"11 MiB", func() []byte { return make([]byte, 11<<20) }, ErrTooLarge, "11534336 bytes"},
}

func TestHostile(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			im, err := Decode(context.Background(), c.make(), patientLimits())
			if im != nil || !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got image %v, error %v\nwant none, %q with %q in it", im != nil, err, c.want, c.text)
			}
		})
	}
}

// raceDetector is set where its shadow memory would be measured with the rest.
var raceDetector bool

// TestHostileMemory decodes each hostile image in a process of its own and
// reads how far the resident memory ever rose.
func TestHostileMemory(t *testing.T) {
	const most = 160 << 20
	if name := os.Getenv("PREPROCESS_HOSTILE"); name != "" {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		before := residentPeak(t)
		for range 3 { // one image's garbage must not add to the next one's memory
			Decode(context.Background(), data, patientLimits())
		}
		fmt.Printf("rose by %d bytes\n", residentPeak(t)-before)
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	if testing.Short() || raceDetector {
		t.Skip("starts a process for each image, and measures its memory")
	}
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(name, c.make(), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestHostileMemory$")
			cmd.Env = append(os.Environ(), "PREPROCESS_HOSTILE="+name)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			_, rest, _ := strings.Cut(string(out), "rose by ")
			var rise int64
			if _, err := fmt.Sscanf(rest, "%d bytes", &rise); err != nil {
				t.Fatalf("no measurement in %q", out)
			}
			t.Logf("%d MiB", rise>>20)
			if rise > most {
				t.Errorf("resident memory rose by %d MiB, at most %d MiB are allowed", rise>>20, most>>20)
			}
		})
	}
}

// residentPeak is VmHWM in bytes.
func residentPeak(t *testing.T) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kb int64
	if _, err := fmt.Sscanf(rest, "%d kB", &kb); err != nil {
		t.Fatalf("VmHWM: %v", err)
	}
	return kb << 10
}

// TestDeadline feeds a JPEG whose few bytes make the decoder go over 16 MP
// again and again.
func TestDeadline(t *testing.T) {
	data := jpegScans(4096, 4096, 90)
	l := DefaultLimits()
	l.DecodeTime = 100 * time.Millisecond
	start := time.Now()
	_, err := Decode(context.Background(), data, l)
	if !errors.Is(err, ErrDeadline) {
		t.Errorf("got %v, want %v", err, ErrDeadline)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v with a deadline of %v", took, l.DecodeTime)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, name := range []string{"420.jpg", "rgba.png", "lossy.webp", "plain.gif", "24.bmp", "raw.tiff"} {
		if im, err := Decode(ctx, readTestdata(t, name), patientLimits()); im != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, %v, want %v", name, im, err, context.Canceled)
		}
	}
}

// TestTruncated cuts one image of each kind everywhere. What remains must be
// refused as damaged; only bytes that no decoder needs may be missing.
func TestTruncated(t *testing.T) {
	// The GIF's end and the file's, IEND.
	spare := map[string]int{"plain.gif": 2, "rgba16.png": 12, "rgb-interlaced.png": 12}
	for _, name := range []string{"420.jpg", "progressive.jpg", "rgba16.png", "rgb-interlaced.png", "lossless.webp", "lossy.webp", "plain.gif", "24.bmp", "tiled.tiff"} {
		data := readTestdata(t, name)
		for n := 30; n < len(data)-spare[name]; n += 1 + n/40 {
			_, err := Decode(context.Background(), data[:n], patientLimits())
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s, the first %d of %d bytes: got %v, want %v", name, n, len(data), err, ErrDamaged)
				break
			}
		}
	}
}

// TestTruncatedTIFF cuts the ends, where files have pixels, the image directory
// or its values. Values that are not the image's may be missing.
func TestTruncatedTIFF(t *testing.T) {
	names, err := filepath.Glob("testdata/*.tiff")
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		name = filepath.Base(name)
		data := readTestdata(t, name)
		whole, err := Decode(context.Background(), data, patientLimits())
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for n := 1; n <= 200; n++ {
			im, err := Decode(context.Background(), data[:len(data)-n], patientLimits())
			switch {
			case errors.Is(err, ErrDamaged):
				refused++
			case err != nil:
				t.Errorf("%s without its last %d bytes: got %v, want %v", name, n, err, ErrDamaged)
			case !reflect.DeepEqual(im, whole):
				t.Errorf("%s without its last %d bytes is another image", name, n)
			}
		}
		t.Logf("%s: %d of 200 cuts refused", name, refused)
	}
}

// TestPNGWithoutEnd cuts what Pillow does without: IEND, and chunks behind the
// pixels.
func TestPNGWithoutEnd(t *testing.T) {
	data := readTestdata(t, "rgba.png")
	whole, err := Decode(context.Background(), data, patientLimits())
	if err != nil {
		t.Fatal(err)
	}
	end := len(data) - 12
	text := slices.Concat(data[:end], []byte("\x00\x00\x00\x40tEXtComment"))
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"no IEND", data[:end]},
		{"half of IEND", data[:end+6]},
		{"IEND without its checksum", data[:end+8]},
		{"half of a text", text},
	} {
		im, err := Decode(context.Background(), c.data, patientLimits())
		if err != nil || !reflect.DeepEqual(im, whole) {
			t.Errorf("%s: got error %v, want the whole file's image", c.name, err)
		}
	}
}

func TestTrailingBytes(t *testing.T) {
	for _, name := range []string{"420.jpg", "rgba.png", "lossless.webp", "plain.gif", "24.bmp", "raw.tiff"} {
		data := append(readTestdata(t, name), bytes.Repeat([]byte("\xff\xda trailing"), 200)...)
		if _, err := Decode(context.Background(), data, patientLimits()); err != nil {
			t.Errorf("%s with trailing bytes: %v", name, err)
		}
	}
}

// TestPanic stands for the decoders' bugs that are not known yet.
func TestPanic(t *testing.T) {
	was := headers[gifFormat]
	defer func() { headers[gifFormat] = was }()
	headers[gifFormat] = func(data []byte, l Limits) (header, error) {
		h, err := was(data, l)
		h.decode = func(io.Reader) (image.Image, error) { panic("index out of range") }
		return h, err
	}
	im, err := Decode(context.Background(), readTestdata(t, "plain.gif"), patientLimits())
	if im != nil || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("got %v, %v, want %v with the cause", im, err, ErrDamaged)
	}
}

// The makers of hostile files: real headers, little behind them.

func deflated(zeros int) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	io.CopyN(w, zeroReader{}, int64(zeros))
	w.Close()
	return b.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func pngFile(width, height uint32, depth, colour byte, interlaced bool, idat []byte) []byte {
	be := binary.BigEndian
	file := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(name string, body []byte) {
		file = be.AppendUint32(file, uint32(len(body)))
		named := append([]byte(name), body...)
		file = append(file, named...)
		file = be.AppendUint32(file, crc32.ChecksumIEEE(named))
	}
	ihdr := be.AppendUint32(be.AppendUint32(nil, width), height)
	ihdr = append(ihdr, depth, colour, 0, 0, 0)
	if interlaced {
		ihdr[12] = 1
	}
	chunk("IHDR", ihdr)
	chunk("IDAT", idat)
	chunk("IEND", nil)
	return file
}

// jpegFile has scans of the given number, each without data, and Huffman tables
// of one code each.
func jpegFile(width, height uint16, sof, lumaSampling byte, scans int) []byte {
	be := binary.BigEndian
	file := []byte("\xff\xd8\xff\xdb\x00\x43\x00" + strings.Repeat("\x01", 64))
	for _, class := range []byte{0x00, 0x10} { // code 0: no difference, end of block
		file = append(file, "\xff\xc4\x00\x14"...)
		file = append(append(file, class, 1), make([]byte, 16)...)
	}
	file = append(file, 0xff, sof, 0, 17, 8)
	file = be.AppendUint16(be.AppendUint16(file, height), width)
	file = append(file, 3, 1, lumaSampling, 0, 2, 0x11, 0, 3, 0x11, 0)
	for range scans {
		file = append(file, "\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x00\x00"...)
	}
	return file
}

// jpegScans is progressive, with one scan of the DC coefficients and many of an
// AC coefficient that is zero everywhere, which takes hardly any bytes.
func jpegScans(width, height uint16, scans int) []byte {
	file := jpegFile(width, height, 0xc2, 0x22, 0)
	// AC codes: 0 is the end of 16384..32767 blocks.
	file = append(file, "\xff\xc4\x00\x14\x10\x01"...)
	file = append(file, make([]byte, 15)...)
	file = append(file, 0xe0)
	file = append(file, "\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x00\x00"...)
	mcus := int(width/16) * int(height/16)
	file = append(file, make([]byte, mcus*6/8+1)...)
	for range scans {
		file = append(file, "\xff\xda\x00\x08\x01\x01\x00\x01\x3f\x00"...)
		for range 4 * mcus / 16384 { // a code and 14 bits, of zero
			file = append(file, 0, 0)
		}
	}
	return append(file, 0xff, 0xd9)
}

func gifFile(screenWidth, screenHeight, width, height uint16) []byte {
	le := binary.LittleEndian
	file := le.AppendUint16(le.AppendUint16([]byte("GIF89a"), screenWidth), screenHeight)
	file = append(file, 0x80, 0, 0, 0, 0, 0, 255, 255, 255, ',', 0, 0, 0, 0)
	file = le.AppendUint16(le.AppendUint16(file, width), height)
	return append(file, 0x40, 2, 3, 0x44, 0x01, 0x02, 0, ';')
}

func bmpFile(width, height int32, depth uint16) []byte {
	le := binary.LittleEndian
	file := append([]byte("BM"), make([]byte, 52)...)
	le.PutUint32(file[10:], 54)
	le.PutUint32(file[14:], 40)
	le.PutUint32(file[18:], uint32(width))
	le.PutUint32(file[22:], uint32(height))
	le.PutUint16(file[26:], 1)
	le.PutUint16(file[28:], depth)
	return file
}

// webpFile has a lossless image without data, on a canvas if that has a size.
func webpFile(canvasWidth, canvasHeight, width, height uint32) []byte {
	le := binary.LittleEndian
	file := []byte("RIFF\x00\x00\x00\x00WEBP")
	if canvasWidth > 0 {
		file = append(file, "VP8X\x0a\x00\x00\x00\x00\x00\x00\x00"...)
		file = le.AppendUint32(file, canvasWidth-1)[:len(file)+3]
		file = le.AppendUint32(file, canvasHeight-1)[:len(file)+3]
	}
	file = append(file, "VP8L\x08\x00\x00\x00\x2f"...)
	file = le.AppendUint32(file, width-1|(height-1)<<14)
	file = append(file, 0, 0, 0)
	le.PutUint32(file[4:], uint32(len(file)-8))
	return file
}

type tiffTags map[uint16]uint32

// tiffFile is grey with its pixels from offset 8 on, in strips that all have
// the same, unless the tags say otherwise.
func tiffFile(tags tiffTags, pixels []byte) []byte {
	le := binary.LittleEndian
	all := tiffTags{258: 8, 259: 1, 262: 1, 277: 1, 278: 1 << 20, 273: 8, 279: uint32(len(pixels))}
	for tag, v := range tags {
		all[tag] = v
	}
	strips := (all[257] + all[278] - 1) / all[278]
	file := append([]byte("II*\x00\x00\x00\x00\x00"), pixels...)
	arrays := len(file)
	for _, tag := range []uint16{273, 279} {
		for range min(strips, 1<<16) {
			file = le.AppendUint32(file, all[tag])
		}
	}
	le.PutUint32(file[4:], uint32(len(file)))
	file = le.AppendUint16(file, uint16(len(all)))
	for tag := uint16(256); tag < 400; tag++ {
		v, ok := all[tag]
		if !ok {
			continue
		}
		count := uint32(1)
		if strips > 1 && (tag == 273 || tag == 279) {
			count, v = strips, uint32(arrays)
			if tag == 279 {
				v += 4 * strips
			}
		}
		file = le.AppendUint16(le.AppendUint16(file, tag), 4)
		file = le.AppendUint32(le.AppendUint32(file, count), v)
	}
	return file
}

// huffmanBomb is a lossless bitstream of 4096 x 4096 pixels with groups of as
// large Huffman trees as x/image/vp8l takes, of which it uses each step-th and
// the last. The last pixels are missing.
func huffmanBomb(groups, step int) []byte {
	w := &bitWriter{}
	w.bits(0x2f, 8)
	w.bits(4095, 14)
	w.bits(4095, 14)
	w.bits(0, 4)  // no alpha, version 0
	w.bits(0, 1)  // no transform
	w.bits(1, 1)  // a colour cache
	w.bits(11, 4) // of 2048
	w.bits(1, 1)  // groups by tile
	w.bits(4, 3)  // of 64 x 64 pixels

	// The image of 64 x 64 tiles: red and green are the number of the group.
	w.bits(0, 1)
	w.tree(run{256, 8}, run{24, 0})
	w.tree(run{16, 4}, run{240, 0})
	for range 3 {
		w.bits(1, 3+1) // one symbol, 0
	}
	for tile := range 64 * 64 {
		group := groups - 1 - tile*step%groups
		w.code(group&255, 8)
		w.code(group>>8, 4)
	}
	for range groups {
		w.tree(run{1768, 11}, run{560, 12})
		for range 3 {
			w.tree(run{256, 8})
		}
		w.tree(run{24, 5}, run{16, 6})
	}
	w.code(0, 11+8+8+8) // a pixel
	for range 4095 {    // 4096 copies of it, but for the last time
		w.code(256+23, 11)
		w.bits(1023, 10)
		w.code(1, 5)
	}
	return w.data
}

// losslessFile is a WebP of a lossless bitstream.
func losslessFile(bitstream []byte) []byte {
	return (&webpFrame{image: bitstream, lossless: true}).file(0, 0)
}

// alphaFile is a lossy WebP of 4096 x 4096 pixels, of which it has none, with
// the alpha of a lossless bitstream.
func alphaFile(bitstream []byte) []byte {
	lossy := []byte("\x10\x00\x00\x9d\x01\x2a\x00\x10\x00\x10")
	return (&webpFrame{image: lossy, alpha: append([]byte{1}, bitstream[5:]...)}).file(4096, 4096)
}

// run is a number of symbols with codes of one length.
type run struct{ count, length int }

// bitWriter writes VP8L's bits, the lowest first.
type bitWriter struct {
	data []byte
	n    int
}

func (w *bitWriter) bits(v, n int) {
	for i := range n {
		if w.n%8 == 0 {
			w.data = append(w.data, 0)
		}
		w.data[w.n/8] |= byte(v >> i & 1 << (w.n % 8))
		w.n++
	}
}

// code writes a Huffman code, the highest bit first.
func (w *bitWriter) code(v, n int) {
	for i := range n {
		w.bits(v>>(n-1-i)&1, 1)
	}
}

// tree writes the code lengths of one or two runs: WebP lossless bitstream
// specification, section 6.2.1.
func (w *bitWriter) tree(runs ...run) {
	const repeat = 16
	order := []int{17, 18, 0, 1, 2, 3, 4, 5, repeat, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	w.bits(0, 1)
	w.bits(len(order)-4, 4)
	for _, symbol := range order {
		switch {
		case symbol == repeat:
			w.bits(1, 3)
		case slices.ContainsFunc(runs, func(r run) bool { return r.length == symbol }):
			w.bits(len(runs), 3)
		default:
			w.bits(0, 3)
		}
	}
	w.bits(0, 1) // lengths for the whole alphabet follow

	lowest := min(runs[0].length, runs[len(runs)-1].length)
	for _, r := range runs {
		length := func() {
			switch {
			case len(runs) == 1:
				w.code(0, 1)
			case r.length == lowest:
				w.code(0b10, 2)
			default:
				w.code(0b11, 2)
			}
		}
		length()
		for left := r.count - 1; left > 0; {
			n := min(left, 6)
			if n < 3 || r.length == 0 {
				length()
				left--
				continue
			}
			w.code(len(runs)&1, 1) // the code of repeat comes after that of the only length
			w.bits(n-3, 2)
			left -= n
		}
	}
}

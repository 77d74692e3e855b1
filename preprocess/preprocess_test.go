package preprocess

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"math"
	"slices"
	"strings"
	"testing"
)

func good() Spec {
	return Spec{Size: 224, Resize: "shorter_side", CropRatio: 0.875, Filter: "bicubic",
		Mean: [3]float64{0.485, 0.456, 0.406}, Std: [3]float64{0.229, 0.224, 0.225}}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(s *Spec)
		names  string // what the error is about; "" for none
	}{
		{"good", func(s *Spec) {}, ""},
		{"squash without a ratio", func(s *Spec) { s.Resize, s.CropRatio = "squash", 0 }, ""},
		{"size 0", func(s *Spec) { s.Size = 0 }, "size"},
		{"size huge", func(s *Spec) { s.Size = 1 << 20 }, "size"},
		{"resize", func(s *Spec) { s.Resize = "" }, "resize"},
		{"ratio 0", func(s *Spec) { s.CropRatio = 0 }, "crop_ratio"},
		{"ratio NaN", func(s *Spec) { s.CropRatio = math.NaN() }, "crop_ratio"},
		{"nothing left", func(s *Spec) { s.Size, s.CropRatio = 1, 2 }, "crop_ratio"},
		{"filter", func(s *Spec) { s.Filter = "box" }, "filter"},
		{"mean", func(s *Spec) { s.Mean[1] = math.Inf(1) }, "mean"},
		{"std 0", func(s *Spec) { s.Std[2] = 0 }, "std"},
		{"std NaN", func(s *Spec) { s.Std[0] = math.NaN() }, "std"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good()
			c.change(&s)
			err := s.Validate()
			if (err == nil) != (c.names == "") || err != nil && !strings.Contains(err.Error(), c.names) {
				t.Errorf("got %v, want an error about %q", err, c.names)
			}
		})
	}
}

func TestCropOffset(t *testing.T) { // int(round((side-crop)/2.0)) in Python
	for _, c := range []struct{ side, crop, want int }{
		{256, 224, 16}, {257, 224, 16}, {259, 224, 18}, {261, 224, 18}, {224, 224, 0}, {225, 224, 0}, {227, 224, 2},
		{223, 224, 0}, {221, 224, -1}, {220, 224, -2},
	} {
		if got := cropOffset(c.side, c.crop); got != c.want {
			t.Errorf("cropOffset(%d, %d) = %d, want %d", c.side, c.crop, got, c.want)
		}
	}
}

func TestTensor(t *testing.T) {
	im, err := Decode(context.Background(), readTestdata(t, "fixture-small.png"), patientLimits())
	if err != nil {
		t.Fatal(err)
	}
	s := good()
	tensor := make([]float32, 224*224*3)
	if err := im.Tensor(s, tensor); err != nil {
		t.Fatal(err)
	}
	crop, err := im.Crop(s)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range crop {
		want := (float64(v)/255 - s.Mean[i%3]) / s.Std[i%3]
		if math.Abs(float64(tensor[i])-want) > 1e-6 {
			t.Fatalf("value %d is %v, want %v", i, tensor[i], want)
		}
	}
	if err := im.Tensor(s, tensor[1:]); err == nil {
		t.Error("a tensor that is too short is accepted")
	}
	s.Filter = "box"
	if err := im.Tensor(s, tensor); err == nil {
		t.Error("a spec that is not valid is accepted")
	}
}

func TestLimits(t *testing.T) {
	data := readTestdata(t, "fixture-small.png") // 97 x 64, RGB
	for _, c := range []struct {
		name   string
		change func(l *Limits)
		want   error
	}{
		{"as they are", func(l *Limits) {}, nil},
		{"bytes just enough", func(l *Limits) { l.Bytes = int64(len(data)) }, nil},
		{"bytes", func(l *Limits) { l.Bytes = int64(len(data)) - 1 }, ErrTooLarge},
		{"pixels just enough", func(l *Limits) { l.Pixels = 97 * 64 }, nil},
		{"pixels", func(l *Limits) { l.Pixels = 97*64 - 1 }, ErrTooLarge},
		{"side just enough", func(l *Limits) { l.Side = 97 }, nil},
		{"side", func(l *Limits) { l.Side = 96 }, ErrTooLarge},
		{"memory just enough", func(l *Limits) { l.DecodeBytes = 4*97*64 + int64(len(data)) }, nil},
		{"memory", func(l *Limits) { l.DecodeBytes = 4*97*64 + int64(len(data)) - 1 }, ErrTooLarge},
		{"time", func(l *Limits) { l.DecodeTime = 0 }, ErrDeadline},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := patientLimits()
			c.change(&l)
			if _, err := Decode(context.Background(), data, l); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestInfo(t *testing.T) {
	for _, c := range []struct {
		file string
		want Info
	}{
		{"orientation-6.png", Info{"png", 61, 47, 6}},
		{"orientation-6.jpg", Info{"jpeg", 93, 75, 6}},
		{"orientation-5.webp", Info{"webp", 61, 47, 5}},
		{"orientation-8.tiff", Info{"tiff", 61, 47, 8}},
		{"offset.gif", Info{"gif", 90, 70, 1}},
		{"beyond-screen.gif", Info{"gif", 70, 67, 1}},
		{"offset-alpha.webp", Info{"webp", 81, 71, 1}},
		{"24-top-down.bmp", Info{"bmp", 61, 47, 1}},
	} {
		im, err := Decode(context.Background(), readTestdata(t, c.file), patientLimits())
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
		} else if im.Info != c.want {
			t.Errorf("%s: got %+v, want %+v", c.file, im.Info, c.want)
		}
	}
}

// TestExif feeds EXIF blocks that lie.
func TestExif(t *testing.T) {
	block := func(tag, kind uint16, count, value uint32) []byte {
		le := binary.LittleEndian
		b := le.AppendUint16([]byte("II*\x00\x08\x00\x00\x00\x01\x00"), tag)
		return le.AppendUint32(le.AppendUint32(le.AppendUint16(b, kind), count), value)
	}
	for _, c := range []struct {
		name  string
		block []byte
		want  int
	}{
		{"short", block(274, 3, 1, 6), 6},
		{"long", block(274, 4, 1, 8), 8},
		{"byte", block(274, 1, 1, 3), 3},
		{"prefixed", append([]byte("Exif\x00\x00"), block(274, 3, 1, 6)...), 6},
		{"0", block(274, 3, 1, 0), 1},
		{"9", block(274, 3, 1, 9), 1},
		{"text", block(274, 2, 1, 6), 1},
		{"no value", block(274, 3, 0, 6), 1},
		{"value outside", block(274, 3, 100, 1<<32-1), 1},
		{"2^32-1 values", block(274, 4, 1<<32-1, 8), 1},
		{"other tag", block(275, 3, 1, 6), 1},
		{"cut in the entry", block(274, 3, 1, 6)[:19], 1},
		{"directory outside", []byte("II*\x00\xff\xff\xff\xff"), 1},
		{"directory cut", []byte("II*\x00\x08\x00\x00\x00\x05"), 1},
		{"65535 entries", []byte("MM\x00*\x00\x00\x00\x08\xff\xff"), 1},
		{"not EXIF", []byte("hello, world"), 1},
		{"empty", nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := exifOrientation(c.block); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestSniff(t *testing.T) {
	for _, c := range []struct {
		data, format string
		supported    bool
	}{
		{"\xff\xd8\xff\xe0", "jpeg", true},
		{"\x89PNG\r\n\x1a\n", "png", true},
		{"RIFF\x00\x00\x00\x00WEBP", "webp", true},
		{"GIF87a", "gif", true},
		{"GIF89a", "gif", true},
		{"BM\x00\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00", "bmp", true},
		{"II*\x00", "tiff", true},
		{"MM\x00*", "tiff", true},
		{"\x00\x00\x00\x1cftypheic\x00\x00\x00\x00mif1heic", "heic", false},
		{"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1heic", "heic", false},
		{"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00mif1avif", "avif", false},
		{"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avif", "avif", false},
		{"\x00\x00\x00\x1cftypisom\x00\x00\x00\x00isommp41", "mp4", false},
		{"\x00\x00\x00\x00ftyp", "mp4", false},
		{"\xff\x0a\xfa\x7f", "jxl", false},
		{"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl", false},
		{"\x00\x00\x00\x0cjP  \r\n\x87\n", "jpeg2000", false},
		{"\xff\x4f\xff\x51", "jpeg2000", false},
		{" <svg xmlns=", "svg", false},
		{"<?xml version='1.0'?>\n<svg>", "svg", false},
		{"%PDF-1.7", "pdf", false},
		{"\x00\x00\x01\x00\x01\x00\x20\x20\x00\x00\x01\x00\x20\x00\x00\x10\x00\x00\x16\x00\x00\x00", "ico", false},
		{"\x00\x00\x02\x00\x01\x00\x20\x20\x00\x00\x05\x00\x05\x00\x00\x10\x00\x00\x16\x00\x00\x00", "cur", false},
		{"\x00\x00\x01\x00\x01\x00", "", false},
		{"\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2c\x01\x2c\x01\x18\x20\x01\x02\x03\x04\x05\x06", "", false}, // TGA
		{"\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2c\x01\x2c\x01\x18\x20\x81\x01\x02\x03\x04\x05", "", false}, // TGA, run-length coded
		{"8BPS\x00\x01", "psd", false},
		{"", "", false},
		{"RIFF\x00\x00\x00\x00WAVE", "", false},
		{"<html>", "", false},
		{"BMWs are cars, not images", "", false},
	} {
		format, supported := Sniff([]byte(c.data))
		if format != c.format || supported != c.supported {
			t.Errorf("Sniff(%q) = %q, %v, want %q, %v", c.data, format, supported, c.format, c.supported)
		}
	}
}

// BenchmarkPhoto goes from the file to the tensor. Larger photographs are one,
// repeated side by side, so that they have as many details a pixel.
func BenchmarkPhoto(b *testing.B) {
	small := readTestdata(b, "fixture-photo420.jpg")
	tensor := make([]float32, 224*224*3)
	for _, size := range []image.Point{{}, {2000, 1500}, {4000, 3000}} {
		name, data := "as it is", small
		if size != (image.Point{}) {
			name, data = fmt.Sprintf("%dx%d", size.X, size.Y), tiledPhoto(b, small, size)
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				im, err := Decode(context.Background(), data, patientLimits(), good())
				if err != nil {
					b.Fatal(err)
				}
				if err := im.Tensor(good(), tensor); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func tiledPhoto(tb testing.TB, data []byte, size image.Point) []byte {
	tile, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	m := image.NewRGBA(image.Rectangle{Max: size})
	for y := 0; y < size.Y; y += tile.Bounds().Dy() {
		for x := 0; x < size.X; x += tile.Bounds().Dx() {
			draw.Draw(m, tile.Bounds().Add(image.Pt(x, y)), tile, image.Point{}, draw.Src)
		}
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, m, &jpeg.Options{Quality: 90}); err != nil {
		tb.Fatal(err)
	}
	return file.Bytes()
}

func TestNoAntialias(t *testing.T) {
	weights := func(filter string, in, out, at int, antialias bool) (int, []int32) {
		w := windows(filter, in, out, at, 1, antialias)[0]
		return w.first, w.weights
	}
	// The sample lies between the inputs 3 and 4 of 0..7.
	first, got := weights("bilinear", 8, 1, 0, false)
	if first != 3 || len(got) != 2 || got[0] != 1<<(precision-1) || got[1] != got[0] {
		t.Errorf("8 to 1: from %d, %v", first, got)
	}
	if first, got := weights("bilinear", 8, 1, 0, true); first != 0 || len(got) != 8 {
		t.Errorf("8 to 1 antialiased: from %d, %v", first, got)
	}
	// Keys' cubic with a = -0.5 half-way between: -1/16, 9/16, 9/16, -1/16.
	if first, got := weights("bicubic", 8, 1, 0, false); first != 2 || len(got) != 4 || got[0] != -(1<<precision)/16 || got[1] != (9<<precision)/16 {
		t.Errorf("bicubic 8 to 1: from %d, %v", first, got)
	}
	for _, filter := range []string{"bilinear", "bicubic", "lanczos", "nearest"} {
		for i := range 64 {
			a, wa := weights(filter, 32, 64, i, true)
			b, wb := weights(filter, 32, 64, i, false)
			if a != b || !slices.Equal(wa, wb) {
				t.Errorf("%s, 32 to 64, sample %d: %d %v, antialiased %d %v", filter, i, b, wb, a, wa)
			}
		}
	}
}

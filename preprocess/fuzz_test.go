package preprocess

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// seed adds the small images of testdata and a hostile one of each format.
func seed(f *testing.F) {
	seen := map[string]bool{}
	for _, c := range goldenCases(f) {
		if data := readTestdata(f, c.File); !seen[c.File] && len(data) < 10000 {
			f.Add(data)
			seen[c.File] = true
		}
	}
	f.Add(pngFile(9, 9, 16, 6, true, deflated(2000)))
	f.Add(jpegFile(64, 64, 0xc2, 0x22, 3))
	f.Add(gifFile(9, 9, 9, 9))
	f.Add(bmpFile(9, -9, 32))
	f.Add(webpFile(16, 16, 8, 8))
	f.Add(tiffFile(tiffTags{256: 9, 257: 9, 278: 1, 259: 8}, deflated(81)))
}

func FuzzSniff(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		format, supported := Sniff(data)
		if _, read := headers[format]; read != supported {
			t.Errorf("%q is said to be supported: %v", format, supported)
		}
	})
}

// FuzzDecode looks for panics, errors without a kind, and images that cannot be
// cropped.
func FuzzDecode(f *testing.F) {
	seed(f)
	l := Limits{Bytes: 1 << 16, Pixels: 1 << 16, Side: 1 << 12, Scans: 10, DecodeBytes: 8 << 20, DecodeTime: time.Minute}
	kinds := []error{ErrEmpty, ErrUnknownFormat, ErrUnsupportedFormat, ErrDamaged, ErrTooLarge, ErrDeadline}
	f.Fuzz(func(t *testing.T, data []byte) {
		im, err := Decode(context.Background(), data, l)
		if err != nil {
			if strings.Contains(err.Error(), "the decoder failed") {
				t.Fatal(err) // a panic, ours or a decoder's
			}
			for _, kind := range kinds {
				if errors.Is(err, kind) {
					return
				}
			}
			t.Fatalf("an error of no kind: %v", err)
		}
		if int64(im.Width)*int64(im.Height) > int64(l.Pixels) || im.Orientation < 1 || im.Orientation > 8 {
			t.Fatalf("got %+v", im.Info)
		}
		for _, s := range []Spec{
			{Size: 16, Resize: "shorter_side", CropRatio: 0.875, Filter: "bicubic", Std: [3]float64{1, 1, 1}},
			{Size: 16, Resize: "squash", Filter: "nearest", Std: [3]float64{1, 1, 1}},
		} {
			if _, err := im.Crop(s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

package preprocess

import (
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// goldenCase is an image of testdata with the crop that Pillow and torchvision
// make of it; testdata/make.py wrote them.
type goldenCase struct {
	Name, File, Golden string
	Size               int
	Resize             string
	CropRatio          float64 `json:"crop_ratio"`
	Filter             string
	// Tolerance is "exact", every byte equal, or "lossy": decoders of lossy WebP
	// and of JPEG in RGB and CMYK, which is image/jpeg's to read, differ a little
	// in their arithmetic.
	Tolerance string
}

func (c goldenCase) spec() Spec {
	return Spec{Size: c.Size, Resize: c.Resize, CropRatio: c.CropRatio, Filter: c.Filter,
		Mean: [3]float64{0.485, 0.456, 0.406}, Std: [3]float64{0.229, 0.224, 0.225}}
}

func goldenCases(t testing.TB) []goldenCase {
	var cases []goldenCase
	if err := json.Unmarshal(readTestdata(t, "cases.json"), &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// patientLimits are the defaults with time for a busy machine and -race.
func patientLimits() Limits {
	l := DefaultLimits()
	l.DecodeTime = time.Minute
	return l
}

func TestGolden(t *testing.T) {
	for _, c := range goldenCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			im, err := Decode(context.Background(), readTestdata(t, c.File), patientLimits())
			if err != nil {
				t.Fatal(err)
			}
			got, err := im.Crop(c.spec())
			if err != nil {
				t.Fatal(err)
			}
			want := readCrop(t, c.Golden)
			if len(got) != len(want) {
				t.Fatalf("crop of %d bytes, want %d", len(got), len(want))
			}
			sum, largest, at, differ := 0, 0, 0, 0
			for i := range got {
				d := max(int(got[i])-int(want[i]), int(want[i])-int(got[i]))
				sum += d
				if d > 0 {
					differ++
				}
				if d > largest {
					largest, at = d, i
				}
			}
			mean := float64(sum) / float64(len(got))
			allowed, allowedMean := 0, 0.0
			if c.Tolerance == "lossy" {
				allowed, allowedMean = 8, 0.25
			}
			if largest > allowed || mean > allowedMean {
				t.Errorf("%d of %d bytes differ, by %.3f on average; most at x %d y %d channel %d: got %d, want %d",
					differ, len(got), mean, at/3%c.Size, at/3/c.Size, at%3, got[at], want[at])
			}
			t.Logf("largest difference %d, mean %.4f", largest, mean)
		})
	}
}

// TestDecodeFor checks that an image decoded for a crop gives the same one, and
// no other that needs more.
func TestDecodeFor(t *testing.T) {
	for _, c := range goldenCases(t) {
		data := readTestdata(t, c.File)
		if format, _ := Sniff(data); format != jpegFormat || len(data) > 10000 {
			continue
		}
		whole, err := Decode(context.Background(), data, patientLimits())
		if err != nil {
			t.Fatal(err)
		}
		for _, resize := range []string{"shorter_side", "squash"} {
			for _, filter := range []string{"bicubic", "bilinear", "lanczos", "nearest"} {
				s := c.spec()
				s.Resize, s.Filter = resize, filter
				for _, ratio := range []float64{c.CropRatio, 0.3, 1.3} {
					s.CropRatio = ratio
					want, err := whole.Crop(s)
					if err != nil {
						t.Fatal(err)
					}
					part, err := Decode(context.Background(), data, patientLimits(), s)
					if err != nil {
						t.Fatal(err)
					}
					if got, err := part.Crop(s); err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%s, %+v: error %v, another crop than of the whole image", c.File, s, err)
					}
				}
			}
		}
	}
	s := good()
	im, err := Decode(context.Background(), readTestdata(t, "fixture-photo420.jpg"), patientLimits(), s)
	if err != nil {
		t.Fatal(err)
	}
	s.Resize = "squash"
	if _, err := im.Crop(s); err == nil {
		t.Error("the whole of an image is cropped of which the middle was decoded")
	}
}

func readCrop(t *testing.T, name string) []uint8 {
	m, err := png.Decode(bytes.NewReader(readTestdata(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	var crop []uint8
	for y := range m.Bounds().Dy() {
		for x := range m.Bounds().Dx() {
			r, g, b, _ := m.At(x, y).RGBA()
			crop = append(crop, uint8(r>>8), uint8(g>>8), uint8(b>>8))
		}
	}
	return crop
}

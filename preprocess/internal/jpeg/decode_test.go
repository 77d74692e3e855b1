package jpeg

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func never() error { return nil }

// corpus are the files of preprocess/testdata that Decode is for.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range []string{
		"420", "422", "440", "444", "411", "grey", "narrow", "restart", "progressive", "progressive-restart", "orientation-6", "fixture-photo420",
	} {
		data, err := os.ReadFile(filepath.Join("..", "..", "testdata", name+".jpg"))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	return files
}

// planes are an image's, cut to what is visible, and how much narrower and
// lower than the image each is.
type plane struct {
	pix          []uint8
	stride, w, h int
	dx, dy       int
}

func planesOf(t testing.TB, m image.Image) []plane {
	t.Helper()
	w, h := m.Bounds().Dx(), m.Bounds().Dy()
	switch m := m.(type) {
	case *image.Gray:
		return []plane{{m.Pix, m.Stride, w, h, 1, 1}}
	case *image.YCbCr:
		r := [][2]int{{1, 1}, {2, 1}, {2, 2}, {1, 2}, {4, 1}, {4, 2}}[m.SubsampleRatio]
		cw, ch := ceil(w, r[0]), ceil(h, r[1])
		return []plane{{m.Y, m.YStride, w, h, 1, 1}, {m.Cb, m.CStride, cw, ch, r[0], r[1]}, {m.Cr, m.CStride, cw, ch, r[0], r[1]}}
	}
	t.Fatalf("an image of type %T", m)
	return nil
}

// TestAgainstStandardLibrary allows for the two transforms' roundings; against
// libjpeg the golden files of preprocess allow nothing.
func TestAgainstStandardLibrary(t *testing.T) {
	for name, data := range corpus(t) {
		if differs(data, nil) { // which it counts otherwise, and so refuses
			continue
		}
		t.Run(name, func(t *testing.T) {
			got, at, err := Decode(data, image.Rectangle{}, never)
			if err != nil {
				t.Fatal(err)
			}
			want, err := jpeg.Decode(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if got.Bounds() != want.Bounds() || at != (image.Point{}) {
				t.Fatalf("bounds %v at %v, want %v", got.Bounds(), at, want.Bounds())
			}
			all := planesOf(t, want)
			for i, p := range planesOf(t, got) {
				for y := range p.h {
					for x := range p.w {
						g, w := p.pix[y*p.stride+x], all[i].pix[y*all[i].stride+x]
						if d := int(g) - int(w); d < -1 || d > 1 {
							t.Fatalf("plane %d, sample %d %d is %d, want %d", i, x, y, g, w)
						}
					}
				}
			}
		})
	}
}

// TestRegion checks that what is decoded of a region is what it is of the whole,
// and reaches two chroma samples beyond it.
func TestRegion(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, data := range corpus(t) {
		whole, _, err := Decode(data, image.Rectangle{}, never)
		if err != nil {
			t.Fatal(err)
		}
		w, h := whole.Bounds().Dx(), whole.Bounds().Dy()
		for range 30 {
			x, y := rng.IntN(w), rng.IntN(h)
			region := image.Rect(x, y, x+1+rng.IntN(w-x), y+1+rng.IntN(h-y))
			m, at, err := Decode(data, region, never)
			if err != nil {
				t.Fatal(err)
			}
			has := m.Bounds().Add(at)
			if !region.Inset(-4).Intersect(whole.Bounds()).In(has) {
				t.Fatalf("%s: of %v only %v is there", name, region, has)
			}
			all := planesOf(t, whole)
			for i, p := range planesOf(t, m) {
				for y := range p.h {
					full := all[i].pix[(at.Y/p.dy+y)*all[i].stride+at.X/p.dx:][:p.w]
					if !bytes.Equal(p.pix[y*p.stride:][:p.w], full) {
						t.Fatalf("%s, region %v: row %d of plane %d differs", name, region, y, i)
					}
				}
			}
		}
	}
}

func TestStop(t *testing.T) {
	for name, data := range corpus(t) {
		enough, asked := errors.New("enough"), 0
		count := func() error { asked++; return nil }
		if _, _, err := Decode(data, image.Rectangle{}, count); err != nil {
			t.Fatal(err)
		}
		for at := range asked {
			n := 0
			_, _, err := Decode(data, image.Rectangle{}, func() error {
				if n++; n > at {
					return enough
				}
				return nil
			})
			if !errors.Is(err, enough) {
				t.Fatalf("%s: stopped when asked for the %d-th time of %d, the error is %v", name, at+1, asked, err)
			}
		}
	}
}

// differs says whether a file is of the few that image/jpeg reads in another
// way, and that the way this package treats it is meant.
func differs(data []byte, err error) bool {
	if errors.Is(err, errOversubscribed) {
		return true
	}
	var d decoder
	d.data, d.at = data, 2
	interval := false
	for {
		marker, err := d.marker()
		if err != nil || marker == eoi {
			return false
		}
		if rst0 <= marker && marker <= rst7 {
			continue
		}
		segment, err := d.segment()
		switch {
		case err != nil:
			return false
		case marker == dri:
			interval = true
		case marker >= sof0 && marker <= sof2 && len(segment) > 7:
			if segment[5] == 4 || len(segment) == 18 || segment[7]>>4 == 4 && len(segment) > 10 && segment[10]>>4 == 2 {
				return true
			}
		case marker == sos && len(segment) > 0 && segment[0] == 1 && interval:
			return true
		}
	}
}

// agree checks that both decoders take a file, or neither does.
func agree(t *testing.T, data []byte) {
	t.Helper()
	got, _, err := Decode(data, image.Rectangle{}, never)
	want, wantErr := jpeg.Decode(bytes.NewReader(data))
	if (err == nil) != (wantErr == nil) && !differs(data, err) {
		t.Fatalf("error %v, image/jpeg's is %v", err, wantErr)
	}
	for _, region := range []image.Rectangle{image.Rect(9, 9, 30, 20), image.Rect(1<<20, 5, 1<<20+1, 6)} { // one beside most images
		if _, _, partErr := Decode(data, region, never); (err == nil) != (partErr == nil) {
			t.Fatalf("error %v, of %v %v", err, region, partErr)
		}
	}
	if err == nil && wantErr == nil && got.Bounds() != want.Bounds() {
		t.Fatalf("bounds %v, image/jpeg's are %v", got.Bounds(), want.Bounds())
	}
	if wantErr == io.ErrUnexpectedEOF && err != nil && err != io.ErrUnexpectedEOF && !differs(data, err) {
		t.Fatalf("error %v, image/jpeg's is %v", err, wantErr)
	}
}

// TestDamaged changes and cuts files; both decoders must take the same ones.
func TestDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, data := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			agree(t, append([]byte("\xff\xd8\xff\xff\x00"), data[2:]...)) // fill before no marker
			for range 300 {
				d := bytes.Clone(data)
				for range 1 + rng.IntN(3) {
					d[rng.IntN(len(d))] = byte(rng.Uint32())
				}
				if w, h := size(d); w*h > 1<<20 {
					continue
				}
				agree(t, d)
				agree(t, data[:rng.IntN(len(data))])
			}
		})
	}
}

// size is what the header claims.
func size(data []byte) (w, h int) {
	c, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return 0, 0
	}
	return c.Width, c.Height
}

func FuzzDecode(f *testing.F) {
	for _, data := range corpus(f) {
		if len(data) < 10000 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if w, h := size(data); w*h > 1<<16 || bytes.Count(data, []byte{0xff, sos}) > 20 {
			return
		}
		agree(t, data)
	})
}

func BenchmarkDecode(b *testing.B) {
	data := corpus(b)["fixture-photo420"]
	b.Run("planes", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := Decode(data, image.Rectangle{}, never); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("image/jpeg", func(b *testing.B) {
		for b.Loop() {
			if _, err := jpeg.Decode(bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

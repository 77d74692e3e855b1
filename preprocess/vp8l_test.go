package preprocess

import (
	"bytes"
	"runtime"
	"testing"

	"golang.org/x/image/vp8l"
)

// TestVP8LMemory compares the estimate with what the decoder allocates.
func TestVP8LMemory(t *testing.T) {
	if raceDetector {
		t.Skip("measures memory")
	}
	for _, c := range []struct {
		name string
		data []byte
	}{
		{"of one group", webpBitstream(t, "lossless.webp")},
		{"with alpha", webpBitstream(t, "lossless-alpha.webp")},
		{"of packed colours", webpBitstream(t, "palette.webp")},
		{"of many groups", webpBitstream(t, "lossless-groups.webp")},
		{"of 600 large groups", huffmanBomb(600, 1)},
		{"of 2600 large groups, a quarter used", huffmanBomb(2600, 4)},
		{"of 600 large groups, a quarter used", huffmanBomb(600, 4)},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, h, ok := (&webpFrame{image: c.data, lossless: true}).size()
			if !ok {
				t.Fatal("not a lossless bitstream")
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			estimate, err := vp8lMemory(c.data[5:], w, h)
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			own := int64(after.TotalAlloc - before.TotalAlloc)
			runtime.ReadMemStats(&before)
			vp8l.Decode(bytes.NewReader(c.data)) // the large ones end in their pixels
			runtime.ReadMemStats(&after)
			took := int64(after.TotalAlloc - before.TotalAlloc)
			t.Logf("%d x %d: estimated %d KiB, took %d and %d KiB", w, h, estimate>>10, own>>10, took>>10)
			if took > estimate || estimate > 2*took+own {
				t.Errorf("estimated %d bytes, the estimate took %d and decoding %d", estimate, own, took)
			}
		})
	}
}

// webpBitstream is the lossless bitstream of a file of testdata.
func webpBitstream(t *testing.T, name string) []byte {
	var frame webpFrame
	if err := eachChunk(readTestdata(t, name)[12:], frame.take); err != nil {
		t.Fatal(err)
	}
	return frame.image
}

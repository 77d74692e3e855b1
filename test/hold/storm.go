//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// stormMemory is the memory that the service is told to keep to (GOMEMLIMIT).
const stormMemory = 512 * mib

// storm sends the largest images that are taken, many at once.
func storm(ctx context.Context, t *trial) error {
	files, err := large()
	if err != nil {
		return err
	}
	dir, remove, err := t.newFolder()
	if err != nil {
		return err
	}
	defer remove()
	v, err := t.start(ctx, setup{folder: dir, core: -1, env: []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", stormMemory/mib)},
		args: []string{"--default-model", "random:xxs", "--decode-time", "10s"}})
	if err != nil {
		return err
	}
	defer v.kill()
	before := memory(v.pid(), "VmHWM")

	const clients = 64
	statuses := map[int]int{}
	var faults []string
	var mu sync.Mutex
	var slowest time.Duration
	for round := range within(t, 1, 10) {
		var group sync.WaitGroup
		for i := range clients {
			group.Go(func() {
				a, err := v.post("/classify", files[(i+round)%len(files)])
				if err == nil {
					err = a.honest(http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout)
				}
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					faults = append(faults, err.Error())
				}
				statuses[a.status]++
				slowest = max(slowest, a.took)
			})
		}
		group.Wait()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	var answers []string
	for _, status := range slices.Sorted(maps.Keys(statuses)) {
		answers = append(answers, fmt.Sprintf("%d × %d", statuses[status], status))
	}
	t.promise(len(faults) == 0, "64 images of 16 megapixels at once: every answer honest", "%v, the slowest after %.1f s%s", answers, slowest.Seconds(), first(faults))
	t.promise(statuses[http.StatusOK] > 0, "some are classified", "%d", statuses[http.StatusOK])
	peak := memory(v.pid(), "VmHWM")
	t.promise(peak <= stormMemory*11/10, "peak of resident memory ≤ 1.1 × GOMEMLIMIT of 512 MiB", "%.0f MiB, before it %.0f MiB", inMiB(peak), inMiB(before))
	_, _, err = v.stop(30 * time.Second)
	t.promise(err == nil, "the service lives to the end", "%s", or(errorText(err), "it does"))
	return nil
}

// large are images of 16 megapixels as JPEG, in colour and at full chroma
// resolution, and as PNG of 8 and 16 bits.
func large() ([][]byte, error) {
	const side = 4096
	colours := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			i := colours.PixOffset(x, y)
			colours.Pix[i], colours.Pix[i+1], colours.Pix[i+2], colours.Pix[i+3] = uint8(x/16), uint8(y/16), uint8((x^y)/16), 255
		}
	}
	deep := image.NewGray16(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			deep.SetGray16(x, y, color.Gray16{Y: uint16(x * 16)})
		}
	}
	var files [][]byte
	fast := png.Encoder{CompressionLevel: png.BestSpeed}
	for _, encode := range []func(*bytes.Buffer) error{
		func(b *bytes.Buffer) error { return jpeg.Encode(b, colours, &jpeg.Options{Quality: 60}) },
		func(b *bytes.Buffer) error { return fast.Encode(b, colours) },
		func(b *bytes.Buffer) error { return fast.Encode(b, deep) },
	} {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			return nil, err
		}
		if b.Len() > 10*mib {
			return nil, fmt.Errorf("an image of the storm has %d bytes, more than the service takes", b.Len())
		}
		files = append(files, b.Bytes())
	}
	return files, nil
}

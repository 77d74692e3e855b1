//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// traffic is what the soak's clients do, each as often as its weight says.
type traffic struct {
	name   string
	weight int
	do     func(*rand.Rand) (answer, error) // the answer's status 0: there is none to judge
	honest []int                            // statuses beside successes
}

// sample is the state of the service at a moment.
type sample struct {
	hours                        float64 // since the beginning
	memory, descriptors, threads float64 // bytes, open files, goroutines
}

// soak has clients, good and bad, use everything there is for a long time, and
// looks at what the service keeps of it.
func soak(ctx context.Context, t *trial) error {
	length := t.duration
	if length == 0 {
		length = within(t, 18*time.Second, 30*time.Minute)
	}
	photo, err := os.ReadFile(filepath.Join(t.root, "docs", "cat.jpg"))
	images, err2 := seeds(t.root, imageSeeds...)
	broken, err3 := seeds(t.root, checkpointSeeds...)
	dir, remove, err4 := t.newFolder()
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return err
	}
	defer remove()
	file, err := t.checkpointFile(dir)
	if err != nil {
		return err
	}
	v, err := t.start(ctx, setup{folder: dir, core: -1, args: []string{"--default-model", "random:xxs", "--deadline", "10s", "--isolate"}})
	if err != nil {
		return err
	}
	defer v.kill()
	targets, err := v.targets()
	if err != nil {
		return err
	}
	for _, target := range targets { // all are open from the beginning
		if a, err := v.post("/classify?target="+target, photo); err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%s: %w %s", target, err, clip(a.body))
		}
	}
	all := strings.Join(targets, ",")
	busy := []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
	mix := []traffic{
		{"classify", 50, func(r *rand.Rand) (answer, error) {
			return v.post("/classify?target="+targets[r.IntN(len(targets))], photo)
		}, busy},
		{"classify a damaged image", 20, func(r *rand.Rand) (answer, error) { return v.post("/classify", mutated(r, images)) }, append(busy, 400, 413, 415, 422)},
		{"ask", 20, func(r *rand.Rand) (answer, error) {
			return v.get([]string{"/models", "/backends", "/livez", "/readyz", "/benchmarks", "/docs", "/", "/models/random:xxs", "/nothing"}[r.IntN(9)])
		}, []int{404}},
		{"compare", 3, func(*rand.Rand) (answer, error) { return v.post("/compare?targets="+all, photo) }, busy},
		{"preprocess", 4, func(*rand.Rand) (answer, error) { return v.post("/preprocess", photo) }, busy},
		{"export", 1, func(*rand.Rand) (answer, error) { return v.get("/models/random:xxs/export?format=onnx") }, busy},
		{"upload, use and remove", 1, func(r *rand.Rand) (answer, error) {
			name := fmt.Sprintf("soak-%d", r.IntN(1<<30))
			if a, err := v.post("/models?name="+name, file); err != nil || a.status != http.StatusCreated {
				return a, err
			}
			used, err := v.post("/classify?model="+name, photo)
			gone, err2 := v.do(http.MethodDelete, "/models/"+name, nil)
			if gone.status != http.StatusNoContent {
				return gone, errors.Join(err, err2)
			}
			return used, errors.Join(err, err2)
		}, busy},
		{"upload a damaged checkpoint", 2, func(r *rand.Rand) (answer, error) {
			name := fmt.Sprintf("broken-%d", r.IntN(1<<30))
			a, err := v.post("/models?name="+name, mutated(r, broken))
			if a.status == http.StatusCreated {
				return v.do(http.MethodDelete, "/models/"+name, nil)
			}
			return a, err
		}, append(busy, 400, 408, 413, 422)},
		{"benchmark, watch a little and cancel", 1, func(*rand.Rand) (answer, error) {
			a, err := v.post("/benchmarks?models=random:xxs&targets=purego&min_duration_ms=5000&min_count=1&blocks=20", nil)
			if id := idOf(a); id != "" {
				watch, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
				_, _ = v.doContext(watch, http.MethodGet, "/benchmarks/"+id+"/events", nil) // leaves
				c, err := v.do(http.MethodDelete, "/benchmarks/"+id, nil)
				if err != nil {
					return c, err
				}
				v.outcomeOf(id)
				return v.do(http.MethodDelete, "/benchmarks/"+id, nil)
			}
			return a, err
		}, append(busy, http.StatusConflict, http.StatusNotFound)},
		{"leave before the answer", 8, func(r *rand.Rand) (answer, error) {
			short, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(20))*time.Millisecond)
			defer cancel()
			_, _ = v.doContext(short, http.MethodPost, "/classify", bytes.NewReader(photo))
			return answer{}, nil
		}, nil},
		{"raw bytes", 6, func(r *rand.Rand) (answer, error) {
			c, err := net.Dial("tcp", v.address)
			if err != nil {
				return answer{}, err
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Duration(r.IntN(200)) * time.Millisecond))
			_, _ = io.WriteString(c, smuggled[r.IntN(len(smuggled))].request)
			_, _ = io.Copy(io.Discard, c)
			return answer{}, nil
		}, nil},
	}

	before := v.sample(0)
	statuses, faults, samples := v.drive(ctx, t.seed, mix, length)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var counts []string
	sum := 0
	for _, name := range slices.Sorted(maps.Keys(statuses)) {
		counts = append(counts, fmt.Sprintf("%s %d", name, statuses[name]))
		sum += statuses[name]
	}
	t.figure("traffic on "+all, "%d in %.0f s: %s", sum, length.Seconds(), strings.Join(counts, ", "))
	t.promise(len(faults) == 0, "every answer a success or an honest problem", "%d faults%s", len(faults), first(faults))

	v.client.CloseIdleConnections()
	var after sample
	back := await(15*time.Second, func() bool {
		v.client.CloseIdleConnections()
		after = v.sample(0)
		return after.threads <= before.threads+5 && after.descriptors <= before.descriptors+5
	})
	t.promise(back, "after it, goroutines and descriptors are as before", "goroutines %.0f before, %.0f after; descriptors %.0f before, %.0f after", before.threads, after.threads, before.descriptors, after.descriptors)
	t.figure("resident memory, workers too", "%.0f MiB before, %.0f MiB after, %.0f MiB at most", before.memory/mib, after.memory/mib, peakOf(samples)/mib)

	// The first fifth fills pools and caches.
	steady := samples[len(samples)/5:]
	const blocks = 30
	for _, row := range []struct {
		name, unit string
		scale      float64
		of         func(sample) float64
	}{
		{"resident memory", "MiB", mib, func(s sample) float64 { return s.memory }},
		{"descriptors", "", 1, func(s sample) float64 { return s.descriptors }},
		{"goroutines", "", 1, func(s sample) float64 { return s.threads }},
	} {
		promise := "slope of " + row.name + ": less than 5 % of its mean over the run, or 0 in its interval"
		if length < 10*time.Minute || len(steady) < 3*blocks {
			t.skip(promise, "%d samples in %.0f s are too few for a slope; the long form has it", len(steady), length.Seconds())
			continue
		}
		var x, y []float64
		for _, s := range steady {
			x, y = append(x, s.hours), append(y, row.of(s)/row.scale)
		}
		level := mean(y)
		s, half := slope(blockMeans(x, y, blocks))
		grown := s * length.Hours()
		t.promise(s-half <= 0 || grown < 0.05*level, promise, "%+.2f ± %.2f %s an hour, mean %.1f", s, half, row.unit, level)
	}
	_, _, err = v.stop(30 * time.Second)
	t.promise(err == nil, "the service lives to the end", "%s", or(errorText(err), "it does"))
	return nil
}

// drive has eight clients carry out the traffic for a time, and looks at the
// service meanwhile.
func (v *service) drive(ctx context.Context, seed uint64, mix []traffic, length time.Duration) (statuses map[string]int, faults []string, samples []sample) {
	statuses = map[string]int{}
	total := 0
	for _, m := range mix {
		total += m.weight
	}
	var mu sync.Mutex
	var group sync.WaitGroup
	begin := time.Now()
	for client := range 8 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(client)))
			for time.Since(begin) < length && ctx.Err() == nil {
				n := r.IntN(total)
				i := 0
				for ; n >= mix[i].weight; i++ {
					n -= mix[i].weight
				}
				a, err := mix[i].do(r)
				if err == nil {
					err = a.honest(mix[i].honest...)
				}
				mu.Lock()
				statuses[mix[i].name]++
				if err != nil && ctx.Err() == nil {
					faults = append(faults, mix[i].name+": "+err.Error())
				}
				mu.Unlock()
				time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
			}
		})
	}
	every := time.NewTicker(max(length/400, 200*time.Millisecond))
	defer every.Stop()
	for time.Since(begin) < length && ctx.Err() == nil {
		<-every.C
		if s := v.sample(time.Since(begin)); s.threads > 0 {
			samples = append(samples, s)
		}
	}
	group.Wait()
	return statuses, faults, samples
}

func (v *service) sample(at time.Duration) sample {
	threads, _ := v.metric("go_goroutines") // 0 where it was not to be had
	return sample{at.Hours(), float64(resident(v.pid())), float64(descriptors(v.pid())), threads}
}

func peakOf(samples []sample) float64 {
	most := 0.0
	for _, s := range samples {
		most = max(most, s.memory)
	}
	return most
}

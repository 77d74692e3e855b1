//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	imageSeeds      = []string{"preprocess/testdata/*/*.[jpgbtw]*", "preprocess/testdata/*.[jpgbtw]*"}
	checkpointSeeds = []string{"checkpoint/testdata/*.pth", "checkpoint/testdata/*.safetensors", "model/modeltest/testdata/*/*.pth", "model/modeltest/testdata/*/*.pt", "model/modeltest/testdata/*/*.safetensors"}
)

const (
	// corpusTime bounds an answer: the second that decoding may take, and the
	// wait behind others.
	corpusTime   = 5 * time.Second
	corpusMemory = 512 * mib
)

// corpus sends damaged images and checkpoints, and has the command line inspect
// them.
func corpus(ctx context.Context, t *trial) error {
	images, err := seeds(t.root, imageSeeds...)
	checkpoints, err2 := seeds(t.root, checkpointSeeds...)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if len(images) < 20 || len(checkpoints) < 5 {
		return fmt.Errorf("%d images and %d checkpoints to begin with under %s, want 20 and 5", len(images), len(checkpoints), t.root)
	}
	t.figure("files that mutations begin with", "%d images, %d checkpoints; seed %d", len(images), len(checkpoints), t.seed)
	dir, remove, err := t.newFolder()
	if err != nil {
		return err
	}
	defer remove()
	v, err := t.start(ctx, setup{folder: dir, core: -1, args: []string{"--default-model", "random:xxs"}})
	if err != nil {
		return err
	}
	defer v.kill()

	// A corpus of what nobody takes anyway would reach little.
	taken, models := 0, 0
	for _, data := range images {
		if a, err := v.post("/classify", data); err == nil && a.status == http.StatusOK {
			taken++
		}
	}
	for i, data := range checkpoints {
		name := fmt.Sprintf("whole%d", i)
		if a, err := v.post("/models?name="+name, data); err == nil && a.status == http.StatusCreated {
			models++
			_, _ = v.do(http.MethodDelete, "/models/"+name, nil)
		}
	}
	t.promise(taken >= 10 && models >= 3, "undamaged, many of them are taken", "%d images, %d checkpoints", taken, models)

	documented := []int{400, 408, 409, 413, 415, 422, 429}
	t.each(ctx, within(t, 1500, 20000), images, "POST /classify of damaged images: 200 or 4xx within 5 s", func(i int, data []byte) (string, error) {
		a, err := v.post("/classify", data)
		if err == nil {
			err = a.honest(append(documented, http.StatusGatewayTimeout)...)
		}
		return fmt.Sprint(a.status), err
	})
	t.each(ctx, within(t, 400, 5000), checkpoints, "POST /models of damaged checkpoints: 201 or 4xx within 5 s", func(i int, data []byte) (string, error) {
		name := fmt.Sprintf("m%d", i)
		a, err := v.post("/models?name="+name, data)
		if err == nil {
			err = a.honest(documented...)
		}
		if err == nil && a.status == http.StatusCreated {
			d, err := v.do(http.MethodDelete, "/models/"+name, nil)
			if err != nil || d.status != http.StatusNoContent {
				return "201", fmt.Errorf("removal: %d %w", d.status, err)
			}
		}
		return fmt.Sprint(a.status), err
	})
	var most atomic.Int64
	t.each(ctx, within(t, 120, 2000), checkpoints, "api inspect of damaged checkpoints: exit 0, 1 or 2 within 5 s", func(i int, data []byte) (string, error) {
		path := filepath.Join(dir, fmt.Sprintf("inspected%d%s", i, extension(data)))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return "", err
		}
		defer os.Remove(path)
		limit, cancel := context.WithTimeout(ctx, corpusTime)
		defer cancel()
		c := exec.CommandContext(limit, t.binary, "inspect", path)
		out, err := c.CombinedOutput()
		if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
			for peak := usage.Maxrss << 10; ; {
				before := most.Load()
				if peak <= before || most.CompareAndSwap(before, peak) {
					break
				}
			}
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return "", err
		}
		code := c.ProcessState.ExitCode()
		if code < 0 || code > 2 || bytes.Contains(out, []byte("goroutine ")) {
			return fmt.Sprint(code), fmt.Errorf("exit status %d: %s", code, clip(out))
		}
		return fmt.Sprint(code), nil
	})
	t.promise(most.Load() <= corpusMemory, "memory of an inspection ≤ 512 MiB", "%.0f MiB at most", inMiB(most.Load()))
	peak := memory(v.pid(), "VmHWM")
	t.promise(peak <= corpusMemory, "memory of the service ≤ 512 MiB", "%.0f MiB at its peak", inMiB(peak))
	left, _ := os.ReadDir(filepath.Join(dir, "models"))
	t.promise(len(left) == 0, "nothing is left of what was refused", "%d files", len(left))
	_, _, err = v.stop(30 * time.Second)
	t.promise(err == nil, "the service lives to the end", "%s", or(errorText(err), "it does"))
	return ctx.Err()
}

func extension(data []byte) string {
	if bytes.HasPrefix(data, []byte("PK")) || len(data) < 9 || data[8] != '{' {
		return ".pth"
	}
	return ".safetensors"
}

// each sends n mutations, two at a time, and adds what came of it. A fault
// names its number, which with the seed makes the file again.
func (t *trial) each(ctx context.Context, n int, files [][]byte, promise string, send func(i int, data []byte) (outcome string, err error)) {
	outcomes := map[string]int{}
	var faults []string
	var slowest time.Duration
	var mu sync.Mutex
	var group sync.WaitGroup
	var next atomic.Int64
	for range 2 {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				data := mutated(rand.New(rand.NewPCG(t.seed, uint64(i))), files)
				begin := time.Now()
				outcome, err := send(i, data)
				took := time.Since(begin)
				if err == nil && took > corpusTime {
					err = fmt.Errorf("it took %v", took)
				}
				mu.Lock()
				outcomes[outcome]++
				slowest = max(slowest, took)
				if err != nil {
					faults = append(faults, fmt.Sprintf("%d: %v", i, err))
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	var counts []string
	for _, o := range slices.Sorted(maps.Keys(outcomes)) {
		counts = append(counts, fmt.Sprintf("%d × %s", outcomes[o], or(o, "none")))
	}
	t.promise(len(faults) == 0, promise, "%s; the slowest %.0f ms; %d faults%s", strings.Join(counts, ", "), ms(slowest), len(faults), first(faults))
}

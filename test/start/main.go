//go:build linux

// Command start measures what a service costs before it is useful: the time
// from the start of its process to its first answer, and the memory that is
// resident afterwards. Several binaries take turns, so that the machine's other
// work meets all alike.
//
//	go run ./test/start -models DIR -image photo.jpg [-runs 21] bin/api…
//
// DIR holds one checkpoint. Its float32 weights are taken off the resident
// memory: what is left is the program, its heap and its pages of files.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	models := flag.String("models", "", "folder with one checkpoint")
	image := flag.String("image", "", "photograph to classify")
	runs := flag.Int("runs", 21, "starts of each binary")
	settle := flag.Duration("settle", time.Second, "wait between the first answer and the reading of the memory")
	flag.Parse()
	if err := measure(*models, *image, *runs, *settle, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(2)
	}
}

// sample is one start: milliseconds to the first answer, and of that on
// processors, which other work disturbs less; MB (10⁶ bytes) of VmRSS less the
// weights, with the first answer and once settled, and of VmHWM less the weights.
type sample struct{ ms, cpu, at, after, peak float64 }

func measure(models, image string, runs int, settle time.Duration, binaries []string) error {
	if len(binaries) == 0 || runs < 1 {
		return errors.New("want at least one binary and one run")
	}
	photo, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	data, err := os.MkdirTemp("", "start")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	samples := make([][]sample, len(binaries))
	for range runs {
		for i, b := range binaries {
			s, err := start(b, models, data, photo, settle)
			if err != nil {
				return fmt.Errorf("%s: %w", b, err)
			}
			samples[i] = append(samples[i], s)
		}
	}
	fmt.Printf("%d starts; median (least)\n%-32s %16s %16s %22s %16s %16s\n", runs, "binary", "first answer ms", "ms of processors", "MB above weights then", "settled", "peak")
	for i, b := range binaries {
		fmt.Printf("%-32s", b)
		for _, column := range []struct {
			of    func(sample) float64
			width int
		}{
			{func(s sample) float64 { return s.ms }, 16},
			{func(s sample) float64 { return s.cpu }, 16},
			{func(s sample) float64 { return s.at }, 22},
			{func(s sample) float64 { return s.after }, 16},
			{func(s sample) float64 { return s.peak }, 16},
		} {
			var values []float64
			for _, s := range samples[i] {
				values = append(values, column.of(s))
			}
			slices.Sort(values)
			fmt.Printf(" %*s", column.width, fmt.Sprintf("%.1f (%.1f)", values[len(values)/2], values[0]))
		}
		fmt.Println()
	}
	return nil
}

// start starts a service, asks it until it answers, and ends it.
func start(binary, models, data string, photo []byte, settle time.Duration) (s sample, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return s, err
	}
	address := l.Addr().String()
	l.Close()
	c := exec.Command(binary, "serve", "--listen", address, "--models", models, "--data", data, "--log-level", "error")
	c.Stderr = os.Stderr
	begin := time.Now()
	if err := c.Start(); err != nil {
		return s, err
	}
	defer func() {
		err = errors.Join(err, c.Process.Signal(syscall.SIGTERM), c.Wait())
	}()
	for {
		answer, err := http.Post("http://"+address+"/classify", "image/jpeg", bytes.NewReader(photo))
		if err == nil {
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != http.StatusOK {
				return s, fmt.Errorf("POST /classify: %s %s %w", answer.Status, body, err)
			}
			break
		}
		if time.Since(begin) > 20*time.Second {
			return s, err
		}
		time.Sleep(200 * time.Microsecond)
	}
	s.ms = float64(time.Since(begin)) / 1e6
	if s.cpu, err = processors(c.Process.Pid); err != nil {
		return s, err
	}
	if s.at, err = resident(c.Process.Pid, "VmRSS"); err != nil {
		return s, err
	}
	if s.peak, err = resident(c.Process.Pid, "VmHWM"); err != nil {
		return s, err
	}
	time.Sleep(settle)
	if s.after, err = resident(c.Process.Pid, "VmRSS"); err != nil {
		return s, err
	}
	weights, err := weightsOf(address)
	s.at, s.after, s.peak = s.at-weights, s.after-weights, s.peak-weights
	return s, err
}

// processors is how many milliseconds the threads of a process have run.
func processors(pid int) (float64, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	sum := 0.0
	for _, path := range threads {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseFloat(first, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		sum += ns / 1e6
	}
	return sum, err
}

// resident is a line of /proc/PID/status in MB.
func resident(pid int, key string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == key+":" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("no %s", key)
}

// weightsOf is the size in MB of the weights of the models that are loaded.
func weightsOf(address string) (float64, error) {
	answer, err := http.Get("http://" + address + "/models")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	var list struct {
		Models []struct {
			WeightBytes float64 `json:"weight_bytes"`
		} `json:"models"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&list); err != nil {
		return 0, err
	}
	sum := 0.0
	for _, m := range list.Models {
		sum += m.WeightBytes
	}
	return sum / 1e6, nil
}

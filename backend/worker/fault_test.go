//go:build linux || darwin

package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"edgevit/backend"
	"edgevit/backend/purego"
	"edgevit/graph"
	"edgevit/model/modeltest"
)

// image is one random-looking image that begins with first.
func image(g *graph.Graph, first float64) []float32 {
	x := make([]float32, g.Input().Len())
	for i := range x {
		x[i] = float32(i%17)/8 - 1
	}
	x[0] = float32(first)
	return x
}

// open opens the tiny model in a worker of that role.
func open(t *testing.T, c Config) (*session, *graph.Graph) {
	t.Helper()
	g := modeltest.Tiny(t).Model.Graph
	s, err := Wrap(purego.Backend{}, c).Open(t.Context(), g, backend.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*session), g
}

// waitUp waits until the session has another process than pid.
func waitUp(t *testing.T, s *session, pid int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if d := s.Describe(); s.Up() == nil && d.WorkerPID != pid {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("there is no new process: %v", s.Up())
		}
	}
}

// gone says whether there is no process of that id, not even a zombie.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// TestCrash: what a runtime does to its process costs the runs in progress, with
// an error that says what happened, and the next process runs again.
func TestCrash(t *testing.T) {
	for _, row := range []struct {
		name  string
		first float64
		want  string
	}{
		{"segmentation fault", segfault, "SIGSEGV"},
		{"abort", abort, "SIGABRT"},
		{"panic", panics, "panic: out of my depth"},
		{"exit", exits, "exit status 7"},
		{"garbage on the socket", garbage, "against the protocol"},
		{"an answer to nothing", answersTwice, "an answer to nothing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, g := open(t, config(t, ""))
			want, out := make([]float32, g.Classes()), make([]float32, g.Classes())
			if err := s.Run(t.Context(), image(g, 0), want); err != nil {
				t.Fatal(err)
			}
			pid := s.Describe().WorkerPID
			var others sync.WaitGroup
			for range 2 { // in progress there
				others.Go(func() {
					if err := s.Run(context.Background(), image(g, waits), make([]float32, g.Classes())); !errors.Is(err, backend.ErrCrashed) {
						t.Errorf("a run in progress returns %v, want ErrCrashed", err)
					}
				})
			}
			for len(s.free) > cap(s.free)-2 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(50 * time.Millisecond) // from its slot to the socket
			err := s.Run(t.Context(), image(g, row.first), out)
			if !errors.Is(err, backend.ErrCrashed) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the run returns %v, want ErrCrashed and %q", err, row.want)
			}
			others.Wait()
			waitUp(t, s, pid)
			if !gone(pid) {
				t.Errorf("process %d is still there", pid)
			}
			if err := s.Run(t.Context(), image(g, 0), out); err != nil || !slices.Equal(out, want) {
				t.Errorf("after the restart: %v, %v, want %v", err, out, want)
			}
			if w := s.b.Workers(); len(w) != 1 || w[0].Running != 1 || w[0].Restarting != 0 || w[0].Restarts != 1 {
				t.Errorf("Workers are %+v, want one, restarted once", w)
			}
			for range cap(s.free) { // no slot was lost
				<-s.free
			}
			for i := range cap(s.free) {
				s.free <- i
			}
		})
	}
}

// TestOtherSessionsGoOn: a process is one session's alone.
func TestOtherSessionsGoOn(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	b := Wrap(purego.Backend{}, config(t, ""))
	var sessions [2]backend.Session
	for i := range sessions {
		s, err := b.Open(t.Context(), g, backend.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sessions[i] = s
	}
	pid := sessions[1].(*session).Describe().WorkerPID
	out := make([]float32, g.Classes())
	if err := sessions[0].Run(t.Context(), image(g, segfault), out); !errors.Is(err, backend.ErrCrashed) {
		t.Errorf("the run returns %v, want ErrCrashed", err)
	}
	if err := sessions[1].Run(t.Context(), image(g, 0), out); err != nil || sessions[1].(*session).Describe().WorkerPID != pid {
		t.Errorf("the other session's run returns %v", err)
	}
}

func TestKilledFromOutside(t *testing.T) {
	s, g := open(t, config(t, ""))
	running := make(chan error, 1)
	go func() { running <- s.Run(context.Background(), image(g, waits), make([]float32, g.Classes())) }()
	time.Sleep(50 * time.Millisecond)
	syscall.Kill(s.Describe().WorkerPID, syscall.SIGKILL) // as the system does where memory is short
	if err := <-running; !errors.Is(err, backend.ErrCrashed) || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the run returns %v, want ErrCrashed that says killed", err)
	}
}

// TestHang: a run that does not heed its context is killed with its process
// after the grace.
func TestHang(t *testing.T) {
	c := config(t, "")
	c.Grace = 100 * time.Millisecond
	s, g := open(t, c)
	pid := s.Describe().WorkerPID
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	other := make(chan error, 1)
	go func() { other <- s.Run(context.Background(), image(g, hangs), make([]float32, g.Classes())) }()
	err := s.Run(ctx, image(g, hangs), make([]float32, g.Classes()))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the run that hangs returns %v, want DeadlineExceeded and that its process was killed", err)
	}
	if err := <-other; !errors.Is(err, backend.ErrCrashed) {
		t.Errorf("a run beside it returns %v, want ErrCrashed", err)
	}
	waitUp(t, s, pid)
}

// TestHangWithoutDeadline: a run that takes far longer than those before it is
// taken for one that hangs, long before its deadline.
func TestHangWithoutDeadline(t *testing.T) {
	c := config(t, "")
	c.Hang = 200 * time.Millisecond
	s, g := open(t, c)
	if got := s.Describe().ResidentBytes; runtime.GOOS == "linux" && got < 1<<20 {
		t.Errorf("the process is said to hold %d bytes", got)
	}
	pid := s.Describe().WorkerPID
	if err := s.Run(t.Context(), image(g, 0), make([]float32, g.Classes())); err != nil {
		t.Fatal(err)
	}
	err := s.Run(t.Context(), image(g, hangs), make([]float32, g.Classes()))
	if !errors.Is(err, backend.ErrCrashed) || !strings.Contains(err.Error(), "no answer after") {
		t.Errorf("the run that hangs returns %v, want ErrCrashed for want of an answer", err)
	}
	waitUp(t, s, pid)
}

// TestCancel: a run that heeds its context ends with it, and its process stays.
func TestCancel(t *testing.T) {
	s, g := open(t, config(t, ""))
	pid := s.Describe().WorkerPID
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Run(ctx, image(g, waits), make([]float32, g.Classes())); err != context.DeadlineExceeded {
		t.Errorf("the run returns %v, want DeadlineExceeded", err)
	}
	if err := s.Run(t.Context(), image(g, 0), make([]float32, g.Classes())); err != nil || s.Describe().WorkerPID != pid {
		t.Errorf("the next run returns %v", err)
	}
}

// fakeClock is a clock whose waits end when the test says so.
type fakeClock struct {
	mu     sync.Mutex
	time   time.Time
	waits  chan time.Duration
	finish chan time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

func (c *fakeClock) after(d time.Duration) <-chan time.Time {
	c.waits <- d
	return c.finish
}

// TestCrashLoop: a process that dies again and again starts after longer and
// longer waits; meanwhile runs fail at once and say when.
func TestCrashLoop(t *testing.T) {
	c := config(t, "dies reopening")
	c.Env = append(c.Env, "WORKER_TEST_MARKER="+filepath.Join(t.TempDir(), "opened"))
	g := modeltest.Tiny(t).Model.Graph
	b := Wrap(purego.Backend{}, c).(*Backend)
	time0 := &fakeClock{time: time.Unix(1e9, 0), waits: make(chan time.Duration), finish: make(chan time.Time)}
	b.clock = clock{time0.now, time0.after}
	opened, err := b.Open(t.Context(), g, backend.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*session)
	defer s.Close()
	time0.advance(goodWhile)
	if err := s.Run(t.Context(), image(g, segfault), make([]float32, g.Classes())); !errors.Is(err, backend.ErrCrashed) {
		t.Fatalf("the run returns %v, want ErrCrashed", err)
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		want *= 100 * time.Millisecond
		if got := <-time0.waits; got != want {
			t.Errorf("wait %d is %v, want %v", i, got, want)
		}
		err := s.Run(t.Context(), image(g, 0), make([]float32, g.Classes()))
		if !errors.Is(err, backend.ErrCrashed) || !strings.Contains(err.Error(), fmt.Sprintf("starts again in %v", want)) {
			t.Errorf("a run while it is down returns %v, want ErrCrashed and %v", err, want)
		}
		if w := b.Workers(); w[0].Running != 0 || w[0].Restarting != 1 || w[0].RestartIn != want || w[0].Restarts != int64(i) {
			t.Errorf("after %d restarts Workers are %+v", i, w)
		}
		time0.advance(want)
		time0.finish <- time.Time{}
	}
	<-time0.waits
}

// TestOpenCrashLoop: a graph whose opening crashes is not opened for whoever
// asks, but after longer and longer waits; other graphs are.
func TestOpenCrashLoop(t *testing.T) {
	c := config(t, "dies opening")
	g := modeltest.Tiny(t).Model.Graph
	b := Wrap(purego.Backend{}, c).(*Backend)
	now := &fakeClock{time: time.Unix(1e9, 0)}
	b.clock = clock{now.now, now.after}
	open := func(g *graph.Graph) error {
		_, err := b.Open(t.Context(), g, backend.Options{Threads: 1})
		if !errors.Is(err, backend.ErrCrashed) {
			t.Errorf("Open returns %v, want ErrCrashed", err)
		}
		return err
	}
	for _, wait := range []time.Duration{firstDelay, 2 * firstDelay, 4 * firstDelay} {
		if err := open(g); strings.Contains(err.Error(), "tried again") {
			t.Errorf("before a wait of %v Open returns %v, want a new crash", wait, err)
		}
		if err := open(g); !strings.Contains(err.Error(), fmt.Sprintf("tried again in %v", wait)) {
			t.Errorf("Open returns %v, want a wait of %v", err, wait)
		}
		if err := open(modeltest.Goldens(t)[4].Model.Graph); wait == firstDelay && strings.Contains(err.Error(), "tried again") {
			t.Errorf("Open of another graph returns %v, want a new crash", err)
		}
		now.advance(wait)
	}
}

func TestBackoffForgets(t *testing.T) {
	var b backoff
	for i, row := range []struct{ up, want time.Duration }{
		{0, firstDelay}, {0, 2 * firstDelay}, {goodWhile - 1, 4 * firstDelay}, {goodWhile, firstDelay}, {0, 2 * firstDelay},
	} {
		if got := b.next(row.up); got != row.want {
			t.Errorf("%d: after %v the wait is %v, want %v", i, row.up, got, row.want)
		}
	}
}

// TestStartFails: what is not a worker, or dies at once, is an error with a
// reason.
func TestStartFails(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	for _, row := range []struct {
		role, command string
		want          error
		text          string
	}{
		{"mute", "", backend.ErrUnavailable, "did not say hello"},
		{"garbage hello", "", backend.ErrUnavailable, "against the protocol"},
		{"old", "", backend.ErrUnavailable, "ended before it said hello"},
		{"", "/nowhere/api", backend.ErrUnavailable, "no such file"},
		{"", "/bin/true", backend.ErrUnavailable, "is it a backend?"},
		{"dies opening", "", backend.ErrCrashed, "killed"},
		{"hangs opening", "", backend.ErrCrashed, "took longer than"},
	} {
		t.Run(row.role+row.command, func(t *testing.T) {
			c := config(t, row.role)
			c.Grace = 50 * time.Millisecond
			if row.role == "mute" {
				c.StartTimeout = 200 * time.Millisecond
			}
			if row.role == "hangs opening" {
				c.OpenTimeout = time.Second
			}
			if row.command != "" {
				c.Command = []string{row.command}
			}
			_, err := Wrap(purego.Backend{}, c).Open(t.Context(), g, backend.Options{Threads: 1})
			if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.text) {
				t.Errorf("Open returns %v, want %v and %q", err, row.want, row.text)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	for _, s := range Wrap(purego.Backend{}, config(t, "dies probing")).Probe(t.Context()) {
		if s.Available || !strings.Contains(s.Reason, "SIGSEGV") {
			t.Errorf("the probe that crashes says %+v", s)
		}
	}
	b := Wrap(purego.Backend{}, config(t, ""))
	if got, want := b.Probe(t.Context()), (purego.Backend{}).Probe(t.Context()); !slices.Equal(got, want) {
		t.Errorf("the probe says %+v, want %+v", got, want)
	}
}

// TestLoad: an executable's backend has the name that it is given, and all that
// the executable tells.
func TestLoad(t *testing.T) {
	b, err := Load(t.Context(), "theirs", config(t, "reference"))
	if err != nil {
		t.Fatal(err)
	}
	targets := []backend.Target{{Backend: "theirs", Device: "cpu", Precision: "fp32"}, {Backend: "theirs", Device: "npu", Precision: "fp32"}}
	if b.Name() != "theirs" || !slices.Equal(b.Targets(), targets) {
		t.Errorf("it is %s with %v", b.Name(), b.Targets())
	}
	if got, want := b.Probe(t.Context()), []backend.TargetStatus{{Target: targets[0], Available: true}, {Target: targets[1], Reason: "there is no NPU"}}; !slices.Equal(got, want) {
		t.Errorf("the probe says %+v, want %+v", got, want)
	}
	gb, x := graph.NewBuilder(graph.Shape{H: 1, W: 1, C: 3})
	gb.Add("fc", graph.Conv{Out: 2, Kernel: 1, Stride: 1, Groups: 1, Linear: true}, x).Weights = map[string]graph.Tensor{"weight": {Shape: []int{2, 3}, Data: []float32{1, 2, 3, 4, 5, 6}}}
	g, err := gb.Graph()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(t.Context(), g, backend.Options{Device: "npu"}); !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "no NPU") {
		t.Errorf("Open on the npu returns %v", err)
	}
	if _, err := b.Open(t.Context(), g, backend.Options{Device: "tpu"}); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("Open on the tpu returns %v", err)
	}
	s, err := b.Open(t.Context(), g, backend.Options{Device: "cpu"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := make([]float32, 2*11)
	if err := s.Run(t.Context(), slices.Repeat([]float32{1, 10, 100}, 11), out); err != nil || !slices.Equal(out, slices.Repeat([]float32{321, 654}, 11)) {
		t.Errorf("a batch of 11 gives %v, %v", out, err)
	}
	for name, call := range map[string]func() error{
		"Trace": func() error { _, err := s.(backend.Tracer).Trace(t.Context(), []float32{1, 10, 100}); return err },
		"Profile": func() error {
			_, err := s.(backend.Profiler).Profile(t.Context(), []float32{1, 10, 100}, 1)
			return err
		},
	} {
		if err := call(); !errors.Is(err, backend.ErrUnsupported) {
			t.Errorf("%s returns %v, want ErrUnsupported", name, err)
		}
	}

	e, ok := b.(backend.Exporter)
	if !ok || e.Format() != "txt" {
		t.Fatalf("it does not export txt")
	}
	var file bytes.Buffer
	want := "tiny {2 1 1 0 1 false true} [1 2 3 4 5 6] " + strings.Repeat(".", 3*maxPart)
	if err := e.Export(&file, g, map[string]string{"title": "tiny"}); err != nil || file.String() != want {
		t.Errorf("the file is %q…, %v", clip(file.String(), 100), err)
	}
	if err := e.Export(io.Discard, g, map[string]string{"fail": "on purpose"}); !errors.Is(err, graph.ErrInvalid) || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("an export that fails returns %v", err)
	}
	full := errors.New("disk full")
	if err := e.Export(failing{full}, g, nil); !errors.Is(err, full) {
		t.Errorf("an export to a full disk returns %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestConcurrent has many runs, more than slots, of different inputs at once,
// while others are cancelled.
func TestConcurrent(t *testing.T) {
	s, g := open(t, config(t, ""))
	classes := g.Classes()
	var want [5][]float32
	for i := range want {
		want[i] = make([]float32, classes)
		if err := s.Run(t.Context(), image(g, float64(i)), want[i]); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if i%4 == 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
				defer cancel()
				if err := s.Run(ctx, image(g, waits), make([]float32, classes)); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a cancelled run returns %v", err)
				}
				return
			}
			for range 10 {
				out := make([]float32, 2*classes)
				in := append(image(g, float64(i%5)), image(g, float64((i+1)%5))...)
				if err := s.Run(t.Context(), in, out); err != nil {
					t.Errorf("run: %v", err)
				}
				for k, w := range [][]float32{want[i%5], want[(i+1)%5]} {
					for c, v := range out[k*classes:][:classes] {
						if math.Abs(float64(v-w[c])) > 1e-5 {
							t.Errorf("caller %d has the logits %v of image %d, want %v", i, out[k*classes:][:classes], k, w)
							return
						}
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestNothingLeaks: sessions, also those that crash or fail to open, leave no
// process and no file behind.
func TestNothingLeaks(t *testing.T) {
	files := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("this system has no /proc, which tells the open files")
		}
		return len(names)
	}
	g := modeltest.Tiny(t).Model.Graph
	var pids []int
	round := func() {
		b := Wrap(purego.Backend{}, config(t, ""))
		b.Probe(t.Context())
		s, err := b.Open(t.Context(), g, backend.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, s.(*session).Describe().WorkerPID)
		if err := s.Run(t.Context(), image(g, segfault), make([]float32, g.Classes())); !errors.Is(err, backend.ErrCrashed) {
			t.Errorf("run: %v", err)
		}
		waitUp(t, s.(*session), pids[len(pids)-1])
		pids = append(pids, s.(*session).Describe().WorkerPID)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := Wrap(purego.Backend{}, config(t, "dies opening")).Open(t.Context(), g, backend.Options{}); err == nil {
			t.Error("a worker that dies opens")
		}
	}
	round()
	before := files()
	for range 5 {
		round()
	}
	if after := files(); after > before {
		t.Errorf("%d open files before, %d after", before, after)
	}
	for _, pid := range pids {
		if !gone(pid) {
			t.Errorf("process %d is still there", pid)
		}
	}
}

// TestOutputIsBounded: what a worker prints is logged in bounded lines, up to a
// bound.
func TestOutputIsBounded(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	c := config(t, "")
	c.Log = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}
	s, g := open(t, c)
	if err := s.Run(t.Context(), image(g, chatters), make([]float32, g.Classes())); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(lines) != maxLines+1 || !strings.HasPrefix(lines[0], "worker purego, pid ") || !strings.Contains(lines[0], ": line 0 ") || !strings.Contains(lines[maxLines], "400 more lines") {
		t.Errorf("%d lines are logged, the last %q", len(lines), lines[len(lines)-1])
	}
	for _, l := range lines {
		if len(l) > maxLine+100 {
			t.Errorf("a line of %d bytes is logged", len(l))
		}
	}
}

// parent opens a session, prints its process's id and hangs, to be killed.
func parent() {
	b, x := graph.NewBuilder(graph.Shape{H: 1, W: 1, C: 3})
	b.Add("pool", graph.MeanPool{}, x)
	g, err := b.Graph()
	if err != nil {
		panic(err)
	}
	s, err := Wrap(purego.Backend{}, Config{Command: []string{os.Args[0]}, Env: []string{roleVariable + "=reference"}}).Open(context.Background(), g, backend.Options{Device: "cpu", Precision: "fp32"})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.(*session).Describe().WorkerPID)
	select {}
}

// TestParentKilled: no worker outlives the process that started it.
func TestParentKilled(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=parent")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscan(out, &pid)
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !dead(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("the worker %d outlives its parent", pid)
		}
	}
}

// dead is gone, or a zombie, which whoever adopted it has yet to reap.
func dead(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return gone(pid) || err == nil && strings.Contains(string(stat), ") Z ")
}

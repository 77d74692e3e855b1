//go:build linux || darwin

package worker

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/purego"
	"edgevit/graph"
)

const roleVariable = "WORKER_TEST_ROLE"

// TestMain is also what the tests start as a worker.
func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); {
	case role == "parent":
		parent()
	case !Serving():
		os.Exit(m.Run())
	case role == "mute":
		time.Sleep(time.Hour)
	case role == "garbage hello":
		os.NewFile(3, "").WriteString(strings.Repeat("hello", 1000))
		time.Sleep(time.Hour)
	case role == "old":
		os.Setenv(versionVariable, "0")
		Serve(purego.Backend{})
	case role == "reference":
		Serve(reference{})
	case role == "nothing":
		Serve(nothing{})
	case natives[role] != nil:
		Serve(natives[role])
	default:
		Serve(faulty{fault: role})
	}
}

func config(t testing.TB, role string) Config {
	return Config{
		Command: []string{os.Args[0]}, Grace: time.Second,
		// The race detector would have every worker sleep a second at its end.
		Env: []string{roleVariable + "=" + role, "GORACE=atexit_sleep_ms=0"},
		Log: func(line string) {
			if t.Context().Err() == nil {
				t.Log(line)
			}
		},
	}
}

// faulty is the pure-Go engine that does what it is told by the first value of
// its input: see the faults.
type faulty struct {
	purego.Backend
	fault string
}

type faultySession struct {
	backend.Session
	graph *graph.Graph
}

// The values that a faulty session obeys. None is likely in a random image.
const (
	segfault = 1e30 + iota*1e29
	abort
	panics
	exits
	hangs
	garbage
	answersTwice
	waits // for its context
	chatters
)

func (b faulty) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	switch b.fault {
	case "dies opening":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "dies reopening": // all but the first time
		marker := os.Getenv("WORKER_TEST_MARKER")
		if _, err := os.Stat(marker); err == nil {
			os.Exit(3)
		}
		os.WriteFile(marker, nil, 0o600)
	case "hangs opening":
		select {}
	}
	s, err := b.Backend.Open(ctx, g, o)
	if err != nil {
		return nil, err
	}
	return faultySession{s, g}, nil
}

func (b faulty) Probe(ctx context.Context) []backend.TargetStatus {
	if b.fault == "dies probing" {
		syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		time.Sleep(time.Minute)
	}
	return b.Backend.Probe(ctx)
}

func (s faultySession) Run(ctx context.Context, in, out []float32) error {
	say := func(text string) { syscall.Write(theSocket(), []byte(text)) }
	switch in[0] {
	case segfault:
		syscall.Kill(os.Getpid(), syscall.SIGSEGV)
		time.Sleep(time.Minute)
	case abort:
		syscall.Kill(os.Getpid(), syscall.SIGABRT)
		time.Sleep(time.Minute)
	case panics:
		panic("out of my depth")
	case exits:
		os.Exit(7)
	case hangs:
		for {
			time.Sleep(time.Hour)
		}
	case garbage:
		say(strings.Repeat("garbage", 100))
		time.Sleep(time.Minute)
	case answersTwice:
		say("\x12\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00{\"id\":9999999999 }  ")
		time.Sleep(time.Minute)
	case waits:
		<-ctx.Done()
		return ctx.Err()
	case chatters:
		for i := range 3 * maxLines {
			fmt.Println("line", i, strings.Repeat("x", 2*maxLine))
		}
	}
	return s.Session.Run(ctx, in, out)
}

func (s faultySession) Trace(ctx context.Context, in []float32) ([]backend.NodeTrace, error) {
	return s.Session.(backend.Tracer).Trace(ctx, in)
}

func (s faultySession) Profile(ctx context.Context, in []float32, runs int) ([]backend.Step, error) {
	return s.Session.(backend.Profiler).Profile(ctx, in, runs)
}

func (s faultySession) Describe() backend.Description {
	return s.Session.(backend.Describer).Describe()
}

// theSocket is the worker's own end, to misuse it.
func theSocket() int {
	for fd := 3; fd < 64; fd++ {
		if to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil && strings.HasPrefix(to, "socket:") {
			return fd
		}
	}
	return -1
}

func TestConformance(t *testing.T) {
	backendtest.Run(t, Wrap(purego.Backend{}, config(t, "")))
}

// reference is graph.Eval with an exporter, and without what a backend need not
// have.
type reference struct{}

func (reference) Name() string { return "mine" }

func (reference) Targets() []backend.Target {
	return []backend.Target{{Backend: "mine", Device: "cpu", Precision: "fp32"}, {Backend: "mine", Device: "npu", Precision: "fp32"}}
}

func (r reference) Probe(context.Context) []backend.TargetStatus {
	t := r.Targets()
	return []backend.TargetStatus{{Target: t[0], Available: true}, {Target: t[1], Reason: "there is no NPU"}}
}

func (reference) Open(_ context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	if o.Device != "cpu" {
		return nil, fmt.Errorf("%w: no NPU", backend.ErrUnavailable)
	}
	full, err := g.Full()
	return referenceSession{full}, err
}

func (reference) Format() string { return "txt" }

func (reference) Export(w io.Writer, g *graph.Graph, metadata map[string]string) error {
	if metadata["fail"] != "" {
		return fmt.Errorf("%w: %s", graph.ErrInvalid, metadata["fail"])
	}
	full, err := g.Full()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s %v %v %s", metadata["title"], full.Output().Op, full.Output().Weight("weight"), strings.Repeat(".", 3*maxPart))
	return err
}

type referenceSession struct{ graph *graph.Graph }

func (s referenceSession) Run(_ context.Context, in, out []float32) error {
	n := s.graph.Input().Len()
	for i := 0; i < len(in); i += n {
		values, err := graph.Eval(s.graph, in[i:i+n])
		if err != nil {
			return err
		}
		for c, v := range values[len(values)-1] {
			out[i/n*s.graph.Classes()+c] = float32(v)
		}
	}
	return nil
}

func (referenceSession) Close() error { return nil }

package backend_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"edgevit/backend"
	"edgevit/graph"
)

func TestParseTarget(t *testing.T) {
	for name, want := range map[string]backend.Target{
		"purego":              {Backend: "purego"},
		"onnx:cuda":           {Backend: "onnx", Device: "cuda"},
		"purego:int8":         {Backend: "purego", Precision: "int8"},
		"tflite:xnnpack:fp16": {Backend: "tflite", Device: "xnnpack", Precision: "fp16"},
	} {
		got, err := backend.ParseTarget(name)
		if err != nil || got != want {
			t.Errorf("%q is %+v, %v, want %+v", name, got, err, want)
		}
		if got.String() != name {
			t.Errorf("%q prints as %q", name, got)
		}
	}
	for _, name := range []string{"", ":", "onnx:", "onnx::fp32", "ONNX", "onnx cuda", "onnx:fp32:cuda", "onnx:fp32:fp16", "onnx:cuda:cpu", "a:b:fp32:d", "-x", strings.Repeat("a", 40), "purego\n"} {
		if got, err := backend.ParseTarget(name); !errors.Is(err, backend.ErrTargetSyntax) {
			t.Errorf("%q is %+v, %v, want ErrTargetSyntax", name, got, err)
		}
	}
}

// fake is a backend whose sessions copy the first input value to every logit.
type fake struct {
	name    string
	targets []backend.Target
	session *fakeSession
	opened  *backend.Options
}

type fakeSession struct {
	hold   chan struct{} // Run waits for it, if there is one
	closed int
}

func (f fake) Name() string              { return f.name }
func (f fake) Targets() []backend.Target { return f.targets }
func (f fake) Probe(context.Context) []backend.TargetStatus {
	var s []backend.TargetStatus
	for _, t := range f.targets {
		s = append(s, backend.TargetStatus{Target: t, Available: t.Device == "cpu", Reason: "no such device"})
	}
	return s
}

func (f fake) Open(_ context.Context, _ *graph.Graph, o backend.Options) (backend.Session, error) {
	if f.opened != nil {
		*f.opened = o
	}
	if f.session == nil {
		return nil, backend.ErrUnavailable
	}
	return f.session, nil
}

func (s *fakeSession) Run(ctx context.Context, in, out []float32) error {
	if s.hold != nil {
		<-s.hold
	}
	for i := range out {
		out[i] = in[0]
	}
	return nil
}

func (s *fakeSession) Close() error {
	s.closed++
	return nil
}

func twoDevices(name string) fake {
	return fake{name: name, session: &fakeSession{}, opened: new(backend.Options), targets: []backend.Target{
		{Backend: name, Device: "cpu", Precision: "fp32"},
		{Backend: name, Device: "cpu", Precision: "int8"},
		{Backend: name, Device: "gpu", Precision: "fp32"},
	}}
}

func TestRegister(t *testing.T) {
	panics := func(name string, b backend.Backend) {
		t.Helper()
		var r backend.Registry
		r.Register(twoDevices("taken"))
		defer func() {
			if recover() == nil {
				t.Errorf("%s: Register did not panic", name)
			}
		}()
		r.Register(b)
	}
	panics("nil", nil)
	panics("taken name", twoDevices("taken"))
	panics("empty name", twoDevices(""))
	panics("invalid name", twoDevices("Two:parts"))
	panics("no targets", fake{name: "none"})
}

func TestResolve(t *testing.T) {
	var r backend.Registry
	r.Register(twoDevices("zig"))
	r.Register(twoDevices("ant"))
	for name, want := range map[string]string{
		"ant": "ant", "ant:cpu": "ant", "ant:fp32": "ant", "ant:cpu:fp32": "ant",
		"zig:int8": "zig:int8", "zig:cpu:int8": "zig:int8", "zig:gpu": "zig:gpu", "zig:gpu:fp32": "zig:gpu",
	} {
		if got, err := r.Resolve(name); err != nil || got.String() != want {
			t.Errorf("%s is %s, %v, want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"bee", "ant:tpu", "ant:gpu:int8", "ant:bf16"} {
		_, err := r.Resolve(name)
		if !errors.Is(err, backend.ErrUnknownTarget) || !strings.Contains(err.Error(), "ant, ant:int8, ant:gpu, zig, zig:int8, zig:gpu") {
			t.Errorf("%s gives %v, want ErrUnknownTarget that lists what there is", name, err)
		}
	}
	if _, err := r.Resolve("ant:"); !errors.Is(err, backend.ErrTargetSyntax) {
		t.Errorf("ant: gives %v, want ErrTargetSyntax", err)
	}
	status := r.Probe(t.Context())
	if len(status) != 6 || status[0].Target.String() != "ant" || !status[0].Available || status[2].Target.String() != "ant:gpu" || status[2].Available {
		t.Errorf("probed %+v", status)
	}
}

func tinyGraph(t *testing.T) *graph.Graph {
	b, x := graph.NewBuilder(graph.Shape{H: 2, W: 2, C: 3})
	b.Add("pool", graph.MeanPool{}, x)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestOpenPassesDeviceAndPrecision(t *testing.T) {
	var r backend.Registry
	b := twoDevices("ant")
	r.Register(b)
	for name, want := range map[string]backend.Options{
		"ant":      {Threads: backend.DefaultThreads(), Device: "cpu", Precision: "fp32"},
		"ant:gpu":  {Threads: backend.DefaultThreads(), Device: "gpu", Precision: "fp32"},
		"ant:int8": {Threads: backend.DefaultThreads(), Device: "cpu", Precision: "int8"},
	} {
		c, err := r.Open(t.Context(), name, tinyGraph(t), backend.Options{Device: "ignored"})
		if err != nil {
			t.Fatal(err)
		}
		if *b.opened != want || c.Target().String() != name {
			t.Errorf("%s was opened with %+v as %s, want %+v", name, *b.opened, c.Target(), want)
		}
	}
	broken := twoDevices("broken")
	broken.session = nil
	r.Register(broken)
	if _, err := r.Open(t.Context(), "broken:gpu", tinyGraph(t), backend.Options{}); !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "broken:gpu") {
		t.Errorf("error %v, want ErrUnavailable that names the target", err)
	}
}

// elsewhere is a backend without a default device, whose sessions take no threads
// here.
type elsewhere struct{ fake }

type elsewhereSession struct{ backend.Session }

func (elsewhere) NamedDevices()       {}
func (elsewhereSession) Threads() int { return 0 }
func (e elsewhere) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	s, err := e.fake.Open(ctx, g, o)
	return elsewhereSession{s}, err
}

func TestNamedDevices(t *testing.T) {
	var r backend.Registry
	r.Register(twoDevices("ant"))
	with := r.With(elsewhere{twoDevices("far")})
	if r.Backend("far") != nil || with.Backend("ant") == nil {
		t.Errorf("With changes the registry: %v, %v", r.Names(), with.Names())
	}
	if got, err := with.Resolve("far:cpu:fp32"); err != nil || got.String() != "far:cpu" {
		t.Errorf("far:cpu:fp32 is %s, %v; want far:cpu", got, err)
	}
	if _, err := with.Resolve("far"); !errors.Is(err, backend.ErrUnknownTarget) {
		t.Errorf("far alone: %v, want ErrUnknownTarget", err)
	}
	c, err := with.Open(t.Context(), "far:cpu", tinyGraph(t), backend.Options{Threads: 3})
	if err != nil || c.Threads() != 0 || c.Target().String() != "far:cpu" {
		t.Errorf("%d threads on %s, %v; want none", c.Threads(), c.Target(), err)
	}
}

func TestClassifier(t *testing.T) {
	var r backend.Registry
	b := twoDevices("ant")
	r.Register(b)
	c, err := r.Open(t.Context(), "ant", tinyGraph(t), backend.Options{Threads: 3})
	if err != nil {
		t.Fatal(err)
	}
	in, out := make([]float32, 24), make([]float32, 6)
	in[0] = 5
	if err := c.Run(t.Context(), in, out); err != nil || out[5] != 5 {
		t.Errorf("Run: %v, %v", out, err)
	}
	if c.Threads() != 3 || c.Describe().Threads != 3 {
		t.Errorf("%d threads, described as %+v, want 3", c.Threads(), c.Describe())
	}
	if err := c.Run(t.Context(), in[:13], out); !errors.Is(err, backend.ErrShape) || !strings.HasPrefix(err.Error(), "ant: ") {
		t.Errorf("13 values: %v, want ErrShape that names the target", err)
	}
	if err := c.Run(t.Context(), in, out[:3]); !errors.Is(err, backend.ErrShape) {
		t.Errorf("logits for one of two: %v, want ErrShape", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ended, in, out); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if _, err := c.Trace(t.Context(), in[:12]); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("Trace: %v, want ErrUnsupported", err)
	}
}

func TestCloseWaits(t *testing.T) {
	var r backend.Registry
	b := twoDevices("ant")
	b.session.hold = make(chan struct{})
	r.Register(b)
	c, err := r.Open(t.Context(), "ant", tinyGraph(t), backend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	entered := make(chan struct{})
	wg.Go(func() {
		close(entered)
		if err := c.Run(context.Background(), make([]float32, 12), make([]float32, 3)); err != nil && !errors.Is(err, backend.ErrClosed) {
			t.Errorf("Run: %v", err)
		}
	})
	<-entered
	time.Sleep(20 * time.Millisecond) // so that Run is most likely inside
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	select {
	case <-closed:
		t.Error("Close returned while a Run was in progress")
	case <-time.After(50 * time.Millisecond):
	}
	close(b.session.hold)
	wg.Wait()
	if err := <-closed; err != nil || b.session.closed != 1 {
		t.Errorf("Close: %v, the session was closed %d times", err, b.session.closed)
	}
	if err := c.Close(); !errors.Is(err, backend.ErrClosed) || b.session.closed != 1 {
		t.Errorf("second Close: %v, the session was closed %d times", err, b.session.closed)
	}
}

func TestLibraryCandidates(t *testing.T) {
	t.Setenv("EDGEVIT_RUNTIMES", "/from/environment")
	if got := backend.LibraryCandidates("a.so", "b.so"); strings.Join(got, " ") != "/from/environment/a.so /from/environment/b.so a.so b.so" {
		t.Errorf("candidates %v", got)
	}
	backend.RuntimesFolder = "/from/flag"
	defer func() { backend.RuntimesFolder = "" }()
	if got := backend.LibraryCandidates("a.so"); strings.Join(got, " ") != "/from/flag/a.so a.so" {
		t.Errorf("candidates %v", got)
	}
}

func TestCacheFile(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	writes := 0
	get := func() string {
		t.Helper()
		path, err := backend.CacheFile("m-1.onnx", func(w io.Writer) error {
			writes++
			_, err := io.WriteString(w, "content")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != "content" {
			t.Fatalf("the file holds %q, %v", text, err)
		}
		return path
	}
	path := get()
	if get(); writes != 1 {
		t.Errorf("written %d times, want once", writes)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	if get(); writes != 2 {
		t.Errorf("a damaged file: written %d times, want twice", writes)
	}
	if _, err := backend.CacheFile("fails", func(io.Writer) error { return errors.New("disk full") }); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("a failing write gives %v", err)
	}
	// Old files go where the folder is over its bound; a hole takes no disk.
	old := filepath.Join(filepath.Dir(path), "old.onnx")
	f, err := os.Create(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(513<<20), f.Close(), os.Chtimes(old, time.Unix(0, 0), time.Unix(0, 0))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	get()
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old file is still there, %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if len(left)+len(hidden) != 2 {
		t.Errorf("left behind: %v %v, want the file and its sum", left, hidden)
	}
}

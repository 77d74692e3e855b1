//go:build cgo && tflite && (linux || darwin)

package tflite

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/compare"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

// TestMain keeps the files that the tests make out of the user's cache folder.
func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "edgevit-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("XDG_CACHE_HOME", folder)
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

func need(t *testing.T) {
	t.Helper()
	if err := available(deviceXNNPACK); err != nil {
		backendtest.Skip(t, "tflite", err.Error())
	}
}

func openSession(t testing.TB, g *graph.Graph, o backend.Options) *session {
	t.Helper()
	s, err := Backend{}.Open(t.Context(), g, o)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*session)
}

func closeSession(t testing.TB, s *session) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func randomImages(g *graph.Graph, n int) []float32 {
	rng := rand.New(rand.NewPCG(3, uint64(n)))
	x := make([]float32, n*g.Input().Len())
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// TestWholeGraphIsDelegated: XNNPACK takes every node, as one.
func TestWholeGraphIsDelegated(t *testing.T) {
	need(t)
	graphs := map[string]*graph.Graph{}
	for _, preset := range []string{"xxs", "xs", "s"} {
		m, err := model.Random(preset)
		if err != nil {
			t.Fatal(err)
		}
		graphs[preset] = m.Graph
	}
	for _, g := range modeltest.Goldens(t) {
		graphs[g.Name] = g.Model.Graph
	}
	for name, g := range graphs {
		s := openSession(t, g, backend.Options{Strict: true})
		if p := s.placed; p.kernels != 1 || p.left != 0 {
			t.Errorf("%s: %d nodes became %d delegate nodes, %d were left; want one and none", name, p.nodes, p.kernels, p.left)
		}
		d := s.Describe()
		if d.DelegatedNodes != d.Nodes || d.Nodes < 50 || d.WeightBytes < 1000 || d.LibraryVersion == "" || d.Library == "" {
			t.Errorf("%s: described as %+v", name, d)
		}
		t.Logf("%s: %+v", name, d)
		closeSession(t, s)
	}
}

// TestAgreement reports how close both CPU devices come to the goldens, and
// holds them to the bounds of targets against each other.
func TestAgreement(t *testing.T) {
	need(t)
	for _, device := range []string{deviceXNNPACK, devicePlain} {
		for _, g := range modeltest.Goldens(t) {
			s := openSession(t, g.Model.Graph, backend.Options{Device: device})
			out := make([]float32, len(g.Logits))
			if err := s.Run(t.Context(), g.Input, out); err != nil {
				t.Fatal(err)
			}
			a := compare.Values(g.Logits, out)
			t.Logf("%s %s: max |Δ| %.2g of max |logit|, SNR %.1f dB", device, g.Name, a.MaxAbs/a.Scale, a.SNR)
			if !a.Within(1e-4) || a.SNR < 80 {
				t.Errorf("%s %s: %+v", device, g.Name, a)
			}
			closeSession(t, s)
		}
	}
}

// TestRareOperations are those that no published model has.
func TestRareOperations(t *testing.T) {
	need(t)
	for _, row := range []struct {
		name string
		side int
		op   graph.Op
	}{
		{"grouped", 8, graph.Conv{Out: 8, Kernel: 3, Stride: 1, Pad: 1, Groups: 2, Bias: true}},
		{"depthwise that widens", 8, graph.Conv{Out: 24, Kernel: 3, Stride: 1, Pad: 1, Groups: 12, Bias: true}},
		{"wide padding", 8, graph.Conv{Out: 5, Kernel: 3, Stride: 1, Pad: 2, Groups: 1, Bias: true}},
		{"depthwise with wide padding", 8, graph.Conv{Out: 12, Kernel: 3, Stride: 1, Pad: 2, Groups: 12}},
		{"stride with padding", 9, graph.Conv{Out: 5, Kernel: 3, Stride: 2, Pad: 1, Groups: 1}},
		{"even kernel", 9, graph.Conv{Out: 5, Kernel: 4, Stride: 3, Pad: 2, Groups: 1}},
		{"stride of a pixel", 9, graph.Conv{Out: 5, Kernel: 1, Stride: 2, Groups: 1}},
		{"deconv 5", 3, graph.Deconv{Kernel: 5}},
		{"deconv 7", 3, graph.Deconv{Kernel: 7}},
		{"deconv 17", 2, graph.Deconv{Kernel: 17}},
		{"attention of one token", 1, graph.Attention{Heads: 2, Scale: 0.5}},
	} {
		b, x := graph.NewBuilder(graph.Shape{H: row.side, W: row.side, C: 3})
		x = b.Add("before", graph.Conv{Out: 12, Kernel: 1, Stride: 1, Groups: 1, Bias: true}, x)
		b.Add("pool", graph.MeanPool{}, b.Add("act", graph.GELU{}, b.Add("op", row.op, x)))
		g, err := b.Graph()
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		rng := rand.New(rand.NewPCG(5, 6))
		for _, n := range g.Nodes {
			n.Weights = map[string]graph.Tensor{}
			for _, p := range n.Params() {
				size := 1
				for _, d := range p.Shape {
					size *= d
				}
				data := make([]float32, size)
				for i := range data {
					data[i] = float32(rng.NormFloat64())
				}
				n.Weights[p.Name] = graph.Tensor{Shape: p.Shape, Data: data}
			}
		}
		in := randomImages(g, 1)
		values, err := graph.Eval(g, in)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float32, g.Classes())
		for i, v := range values[len(values)-1] {
			want[i] = float32(v)
		}
		for _, device := range []string{deviceXNNPACK, devicePlain} {
			t.Run(row.name+"/"+device, func(t *testing.T) {
				s := openSession(t, g, backend.Options{Device: device, Strict: true})
				defer closeSession(t, s)
				got := make([]float32, g.Classes())
				if err := s.Run(t.Context(), in, got); err != nil {
					t.Fatal(err)
				}
				if a := compare.Values(want, got); !a.Within(1e-5) {
					t.Errorf("%+v\n got %v\nwant %v", a, got, want)
				}
			})
		}
	}
}

func TestManyGoroutines(t *testing.T) {
	need(t)
	g := modeltest.Tiny(t).Model.Graph
	s := openSession(t, g, backend.Options{Threads: 1})
	defer closeSession(t, s)
	in := randomImages(g, 4)
	size, classes := g.Input().Len(), g.Classes()
	want := make([]float32, 4*classes)
	if err := s.Run(t.Context(), in, want); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			k := i % 4
			out := make([]float32, classes)
			for range 5 {
				if err := s.Run(t.Context(), in[k*size:][:size], out); err != nil {
					t.Error(err)
					return
				}
				if a := compare.Values(want[k*classes:][:classes], out); a.MaxAbs != 0 {
					t.Errorf("goroutine %d: %+v", i, a)
				}
			}
		})
	}
	wg.Wait()
	if most := max(1, runtime.GOMAXPROCS(0)); cap(s.pool) != most {
		t.Errorf("at most %d interpreters, want %d", cap(s.pool), most)
	}
}

// TestOpenClose bounds what is left of sessions that were opened, run, traced
// and closed.
func TestOpenClose(t *testing.T) {
	need(t)
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	times := 1000
	if os.Getenv("EDGEVIT_SOAK") == "1" {
		times = 10000
	}
	g := modeltest.Tiny(t).Model.Graph
	in, out := randomImages(g, 1), make([]float32, g.Classes())
	cycle := func(i int) {
		s := openSession(t, g, backend.Options{Threads: 1 + i%2})
		if err := s.Run(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			if _, err := s.Trace(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
		closeSession(t, s)
	}
	for i := range 100 {
		cycle(i)
	}
	rss, fds, threads := resources(t)
	for i := range times {
		cycle(i)
	}
	rss2, fds2, threads2 := resources(t)
	t.Logf("%d sessions: resident %d KiB, then %d; %d files, then %d; %d threads, then %d", times, rss, rss2, fds, fds2, threads, threads2)
	if rss2-rss > 16<<10 || fds2 > fds+2 || threads2 > threads+8 {
		t.Error("sessions leave something behind")
	}
}

// resources are the process's resident memory in KiB, open files and threads.
func resources(t *testing.T) (rss, fds, threads int) {
	t.Helper()
	runtime.GC()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 {
			switch fields[0] {
			case "VmRSS:":
				rss, _ = strconv.Atoi(fields[1])
			case "Threads:":
				threads, _ = strconv.Atoi(fields[1])
			}
		}
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return rss, len(files), threads
}

// TestNotFinite: an image that is not finite spoils only its own logits.
func TestNotFinite(t *testing.T) {
	need(t)
	g := modeltest.Tiny(t).Model.Graph
	in := randomImages(g, 3)
	size, classes := g.Input().Len(), g.Classes()
	in[size+5] = float32(math.Inf(-1))
	for _, device := range []string{deviceXNNPACK, devicePlain} {
		s := openSession(t, g, backend.Options{Device: device})
		out := make([]float32, 3*classes)
		if err := s.Run(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		for i, v := range out {
			if spoiled := i/classes == 1; spoiled != (v != v) {
				t.Errorf("%s: logit %d of image %d is %v", device, i%classes, i/classes, v)
			}
		}
		closeSession(t, s)
	}
}

// TestWithoutCacheFolder: a model opens where there is none, and leaves no file.
func TestWithoutCacheFolder(t *testing.T) {
	need(t)
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	for _, id := range []string{"", "some-id"} {
		g := modeltest.Tiny(t).Model.Graph
		g.ID = id
		s := openSession(t, g, backend.Options{})
		if err := s.Run(t.Context(), randomImages(g, 1), make([]float32, g.Classes())); err != nil {
			t.Error(err)
		}
		closeSession(t, s)
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestDamagedCacheFile: it is written again.
func TestDamagedCacheFile(t *testing.T) {
	need(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	g := modeltest.Tiny(t).Model.Graph
	g.ID = "damaged"
	for range 2 {
		s := openSession(t, g, backend.Options{})
		closeSession(t, s)
		folder, err := backend.CacheFolder()
		if err != nil {
			t.Fatal(err)
		}
		files, _ := os.ReadDir(folder)
		if len(files) != 2 {
			t.Fatalf("the cache folder holds %v, want a file and its sum", files)
		}
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".tflite") {
				if err := os.Truncate(folder+"/"+f.Name(), 5000); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func BenchmarkRun(b *testing.B) {
	if err := available(deviceXNNPACK); err != nil {
		b.Skip(err)
	}
	for _, preset := range []string{"xxs", "xs", "s"} {
		b.Run(preset, func(b *testing.B) {
			m, err := model.Random(preset)
			if err != nil {
				b.Fatal(err)
			}
			s := openSession(b, m.Graph, backend.Options{Threads: 1})
			defer closeSession(b, s)
			in, out := randomImages(m.Graph, 1), make([]float32, m.Graph.Classes())
			for b.Loop() {
				if err := s.Run(b.Context(), in, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Package backendtest is the conformance suite of the backend contract. A
// backend that passes it is done:
//
//	func TestConformance(t *testing.T) { backendtest.Run(t, purego.Backend{}) }
package backendtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edgevit/backend"
	"edgevit/compare"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

// Tolerances bound, by precision, max |Δlogit| against the layout's own PyTorch
// code, relative to max |logit|, and that of every node against graph.Eval. The
// small random networks of the suite quantize worse than trained ones, those
// without norms worst (0.05, 0.1); what that costs in accuracy is measured on images.
var Tolerances = map[string]float64{"fp32": 1e-4, "bf16": 0.06, "int8": 0.12}

// Run puts every target of b that is available here through the suite, as
// subtests. One that is not available is left to Skip.
func Run(t *testing.T, b backend.Backend) {
	var r backend.Registry
	r.Register(b)
	for _, s := range r.Probe(t.Context()) {
		t.Run(s.Target.String(), func(t *testing.T) {
			if !s.Available {
				if s.Reason == "" {
					t.Fatal("an unavailable target gives no reason")
				}
				Skip(t, s.Target.String(), s.Reason)
			}
			precision := cmp.Or(s.Target.Precision, b.Targets()[0].Precision)
			suite{&r, s.Target.String(), Tolerances[precision]}.run(t)
		})
	}
}

// Skip ends a test of a target that is not available here: it fails where
// EDGEVIT_TEST_TARGETS, names with commas between, has the target, because its
// library is known to be there, and is skipped elsewhere.
func Skip(t testing.TB, target, reason string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("EDGEVIT_TEST_TARGETS"), ","), target) {
		t.Fatalf("EDGEVIT_TEST_TARGETS names %s, which is not available: %s", target, reason)
	}
	t.Skip(reason)
}

type suite struct {
	registry  *backend.Registry
	target    string
	tolerance float64
}

func (s suite) run(t *testing.T) {
	t.Run("golden logits", s.goldenLogits)
	t.Run("batches equal singles", s.batches)
	t.Run("threads agree", s.threads)
	t.Run("overlapping runs", s.overlapping)
	t.Run("deterministic", s.deterministic)
	t.Run("cancellation", s.cancellation)
	t.Run("close", s.closing)
	t.Run("wrong shapes", s.wrongShapes)
	t.Run("not a number", s.notANumber)
	t.Run("unknown options", s.unknownOptions)
	t.Run("trace", s.trace)
	t.Run("perturbed weight", s.perturbedWeight)
	t.Run("profile", s.profile)
	t.Run("describe", s.describe)
	t.Run("every op alone", s.everyOp)
	t.Run("odd configurations", s.oddConfigurations)
	t.Run("goroutines end", s.goroutinesEnd)
}

// open opens g for the length of the test.
func (s suite) open(t *testing.T, g *graph.Graph, threads int) *backend.Classifier {
	t.Helper()
	c, err := s.registry.Open(t.Context(), s.target, g, backend.Options{Threads: threads})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func logits(t *testing.T, c *backend.Classifier, in []float32) []float32 {
	t.Helper()
	out := make([]float32, len(in)/c.Graph().Input().Len()*c.Graph().Classes())
	if err := c.Run(t.Context(), in, out); err != nil {
		t.Fatalf("run: %v", err)
	}
	return out
}

// check fails if got differs from want by more than tolerance of max |want|.
func check(t *testing.T, what string, want, got []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	if a := compare.Values(want, got); !a.Within(tolerance) {
		t.Errorf("%s: max |Δ| %.3g of max |value| %.3g is over %g (SNR %.1f dB)\n got %.6v\nwant %.6v",
			what, a.MaxAbs, a.Scale, tolerance, a.SNR, got[:min(8, len(got))], want[:min(8, len(want))])
	}
}

func (s suite) goldenLogits(t *testing.T) {
	for _, g := range modeltest.Goldens(t) {
		t.Run(g.Name, func(t *testing.T) {
			check(t, "logits", g.Logits, logits(t, s.open(t, g.Model.Graph, 2), g.Input), s.tolerance)
		})
	}
}

// images returns n random images, normally distributed.
func images(g *graph.Graph, n int) []float32 {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	x := make([]float32, n*g.Input().Len())
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

func (s suite) batches(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	c := s.open(t, g, 2)
	for _, n := range []int{1, 2, 7} {
		in := images(g, n)
		all := logits(t, c, in)
		for i := range n {
			size, k := g.Input().Len(), g.Classes()
			check(t, fmt.Sprintf("image %d of a batch of %d", i, n), logits(t, c, in[i*size:][:size]), all[i*k:][:k], 1e-6)
		}
	}
}

func (s suite) threads(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	in := images(g, 1)
	want := logits(t, s.open(t, g, 1), in)
	for _, threads := range []int{2, 3, 5} {
		check(t, fmt.Sprintf("%d threads", threads), want, logits(t, s.open(t, g, threads), in), 1e-6)
	}
}

func (s suite) overlapping(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	c := s.open(t, g, 2)
	const callers, rounds = 8, 4
	var ins, want [callers][]float32
	for i := range callers {
		ins[i] = images(g, i%3+1)
		want[i] = logits(t, c, ins[i])
	}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			out := make([]float32, len(want[i]))
			for range rounds {
				clear(out)
				if err := c.Run(t.Context(), ins[i], out); err != nil {
					t.Errorf("caller %d: %v", i, err)
					return
				}
				check(t, fmt.Sprintf("caller %d", i), want[i], out, 1e-6)
			}
		})
	}
	wg.Wait()
}

func (s suite) deterministic(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	c := s.open(t, g, 2)
	in := images(g, 2)
	first := logits(t, c, in)
	for range 5 {
		for i, v := range logits(t, c, in) {
			if math.Float32bits(v) != math.Float32bits(first[i]) {
				t.Fatalf("logit %d is %v, then %v for the same input", i, first[i], v)
			}
		}
	}
}

func (s suite) cancellation(t *testing.T) {
	m, err := model.Random("xxs")
	if err != nil {
		t.Fatal(err)
	}
	c := s.open(t, m.Graph, 1)
	in, out := images(m.Graph, 32), make([]float32, 32*m.Graph.Classes())

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ended, in, out); !errors.Is(err, context.Canceled) {
		t.Errorf("a Run with an ended context returns %v, want context.Canceled", err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := c.Run(ctx, in, out); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a Run past its deadline returns %v, want context.DeadlineExceeded", err)
	}
	// One image's time on a slow machine, under the race detector.
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("a cancelled Run returned after %v", d)
	}
	logits(t, c, in[:m.Graph.Input().Len()]) // still usable
}

func (s suite) closing(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	c := s.open(t, g, 2)
	in := images(g, 20)
	out := make([]float32, 20*g.Classes())
	running := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		close(started)
		running <- c.Run(context.Background(), in, out)
	}()
	<-started
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-running; err != nil && !errors.Is(err, backend.ErrClosed) {
		t.Errorf("a Run that overlaps Close returns %v, want nil or ErrClosed", err)
	}
	if err := c.Run(t.Context(), in, out); !errors.Is(err, backend.ErrClosed) {
		t.Errorf("Run after Close returns %v, want ErrClosed", err)
	}
	if err := c.Close(); !errors.Is(err, backend.ErrClosed) {
		t.Errorf("a second Close returns %v, want ErrClosed", err)
	}
}

func (s suite) wrongShapes(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	c := s.open(t, g, 1)
	size, k := g.Input().Len(), g.Classes()
	for _, row := range []struct {
		name    string
		in, out int
	}{
		{"no input", 0, 0},
		{"a value short", size - 1, k},
		{"a value over", size + 1, k},
		{"output short", size, k - 1},
		{"output for two", size, 2 * k},
		{"output for one of two", 2 * size, k},
	} {
		if err := c.Run(t.Context(), make([]float32, row.in), make([]float32, row.out)); !errors.Is(err, backend.ErrShape) {
			t.Errorf("%s: Run returns %v, want ErrShape", row.name, err)
		}
	}
}

func (s suite) notANumber(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	c := s.open(t, g, 2)
	clean := images(g, 1)
	want := logits(t, c, clean)
	for name, v := range map[string]float64{"NaN": math.NaN(), "+Inf": math.Inf(1), "-Inf": math.Inf(-1)} {
		in := images(g, 1)
		in[len(in)/2] = float32(v)
		out := make([]float32, g.Classes())
		if err := c.Run(t.Context(), in, out); err != nil {
			t.Errorf("%s in the input: %v, want logits, if only NaN", name, err)
		}
		for i, l := range out {
			if l == l && !math.IsInf(float64(l), 0) {
				t.Errorf("%s in the input gives the finite logit %d: %v", name, i, l)
				break
			}
		}
		check(t, "the run after "+name, want, logits(t, c, clean), 1e-6)
	}
}

func (s suite) unknownOptions(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	name := strings.Split(s.target, ":")[0]
	b := s.registry.Backend(name)
	for _, o := range []backend.Options{{Device: "abacus"}, {Precision: "fp128"}} {
		if session, err := b.Open(t.Context(), g, o); !errors.Is(err, backend.ErrUnsupported) {
			t.Errorf("Open with %+v returns %v, %v, want ErrUnsupported", o, session, err)
		}
	}
}

func (s suite) trace(t *testing.T) {
	tiny := modeltest.Tiny(t)
	g := tiny.Model.Graph
	c := s.open(t, g, 2)
	image := tiny.Input[:g.Input().Len()]
	trace, err := c.Trace(t.Context(), image)
	if errors.Is(err, backend.ErrUnsupported) {
		t.Skip("the target has no traces")
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(trace) != len(g.Nodes) {
		t.Fatalf("%d nodes in the trace, want all %d", len(trace), len(g.Nodes))
	}
	want, err := graph.Eval(g, image)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string][]float32{}
	for i, n := range g.Nodes {
		if trace[i].Node != n.Name {
			t.Fatalf("node %d of the trace is %s, want %s", i, trace[i].Node, n.Name)
		}
		if trace[i].Folded {
			if trace[i].Output != nil {
				t.Errorf("%s is folded and has an output", n.Name)
			}
			continue
		}
		check(t, n.Name, narrow(want[i]), trace[i].Output, s.tolerance)
		byName[n.Name] = trace[i].Output
	}
	for module, a := range modeltest.Activations(t) {
		n := g.Find(module)
		if n == nil {
			t.Errorf("the graph has no module %s", module)
			continue
		}
		got, ok := byName[n.Name]
		if !ok {
			continue // folded
		}
		check(t, "module "+module, firstNHWC(t, a.Shape, a.Float), got, s.tolerance)
	}
}

// perturbedWeight: where one weight is off, comparing traces names its node.
func (s suite) perturbedWeight(t *testing.T) {
	if s.tolerance > 1e-3 {
		t.Skip("a lower precision differs from the first node on")
	}
	tiny := modeltest.Tiny(t)
	image := tiny.Input[:tiny.Model.Graph.Input().Len()]
	values, err := graph.Eval(tiny.Model.Graph, image)
	if err != nil {
		t.Fatal(err)
	}
	var reference []backend.NodeTrace
	for i, n := range tiny.Model.Graph.Nodes {
		reference = append(reference, backend.NodeTrace{Node: n.Name, Output: narrow(values[i])})
	}
	for _, name := range []string{
		"", "patch_embed1.proj", "patch_embed1.norm", "blocks1.0.LocalAgg.norm1", "blocks2.0.LocalAgg.attn", "blocks1.0.SelfAttn.attn.LocalProp",
		"blocks3.0.SelfAttn.attn.qkv", "blocks3.1.LocalAgg.mlp.fc2", "blocks4.0.SelfAttn.norm2", "norm", "head",
	} {
		g := modeltest.Tiny(t).Model.Graph
		g.ID = "" // the weights are not those that it stands for
		if name != "" {
			g.Find(name).Weight("weight")[0] += 0.1
		}
		trace, err := s.open(t, g, 1).Trace(t.Context(), image)
		if errors.Is(err, backend.ErrUnsupported) {
			t.Skip("the target has no traces")
		}
		if err != nil {
			t.Fatal(err)
		}
		_, first, err := compare.Layers(g, reference, trace, compare.DefaultThreshold)
		if err != nil {
			t.Fatal(err)
		}
		if first != name {
			t.Errorf("a weight of %q is off, the first node that differs is %q", name, first)
		}
	}
}

// profile: every node is in exactly one step, and there are as many times as
// runs.
func (s suite) profile(t *testing.T) {
	const runs = 3
	for _, golden := range modeltest.Goldens(t) {
		g := golden.Model.Graph
		steps, err := s.open(t, g, 2).Profile(t.Context(), images(g, 1), runs)
		if errors.Is(err, backend.ErrUnsupported) {
			t.Skip("the target has no profiles")
		}
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{"input": 1}
		for _, step := range steps {
			if len(step.Times) != runs {
				t.Errorf("%s: step %v has %d times, want %d", golden.Name, step.Nodes, len(step.Times), runs)
			}
			for _, n := range step.Nodes {
				seen[n]++
			}
		}
		for _, n := range g.Nodes {
			if seen[n.Name] != 1 {
				t.Errorf("%s: %s is in %d steps, want one", golden.Name, n.Name, seen[n.Name])
			}
		}
	}
}

// firstNHWC is the first image of [N C H W] or [N C] values.
func firstNHWC(t *testing.T, shape []int, data []float32) []float32 {
	c, pixels := shape[1], 1
	for _, d := range shape[2:] {
		pixels *= d
	}
	out := make([]float32, c*pixels)
	for i := range out {
		out[i] = data[i%c*pixels+i/c]
	}
	return out
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

func (s suite) describe(t *testing.T) {
	c := s.open(t, modeltest.Tiny(t).Model.Graph, 2)
	d := c.Describe()
	if d.Threads != c.Threads() {
		t.Errorf("Describe says %d threads, want %d", d.Threads, c.Threads())
	}
	if d.DelegatedNodes > d.Nodes {
		t.Errorf("Describe says %d of %d nodes are delegated", d.DelegatedNodes, d.Nodes)
	}
}

// everyOp runs each operation alone: a graph of the input, a 1x1 convolution
// that gives it something to work on, the operation, and a pooled head.
func (s suite) everyOp(t *testing.T) {
	covered := map[string]bool{graph.Input{}.Kind(): true}
	for _, row := range opCases {
		t.Run(row.name, func(t *testing.T) {
			g := row.graph(t)
			for _, n := range g.Nodes {
				covered[n.Op.Kind()] = true
			}
			in := images(g, 2)
			got := logits(t, s.open(t, g, 2), in)
			for i := range 2 {
				image := in[i*g.Input().Len():][:g.Input().Len()]
				want, err := graph.Eval(g, image)
				if err != nil {
					t.Fatal(err)
				}
				k := g.Classes()
				check(t, fmt.Sprintf("image %d", i), narrow(want[len(want)-1]), got[i*k:][:k], s.tolerance)
			}
		})
	}
	for _, op := range graph.Ops() {
		if !covered[op.Kind()] {
			t.Errorf("no case covers the operation %s", op.Kind())
		}
	}
}

// oddConfigurations are networks whose sizes are multiples of nothing.
func (s suite) oddConfigurations(t *testing.T) {
	base := model.Config{
		Layout: "official", InputSize: 64, Classes: 7,
		Depths: [4]int{1, 1, 1, 1}, Dims: [4]int{5, 14, 15, 34}, Heads: [4]int{1, 2, 3, 2},
		SampleRates: [4]int{4, 2, 2, 1}, PatchSizes: [4]int{4, 2, 2, 2}, MLPHidden: [4]int{11, 17, 60, 3},
		BlockLayerNormEps: 1e-6, LayerNormEps: 1e-5, BatchNormEps: 1e-5,
		Variation: model.Variation{HeadBias: true, QKVBias: true, ConvBias: true, LocalAggKernel: 5},
	}
	wide := base
	wide.InputSize, wide.SampleRates = 96, [4]int{2, 2, 1, 1}
	bare := base
	bare.Variation = model.Variation{LocalAggKernel: 7}
	hunters := base
	hunters.Variation = model.Variation{HeadBias: true, LocalAggKernel: 3, LocalAggMidNorm: true, EveryStage: true, GroupNorm: true, NoPreNorm: true, UnscaledAttention: true}
	for name, config := range map[string]model.Config{"odd": base, "96 pixels": wide, "no biases": bare, "1hunters": hunters} {
		t.Run(name, func(t *testing.T) {
			m, err := model.NewRandom(name, config, 3)
			if err != nil {
				t.Fatal(err)
			}
			in := images(m.Graph, 1)
			want, err := graph.Eval(m.Graph, in)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "logits", narrow(want[len(want)-1]), logits(t, s.open(t, m.Graph, 2), in), s.tolerance)
		})
	}
}

// goroutinesEnd opens, runs and closes many times: what a session started ends
// with it.
func (s suite) goroutinesEnd(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	in, out := images(g, 1), make([]float32, g.Classes())
	before := runtime.NumGoroutine()
	for range 20 {
		c, err := s.registry.Open(t.Context(), s.target, g, backend.Options{Threads: 3})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if runtime.NumGoroutine() <= before {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d goroutines before 20 sessions, %d after", before, runtime.NumGoroutine())
		}
	}
}

// Package purego runs a graph in Go alone: no cgo, no library.
//
// Opening a graph makes a plan once: ir.go folds norms, scales, residuals and
// GELU into the convolutions beside them, plan.go orders what is left into
// steps and lays out the memory, steps.go says what a step does. A Run then
// walks the steps over a team of goroutines (exec.go) and allocates nothing.
// The inner loops are in kernel/.
package purego

import (
	"cmp"
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"edgevit/backend"
	"edgevit/backend/purego/kernel"
	"edgevit/graph"
)

func init() { backend.Register(Backend{}) }

// Backend is the pure-Go engine.
type Backend struct{}

const name, device = "purego", "cpu"

// Name is purego.
func (Backend) Name() string { return name }

// Targets are the CPU in float32, and with the dense convolutions in bfloat16,
// or in bytes: weights quantized by output channel, activations by pixel as
// they come. Norms, softmax, GELU, depthwise convolutions and residuals stay in
// float32.
func (Backend) Targets() []backend.Target {
	var all []backend.Target
	for _, p := range []string{"fp32", "bf16", "int8"} {
		all = append(all, backend.Target{Backend: name, Device: device, Precision: p})
	}
	return all
}

// Probe finds the engine available everywhere, bfloat16 where the processor has
// an instruction for it.
func (b Backend) Probe(context.Context) []backend.TargetStatus {
	var all []backend.TargetStatus
	for _, t := range b.Targets() {
		s := backend.TargetStatus{Target: t, Available: true}
		if _, err := choose(t.Precision); err != nil {
			s.Available, s.Reason = false, err.Error()
		}
		all = append(all, s)
	}
	return all
}

// choose returns the kernels for a precision. The error says why there are
// none.
func choose(precision string) (*kernel.Table, error) {
	kernels, err := kernel.Best()
	if err != nil {
		return nil, err
	}
	if precision == "bf16" && kernels.BFloat16 == nil {
		return nil, fmt.Errorf("the %s kernels have no products of bfloat16, which need AVX512_BF16; use purego:int8 or purego", kernels.Name)
	}
	return kernels, nil
}

// Open plans g for o.Threads threads.
func (Backend) Open(_ context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	if o.Device != "" && o.Device != device || !slices.Contains([]string{"", "fp32", "bf16", "int8"}, o.Precision) {
		return nil, fmt.Errorf("%w: device %q, precision %q; the engine has cpu; fp32, bf16 and int8", backend.ErrUnsupported, o.Device, o.Precision)
	}
	threads := o.Threads
	if threads < 1 {
		threads = backend.DefaultThreads()
	}
	if threads > maxThreads {
		return nil, fmt.Errorf("%w: %d threads; the engine runs on %d at most", backend.ErrUnsupported, threads, maxThreads)
	}
	precision := cmp.Or(o.Precision, "fp32")
	kernels, err := choose(precision)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	s := &session{graph: g, settings: settings{threads, kernels, precision}}
	if s.plan, err = newPlan(g, s.settings, true); err != nil {
		return nil, err
	}
	if n := s.Describe().ArenaBytes; n > maxWorkSpace {
		return nil, fmt.Errorf("%w: a run of this model takes %d bytes of work space, at most %d; its attention may see too many tokens for the input's size", backend.ErrUnsupported, n, maxWorkSpace)
	}
	return s, nil
}

const (
	maxThreads = 1024
	// maxWorkSpace bounds the activations of a run and the scratch of its
	// threads: scores of attention grow with the square of its tokens, so that a
	// small file could ask for any amount. S at 224 pixels takes some megabytes.
	maxWorkSpace = 1 << 30
)

// session is an open model. Each Run in progress has an exec of its own; idle
// ones are kept.
type session struct {
	graph *graph.Graph
	plan  *plan
	settings

	mu   sync.Mutex
	idle []*exec

	traceMu   sync.Mutex
	tracePlan *plan
}

// maxIdle bounds how many execs, each with an arena, wait for the next Run.
const maxIdle = 8

// take returns an exec with room for n images, at most s.batch().
func (s *session) take(n int) *exec {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := 1
	if n > 1 {
		room = s.batch()
	}
	for i, x := range s.idle {
		if x.room == room {
			s.idle = slices.Delete(s.idle, i, i+1)
			return x
		}
	}
	return newExec(s.plan, room)
}

// maxBatch is how many images go through the plan at once, as far as their
// activations fit into maxArena values: the layers with few pixels then have
// enough for all threads, and a weight that was fetched serves them all.
const (
	maxBatch = 8
	maxArena = 16 << 20
)

func (s *session) batch() int { return max(1, min(maxBatch, maxArena/max(s.plan.arena, 1))) }

func (s *session) give(x *exec) {
	x.in, x.out = nil, nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) < maxIdle {
		s.idle = append(s.idle, x)
		return
	}
	x.close()
}

// Run implements backend.Session. Larger batches run in parts.
func (s *session) Run(ctx context.Context, in, out []float32) error {
	n, err := s.graph.Batch(in)
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrShape, err)
	}
	size, classes := s.graph.Input().Len(), s.graph.Classes()
	if len(out) != n*classes {
		return fmt.Errorf("%w: output has %d values, want %d", backend.ErrShape, len(out), n*classes)
	}
	x := s.take(n)
	defer s.give(x)
	for i := 0; i < n; i += x.room {
		k := min(x.room, n-i)
		if err := x.run(ctx, k, in[i*size:][:k*size], out[i*classes:][:k*classes], nil); err != nil {
			return err
		}
	}
	return nil
}

// Trace implements backend.Tracer by a second plan, made on first use, in which
// every node is a step of its own and keeps its output.
func (s *session) Trace(ctx context.Context, in []float32) ([]backend.NodeTrace, error) {
	plan, err := s.planTrace()
	if err != nil {
		return nil, err
	}
	x := newExec(plan, 1)
	defer x.close()
	out := make([]float32, s.graph.Classes())
	times := make([]time.Duration, len(plan.steps))
	if err := x.run(ctx, 1, in, out, &watch{times: times}); err != nil {
		return nil, err
	}
	trace := make([]backend.NodeTrace, len(s.graph.Nodes))
	for i, n := range s.graph.Nodes {
		at := plan.places[n.Index]
		trace[i] = backend.NodeTrace{Node: n.Name, Output: append([]float32(nil), x.slice(at)[:n.Shape.Len()]...)}
	}
	node := 0
	for i, d := range times {
		if nodes := plan.nodes[i]; len(nodes) > 0 {
			node = nodes[0]
		}
		trace[node].Time += d
	}
	return trace, nil
}

// planTrace makes the plan of traces once.
func (s *session) planTrace() (*plan, error) {
	s.traceMu.Lock()
	defer s.traceMu.Unlock()
	if s.tracePlan == nil {
		p, err := newPlan(s.graph, s.settings, false)
		if err != nil {
			return nil, err
		}
		s.tracePlan = p
	}
	return s.tracePlan, nil
}

// Profile implements backend.Profiler by the plan that Run uses. To a CPU
// profile that is taken meanwhile every sample has the label "node", the nodes
// of its step.
func (s *session) Profile(ctx context.Context, in []float32, runs int) ([]backend.Step, error) {
	x := s.take(1)
	defer s.give(x)
	out := make([]float32, s.graph.Classes())
	steps := make([]backend.Step, len(s.plan.steps))
	for i := range steps {
		for _, n := range s.plan.nodes[i] {
			steps[i].Nodes = append(steps[i].Nodes, s.graph.Nodes[n].Name)
		}
	}
	w := watch{times: make([]time.Duration, len(steps)), labels: make([]context.Context, len(steps))}
	nodes := ""
	for i, step := range steps {
		if len(step.Nodes) > 0 { // else it is the rest of the one before
			nodes = strings.Join(step.Nodes, " ")
		}
		w.labels[i] = pprof.WithLabels(ctx, pprof.Labels("node", nodes))
	}
	for range runs {
		if err := x.run(ctx, 1, in, out, &w); err != nil {
			return nil, err
		}
		for i, d := range w.times {
			steps[i].Times = append(steps[i].Times, d)
		}
	}
	return steps, nil
}

// Describe implements backend.Describer.
func (s *session) Describe() backend.Description {
	return backend.Description{
		Threads: s.threads, Provider: s.kernels.Name + " kernels",
		DelegatedNodes: len(s.graph.Nodes), Nodes: len(s.graph.Nodes),
		WeightBytes: s.plan.weightBytes, ArenaBytes: 4*int64(s.plan.arena+(s.plan.scratch+s.plan.lines+s.plan.scales)*s.threads) + int64((s.plan.bytes+2*s.plan.halves)*s.threads),
	}
}

// Close implements backend.Session.
func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.idle {
		x.close()
	}
	s.idle = nil
	return nil
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"edgevit/backend"
	"edgevit/compare"
	"edgevit/graph"
	"edgevit/jobs"
	"edgevit/model"
)

// Options say how a run is embedded in a program. The zero value will do.
type Options struct {
	// Registry holds the backends; nil is backend.Default.
	Registry *backend.Registry
	// Version of the program, for the bundle.
	Version string
	// Peers are the models that the plan's Peers name.
	Peers []Peer
	// Progress is called, never twice at once, after every turn.
	Progress func(Progress)
	// Hold is called before every block and keeps other work of the program
	// away until release is called behind it.
	Hold func(ctx context.Context) (release func(), err error)
	// Disturbances counts the requests that the program has served; a run
	// during which it grows is marked.
	Disturbances func() int64
}

// Peer is another program's model, of which only the way it is opened is known.
type Peer struct {
	// Name is that in figures. Hash is the sha256 of its file, in hex.
	Name, Hash string
	// Graph has the shape of the input and the number of classes; nil where
	// Err is set.
	Graph *graph.Graph
	// Open opens the model with that many threads.
	Open func(ctx context.Context, threads int) (*backend.Classifier, error)
	// Err says why it cannot run.
	Err error
}

// Progress is the news of one turn.
type Progress struct {
	// Done of Total turns.
	Done  int `json:"done"`
	Total int `json:"total"`
	Block int `json:"block"`
	// Model and Label say whose turn it was; SamplesMS is what it gave.
	Model     string    `json:"model"`
	Label     string    `json:"label"`
	SamplesMS []float64 `json:"samples_ms"`
}

const (
	probeTime = 20 * time.Millisecond
	// Before its first turn a target runs for warmTime and warmQueries at
	// least, before every other turn turnQueries times: another target has had
	// the caches.
	warmTime    = 300 * time.Millisecond
	warmQueries = 3
	turnQueries = 2
	// quickOpen is how long opening may take, if not as long as a turn, for a
	// target to be opened anew in every block.
	quickOpen = 200 * time.Millisecond
	// inputs is the number of images that queries take in turn.
	inputs = 8
	// patience is how many times its planned duration a turn of the Server
	// scenario may take.
	patience = 3
)

// contestant is an open subject.
type contestant struct {
	subject    *Subject
	open       func(ctx context.Context) (*backend.Classifier, error)
	openTime   time.Duration // of the first
	classifier *backend.Classifier
	images     []float32
	batch      int
}

// reopen opens the subject anew. Where a session's memory happens to lie makes
// it faster or slower for as long as it lives (Mytkowicz et al. 2009), by half
// a per cent in two sessions of one target: with a new one in every block that
// is part of what the intervals cover.
func (c *contestant) reopen(ctx context.Context) error {
	if err := c.classifier.Close(); err != nil {
		return err
	}
	_, err := c.openOnce(ctx)
	return err
}

// openOnce opens the subject and notes how long that took.
func (c *contestant) openOnce(ctx context.Context) (time.Duration, error) {
	begin := time.Now()
	classifier, err := c.open(ctx)
	if err != nil {
		return 0, err
	}
	d := time.Since(begin)
	c.classifier = classifier
	c.subject.Sessions++
	c.subject.OpenMS = append(c.subject.OpenMS, milliseconds(d))
	return d, nil
}

// Run carries out a plan on the models that it names. A target that cannot run
// has an error in the bundle. The error is ErrPlan, that of a name of a target,
// the context's, or that of the targets if none could run.
func Run(ctx context.Context, p Plan, models []*model.Model, o Options) (*Bundle, error) {
	if o.Registry == nil {
		o.Registry = &backend.Default
	}
	p = p.WithDefaults()
	if p.Models == nil {
		for _, m := range models {
			p.Models = append(p.Models, m.Name)
		}
	}
	if p.Peers == nil {
		for _, peer := range o.Peers {
			p.Peers = append(p.Peers, peer.Name)
		}
	}
	if len(p.Models) != len(models) || len(p.Peers) != len(o.Peers) {
		return nil, fmt.Errorf("%w: %d names for %d models, %d for %d peers", ErrPlan, len(p.Models), len(models), len(p.Peers), len(o.Peers))
	}
	var err error
	if p.Targets, err = ResolveTargets(ctx, o.Registry, p.Targets); err != nil {
		return nil, err
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	var m machine
	b := &Bundle{Schema: Schema, ID: jobs.NewID(), Origin: OriginAPI, Created: time.Now().UTC().Truncate(time.Millisecond), Plan: p, Environment: m.environment(o.Version)}
	for i, model := range models {
		b.Models = append(b.Models, ModelFacts{p.Models[i], model.Hash, model.Untrained, model.MACs()})
		for t, target := range p.Targets {
			label := target
			if n := count(p.Targets[:t], target); n > 0 {
				label = fmt.Sprintf("%s #%d", target, n+1)
			}
			b.Subjects = append(b.Subjects, Subject{Model: p.Models[i], Target: target, Label: label, Slices: []Slice{}})
		}
	}
	for i, peer := range o.Peers {
		f := PeerFacts{Name: p.Peers[i], Hash: peer.Hash}
		if peer.Graph != nil {
			f.Height, f.Width, f.Classes = peer.Graph.Input().H, peer.Graph.Input().W, peer.Graph.Classes()
		}
		b.Peers = append(b.Peers, f)
		b.Subjects = append(b.Subjects, Subject{Model: p.Peers[i], Target: PeerTarget, Label: PeerTarget, Slices: []Slice{}})
	}
	r := run{bundle: b, plan: p, options: o, machine: m, energy: m.energy(), begin: time.Now()}
	defer r.close()
	for _, model := range models {
		g, err := model.Graph.Full()
		if err != nil {
			return nil, fmt.Errorf("weights of %s: %w", model.Name, err)
		}
		r.graphs = append(r.graphs, g)
		r.names = append(r.names, model.Name)
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	if err := r.measure(ctx); err != nil {
		return nil, err
	}
	b.Environment.PeakResident = m.resident("VmHWM")
	b.Environment.LoadAfter = m.loadAverage()
	b.Finished = time.Now().UTC().Truncate(time.Millisecond)
	b.Summary = Summarise(b)
	return b, nil
}

// ResolveTargets returns the canonical names of targets, by default every one
// that is available, purego first: it is the reference elsewhere too. The error
// is that of a name, or backend.ErrUnavailable.
func ResolveTargets(ctx context.Context, registry *backend.Registry, names []string) ([]string, error) {
	var targets []string
	for _, name := range names {
		t, err := registry.Resolve(name)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t.String())
	}
	if targets != nil {
		return targets, nil
	}
	for _, s := range registry.Probe(ctx) {
		if s.Available {
			targets = append(targets, s.Target.String())
		}
	}
	slices.SortStableFunc(targets, func(a, b string) int { return isPurego(b) - isPurego(a) })
	if targets == nil {
		return nil, fmt.Errorf("%w: no target is available", backend.ErrUnavailable)
	}
	return targets, nil
}

func isPurego(target string) int {
	if target == "purego" {
		return 1
	}
	return 0
}

func count(names []string, name string) (n int) {
	for _, s := range names {
		if s == name {
			n++
		}
	}
	return n
}

// run is a run in progress.
type run struct {
	bundle  *Bundle
	plan    Plan
	options Options
	machine machine
	energy  energyMeter
	begin   time.Time
	names   []string       // of the models, as a service serves them
	graphs  []*graph.Graph // of the models, held so that opening reads no file
	opened  []*contestant
	done    int
}

// open opens every subject and warms it up, one after another, so that the
// memory of each can be told.
func (r *run) open(ctx context.Context) error {
	var failed []error
	images := map[int][]float32{} // by length
	for i := range r.bundle.Subjects {
		s := &r.bundle.Subjects[i]
		var g *graph.Graph
		var openIt func(ctx context.Context) (*backend.Classifier, error)
		if k := i - len(r.graphs)*len(r.plan.Targets); k >= 0 {
			peer := r.options.Peers[k]
			if peer.Err != nil {
				s.Error = peer.Err.Error()
				failed = append(failed, peer.Err)
				continue
			}
			g = peer.Graph
			openIt = func(ctx context.Context) (*backend.Classifier, error) { return peer.Open(ctx, r.plan.Threads) }
		} else {
			g = r.graphs[i/len(r.plan.Targets)]
			openIt = func(ctx context.Context) (*backend.Classifier, error) {
				return r.options.Registry.Open(ctx, s.Target, g, backend.Options{Threads: r.plan.Threads, Model: r.names[i/len(r.plan.Targets)]})
			}
		}
		size := g.Input().Len()
		if images[size] == nil {
			rng := rand.New(rand.NewPCG(r.plan.seed(forInputs, 0), 0))
			x := make([]float32, max(inputs, r.plan.Batch)*size)
			for j := range x {
				x[j] = float32(rng.NormFloat64())
			}
			images[size] = x
		}
		c := &contestant{subject: s, images: images[size], batch: r.plan.Batch, open: openIt}
		before := r.resident()
		var err error
		if c.openTime, err = c.openOnce(ctx); err == nil {
			r.opened = append(r.opened, c)
			_, err = closedLoop(ctx, c.query(), warmTime, warmQueries, MaxSamples)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			s.Error = err.Error()
			failed = append(failed, err)
			continue
		}
		s.Resident = grown(before, r.resident())
		facts := factsOf(c.classifier.Describe())
		if facts.WorkerPID != 0 {
			s.Resident = missing("it ran in a process of its own")
		}
		s.Description = &facts
	}
	if len(failed) == len(r.bundle.Subjects) {
		return fmt.Errorf("no target could run: %w", errors.Join(failed...))
	}
	return nil
}

// resident reads the resident memory without what could be given back.
func (r *run) resident() Reading {
	debug.FreeOSMemory()
	return r.machine.resident("VmRSS")
}

func (r *run) close() {
	for _, c := range r.opened {
		_ = c.classifier.Close() // the samples are taken; there is nothing to undo
	}
}

// measure gives every subject its turn in every block.
func (r *run) measure(ctx context.Context) error {
	b := r.bundle
	var served int64
	if r.options.Disturbances != nil {
		served = r.options.Disturbances()
	}
	before, errBefore := r.machine.processorTime()
	for block := range r.plan.Blocks {
		if err := r.block(ctx, block); err != nil {
			return err
		}
	}
	after, errAfter := r.machine.processorTime()
	b.Environment.Others, b.Environment.Stolen = load(before, errBefore, after, errAfter)
	if r.options.Disturbances != nil {
		b.Disturbances = r.options.Disturbances() - served
	}
	var failed []error
	for _, s := range b.Subjects {
		if s.Error != "" {
			failed = append(failed, errors.New(s.Error))
		}
	}
	if len(failed) == len(b.Subjects) {
		return fmt.Errorf("no target could run: %w", errors.Join(failed...))
	}
	return nil
}

func (r *run) block(ctx context.Context, block int) error {
	if r.options.Hold != nil {
		release, err := r.options.Hold(ctx)
		if err != nil {
			return err
		}
		defer release()
	}
	r.probe(ctx)
	var running []*contestant
	var turns []compare.Timed
	position := 0
	for _, c := range r.opened {
		if c.subject.Error != "" {
			continue
		}
		running = append(running, c)
		turns = append(turns, func(ctx context.Context) (time.Duration, error) {
			position++
			return r.turn(ctx, c, block, position)
		})
	}
	_, errs := compare.Interleave(ctx, turns, 1, r.plan.seed(forOrder, block))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i, err := range errs {
		if err != nil {
			running[i].subject.Error = err.Error()
		}
	}
	if block == r.plan.Blocks-1 {
		r.probe(ctx)
	}
	return nil
}

// turn measures a subject in one block.
func (r *run) turn(ctx context.Context, c *contestant, block, position int) (time.Duration, error) {
	minMS, count, most := r.plan.turn(len(r.bundle.Subjects))
	d := fromMilliseconds(minMS)
	if c.openTime <= max(d, quickOpen) {
		if err := c.reopen(ctx); err != nil {
			return 0, err
		}
	}
	runtime.GC() // what one target leaves behind is not for another to collect
	q := c.query()
	for range turnQueries {
		if err := q(ctx); err != nil {
			return 0, err
		}
	}
	s := Slice{Block: block, Position: position, StartMS: milliseconds(time.Since(r.begin))}
	energy, energyErr := r.energy.read()
	var t turn
	var err error
	if r.plan.Scenario == Server {
		arrivals := poisson(r.plan.Rate, d, count, most, r.plan.seed(forArrivals, block))
		planned := max(d, arrivals[len(arrivals)-1])
		workers := make([]query, max(runtime.GOMAXPROCS(0)/c.classifier.Threads(), 1))
		for i := range workers {
			workers[i] = c.query()
		}
		t, err = openLoop(ctx, workers, arrivals, patience*planned)
	} else {
		t, err = closedLoop(ctx, q, d, count, most)
	}
	if err != nil {
		return 0, err
	}
	if after, err := r.energy.read(); err == nil && energyErr == nil && r.energy.missing == "" {
		joules := r.energy.since(energy, after)
		s.EnergyJ = &joules
	}
	s.DurationMS, s.SamplesMS, s.Unanswered = milliseconds(t.duration), t.samples, t.unanswered
	c.subject.Slices = append(c.subject.Slices, s)
	c.subject.EnergyMissing = r.energy.missing
	r.done++
	if r.options.Progress != nil {
		r.options.Progress(Progress{r.done, len(r.bundle.Subjects) * r.plan.Blocks, block, c.subject.Model, c.subject.Label, t.samples})
	}
	return fromMilliseconds(Percentile(t.samples, 0.5)), nil
}

// query returns a query with an output of its own. Queries take the images in
// turn.
func (c *contestant) query() query {
	g := c.classifier.Graph()
	size := g.Input().Len()
	out := make([]float32, c.batch*g.Classes())
	windows := len(c.images)/size - c.batch + 1
	next := 0
	return func(ctx context.Context) error {
		in := c.images[next*size:][:c.batch*size]
		next = (next + 1) % windows
		return c.classifier.Run(ctx, in, out)
	}
}

// probe measures the peak of one core, and of as many as a query has threads,
// in each precision that a subject computes in.
func (r *run) probe(ctx context.Context) {
	for _, precision := range precisions {
		wanted := precision == "fp32"
		for _, s := range r.bundle.Subjects {
			wanted = wanted || precisionOf(s.Target) == precision
		}
		if wanted {
			start := milliseconds(time.Since(r.begin))
			p := probe(ctx, precision, min(r.plan.Threads, runtime.NumCPU()), probeTime)
			p.StartMS = start
			r.bundle.Probes = append(r.bundle.Probes, p)
		}
	}
}

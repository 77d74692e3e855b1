package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"edgevit/backend"
	"edgevit/graph"
)

// session is a graph in a worker process, and in the next one when that dies.
// Runs that come while there is none fail at once; while one opens, they wait.
type session struct {
	b       *Backend
	graph   *graph.Graph
	options backend.Options
	target  backend.Target

	// The shared memory outlives processes, so that no run ever writes to what
	// is no longer mapped.
	file   *os.File
	memory []byte
	slots  slots
	free   chan int // slots

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ended  chan struct{} // closed when supervise has returned

	mu      sync.Mutex
	process *process // nil while there is none
	down    error    // of the last process or start, while there is none
	next    time.Time
	// changed is closed when process or down changes.
	changed     chan struct{}
	description backend.Description
	recent      time.Duration // what an image took lately; 0 before the first
}

// slotImages is how many images go in one message. Larger batches go in parts,
// as backends do it themselves.
const slotImages = 8

func openSession(ctx context.Context, b *Backend, target backend.Target, g *graph.Graph, o backend.Options) (_ *session, err error) {
	s := &session{b: b, graph: g, options: o, target: target, ended: make(chan struct{}), changed: make(chan struct{})}
	if s.options.Threads < 1 {
		s.options.Threads = backend.DefaultThreads()
	}
	// As many runs as can have a CPU each.
	s.slots = slots{Count: min(max(4, runtime.GOMAXPROCS(0)), maxSlots), Images: slotImages}
	size := s.slots.Count * s.slotSize()
	if s.file, err = newMemory(size); err != nil {
		return nil, fmt.Errorf("shared memory of %d bytes: %w", size, err)
	}
	if s.memory, err = mapMemory(s.file, size); err != nil {
		return nil, errors.Join(fmt.Errorf("shared memory of %d bytes: %w", size, err), s.file.Close())
	}
	s.free = make(chan int, s.slots.Count)
	for i := range s.slots.Count {
		s.free <- i
	}
	if s.process, s.description, err = s.open(ctx); err != nil {
		return nil, errors.Join(err, s.freeMemory())
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	b.add(s)
	go s.supervise(s.process)
	return s, nil
}

// slotSize is in bytes.
func (s *session) slotSize() int {
	return 4 * s.slots.Images * (s.graph.Input().Len() + s.graph.Classes())
}

func (s *session) freeMemory() error {
	return errors.Join(unmapMemory(s.memory), s.file.Close())
}

// open starts a process and opens the graph in it.
func (s *session) open(ctx context.Context) (*process, backend.Description, error) {
	within, cancel := context.WithTimeout(ctx, s.b.config.OpenTimeout)
	defer cancel()
	fail := func(err error) (*process, backend.Description, error) {
		if within.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w: opening in its worker process took longer than %v", backend.ErrCrashed, s.b.config.OpenTimeout)
		}
		return nil, backend.Description{}, err
	}
	wire, weights, err := encodeGraph(s.graph)
	if err != nil {
		return fail(err)
	}
	p, err := s.b.start(within, s.file)
	if err != nil {
		return fail(err)
	}
	o := s.options
	a, err := p.call(within, &message{
		Op: opOpen, Graph: wire, Slots: &s.slots,
		Options: &wireOptions{Threads: o.Threads, Device: o.Device, Precision: o.Precision, Strict: o.Strict},
	}, call{payload: weights})
	if err != nil {
		p.stop()
		return fail(err)
	}
	d := backend.Description{Threads: o.Threads, WorkerPID: p.cmd.Process.Pid}
	if w := a.Description; w != nil {
		d.Threads, d.Nodes, d.DelegatedNodes = w.Threads, w.Nodes, w.DelegatedNodes
		d.Provider, d.Library, d.LibraryVersion = clip(w.Provider, maxText), clip(w.Library, maxText), clip(w.LibraryVersion, maxText)
		d.WeightBytes, d.ArenaBytes = w.WeightBytes, w.ArenaBytes
	}
	return p, d, nil
}

// supervise starts a process again whenever it dies.
func (s *session) supervise(p *process) {
	defer close(s.ended)
	var delays backoff
	clock, log := s.b.clock, s.b.config.Log
	for {
		up := clock.now()
		select {
		case <-s.ctx.Done():
			p.stop()
			return
		case <-p.done:
		}
		err := p.err
		for p = nil; p == nil; {
			delay := delays.next(clock.now().Sub(up))
			log(fmt.Sprintf("worker %s: %v; it starts again in %v", s.target, err, delay))
			s.set(nil, backend.Description{}, err, clock.now().Add(delay))
			select {
			case <-s.ctx.Done():
				return
			case <-clock.after(delay):
			}
			s.set(nil, backend.Description{}, nil, time.Time{}) // opening: runs wait
			s.b.restarted(s.target)
			var d backend.Description
			up = clock.now()
			if p, d, err = s.open(s.ctx); err == nil {
				s.set(p, d, nil, time.Time{})
				log(fmt.Sprintf("worker %s: it is there again, pid %d", s.target, d.WorkerPID))
			}
		}
	}
}

func (s *session) set(p *process, d backend.Description, down error, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process, s.down, s.next = p, down, next
	if p != nil {
		s.description = d
	}
	s.description.WorkerPID = d.WorkerPID
	close(s.changed)
	s.changed = make(chan struct{})
}

// Up implements backend.Supervised.
func (s *session) Up() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up()
}

// up is Up for who holds mu.
func (s *session) up() error {
	switch {
	case s.process != nil:
		return nil
	case s.down == nil:
		return fmt.Errorf("%w: its worker process is starting again", backend.ErrCrashed)
	}
	in := max(0, s.next.Sub(s.b.clock.now())).Round(time.Millisecond)
	if errors.Is(s.down, backend.ErrCrashed) {
		return fmt.Errorf("%w; it starts again in %v", s.down, in)
	}
	return fmt.Errorf("%w: its worker process cannot be started again: %w; it is tried in %v", backend.ErrCrashed, s.down, in)
}

// count adds the session to w.
func (s *session) count(w *backend.Workers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		w.Running++
		return
	}
	in := max(0, s.next.Sub(s.b.clock.now()))
	if w.Restarting == 0 || in < w.RestartIn {
		w.RestartIn = in
	}
	w.Restarting++
}

// live returns the process; while one opens it waits.
func (s *session) live(ctx context.Context) (*process, error) {
	for {
		s.mu.Lock()
		p, down, up, changed := s.process, s.down, s.up(), s.changed
		s.mu.Unlock()
		switch {
		case p != nil:
			return p, nil
		case down != nil:
			return nil, up
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// call sends a request of a slot to the process.
func (s *session) call(ctx context.Context, m *message, c call) (answer, error) {
	p, err := s.live(ctx)
	if err != nil {
		return answer{}, err
	}
	return p.call(ctx, m, c)
}

// withSlot lends a slot.
func (s *session) withSlot(ctx context.Context, f func(slot int, in, out []float32) error) error {
	select {
	case slot := <-s.free:
		defer func() { s.free <- slot }()
		in, out := slotOf(s.memory, s.slots, slot, s.graph)
		return f(slot, in, out)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slotOf returns the inputs and the logits of a slot.
func slotOf(memory []byte, s slots, i int, g *graph.Graph) (in, out []float32) {
	inputs, logits := s.Images*g.Input().Len(), s.Images*g.Classes()
	all := floatsOf(memory)[i*(inputs+logits):][:inputs+logits]
	return all[:inputs:inputs], all[inputs:]
}

// Run implements backend.Session.
func (s *session) Run(ctx context.Context, in, out []float32) error {
	n, err := s.graph.Batch(in)
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrShape, err)
	}
	size, classes := s.graph.Input().Len(), s.graph.Classes()
	if len(out) != n*classes {
		return fmt.Errorf("%w: output has %d values, want %d", backend.ErrShape, len(out), n*classes)
	}
	return s.withSlot(ctx, func(slot int, shared, logits []float32) error {
		for i := 0; i < n; i += s.slots.Images {
			part := min(s.slots.Images, n-i)
			copy(shared, in[i*size:][:part*size])
			begin := time.Now()
			if _, err := s.call(ctx, &message{Op: opRun, Slot: slot, Images: part}, call{hang: s.hangs(part)}); err != nil {
				return err
			}
			s.took(part, time.Since(begin))
			copy(out[i*classes:], logits[:part*classes])
		}
		return nil
	})
}

// hangs is how long a run of so many images takes that hangs. The first is
// given as long as opening.
func (s *session) hangs(images int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.recent == 0 {
		return s.b.config.OpenTimeout
	}
	return max(s.b.config.Hang, 50*s.recent*time.Duration(images))
}

func (s *session) took(images int, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	each := d / time.Duration(images)
	if s.recent == 0 {
		s.recent = each
	}
	s.recent += (each - s.recent) / 8
}

// Trace implements backend.Tracer. It sends the weights again, which the worker
// has let go of.
func (s *session) Trace(ctx context.Context, in []float32) ([]backend.NodeTrace, error) {
	wire, weights, err := encodeGraph(s.graph)
	if err != nil {
		return nil, err
	}
	want := 0
	for _, n := range s.graph.Nodes {
		want += n.Shape.Len()
	}
	var trace []backend.NodeTrace
	err = s.withSlot(ctx, func(slot int, shared, _ []float32) error {
		copy(shared, in)
		a, err := s.call(ctx, &message{Op: opTrace, Slot: slot, Graph: wire}, call{payload: weights, values: want})
		if err != nil {
			return err
		}
		trace, err = s.decodeTrace(a)
		return err
	})
	return trace, err
}

func (s *session) decodeTrace(a answer) ([]backend.NodeTrace, error) {
	if len(a.Nodes) != len(s.graph.Nodes) {
		return nil, fmt.Errorf("%w: a trace of %d nodes, want %d", errProtocol, len(a.Nodes), len(s.graph.Nodes))
	}
	var trace []backend.NodeTrace
	values := a.values
	for i, n := range s.graph.Nodes {
		w := a.Nodes[i]
		t := backend.NodeTrace{Node: n.Name, Folded: w.Folded, Time: fromMS(w.TimeMS)}
		if w.Node != n.Name || !w.Folded && len(values) < n.Shape.Len() {
			return nil, fmt.Errorf("%w: a trace without the values of %s", errProtocol, n.Name)
		}
		if !w.Folded {
			t.Output, values = values[:n.Shape.Len():n.Shape.Len()], values[n.Shape.Len():]
		}
		trace = append(trace, t)
	}
	if len(values) > 0 {
		return nil, fmt.Errorf("%w: a trace with %d values too many", errProtocol, len(values))
	}
	return trace, nil
}

// Profile implements backend.Profiler.
func (s *session) Profile(ctx context.Context, in []float32, runs int) ([]backend.Step, error) {
	if runs < 1 || runs > maxRuns {
		return nil, fmt.Errorf("%w: %d runs of a profile; a worker process does 1 to %d", backend.ErrUnsupported, runs, maxRuns)
	}
	var steps []backend.Step
	err := s.withSlot(ctx, func(slot int, shared, _ []float32) error {
		copy(shared, in)
		a, err := s.call(ctx, &message{Op: opProfile, Slot: slot, Runs: runs}, call{})
		if err != nil {
			return err
		}
		for _, w := range a.Steps {
			if len(w.TimesMS) != runs {
				return fmt.Errorf("%w: a step of %v with %d times of %d", errProtocol, clip(fmt.Sprint(w.Nodes), maxName), len(w.TimesMS), runs)
			}
			step := backend.Step{}
			for _, name := range w.Nodes {
				if s.graph.Find(name) == nil {
					return fmt.Errorf("%w: a step with the node %q, which the graph has not", errProtocol, clip(name, maxName))
				}
				step.Nodes = append(step.Nodes, name)
			}
			for _, t := range w.TimesMS {
				step.Times = append(step.Times, fromMS(t))
			}
			steps = append(steps, step)
		}
		return nil
	})
	return steps, err
}

// Describe implements backend.Describer.
func (s *session) Describe() backend.Description {
	s.mu.Lock()
	d := s.description
	s.mu.Unlock()
	d.ResidentBytes = resident(d.WorkerPID)
	return d
}

// Close implements backend.Session: the process ends.
func (s *session) Close() error {
	s.b.remove(s)
	s.cancel()
	<-s.ended
	return s.freeMemory()
}

// Package worker runs a backend in processes of its own, so that a crash or a
// hang of a native runtime costs the runs in progress there and nothing else.
//
// The executable is this program itself (Wrap), or one of a third party (Load),
// whose main function is
//
//	func main() { worker.Serve(theirs.Backend{}) }
//
// Every session has its own process: a model that crashes the runtime takes no
// other model with it, and a closed session leaves no memory behind. Tensors are
// in memory that both processes map; what else they say goes through a socket.
//
// protocol.go is what is said there, and graph.go how a graph is. serve.go is the
// worker's side; session.go, which starts a dead worker again, and process.go
// are the other. Linux and macOS have worker processes.
package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"sync"
	"time"

	"edgevit/backend"
	"edgevit/graph"
)

// Config says how processes are started. Only Command is required.
type Config struct {
	// Command is the executable and its arguments. Self is this program.
	Command []string
	// Env is added to the environment of this process: NAME=VALUE.
	Env []string
	// Hang is how long a run may take at least before it is taken for one that
	// hangs, and its process is killed; slow models get 50 times what a run took
	// lately. 0 is 3 s.
	Hang time.Duration
	// Grace is how long a run may go on once its context has ended; then its
	// process is killed. 0 is 3 s.
	Grace time.Duration
	// StartTimeout bounds the time from a start to the worker's first word, and
	// OpenTimeout that of opening a session. 0 is 30 s and 2 min.
	StartTimeout, OpenTimeout time.Duration
	// Log is told what happens to workers and what they print, a line at a
	// time; nil writes to the standard logger.
	Log func(line string)
}

// Self is the path of this program's executable, as it was when it started
// where the system can tell.
func Self() (string, error) {
	if _, err := os.Stat(ownExecutable); ownExecutable != "" && err == nil {
		return ownExecutable, nil
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("worker: this program's file: %w", err)
	}
	return path, nil
}

// Supported says whether this system has worker processes.
func Supported() bool { return supported }

func (c Config) withDefaults() Config {
	c.Hang = cmp.Or(c.Hang, 3*time.Second)
	c.Grace = cmp.Or(c.Grace, 3*time.Second)
	c.StartTimeout = cmp.Or(c.StartTimeout, 30*time.Second)
	c.OpenTimeout = cmp.Or(c.OpenTimeout, 2*time.Minute)
	if c.Log == nil {
		c.Log = func(line string) { log.Print(line) }
	}
	return c
}

// Backend is a backend.Backend whose sessions run in processes. It is also a
// backend.Supervisor.
type Backend struct {
	name    string
	targets []backend.Target
	config  Config
	clock   clock

	probing sync.Mutex
	// probed is what the last probe found, kept for a while.
	probed   []backend.TargetStatus
	probedAt time.Time

	mu       sync.Mutex
	sessions map[*session]bool
	restarts map[backend.Target]int64 // of every target that was ever opened
	failures map[opening]*failure
}

// opening is a graph, by its ID, on a target.
type opening struct {
	target backend.Target
	graph  string
}

// failure is an opening that ended in a crash.
type failure struct {
	delays backoff
	err    error
	next   time.Time // before it, nobody tries again
}

// maxFailures bounds how many are remembered.
const maxFailures = 256

// exporting is a Backend that can write files.
type exporting struct {
	*Backend
	backend.Exporter
}

// Wrap returns b with its sessions in processes, each of which must Serve b. It
// starts none yet. What needs no runtime stays here: Name, Targets, and Export
// if b has it.
func Wrap(b backend.Backend, c Config) backend.Backend {
	w := newBackend(b.Name(), b.Targets(), c)
	if e, ok := b.(backend.Exporter); ok {
		return exporting{w, e}
	}
	return w
}

// Load returns the backend that an executable serves, under the given name. It
// starts the executable once to ask what it is.
func Load(ctx context.Context, name string, c Config) (backend.Backend, error) {
	w := newBackend(name, nil, c)
	p, err := w.start(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", name, err)
	}
	defer p.stop()
	if len(p.hello.Targets) == 0 {
		return nil, fmt.Errorf("backend %s: %s lists no targets", name, c.Command[0])
	}
	for _, t := range p.hello.Targets {
		target := backend.Target{Backend: name, Device: t.Device, Precision: t.Precision}
		// A part that is missing or unknown would give two targets one name.
		if parsed, err := backend.ParseTarget(target.String()); err != nil || parsed != target || t.Device == "" || t.Precision == "" {
			return nil, fmt.Errorf("backend %s: %s lists the target %q, want a device and a precision of %v", name, c.Command[0], target, backend.Precisions)
		}
		w.targets = append(w.targets, target)
	}
	if p.hello.Format != "" {
		return exporting{w, exporter{w, p.hello.Format}}, nil
	}
	return w, nil
}

func newBackend(name string, targets []backend.Target, c Config) *Backend {
	return &Backend{
		name: name, targets: targets, config: c.withDefaults(), clock: realClock,
		sessions: map[*session]bool{}, restarts: map[backend.Target]int64{}, failures: map[opening]*failure{},
	}
}

// Name implements backend.Backend.
func (b *Backend) Name() string { return b.name }

// Targets implements backend.Backend.
func (b *Backend) Targets() []backend.Target { return b.targets }

// probeAgain is how long the answer of a probe that found nothing is kept, so
// that asking often does not start a process each time.
const probeAgain = 2 * time.Second

// Probe asks a process of its own. What can run is remembered until opening it
// fails, as in a process that has loaded its library.
func (b *Backend) Probe(ctx context.Context) []backend.TargetStatus {
	b.probing.Lock()
	defer b.probing.Unlock()
	age := b.clock.now().Sub(b.probedAt)
	any := slices.ContainsFunc(b.probed, func(s backend.TargetStatus) bool { return s.Available })
	if b.probed != nil && (any || age < probeAgain) {
		return slices.Clone(b.probed)
	}
	statuses, err := b.probe(ctx)
	if err != nil {
		statuses = nil
		for _, t := range b.targets {
			statuses = append(statuses, backend.TargetStatus{Target: t, Reason: "asking its worker process: " + err.Error()})
		}
	}
	if ctx.Err() == nil {
		b.probed, b.probedAt = statuses, b.clock.now()
	}
	return slices.Clone(statuses)
}

func (b *Backend) probe(ctx context.Context) ([]backend.TargetStatus, error) {
	p, err := b.start(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	ctx, cancel := context.WithTimeout(ctx, b.config.OpenTimeout)
	defer cancel()
	answer, err := p.call(ctx, &message{Op: opProbe}, call{})
	if err != nil {
		return nil, err
	}
	// The worker's targets are in the order of ours, whatever their backend is called.
	if len(answer.Statuses) != len(b.targets) {
		return nil, fmt.Errorf("%w: it reports %d targets of %d", errProtocol, len(answer.Statuses), len(b.targets))
	}
	var all []backend.TargetStatus
	for i, t := range b.targets {
		s := answer.Statuses[i]
		if s.Target.Device != t.Device || s.Target.Precision != t.Precision || s.Available == (s.Reason != "") {
			return nil, fmt.Errorf("%w: its report on target %d, %s, is %+v", errProtocol, i, t, s)
		}
		all = append(all, backend.TargetStatus{Target: t, Available: s.Available, Reason: clip(s.Reason, maxText)})
	}
	return all, nil
}

// forget makes the next Probe ask again.
func (b *Backend) forget() {
	b.probing.Lock()
	defer b.probing.Unlock()
	b.probed = nil
}

// Open starts a process and opens g in it. The session keeps g, to open it again
// in the next process should this one die. A graph with an ID whose opening
// crashed is tried again only after a while, longer each time.
func (b *Backend) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	target, err := b.find(o)
	if err != nil {
		return nil, err
	}
	key := opening{target, g.ID}
	if err := b.lastCrash(key); err != nil {
		return nil, err
	}
	s, err := openSession(ctx, b, target, g, o)
	if errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrCrashed) {
		b.forget()
	}
	b.remember(key, err)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// find returns the target that the options ask for.
func (b *Backend) find(o backend.Options) (backend.Target, error) {
	for _, t := range b.targets {
		if (o.Device == "" || o.Device == t.Device) && (o.Precision == "" || o.Precision == t.Precision) {
			return t, nil
		}
	}
	return backend.Target{}, fmt.Errorf("%w: device %q, precision %q; there are %v", backend.ErrUnsupported, o.Device, o.Precision, b.targets)
}

// lastCrash is the error of an opening that may not be tried again yet.
func (b *Backend) lastCrash(key opening) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.failures[key]
	if f == nil {
		return nil
	}
	in := f.next.Sub(b.clock.now()).Round(time.Millisecond)
	if in <= 0 {
		return nil
	}
	return fmt.Errorf("%w; it may be tried again in %v", f.err, in)
}

func (b *Backend) remember(key opening, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if key.graph == "" || !errors.Is(err, backend.ErrCrashed) {
		delete(b.failures, key)
		return
	}
	if len(b.failures) >= maxFailures {
		clear(b.failures)
	}
	f := b.failures[key]
	if f == nil {
		f = &failure{}
		b.failures[key] = f
	}
	f.err, f.next = err, b.clock.now().Add(f.delays.next(0))
}

// Workers implements backend.Supervisor.
func (b *Backend) Workers() []backend.Workers {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[backend.Target]*backend.Workers{}
	for t, n := range b.restarts {
		all[t] = &backend.Workers{Target: t, Restarts: n}
	}
	for s := range b.sessions {
		s.count(all[s.target])
	}
	var list []backend.Workers
	for _, t := range b.targets {
		if w := all[t]; w != nil {
			list = append(list, *w)
		}
	}
	return list
}

func (b *Backend) add(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions[s] = true
	b.restarts[s.target] += 0 // known from now on
}

func (b *Backend) remove(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sessions, s)
}

func (b *Backend) restarted(t backend.Target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.restarts[t]++
}

// exporter has an executable write files.
type exporter struct {
	b      *Backend
	format string
}

// Format implements backend.Exporter.
func (e exporter) Format() string { return e.format }

// Export implements backend.Exporter.
func (e exporter) Export(w io.Writer, g *graph.Graph, metadata map[string]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), e.b.config.OpenTimeout)
	defer cancel()
	p, err := e.b.start(ctx, nil)
	if err != nil {
		return err
	}
	defer p.stop()
	wire, weights, err := encodeGraph(g)
	if err != nil {
		return err
	}
	_, err = p.call(ctx, &message{Op: opExport, Graph: wire, Metadata: metadata}, call{payload: weights, parts: w})
	return err
}

// clock is the time, which tests replace.
type clock struct {
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
}

var realClock = clock{time.Now, time.After}

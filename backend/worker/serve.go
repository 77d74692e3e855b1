package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"edgevit/backend"
	"edgevit/graph"
)

// Serving says whether this process was started as a worker, which must Serve.
func Serving() bool { return os.Getenv(versionVariable) != "" }

// Serve does what the process that started this one asks of b, and ends this
// process when that one is gone or has no more use of it. It does not return.
func Serve(b backend.Backend) {
	if err := serve(b); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	os.Exit(0)
}

func serve(b backend.Backend) error {
	if !Serving() {
		return fmt.Errorf("this is a backend of EdgeViT, to be started by its service: api serve --backend NAME=%s", os.Args[0])
	}
	if v := os.Getenv(versionVariable); v != strconv.Itoa(Version) {
		return fmt.Errorf("the service speaks version %s of the protocol of workers, this backend %d: build it anew", v, Version)
	}
	if !supported {
		return errors.New("worker processes need Linux or macOS")
	}
	os.Unsetenv(versionVariable) // whatever this process starts is no worker
	file := inherited(3)
	socket, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("the socket to the service: %w", err)
	}
	file.Close() // FileConn has a copy
	s := newServer(b, newConn(socket))
	if err := s.run(); err != nil {
		return err
	}
	time.AfterFunc(endGrace, func() { os.Exit(0) }) // what hangs must not outlive the service
	return s.close()
}

// server is the worker's side of the socket.
type server struct {
	backend backend.Backend
	conn    *conn
	ctx     context.Context // ends with the socket
	cancel  context.CancelFunc
	work    sync.WaitGroup

	opening bool // or open
	opened  atomic.Pointer[opened]

	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc // of the requests in progress
}

// opened is the session.
type opened struct {
	backend.Session
	graph  *graph.Graph // lean
	slots  slots
	memory []byte
	// full is the graph with its weights while it is opened or traced.
	full  atomic.Pointer[graph.Graph]
	trace sync.Mutex // held while full is set
}

func newServer(b backend.Backend, c *conn) *server {
	s := &server{backend: b, conn: c, cancels: map[uint64]context.CancelFunc{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// endGrace is how long a worker may take to close its session.
const endGrace = time.Second

// run answers requests until the socket ends. The error is what the other side
// should not have said.
func (s *server) run() error {
	h := hello{Protocol: Version, Name: s.backend.Name()}
	for _, t := range s.backend.Targets() {
		h.Targets = append(h.Targets, wireTarget{t.Device, t.Precision})
	}
	if e, ok := s.backend.(backend.Exporter); ok {
		h.Format = e.Format()
	}
	if err := s.conn.send(&message{Hello: &h}, 0); err != nil {
		return err
	}
	for {
		m, payload, err := s.conn.receive()
		if err == nil {
			err = s.take(m, payload)
		}
		if err == nil && payload.N > 0 {
			err = fmt.Errorf("%w: %d bytes of payload that %q does not want", errProtocol, payload.N, m.Op)
		}
		if err == nil {
			continue
		}
		if errors.Is(err, errProtocol) {
			return err
		}
		return nil
	}
}

// close ends what is in progress and the session.
func (s *server) close() error {
	s.cancel()
	s.work.Wait()
	if o := s.opened.Load(); o != nil {
		return o.Close()
	}
	return nil
}

// take begins to answer a request and reads its payload. The error is
// errProtocol or that of reading.
func (s *server) take(m *message, payload *io.LimitedReader) error {
	switch m.Op {
	case opCancel:
		s.mu.Lock()
		defer s.mu.Unlock()
		if cancel := s.cancels[m.ID]; cancel != nil {
			cancel()
		}
		return nil
	case opProbe:
		s.answer(m, s.probe)
		return nil
	case opOpen:
		return s.open(m, payload)
	case opExport:
		return s.withGraph(m, payload, func(_ context.Context, g *graph.Graph) (*message, [][]byte, error) { return s.export(m, g) })
	}
	o := s.opened.Load()
	if o == nil {
		return fmt.Errorf("%w: %q before a session is open", errProtocol, clip(m.Op, maxName))
	}
	if m.Slot < 0 || m.Slot >= o.slots.Count {
		return fmt.Errorf("%w: slot %d of %d", errProtocol, m.Slot, o.slots.Count)
	}
	in, out := slotOf(o.memory, o.slots, m.Slot, o.graph)
	image := in[:o.graph.Input().Len()]
	switch m.Op {
	case opRun:
		if m.Images < 1 || m.Images > o.slots.Images {
			return fmt.Errorf("%w: %d images in a slot of %d", errProtocol, m.Images, o.slots.Images)
		}
		s.answer(m, func(ctx context.Context) (*message, [][]byte, error) {
			err := o.Run(ctx, in[:m.Images*len(image)], out[:m.Images*o.graph.Classes()])
			return &message{}, nil, err
		})
	case opTrace:
		return s.withGraph(m, payload, func(ctx context.Context, g *graph.Graph) (*message, [][]byte, error) {
			return o.traced(ctx, g, image)
		})
	case opProfile:
		if m.Runs < 1 || m.Runs > maxRuns {
			return fmt.Errorf("%w: a profile of %d runs", errProtocol, m.Runs)
		}
		s.answer(m, func(ctx context.Context) (*message, [][]byte, error) { return o.profile(ctx, image, m.Runs) })
	default:
		return fmt.Errorf("%w: a request %q", errProtocol, clip(m.Op, maxName))
	}
	return nil
}

// withGraph reads the graph of a request and answers it by f.
func (s *server) withGraph(m *message, payload *io.LimitedReader, f func(context.Context, *graph.Graph) (*message, [][]byte, error)) error {
	g, err := decodeGraph(m.Graph, payload, payload.N)
	if errors.Is(err, graph.ErrInvalid) {
		_, skipped := io.Copy(io.Discard, payload)
		s.reply(m, nil, nil, err)
		return skipped
	}
	if err != nil {
		return err
	}
	s.answer(m, func(ctx context.Context) (*message, [][]byte, error) { return f(ctx, g) })
	return nil
}

// answer does f in the background and sends what it returns.
func (s *server) answer(m *message, f func(context.Context) (*message, [][]byte, error)) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.mu.Lock()
	s.cancels[m.ID] = cancel
	s.mu.Unlock()
	s.work.Go(func() {
		a, payload, err := f(ctx)
		s.mu.Lock()
		delete(s.cancels, m.ID)
		s.mu.Unlock()
		cancel()
		s.reply(m, a, payload, err)
	})
}

// reply sends an answer. Where it cannot, the socket has ended, which run sees.
func (s *server) reply(m, a *message, payload [][]byte, err error) {
	if err != nil {
		a, payload = &message{Error: encodeError(err)}, nil
	}
	a.ID = m.ID
	_ = s.conn.send(a, 0, payload...)
}

func (s *server) probe(ctx context.Context) (*message, [][]byte, error) {
	var a message
	for _, p := range s.backend.Probe(ctx) {
		a.Statuses = append(a.Statuses, wireStatus{wireTarget{p.Target.Device, p.Target.Precision}, p.Available, p.Reason})
	}
	return &a, nil, nil
}

// open opens the session. The weights are let go of, as the service does.
func (s *server) open(m *message, payload *io.LimitedReader) error {
	if s.opening || m.Options == nil || m.Slots == nil || m.Slots.Count < 1 || m.Slots.Count > maxSlots || m.Slots.Images < 1 || m.Slots.Images > maxSlots {
		return fmt.Errorf("%w: a request to open without options or slots, or a second one", errProtocol)
	}
	s.opening = true
	return s.withGraph(m, payload, func(ctx context.Context, g *graph.Graph) (*message, [][]byte, error) {
		o := &opened{slots: *m.Slots}
		if err := o.mapMemory(g); err != nil {
			return nil, nil, err
		}
		o.full.Store(g)
		o.graph = g.Lean(func() (*graph.Graph, error) {
			if g := o.full.Load(); g != nil {
				return g, nil
			}
			return nil, errors.New("a worker process has weights only while it opens or traces")
		})
		var err error
		o.Session, err = s.backend.Open(ctx, o.graph, backend.Options{
			Threads: m.Options.Threads, Device: m.Options.Device, Precision: m.Options.Precision, Strict: m.Options.Strict,
		})
		if err != nil {
			return nil, nil, err
		}
		o.full.Store(nil)
		s.opened.Store(o)
		go debug.FreeOSMemory() // what reading and packing left
		return &message{Description: o.describe()}, nil, nil
	})
}

// mapMemory maps the slots for g.
func (o *opened) mapMemory(g *graph.Graph) error {
	size, ok := product([]int{o.slots.Count, o.slots.Images, g.Input().Len() + g.Classes(), 4}, math.MaxInt)
	file := inherited(4)
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !ok || info.Size() < int64(size) {
		return fmt.Errorf("%w: no shared memory for %+v of %v", errProtocol, o.slots, g.Input())
	}
	o.memory, err = mapMemory(file, size)
	return err
}

func (o *opened) describe() *wireDescription {
	d, ok := o.Session.(backend.Describer)
	if !ok {
		return nil
	}
	w := d.Describe()
	return &wireDescription{
		Threads: w.Threads, Provider: w.Provider, DelegatedNodes: w.DelegatedNodes, Nodes: w.Nodes,
		Library: w.Library, LibraryVersion: w.LibraryVersion, WeightBytes: w.WeightBytes, ArenaBytes: w.ArenaBytes,
	}
}

func (o *opened) traced(ctx context.Context, g *graph.Graph, image []float32) (*message, [][]byte, error) {
	t, ok := o.Session.(backend.Tracer)
	if !ok {
		return nil, nil, fmt.Errorf("traces: %w", backend.ErrUnsupported)
	}
	o.trace.Lock()
	defer o.trace.Unlock()
	o.full.Store(g)
	defer o.full.Store(nil)
	nodes, err := t.Trace(ctx, image)
	if err != nil {
		return nil, nil, err
	}
	var a message
	var payload [][]byte
	for _, n := range nodes {
		a.Nodes = append(a.Nodes, wireTrace{Node: n.Node, Folded: n.Folded, TimeMS: toMS(n.Time)})
		if !n.Folded {
			payload = append(payload, bytesOf(n.Output))
		}
	}
	return &a, payload, nil
}

func (o *opened) profile(ctx context.Context, image []float32, runs int) (*message, [][]byte, error) {
	p, ok := o.Session.(backend.Profiler)
	if !ok {
		return nil, nil, fmt.Errorf("profiles: %w", backend.ErrUnsupported)
	}
	steps, err := p.Profile(ctx, image, runs)
	if err != nil {
		return nil, nil, err
	}
	var a message
	for _, step := range steps {
		w := wireStep{Nodes: step.Nodes}
		for _, t := range step.Times {
			w.TimesMS = append(w.TimesMS, toMS(t))
		}
		a.Steps = append(a.Steps, w)
	}
	return &a, nil, nil
}

func (s *server) export(m *message, g *graph.Graph) (*message, [][]byte, error) {
	e, ok := s.backend.(backend.Exporter)
	if !ok {
		return nil, nil, fmt.Errorf("exports: %w", backend.ErrUnsupported)
	}
	return &message{}, nil, e.Export(&partWriter{s.conn, m.ID}, g, m.Metadata)
}

// partWriter sends what is written in parts of an answer.
type partWriter struct {
	conn *conn
	id   uint64
}

func (w *partWriter) Write(b []byte) (int, error) {
	for n := 0; n < len(b); n += maxPart {
		part := b[n:min(len(b), n+maxPart)]
		if err := w.conn.send(&message{ID: w.id, More: true}, 0, part); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

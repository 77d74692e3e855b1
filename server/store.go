package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/graph"
	"edgevit/model"
)

// maxModels bounds how many checkpoints of the folder are loaded.
const maxModels = 64

// randomModels stand wherever a model is named.
var randomModels = []string{"random:xxs", "random:xs", "random:s"}

// demoName is the served name of the model inside the binary.
const demoName = "demo"

// store holds the models by served name and the sessions they are open in.
// Models are loaded one at a time in the background; a session is opened once,
// on first need, and kept until its model's file changes.
type store struct {
	dir         string
	demo        func() (*model.Model, error) // nil where there is none
	wantDefault string                       // empty: to be found
	target      backend.Target               // the default one
	threads     int
	registry    *backend.Registry
	admission   *admission
	log         *zap.Logger
	tracer      trace.Tracer
	memory      int64 // bytes of open sessions; 0: no bound
	quota       int64 // bytes of checkpoints in dir; 0: no bound
	// open reads a checkpoint; tests replace it.
	open func(path string) (*model.Model, error)

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	work   sync.WaitGroup // background goroutines
	// loading is held while a model is loaded, reloading for a whole scan.
	loading, reloading sync.Mutex
	// latest is the last model that was loaded, with its weights; tidying lets
	// go of it.
	latest  atomic.Pointer[model.Model]
	tidying *time.Timer

	// scanning is held while the folder is looked at or changed.
	scanning sync.Mutex

	mu          sync.Mutex
	queue       []*session    // to be opened, waiting for memory; first come first served
	leaving     int64         // bytes of sessions that make room once their users are done
	moved       chan struct{} // is closed when memory may have become free
	entries     map[string]*entry
	wanted      map[string]*entry // what the last scan found
	unserved    []*entry          // files without a name of their own: failed
	defaultName string
	settled     bool  // everything found at the start is loaded or failed
	warmErr     error // of the last attempt to warm the default session
	closed      bool
}

// entry is a model under its served name.
type entry struct {
	name  string
	file  string // base name; empty if it is not from the folder
	stamp stamp
	// An irregular file is not read: a pipe, for one, would be waited for.
	irregular bool
	load      func() (*model.Model, error)

	// loaded is closed when model and err are set.
	loaded chan struct{}
	model  *model.Model // lean
	err    error
	inputs sync.Pool // *[]float32, one input tensor each

	// Under the store's mu.
	sessions map[backend.Target]*session
	// needs are what sessions were seen to take, more than their weights.
	needs      map[backend.Target]int64
	statistics map[backend.Target]*statistics
	retired    bool
	unloaded   bool // no session is opened
}

// stamp tells one version of a checkpoint and its sidecar from another.
type stamp struct{ size, time, sidecarSize, sidecarTime int64 }

// session is a model on a target.
type session struct {
	entry  *entry
	target backend.Target

	// opened is closed when classifier and err are set.
	opened     chan struct{}
	classifier *backend.Classifier
	err        error
	lane       lane

	// roomy says that there is memory to open it; patience is how long a request
	// waits for that.
	roomy    atomic.Bool
	patience time.Duration

	// Under the store's mu: a retired session is closed by its last user.
	users   int
	retired bool
	leaving bool      // its bytes are among the store's leaving ones
	since   time.Time // when it had opened
	used    time.Time // when it was last asked for
	bytes   int64     // of the store's memory, from before it opens on
}

// invalidModel is a checkpoint that cannot be served.
type invalidModel struct {
	name     string
	findings []string
}

func (e *invalidModel) Error() string {
	return fmt.Sprintf("%v: model %q cannot be used: %s", errCheckpoint, e.name, strings.Join(e.findings, "; "))
}

func (e *invalidModel) Unwrap() error { return errCheckpoint }

// scan looks at the folder and returns the entries to load, the default first.
func (st *store) scan() ([]*entry, error) {
	st.scanning.Lock()
	defer st.scanning.Unlock()
	return st.look()
}

// look is scan for who holds scanning.
func (st *store) look() ([]*entry, error) {
	files, err := os.ReadDir(st.dir)
	if st.dir == "" || errors.Is(err, fs.ErrNotExist) {
		files = nil
	} else if err != nil {
		return nil, fmt.Errorf("models folder: %w", err)
	}
	found := map[string]*entry{}
	var unserved []*entry
	checkpoints := 0
	for _, f := range files {
		if f.IsDir() || !model.IsCheckpoint(f.Name()) {
			continue
		}
		checkpoints++
		e := st.fileEntry(f.Name())
		if e.irregular {
			e.fail("it is neither a regular file nor a link to one")
			unserved = append(unserved, e)
			continue
		}
		other, clash := found[e.name]
		if clash && st.serves(e.file) { // what is served already keeps its name
			found[e.name] = e
			e, other = other, e
		}
		switch {
		case clash:
			e.fail(fmt.Sprintf("its name %s is taken by %s: rename one of the two files", e.name, other.file))
		case e.name == "":
			e.fail("the file's name leaves no name to serve it under: rename it")
		case len(found) == maxModels:
			e.fail(fmt.Sprintf("the folder holds more than %d checkpoints: move some elsewhere", maxModels))
		default:
			found[e.name] = e
			continue
		}
		unserved = append(unserved, e)
	}
	if st.demo != nil && found[demoName] == nil && (checkpoints == 0 || st.wantDefault == demoName) {
		found[demoName] = newEntry(demoName, st.demo)
	}

	st.mu.Lock()
	defer st.mu.Unlock()
	st.wanted, st.unserved = found, unserved
	st.defaultName = st.wantDefault
	if st.defaultName == "" && len(found) == 1 && checkpoints <= 1 {
		for name := range found {
			st.defaultName = name
		}
	}
	for name, e := range st.entries {
		if found[name] == nil && !slices.Contains(randomModels, name) {
			st.retire(e)
		}
	}
	var changed []*entry
	for name, e := range found {
		old := st.entries[name]
		if old != nil && old.file == e.file && old.stamp == e.stamp && old.state() != api.Failed {
			continue
		}
		if old == nil {
			st.entries[name] = e
		} // else the old one serves until the new one is loaded
		changed = append(changed, e)
	}
	slices.SortFunc(changed, func(a, b *entry) int {
		if (a.name == st.defaultName) != (b.name == st.defaultName) {
			if a.name == st.defaultName {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.name, b.name)
	})
	return changed, nil
}

// serves says whether a file of the folder is served and usable.
func (st *store) serves(file string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	e := st.entries[model.ServedName(file)]
	return e != nil && e.file == file && e.state() == api.Ready
}

func newEntry(name string, load func() (*model.Model, error)) *entry {
	return &entry{
		name: name, load: load, loaded: make(chan struct{}),
		sessions: map[backend.Target]*session{}, statistics: map[backend.Target]*statistics{},
	}
}

func (st *store) fileEntry(file string) *entry {
	path := filepath.Join(st.dir, file)
	e := newEntry(model.ServedName(file), func() (*model.Model, error) { return st.open(path) })
	e.file = file
	if info, err := os.Stat(path); err == nil {
		e.stamp.size, e.stamp.time, e.irregular = info.Size(), info.ModTime().UnixNano(), !info.Mode().IsRegular()
	}
	if info, err := os.Stat(strings.TrimSuffix(path, filepath.Ext(path)) + ".json"); err == nil {
		e.stamp.sidecarSize, e.stamp.sidecarTime = info.Size(), info.ModTime().UnixNano()
	}
	return e
}

// fail marks an entry as not usable without loading it.
func (e *entry) fail(finding string) {
	e.err = &invalidModel{e.name, []string{finding}}
	close(e.loaded)
}

// start runs f in the background unless the store is closed.
func (st *store) start(f func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.closed {
		st.work.Go(f)
	}
}

// reload scans the folder, loads what has changed and warms the default
// session.
func (st *store) reload() {
	st.reloading.Lock()
	defer st.reloading.Unlock()
	changed, err := st.scan()
	if err != nil {
		st.log.Error("models not reloaded", zap.Error(err))
		return
	}
	st.loadAll(changed, func() {})
}

// loadAll loads the entries in their order and warms the default session as
// soon as its model is there; then it calls warm.
func (st *store) loadAll(entries []*entry, warm func()) {
	st.mu.Lock()
	name := st.defaultName
	st.mu.Unlock()
	if len(entries) > 0 && entries[0].name == name {
		st.loadEntry(st.ctx, entries[0])
		entries = entries[1:]
	}
	if name != "" {
		err := st.warmDefault(name)
		st.mu.Lock()
		st.warmErr = err
		st.mu.Unlock()
	}
	warm()
	for _, e := range entries {
		st.loadEntry(st.ctx, e)
	}
	st.mu.Lock()
	st.settled = true
	st.mu.Unlock()
}

func (st *store) warmDefault(name string) error {
	s, err := st.acquire(st.ctx, name, st.target)
	if err != nil {
		return err
	}
	defer st.release(s)
	_, err = s.wait(st.ctx)
	return err
}

// loadEntry loads one model and puts it in its place. ctx is of the request
// that asked for it, if one did; its end is no reason to stop.
func (st *store) loadEntry(ctx context.Context, e *entry) {
	st.loading.Lock()
	defer st.loading.Unlock()
	if st.ctx.Err() != nil {
		e.err = errClosing
		close(e.loaded)
		return
	}
	_, span := st.tracer.Start(ctx, "load model", trace.WithAttributes(modelKey.String(e.name)))
	start := time.Now()
	m, err := guard(e.load)
	setError(span, err)
	span.End()
	if err != nil {
		err = &invalidModel{e.name, st.findings(err)}
		st.log.Warn("model failed", zap.String("model", e.name), zap.String("file", e.file), zap.String("error", clip(err.Error(), maxDetail)))
	} else {
		st.log.Info("model loaded", zap.String("model", e.name), zap.String("file", e.file), zap.String("hash", m.Hash),
			zap.Float64("load_ms", ms(time.Since(start))))
	}
	if err == nil {
		st.latest.Store(m)
		e.model = st.lean(e, m)
	}
	e.err = err
	close(e.loaded)
	st.tidyLater()

	st.mu.Lock()
	defer st.mu.Unlock()
	// Another scan may have found another file of that name, or none.
	if old := st.entries[e.name]; old != e && st.wanted[e.name] == e && !st.closed {
		if old != nil && old.state() == api.Ready && err != nil {
			// A file that is half copied must not end what works.
			st.unserved = append(st.unserved, e)
			return
		}
		if old != nil {
			st.retire(old)
		}
		st.entries[e.name] = e
	}
}

// lean is m as it is kept: its weights are read again for a session, an export
// or a trace. What is then another model is refused.
func (st *store) lean(e *entry, m *model.Model) *model.Model {
	kept := *m
	kept.Graph = m.Graph.Lean(func() (*graph.Graph, error) {
		st.loading.Lock()
		defer st.loading.Unlock()
		again, err := guard(e.load)
		if err == nil && again.Hash != kept.Hash {
			err = errors.New("its file was changed since it was loaded; reload the models folder")
		}
		if err != nil {
			return nil, &invalidModel{e.name, st.findings(err)}
		}
		st.latest.Store(again)
		st.tidyLater()
		return again.Graph, nil
	})
	return &kept
}

// tidyAfter is how long nothing must have been loaded or opened before memory is
// given back: not while the first requests wait for a core.
const tidyAfter = 200 * time.Millisecond

// tidyLater lets go of the weights that only sessions yet to be opened would
// want, and gives back the memory that reading and packing leave behind: twice
// the weights, which what is served long should not hold.
func (st *store) tidyLater() { st.tidying.Reset(tidyAfter) }

func (st *store) tidy() {
	st.latest.Store(nil)
	runtime.GC() // what lies in a pool outlasts one collection
	debug.FreeOSMemory()
}

// findings lists what is wrong with a checkpoint. A client must not learn the
// server's paths.
func (st *store) findings(err error) []string {
	findings := []string{err.Error()}
	var invalid *model.InvalidError
	if errors.As(err, &invalid) {
		findings = slices.Clone(invalid.Findings)
	}
	for i, f := range findings {
		findings[i] = strings.ReplaceAll(f, st.dir+string(filepath.Separator), "")
	}
	return findings
}

// guard turns a panic in what reads a file or drives a native library into an
// error, as neither may end the process.
func guard[T any](f func() (T, error)) (result T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	return f()
}

// errClosing is what is answered once the store closes.
var errClosing = fmt.Errorf("%w: shutting down", errNotReady)

// find returns the entry of that name; empty stands for the default.
func (st *store) find(ctx context.Context, name string) (*entry, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return nil, errClosing
	}
	if name == "" {
		name = st.defaultName
	}
	if name == "" {
		if len(st.entries) == 0 {
			return nil, fmt.Errorf("%w: there is none; put a checkpoint into the models folder", errModelRequired)
		}
		return nil, fmt.Errorf("%w: name one of %s", errModelRequired, st.names())
	}
	if e := st.entries[name]; e != nil {
		return e, nil
	}
	if preset, ok := model.IsRandom(name); ok && slices.Contains(randomModels, name) {
		e := newEntry(name, func() (*model.Model, error) { return model.Random(preset) })
		st.entries[name] = e
		st.work.Go(func() { st.loadEntry(ctx, e) })
		return e, nil
	}
	return nil, fmt.Errorf("%w %q; there are %s", errUnknownModel, clip(name, 100), st.names())
}

// names lists the served names, for messages.
func (st *store) names() string {
	names := slices.Clone(randomModels)
	for name := range st.entries {
		if !slices.Contains(randomModels, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// ready waits until the entry is loaded. The error is *invalidModel or the
// context's.
func (e *entry) ready(ctx context.Context) (*model.Model, error) {
	if err := await(ctx, e.loaded, "await model"); err != nil {
		return nil, fmt.Errorf("waiting for model %s to load: %w", e.name, err)
	}
	return e.model, e.err
}

// await waits until done is closed. Where that takes time, it is a stage. The
// error is the context's.
func await(ctx context.Context, done <-chan struct{}, stage string) error {
	select {
	case <-done:
		return nil
	default:
	}
	stages := startStages(ctx)
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	stages.end(stage, err)
	return err
}

// acquire returns the session of a loaded model on a target, which begins to
// open if it is not open yet. The caller releases it.
func (st *store) acquire(ctx context.Context, name string, t backend.Target) (*session, error) {
	all, err := st.acquireAll(ctx, name, []backend.Target{t})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// acquireAll returns the sessions of one loaded model on each target.
func (st *store) acquireAll(ctx context.Context, name string, targets []backend.Target) ([]*session, error) {
	for {
		e, err := st.find(ctx, name)
		if err != nil {
			return nil, err
		}
		if _, err := e.ready(ctx); err != nil {
			return nil, err
		}
		if all, err := st.sessions(ctx, e, targets); all != nil || err != nil {
			return all, err
		}
		// The model was replaced meanwhile: look again.
	}
}

// sessions returns nil if the entry is retired.
func (st *store) sessions(ctx context.Context, e *entry, targets []backend.Target) ([]*session, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if e.retired {
		return nil, nil
	}
	if e.unloaded {
		return nil, e.errUnloaded()
	}
	all := make([]*session, len(targets))
	for i, t := range targets {
		all[i] = st.session(ctx, e, t)
	}
	return all, nil
}

// session counts its caller, who holds mu, as a user.
func (st *store) session(ctx context.Context, e *entry, t backend.Target) *session {
	s := e.sessions[t]
	if s == nil {
		s = &session{entry: e, target: t, opened: make(chan struct{}), patience: st.admission.maxWait, lane: lane{name: fmt.Sprintf("%s on %s", e.name, t)}}
		e.sessions[t] = s
		st.use(s)
		go st.openSession(ctx, s)
	}
	st.use(s)
	s.used = time.Now()
	return s
}

// use counts a user, whom close waits for. The caller holds mu.
func (st *store) use(s *session) {
	s.users++
	st.work.Add(1)
}

// openSession opens the session and runs it once, so that the first request
// does not pay for what runtimes put off. ctx is of whoever asked first; its end
// is no reason to stop.
func (st *store) openSession(ctx context.Context, s *session) {
	defer st.release(s)
	_, span := st.tracer.Start(ctx, "open session", trace.WithAttributes(modelKey.String(s.entry.name), targetKey.String(s.target.String())))
	start := time.Now()
	c, err := guard(func() (*backend.Classifier, error) { return st.openWarm(s) })
	setError(span, err)
	span.End()
	if st.ctx.Err() != nil && err != nil {
		err = errClosing
	}
	if err != nil {
		st.log.Warn("session failed", zap.String("model", s.entry.name), zap.Stringer("target", s.target), zap.Error(err))
		st.mu.Lock()
		if s.entry.sessions[s.target] == s {
			delete(s.entry.sessions, s.target) // the next request tries again
		}
		st.mu.Unlock()
	} else {
		st.log.Info("session open", zap.String("model", s.entry.name), zap.Stringer("target", s.target),
			zap.Int("threads", c.Threads()), zap.Float64("open_ms", ms(time.Since(start))))
	}
	s.classifier, s.err = c, err
	close(s.opened)
	st.tidyLater()
}

func (st *store) openWarm(s *session) (*backend.Classifier, error) {
	st.mu.Lock()
	bytes := max(s.entry.model.WeightBytes(), s.entry.needs[s.target])
	st.mu.Unlock()
	if err := st.reserve(s, bytes); err != nil {
		return nil, err
	}
	c, err := st.registry.Open(st.ctx, s.target.String(), s.entry.model.Graph, backend.Options{Threads: st.threads, Model: s.entry.name})
	if err == nil {
		if err = st.warm(s, c); err != nil {
			err = errors.Join(fmt.Errorf("first run: %w", err), c.Close())
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if err != nil {
		s.bytes = 0
		return nil, err
	}
	s.since = time.Now()
	d := c.Describe()
	s.bytes = max(s.bytes, d.WeightBytes+d.ArenaBytes, d.ResidentBytes)
	// A process of its own takes more than its weights, which are all that was
	// known before.
	if s.entry.needs == nil {
		s.entry.needs = map[backend.Target]int64{}
	}
	s.entry.needs[s.target] = s.bytes
	if err := st.fits(s, s.bytes); err != nil {
		s.bytes = 0
		st.closeClassifier(s, c)
		return nil, err
	}
	for st.memory > 0 {
		held, idlest, oldest := st.held()
		next := cmp.Or(idlest, oldest)
		if held <= st.memory || next == nil {
			break
		}
		st.makeWay(next)
	}
	return c, nil
}

// turn is how long a session that requests use all the time may do so while
// another one waits for its memory: long beside the time that opening takes.
const turn = time.Second

// reserve takes memory for a session that is to be opened, and waits for it in
// the order in which sessions ask, so that steady traffic to some starves none.
// It is errTooLarge where waiting would never help.
func (st *store) reserve(s *session, bytes int64) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.queue = append(st.queue, s)
	defer func() {
		st.queue = slices.DeleteFunc(st.queue, func(other *session) bool { return other == s })
		st.wake()
	}()
	for {
		if err := st.fits(s, bytes); err != nil {
			return err
		}
		if st.queue[0] == s && st.makeRoom(bytes) {
			s.bytes = bytes
			s.roomy.Store(true)
			return nil
		}
		moved := st.moved
		st.mu.Unlock()
		select {
		case <-moved:
		case <-time.After(turn / 10): // somebody's turn may be over
		case <-st.ctx.Done():
		}
		st.mu.Lock()
		if st.ctx.Err() != nil {
			return errClosing
		}
	}
}

// wake lets those look again who wait for memory. The caller holds mu.
func (st *store) wake() {
	close(st.moved)
	st.moved = make(chan struct{})
}

// makeRoom says whether that many bytes are free. Where they are not, idle
// sessions make room, the one that was not asked for for the longest time first,
// then those in use, the one whose turn began first. The caller holds mu.
func (st *store) makeRoom(bytes int64) bool {
	for st.memory > 0 {
		held, idlest, oldest := st.held()
		switch {
		case held+st.leaving+bytes <= st.memory:
			return true
		case held+bytes <= st.memory:
			return false
		case idlest != nil:
			st.makeWay(idlest)
		case oldest != nil && time.Since(oldest.since) >= turn:
			st.makeWay(oldest)
		default:
			return false
		}
	}
	return true
}

// makeWay ends a session to make room: at once, or when its users are done.
// Who asks for it meanwhile waits for another one. The caller holds mu.
func (st *store) makeWay(s *session) {
	st.log.Info("session closed to make room", zap.String("model", s.entry.name), zap.Stringer("target", s.target))
	delete(s.entry.sessions, s.target)
	s.retired, s.leaving = true, true
	st.leaving += s.bytes
	st.closeUnused(s)
}

// held is the memory of all sessions, and those that may make way first, each
// nil where there is none: of the idle ones, and of those in use. The default
// one stays. The caller holds mu.
func (st *store) held() (bytes int64, idlest, oldest *session) {
	for _, e := range st.entries {
		for _, s := range e.sessions {
			bytes += s.bytes
			switch {
			case !s.isOpen() || st.stays(s):
			case s.users == 0 && (idlest == nil || s.used.Before(idlest.used)):
				idlest = s
			case s.users > 0 && (oldest == nil || s.since.Before(oldest.since)):
				oldest = s
			}
		}
	}
	return bytes, idlest, oldest
}

// stays says whether a session is the default one. The caller holds mu.
func (st *store) stays(s *session) bool {
	return s.entry.name == st.defaultName && s.target == st.target
}

// fits is errTooLarge where that many bytes cannot be had for s however many
// sessions make way. The caller holds mu.
func (st *store) fits(s *session, bytes int64) error {
	if kept := st.kept(s); st.memory > 0 && bytes > st.memory-kept {
		return fmt.Errorf("%w: %s takes %d bytes at least; --memory-bytes lets open models take %d, %d of which the default model keeps", errTooLarge, s.lane.name, bytes, st.memory, kept)
	}
	return nil
}

// kept is the memory that the default session has, where that is not s. The
// caller holds mu.
func (st *store) kept(s *session) int64 {
	if e := st.entries[st.defaultName]; e != nil {
		if d := e.sessions[st.target]; d != nil && d != s {
			return d.bytes
		}
	}
	return 0
}

// warmTimeout bounds a first run: one that hangs must not keep its session from
// being opened again.
const warmTimeout = 2 * time.Minute

func (st *store) warm(s *session, c *backend.Classifier) error {
	release, err := st.admission.acquireAnyway(st.ctx, &s.lane, c.Threads())
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(st.ctx, warmTimeout)
	defer cancel()
	return c.Run(ctx, make([]float32, c.Graph().Input().Len()), make([]float32, c.Graph().Classes()))
}

// wait returns the classifier once the session is open. It is errMemory where
// there is no memory to open it for as long as a request may wait.
func (s *session) wait(ctx context.Context) (*backend.Classifier, error) {
	if !s.roomy.Load() {
		waiting, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer time.AfterFunc(s.patience, func() {
			if !s.roomy.Load() {
				cancel(fmt.Errorf("%w: other models use it", errMemory))
			}
		}).Stop()
		ctx = waiting
	}
	if err := await(ctx, s.opened, "await session"); err != nil {
		return nil, fmt.Errorf("waiting for %s to open on %s: %w", s.entry.name, s.target, context.Cause(ctx))
	}
	return s.classifier, s.err
}

// release ends a use of the session.
func (st *store) release(s *session) {
	defer st.work.Done()
	st.mu.Lock()
	defer st.mu.Unlock()
	s.users--
	st.closeUnused(s)
	if len(st.queue) > 0 {
		st.wake()
	}
}

// retire takes the entry out of service; its sessions close when their last
// user is done. The caller holds mu.
func (st *store) retire(e *entry) {
	e.retired = true
	if st.entries[e.name] == e {
		delete(st.entries, e.name)
	}
	for _, s := range e.sessions {
		s.retired = true
		st.closeUnused(s)
	}
}

// closeUnused closes a retired session without users. The caller holds mu.
func (st *store) closeUnused(s *session) {
	if !s.retired || s.users > 0 || s.classifier == nil {
		return
	}
	c := s.classifier
	s.classifier = nil
	if s.leaving {
		st.leaving -= s.bytes
	}
	st.closeClassifier(s, c)
}

// closeClassifier closes the classifier of a session without waiting for it.
func (st *store) closeClassifier(s *session, c *backend.Classifier) {
	st.work.Go(func() {
		if err := c.Close(); err != nil {
			st.log.Error("session not closed", zap.String("model", s.entry.name), zap.Stringer("target", s.target), zap.Error(err))
		}
	})
}

// readiness says which model is warm on the default target, or why none is.
func (st *store) readiness() (name string, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	name = st.defaultName
	e := st.entries[name]
	switch {
	case st.closed:
		return "", errClosing
	case name == "" && st.settled:
		return "", nil // every request names its model
	case name == "":
		return "", fmt.Errorf("%w: models are loading", errNotReady)
	case e == nil && !slices.Contains(randomModels, name):
		return "", fmt.Errorf("%w: the default model %s is not there", errNotReady, name)
	}
	if e != nil {
		if e.unloaded {
			return "", e.errUnloaded()
		}
		if s := e.sessions[st.target]; s != nil && s.isOpen() && s.classifier != nil {
			if err := s.classifier.Up(); err != nil {
				return "", fmt.Errorf("%w: %s: %v", errNotReady, name, err)
			}
			return name, nil
		}
	}
	if st.warmErr != nil {
		return "", fmt.Errorf("%w: %s on %s: %v", errNotReady, name, st.target, st.warmErr)
	}
	return "", fmt.Errorf("%w: %s is loading", errNotReady, name)
}

func (s *session) isOpen() bool {
	select {
	case <-s.opened:
		return s.err == nil
	default:
		return false
	}
}

// list returns the entries by name, then the files that have none, and the
// name of the default model.
func (st *store) list() (all []*entry, defaultName string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, e := range st.entries {
		all = append(all, e)
	}
	all = append(all, st.unserved...)
	slices.SortStableFunc(all, func(a, b *entry) int { return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.file, b.file)) })
	return all, st.defaultName
}

// isDefault says whether the entry serves requests that name no model.
func (st *store) isDefault(e *entry) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.entries[st.defaultName] == e
}

// openSessions returns the entry's open sessions by target. Each is in use
// until released.
func (st *store) openSessions(e *entry) []*session {
	st.mu.Lock()
	defer st.mu.Unlock()
	var open []*session
	for _, s := range e.sessions {
		if s.isOpen() && !s.retired {
			st.use(s)
			open = append(open, s)
		}
	}
	slices.SortFunc(open, func(a, b *session) int { return cmp.Compare(a.target.String(), b.target.String()) })
	return open
}

// close ends all sessions; it waits for requests that still run.
func (st *store) close() {
	st.cancel()
	st.tidying.Stop()
	st.mu.Lock()
	st.closed = true
	for _, e := range st.entries {
		st.retire(e)
	}
	st.mu.Unlock()
	st.work.Wait()
}

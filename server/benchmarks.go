package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"edgevit/api"
	"edgevit/bench"
	"edgevit/model"
)

const (
	// maxBlock is how long a block may last, in which no request is answered.
	maxBlock = 5 * time.Second
	// maxBlockCount is the most queries that every turn of a block must have.
	maxBlockCount = 100

	defaultRuns = 100 // of a list
	maxRuns     = 1000

	// keepAlive is how often a stream of events says something, so that whoever
	// is gone is found.
	keepAlive = 15 * time.Second
)

// benchmarks are the runs that are kept and the one in progress.
type benchmarks struct {
	log     *zap.Logger
	store   *bench.Store // nil where err says why there is none
	err     error
	imports *semaphore.Weighted // bundles that are being read

	mu      sync.Mutex
	closed  bool
	current *observed
	work    sync.WaitGroup
}

// openBenchmarks opens the store in the data folder. A server without one
// serves everything else.
func openBenchmarks(folder string, log *zap.Logger) *benchmarks {
	b := &benchmarks{log: log, imports: semaphore.NewWeighted(1)}
	if folder == "" {
		b.err = fmt.Errorf("%w: the server was started without a data folder", errNoRuns)
		return b
	}
	var err error
	if b.store, err = bench.OpenStore(folder); err != nil {
		log.Warn("no benchmarks", zap.Error(err))
		b.err = fmt.Errorf("%w: the data folder cannot be used; the server's log says why", errNoRuns)
	}
	return b
}

// stop cancels the run in progress and takes no further one.
func (b *benchmarks) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.current != nil {
		b.current.cancel(bench.ErrInterrupted)
	}
}

func (b *benchmarks) close() {
	b.stop()
	b.work.Wait()
	if b.store != nil {
		if err := b.store.Close(); err != nil {
			b.log.Error("store of runs not closed", zap.Error(err))
		}
	}
}

// running returns the run in progress if it has that id, else nil.
func (b *benchmarks) running(id string) *observed {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current != nil && b.current.id == id {
		return b.current
	}
	return nil
}

// observed is a run in progress with its events so far.
type observed struct {
	id     string
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	done    turns
	events  [][]byte // JSON
	state   bench.State
	changed chan struct{} // is closed at the next change
}

// turns say how far a run is.
type turns struct {
	Done  int `json:"done"`
	Total int `json:"total"`
}

func (w *observed) progress(p bench.Progress) {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and finite numbers always marshal
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = turns{p.Done, p.Total}
	w.events = append(w.events, text)
	w.change()
}

func (w *observed) end(state bench.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = state
	w.change()
}

// change wakes who waits; the caller holds mu.
func (w *observed) change() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// since returns the events behind the first n, the state that the run has come
// to, if it has, and what is closed when there is more.
func (w *observed) since(n int) (events [][]byte, state bench.State, changed <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[min(n, len(w.events)):], w.state, w.changed
}

func (w *observed) turns() turns {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// benchmarkJSON is api.Benchmark, made of what bench keeps in the same form.
type benchmarkJSON struct {
	bench.Record
	Progress *turns `json:"progress,omitempty"`
}

func (b *benchmarks) describe(r bench.Record) benchmarkJSON {
	j := benchmarkJSON{Record: r}
	if w := b.running(r.ID); w != nil {
		done := w.turns()
		j.Progress = &done
	}
	return j
}

// benchmarkAnswer is an answer of the benchmarks as JSON.
type benchmarkAnswer struct {
	status   int
	location string
	body     any
}

func (a benchmarkAnswer) visit(w http.ResponseWriter) error {
	text, err := json.Marshal(a.body)
	if err != nil {
		return fmt.Errorf("benchmark: %w", err)
	}
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, err = w.Write(text)
	return err
}

func (a benchmarkAnswer) VisitStartBenchmarkResponse(w http.ResponseWriter) error  { return a.visit(w) }
func (a benchmarkAnswer) VisitListBenchmarksResponse(w http.ResponseWriter) error  { return a.visit(w) }
func (a benchmarkAnswer) VisitGetBenchmarkResponse(w http.ResponseWriter) error    { return a.visit(w) }
func (a benchmarkAnswer) VisitImportBenchmarkResponse(w http.ResponseWriter) error { return a.visit(w) }

// StartBenchmark begins a run in the background. checkToken has let the request
// pass.
func (h handlers) StartBenchmark(ctx context.Context, req api.StartBenchmarkRequestObject) (api.StartBenchmarkResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, info.start.Add(h.deadline))
	defer cancel()
	if h.benchmarks.err != nil {
		return nil, h.benchmarks.err
	}
	plan, models, err := h.plan(ctx, req.Params)
	if err != nil {
		return nil, err
	}
	id, err := h.startRun(plan, models)
	if err != nil {
		return nil, err
	}
	r, err := h.benchmarks.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return benchmarkAnswer{http.StatusAccepted, "/benchmarks/" + id, h.benchmarks.describe(r)}, nil
}

// plan makes the parameters a plan whose models are loaded.
func (h handlers) plan(ctx context.Context, p api.StartBenchmarkParams) (bench.Plan, []*model.Model, error) {
	plan := bench.Plan{
		Scenario: bench.Scenario(value(p.Scenario)), Targets: p.Targets, Threads: cmp.Or(value(p.Threads), h.store.threads),
		Rate: value(p.Rate), BoundMS: value(p.BoundMs), Batch: value(p.Batch), MinDurationMS: value(p.MinDurationMs),
		MinCount: value(p.MinCount), Blocks: value(p.Blocks), Seed: cmp.Or(uint64(value(p.Seed)), rand.Uint64()>>11),
	}.WithDefaults()
	names := p.Models
	if names == nil {
		names = []string{""}
	}
	var err error
	if plan.Targets, err = bench.ResolveTargets(ctx, h.registry, plan.Targets); err != nil {
		return plan, nil, err
	}
	var models []*model.Model
	for _, name := range names {
		e, err := h.store.find(ctx, name)
		if err != nil {
			return plan, nil, err
		}
		m, err := e.ready(ctx)
		if err != nil {
			return plan, nil, err
		}
		plan.Models, models = append(plan.Models, e.name), append(models, m)
	}
	if err := plan.Check(); err != nil {
		return plan, nil, err
	}
	turns := len(plan.Models) * len(plan.Targets)
	if d := time.Duration(plan.MinDurationMS / float64(plan.Blocks) * float64(turns) * float64(time.Millisecond)); d > maxBlock {
		return plan, nil, fmt.Errorf("%w: a block of %d turns lasts %v, at most %v: more blocks, or a shorter duration", bench.ErrPlan, turns, d.Round(time.Millisecond), maxBlock)
	}
	if plan.MinCount > maxBlockCount*plan.Blocks {
		return plan, nil, fmt.Errorf("%w: min_count is %d, at most %d a block", bench.ErrPlan, plan.MinCount, maxBlockCount)
	}
	return plan, models, nil
}

// startRun takes the machine and measures in the background.
func (h handlers) startRun(plan bench.Plan, models []*model.Model) (id string, err error) {
	b := h.benchmarks
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return "", errClosing
	}
	job, err := b.store.Begin(plan)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	w := &observed{id: job.ID, cancel: cancel, done: turns{0, len(plan.Models) * len(plan.Targets) * plan.Blocks}, changed: make(chan struct{})}
	b.current = w
	b.work.Go(func() {
		defer cancel(nil)
		result, err := guard(func() (*bench.Bundle, error) {
			return bench.Run(ctx, plan, models, bench.Options{
				Registry: h.registry, Version: h.version, Progress: w.progress,
				Hold: h.admission.all, Disturbances: h.admission.taken.Load,
			})
		})
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		state := bench.Done
		switch {
		case errors.Is(err, bench.ErrInterrupted):
			state = bench.Interrupted
		case errors.Is(err, context.Canceled):
			state = bench.Cancelled
		case err != nil:
			state = bench.Failed
			b.log.Warn("benchmark failed", zap.String("run", w.id), zap.Error(err))
		}
		// Whoever reads the new state finds that the run is not in progress.
		b.mu.Lock()
		if err := job.End(result, err); err != nil {
			state = bench.Failed
			b.log.Error("benchmark not kept", zap.String("run", w.id), zap.Error(err))
		}
		b.current = nil
		b.mu.Unlock()
		w.end(state)
	})
	return w.id, nil
}

// ListBenchmarks lists what is kept, the newest first.
func (h handlers) ListBenchmarks(ctx context.Context, req api.ListBenchmarksRequestObject) (api.ListBenchmarksResponseObject, error) {
	limit := defaultRuns
	if p := req.Params.Limit; p != nil {
		limit = *p
	}
	if limit < 1 || limit > maxRuns {
		return nil, fmt.Errorf("%w: limit is %d, want 1 to %d", errQuery, limit, maxRuns)
	}
	if h.benchmarks.err != nil {
		return nil, h.benchmarks.err
	}
	records, err := h.benchmarks.store.List(ctx, limit)
	if err != nil {
		return nil, err
	}
	all := []benchmarkJSON{}
	for _, r := range records {
		all = append(all, h.benchmarks.describe(r))
	}
	return benchmarkAnswer{status: http.StatusOK, body: map[string]any{"benchmarks": all}}, nil
}

// find returns what is kept of a run.
func (b *benchmarks) find(ctx context.Context, id string) (bench.Record, error) {
	if b.err != nil {
		return bench.Record{}, b.err
	}
	return b.store.Get(ctx, id)
}

// GetBenchmark describes one run.
func (h handlers) GetBenchmark(ctx context.Context, req api.GetBenchmarkRequestObject) (api.GetBenchmarkResponseObject, error) {
	r, err := h.benchmarks.find(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	return benchmarkAnswer{status: http.StatusOK, body: h.benchmarks.describe(r)}, nil
}

// DeleteBenchmark cancels the run in progress, or removes another. checkToken
// has let the request pass.
func (h handlers) DeleteBenchmark(ctx context.Context, req api.DeleteBenchmarkRequestObject) (api.DeleteBenchmarkResponseObject, error) {
	if h.benchmarks.err != nil {
		return nil, h.benchmarks.err
	}
	if w := h.benchmarks.running(req.Id); w != nil {
		w.cancel(context.Canceled)
		return api.DeleteBenchmark202Response{}, nil
	}
	if err := h.benchmarks.store.Delete(ctx, req.Id); err != nil {
		return nil, err
	}
	return api.DeleteBenchmark204Response{}, nil
}

// ExportBenchmark gives out the bundle of a run that is done.
func (h handlers) ExportBenchmark(ctx context.Context, req api.ExportBenchmarkRequestObject) (api.ExportBenchmarkResponseObject, error) {
	if h.benchmarks.err != nil {
		return nil, h.benchmarks.err
	}
	file, err := h.benchmarks.store.Export(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	return api.ExportBenchmark200ApplicationgzipResponse{
		Body: bytes.NewReader(file), ContentLength: int64(len(file)),
		Headers: api.ExportBenchmark200ResponseHeaders{ContentDisposition: new(fmt.Sprintf("attachment; filename=%q", req.Id+".json.gz"))},
	}, nil
}

// ImportBenchmark keeps a run that was measured elsewhere. checkToken has let
// the request pass.
func (h handlers) ImportBenchmark(ctx context.Context, req api.ImportBenchmarkRequestObject) (api.ImportBenchmarkResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, info.start.Add(h.deadline))
	defer cancel()
	if h.benchmarks.err != nil {
		return nil, h.benchmarks.err
	}
	data, err := readBody(nil, info.body)
	if err != nil {
		return nil, err
	}
	if err := info.body.finish(); err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: send the bundle as the body", errEmptyBody)
	}
	// A bundle is a hundred times its size in memory at worst.
	if err := h.benchmarks.imports.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("waiting for another import: %w", err)
	}
	defer h.benchmarks.imports.Release(1)
	b, err := bench.ReadBundle(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := h.benchmarks.store.Import(b); err != nil {
		return nil, err
	}
	r, err := h.benchmarks.store.Get(ctx, b.ID)
	if err != nil {
		return nil, err
	}
	return benchmarkAnswer{http.StatusCreated, "/benchmarks/" + b.ID, h.benchmarks.describe(r)}, nil
}

// WatchBenchmark streams the events of a run, or the end of one that has ended.
func (h handlers) WatchBenchmark(ctx context.Context, req api.WatchBenchmarkRequestObject) (api.WatchBenchmarkResponseObject, error) {
	seen := value(req.Params.LastEventID)
	if seen < 0 {
		return nil, fmt.Errorf("%w: Last-Event-ID is %d, want 0 or more", errQuery, seen)
	}
	// It is looked up first: a run that ends in between is in the store.
	w := h.benchmarks.running(req.Id)
	r, err := h.benchmarks.find(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	if w == nil {
		w = &observed{state: r.State, changed: make(chan struct{})}
	}
	return eventStream{ctx, w, seen}, nil
}

// eventStream is not generated since it must be flushed event by event.
type eventStream struct {
	ctx  context.Context
	run  *observed
	seen int
}

func (s eventStream) VisitWatchBenchmarkResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	c := http.NewResponseController(w)
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		events, state, changed := s.run.since(s.seen)
		// A connection without deadlines, as in tests, needs no longer one.
		_ = c.SetWriteDeadline(time.Now().Add(keepAlive + writeMargin))
		for _, e := range events {
			s.seen++
			if _, err := fmt.Fprintf(w, "id: %d\nevent: progress\ndata: %s\n\n", s.seen, e); err != nil {
				return nil // the client is gone
			}
		}
		if state != "" {
			_, _ = fmt.Fprintf(w, "event: end\ndata: {\"state\":%q}\n\n", state) // to a client that may be gone
			return nil
		}
		if err := c.Flush(); err != nil {
			return nil
		}
		select {
		case <-changed:
		case <-tick.C:
			_, _ = fmt.Fprint(w, ": still running\n\n") // the flush will tell
		case <-s.ctx.Done():
			return nil
		}
	}
}

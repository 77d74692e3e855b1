package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"edgevit/api"
	"edgevit/bench"
	"edgevit/jobs"
)

const (
	defaultJobs = 100 // of a list
	maxJobs     = 1000

	// keepAlive is how often a stream of events says something, so that whoever
	// is gone is found.
	keepAlive = 15 * time.Second
)

// longJobs are the jobs that are kept and the one in progress.
type longJobs struct {
	log         *zap.Logger
	benchmarks  *bench.Store
	evaluations *evaluationStore
	journals    *journals
	err         error // why there are no stores

	mu      sync.Mutex
	closed  bool
	current *longJob
	work    sync.WaitGroup
}

// openJobs opens the stores in the data folder. A server without them serves
// everything else.
func openJobs(folder string, log *zap.Logger) *longJobs {
	l := &longJobs{log: log}
	if folder == "" {
		l.err = fmt.Errorf("%w: the server was started without a data folder", errNoRuns)
		return l
	}
	var err error
	if l.benchmarks, err = bench.OpenStore(folder); err == nil {
		err = l.openEvaluations(folder)
	}
	if err != nil {
		log.Warn("no benchmarks and evaluations", zap.Error(err))
		l.err = fmt.Errorf("%w: the data folder cannot be used; the server's log says why", errNoRuns)
	}
	return l
}

// stop interrupts the job in progress and takes no further one.
func (l *longJobs) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.current != nil {
		l.current.cancel(jobs.ErrInterrupted)
	}
}

func (l *longJobs) close() {
	l.stop()
	l.work.Wait()
	var err error
	if l.benchmarks != nil {
		err = l.benchmarks.Close()
	}
	if l.evaluations != nil {
		err = errors.Join(err, l.evaluations.Close())
	}
	if err != nil {
		l.log.Error("store of runs not closed", zap.Error(err))
	}
}

// task is a long job as its kind sees it.
type task struct {
	done, total int // steps; done are those of an earlier start
	// begin takes the machine and returns the job's id.
	begin func() (id string, err error)
	// work does the job in the background until its context ends.
	work func(context.Context, *longJob) error
	// end gives the machine back and keeps what came out, or why nothing did.
	end func(cause error) error
}

// start begins a job and returns its id.
func (l *longJobs) start(t task) (id string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return "", errClosing
	}
	if id, err = t.begin(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	j := &longJob{id: id, cancel: cancel, done: api.JobProgress{Done: t.done, Total: t.total}, changed: make(chan struct{})}
	l.current = j
	l.work.Go(func() {
		defer cancel(nil)
		_, err := guard(func() (struct{}, error) { return struct{}{}, t.work(ctx, j) })
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		state := jobs.StateOf(err)
		if state == jobs.Failed {
			l.log.Warn("long job failed", zap.String("run", id), zap.Error(err))
		}
		// Whoever reads the new state finds that the job is not in progress.
		l.mu.Lock()
		if err := t.end(err); err != nil {
			state = jobs.Failed
			l.log.Error("long job not kept", zap.String("run", id), zap.Error(err))
		}
		l.current = nil
		l.mu.Unlock()
		j.end(state)
	})
	return id, nil
}

// running returns the job in progress if it has that id, else nil.
func (l *longJobs) running(id string) *longJob {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil && l.current.id == id {
		return l.current
	}
	return nil
}

// progress says how far the job of that id is, nil where it is not in progress.
func (l *longJobs) progress(id string) *api.JobProgress {
	j := l.running(id)
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	done := j.done
	return &done
}

// longJob is a job in progress with its events so far.
type longJob struct {
	id     string
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	done    api.JobProgress
	events  [][]byte // JSON
	state   jobs.State
	changed chan struct{} // is closed at the next change
}

// progress notes how far the job is, and sends who watches an event.
func (j *longJob) progress(done, total int, event any) {
	text, err := json.Marshal(event)
	if err != nil {
		panic(err) // strings and finite numbers always marshal
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done = api.JobProgress{Done: done, Total: total}
	j.events = append(j.events, text)
	j.change()
}

func (j *longJob) end(state jobs.State) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.state = state
	j.change()
}

// change wakes who waits; the caller holds mu.
func (j *longJob) change() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// since returns the events behind the first n, the state that the job has come
// to, if it has, and what is closed when there is more.
func (j *longJob) since(n int) (events [][]byte, state jobs.State, changed <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.events[min(n, len(j.events)):], j.state, j.changed
}

// listLimit is how many jobs a list is to have.
func listLimit(want *int) (int, error) {
	limit := defaultJobs
	if want != nil {
		limit = *want
	}
	if limit < 1 || limit > maxJobs {
		return 0, fmt.Errorf("%w: limit is %d, want 1 to %d", errQuery, limit, maxJobs)
	}
	return limit, nil
}

// jobAnswer is an answer about a job as JSON.
type jobAnswer struct {
	status   int
	location string
	body     any
}

func (a jobAnswer) visit(w http.ResponseWriter) error {
	text, err := json.Marshal(a.body)
	if err != nil {
		return fmt.Errorf("long job: %w", err)
	}
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, err = w.Write(text)
	return err
}

// remove cancels the job of that id if it is in progress, or else removes it.
func remove[Plan, Summary any](ctx context.Context, l *longJobs, kept *jobs.Store[Plan, Summary], id string) (cancelled bool, err error) {
	// Its kind is the store's.
	if _, err := kept.Get(ctx, id); err != nil {
		return false, err
	}
	if j := l.running(id); j != nil {
		j.cancel(context.Canceled)
		return true, nil
	}
	return false, kept.Delete(ctx, id)
}

// watch streams the events of the job of that id, or the end of one that has
// ended.
func watch[Plan, Summary any](ctx context.Context, l *longJobs, kept *jobs.Store[Plan, Summary], id string, last *int) (s eventStream, err error) {
	seen := value(last)
	if seen < 0 {
		return s, fmt.Errorf("%w: Last-Event-ID is %d, want 0 or more", errQuery, seen)
	}
	// It is looked up first: a job that ends in between is in the store.
	j := l.running(id)
	r, err := kept.Get(ctx, id)
	if err != nil {
		return s, err
	}
	if j == nil {
		j = &longJob{state: r.State, changed: make(chan struct{})}
	}
	return eventStream{ctx, j, seen}, nil
}

// eventStream is not generated since it must be flushed event by event.
type eventStream struct {
	ctx  context.Context
	job  *longJob
	seen int
}

func (s eventStream) visit(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	c := http.NewResponseController(w)
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		events, state, changed := s.job.since(s.seen)
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

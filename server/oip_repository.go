package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/oip"
)

// States of a model in the repository's index.
const (
	stateReady       = "READY"
	stateLoading     = "LOADING"
	stateUnavailable = "UNAVAILABLE"
)

// models lists every model, and what is ready also on every target that can run
// here.
func (p protocol) models(ctx context.Context) []oip.RepositoryModel {
	var targets []string
	for _, s := range p.registry.Probe(ctx) {
		if s.Available {
			targets = append(targets, s.Target.String())
		}
	}
	models := []oip.RepositoryModel{}
	entries, _ := p.store.list()
	for _, e := range entries {
		o := oip.RepositoryModel{Name: e.name, Version: modelVersion, State: stateReady}
		switch e.state() {
		case api.Loading:
			o.State = stateLoading
		case api.Failed:
			o.State, o.Reason = stateUnavailable, clip(e.err.Error(), maxDetail)
		default:
			if p.store.isUnloaded(e) {
				o.State, o.Reason = stateUnavailable, "unloaded"
			}
		}
		models = append(models, o)
		if o.State == stateReady {
			for _, t := range targets {
				o.Name = e.name + "@" + t
				models = append(models, o)
			}
		}
	}
	return models
}

// list is KServe's.
func (p protocol) list(ctx context.Context, _ *http.Request) (any, error) {
	answer := oip.ModelList{Models: []string{}}
	for _, m := range p.models(ctx) {
		answer.Models = append(answer.Models, m.Name)
	}
	return answer, nil
}

func (p protocol) index(ctx context.Context, r *http.Request) (any, error) {
	var request oip.RepositoryIndexRequest
	if err := readJSON(r, &request); err != nil {
		return nil, err
	}
	models := p.models(ctx)
	if request.Ready {
		models = slices.DeleteFunc(models, func(m oip.RepositoryModel) bool { return m.State != stateReady })
	}
	return models, nil
}

// readJSON reads a body that may be empty.
func readJSON(r *http.Request, v any) error {
	b := infoOf(r.Context()).body
	body, err := io.ReadAll(b)
	if err != nil {
		return err
	}
	if err := b.finish(); err != nil {
		return err
	}
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", oip.ErrMessage, err)
	}
	return nil
}

// change is the model that a request would load or unload.
func (p protocol) change(r *http.Request) (served, error) {
	s, err := p.served(r)
	if err == nil && s.named {
		err = fmt.Errorf("%w: %s is a model on a target; load and unload take the model, %s", oip.ErrMessage, clip(s.name, 100), clip(s.model, 100))
	}
	return s, err
}

// load looks at the models folder and answers once the model is warm on the
// default target.
func (p protocol) load(ctx context.Context, r *http.Request) (any, error) {
	s, err := p.change(r)
	if err != nil {
		return nil, err
	}
	var request struct {
		Parameters oip.Parameters `json:"parameters"`
	}
	if err := readJSON(r, &request); err != nil {
		return nil, err
	}
	for name := range request.Parameters {
		if name == "config" || strings.HasPrefix(name, "file:") {
			return nil, fmt.Errorf("%w: parameter %s: a model is loaded as it is in the models folder", oip.ErrMessage, clip(name, 100))
		}
	}
	if err := p.store.load(ctx, s.model); err != nil {
		return nil, err
	}
	return struct{}{}, p.warm(ctx, s)
}

func (p protocol) unload(_ context.Context, r *http.Request) (any, error) {
	s, err := p.change(r)
	if err != nil {
		return nil, err
	}
	var request struct{}
	if err := readJSON(r, &request); err != nil {
		return nil, err
	}
	return struct{}{}, p.store.unload(s.model)
}

// load looks at the folder and waits until the model of that name is loaded.
func (st *store) load(ctx context.Context, name string) error {
	changed, err := st.scan()
	if err != nil {
		return storageError(err)
	}
	st.loadLater(changed)
	i := slices.IndexFunc(changed, func(e *entry) bool { return e.name == name })
	var e *entry
	if i >= 0 {
		e = changed[i]
	} else if e, err = st.find(ctx, name); err != nil {
		return err
	}
	if _, err := e.ready(ctx); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	e.unloaded = false
	return nil
}

// unload closes the sessions of a model as their requests end, and refuses new
// ones until it is loaded again or its file changes.
func (st *store) unload(name string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	e := st.entries[name]
	switch {
	case st.closed:
		return errClosing
	case e == nil:
		return fmt.Errorf("%w %q; there are %s", errUnknownModel, clip(name, 100), st.names())
	}
	e.unloaded = true
	for t, s := range e.sessions {
		delete(e.sessions, t)
		s.retired = true
		st.closeUnused(s)
	}
	return nil
}

func (st *store) isUnloaded(e *entry) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return e.unloaded
}

func (e *entry) errUnloaded() error {
	return fmt.Errorf("%w: model %s was unloaded; POST /v2/repository/models/%s/load brings it back", errNotReady, e.name, e.name)
}

// statistics are the counts of a model on a target. They may be used
// concurrently.
type statistics struct {
	mu      sync.Mutex
	stats   oip.ModelStats
	batches map[int]*oip.BatchStats
}

// statistics are those of an entry on a target.
func (st *store) statistics(e *entry, t backend.Target) *statistics {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := e.statistics[t]
	if s == nil {
		s = &statistics{batches: map[int]*oip.BatchStats{}}
		e.statistics[t] = s
	}
	return s
}

// allStatistics are those of every model on every target that it was asked for
// on.
func (st *store) allStatistics() []oip.ModelStats {
	st.mu.Lock()
	defer st.mu.Unlock()
	all := []oip.ModelStats{}
	for _, e := range st.entries {
		for t, s := range e.statistics {
			all = append(all, s.report(e.name+"@"+t.String()))
		}
	}
	slices.SortFunc(all, func(a, b oip.ModelStats) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (s *statistics) record(r *inferRun, total time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.LastInference = time.Now().UnixMilli()
	sum := &s.stats.InferenceStats
	if err != nil {
		add(&sum.Fail, total)
		return
	}
	s.stats.InferenceCount += int64(r.images)
	s.stats.ExecutionCount++
	b := s.batches[r.images]
	if b == nil {
		b = &oip.BatchStats{BatchSize: int64(r.images)}
		s.batches[r.images] = b
	}
	add(&sum.Success, total)
	add(&sum.Queue, duration(r.queueMs))
	for _, d := range []struct {
		all, batch *oip.Duration
		time       time.Duration
	}{
		{&sum.ComputeInput, &b.ComputeInput, duration(r.decodeMs + r.preprocessMs)},
		{&sum.ComputeInfer, &b.ComputeInfer, duration(r.inferenceMs)},
		{&sum.ComputeOutput, &b.ComputeOutput, r.output},
	} {
		add(d.all, d.time)
		add(d.batch, d.time)
	}
}

func duration(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func add(d *oip.Duration, time time.Duration) {
	d.Count++
	d.NS += time.Nanoseconds()
}

func (s *statistics) report(name string) oip.ModelStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.stats
	r.Name, r.Version, r.BatchStats = name, modelVersion, []oip.BatchStats{}
	for _, b := range s.batches {
		r.BatchStats = append(r.BatchStats, *b)
	}
	slices.SortFunc(r.BatchStats, func(a, b oip.BatchStats) int { return int(a.BatchSize - b.BatchSize) })
	return r
}

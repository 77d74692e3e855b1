package server

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"edgevit/api"
	"edgevit/bench"
	"edgevit/model"
)

const (
	// maxBlock is how long a block may last, in which no request is answered.
	maxBlock = 5 * time.Second
	// maxBlockCount is the most queries that every turn of a block must have.
	maxBlockCount = 100
)

// benchmarkJSON is api.Benchmark, made of what bench keeps in the same form.
type benchmarkJSON struct {
	bench.Record
	Progress *api.JobProgress `json:"progress,omitempty"`
}

func (h handlers) benchmark(r bench.Record) benchmarkJSON {
	return benchmarkJSON{r, h.jobs.progress(r.ID)}
}

func (a jobAnswer) VisitStartBenchmarkResponse(w http.ResponseWriter) error  { return a.visit(w) }
func (a jobAnswer) VisitListBenchmarksResponse(w http.ResponseWriter) error  { return a.visit(w) }
func (a jobAnswer) VisitGetBenchmarkResponse(w http.ResponseWriter) error    { return a.visit(w) }
func (a jobAnswer) VisitImportBenchmarkResponse(w http.ResponseWriter) error { return a.visit(w) }

// StartBenchmark begins a run in the background. checkToken has let the request
// pass.
func (h handlers) StartBenchmark(ctx context.Context, req api.StartBenchmarkRequestObject) (api.StartBenchmarkResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, info.start.Add(h.deadline))
	defer cancel()
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	plan, models, err := h.plan(ctx, req.Params)
	if err != nil {
		return nil, err
	}
	id, err := h.startBenchmark(plan, models)
	if err != nil {
		return nil, err
	}
	r, err := h.jobs.benchmarks.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return jobAnswer{http.StatusAccepted, "/benchmarks/" + id, h.benchmark(r)}, nil
}

// plan makes the parameters a plan whose models are loaded.
func (h handlers) plan(ctx context.Context, p api.StartBenchmarkParams) (bench.Plan, []*model.Model, error) {
	plan := bench.Plan{
		Scenario: bench.Scenario(value(p.Scenario)), Targets: p.Targets, Threads: cmp.Or(value(p.Threads), h.store.threads),
		Rate: value(p.Rate), BoundMS: value(p.BoundMs), Batch: value(p.Batch), MinDurationMS: value(p.MinDurationMs),
		MinCount: value(p.MinCount), Blocks: value(p.Blocks), Seed: cmp.Or(uint64(value(p.Seed)), rand.Uint64()>>11),
	}.WithDefaults()
	// A field of the plan that is 0 has its default; a parameter that is 0 is wrong.
	for name, v := range map[string]*int{"threads": p.Threads, "batch": p.Batch, "min_count": p.MinCount, "blocks": p.Blocks} {
		if v != nil && *v < 1 {
			return plan, nil, fmt.Errorf("%w: %s is %d, want 1 or more", bench.ErrPlan, name, *v)
		}
	}
	if p.Seed != nil && *p.Seed < 1 {
		return plan, nil, fmt.Errorf("%w: seed is %d, want 1 or more", bench.ErrPlan, *p.Seed)
	}
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

// startBenchmark takes the machine and measures in the background.
func (h handlers) startBenchmark(plan bench.Plan, models []*model.Model) (id string, err error) {
	var job *bench.Job
	var result *bench.Bundle
	return h.jobs.start(task{
		total: len(plan.Models) * len(plan.Targets) * plan.Blocks,
		begin: func() (id string, err error) {
			if job, err = h.jobs.benchmarks.Begin(plan); err != nil {
				return "", err
			}
			return job.ID, nil
		},
		work: func(ctx context.Context, j *longJob) (err error) {
			result, err = bench.Run(ctx, plan, models, bench.Options{
				Registry: h.registry, Version: h.version,
				Progress: func(p bench.Progress) { j.progress(p.Done, p.Total, p) },
				Hold:     h.admission.all, Disturbances: h.admission.taken.Load,
			})
			return err
		},
		end: func(cause error) error { return job.End(result, cause) },
	})
}

// ListBenchmarks lists what is kept, the newest first.
func (h handlers) ListBenchmarks(ctx context.Context, req api.ListBenchmarksRequestObject) (api.ListBenchmarksResponseObject, error) {
	limit, err := listLimit(req.Params.Limit)
	if err != nil {
		return nil, err
	}
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	records, err := h.jobs.benchmarks.List(ctx, limit)
	if err != nil {
		return nil, err
	}
	all := []benchmarkJSON{}
	for _, r := range records {
		all = append(all, h.benchmark(r))
	}
	return jobAnswer{status: http.StatusOK, body: map[string]any{"benchmarks": all}}, nil
}

// GetBenchmark describes one run.
func (h handlers) GetBenchmark(ctx context.Context, req api.GetBenchmarkRequestObject) (api.GetBenchmarkResponseObject, error) {
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	r, err := h.jobs.benchmarks.Get(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	return jobAnswer{status: http.StatusOK, body: h.benchmark(r)}, nil
}

// DeleteBenchmark cancels the run in progress, or removes another. checkToken
// has let the request pass.
func (h handlers) DeleteBenchmark(ctx context.Context, req api.DeleteBenchmarkRequestObject) (api.DeleteBenchmarkResponseObject, error) {
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	cancelled, err := remove(ctx, h.jobs, h.jobs.benchmarks.Store, req.Id)
	if err != nil {
		return nil, err
	}
	if cancelled {
		return api.DeleteBenchmark202Response{}, nil
	}
	return api.DeleteBenchmark204Response{}, nil
}

// ExportBenchmark gives out the bundle of a run that is done.
func (h handlers) ExportBenchmark(ctx context.Context, req api.ExportBenchmarkRequestObject) (api.ExportBenchmarkResponseObject, error) {
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	file, err := h.jobs.benchmarks.File(ctx, req.Id)
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
	if h.jobs.err != nil {
		return nil, h.jobs.err
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
	if err := h.imports.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("waiting for another import: %w", err)
	}
	defer h.imports.Release(1)
	b, err := bench.ReadBundle(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	if err := h.jobs.benchmarks.Import(b); err != nil {
		return nil, err
	}
	r, err := h.jobs.benchmarks.Get(ctx, b.ID)
	if err != nil {
		return nil, err
	}
	return jobAnswer{http.StatusCreated, "/benchmarks/" + b.ID, h.benchmark(r)}, nil
}

// WatchBenchmark streams the events of a run, or the end of one that has ended.
func (h handlers) WatchBenchmark(ctx context.Context, req api.WatchBenchmarkRequestObject) (api.WatchBenchmarkResponseObject, error) {
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	s, err := watch(ctx, h.jobs, h.jobs.benchmarks.Store, req.Id, req.Params.LastEventID)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s eventStream) VisitWatchBenchmarkResponse(w http.ResponseWriter) error { return s.visit(w) }

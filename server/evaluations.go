package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/bench"
	"edgevit/eval"
	"edgevit/jobs"
	"edgevit/model"
	"edgevit/preprocess"
)

const (
	// maxSteps bounds the events of an evaluation, which may have many images.
	maxSteps = 500
	// setDecodeTime is how long an image of a data set may take to decode: the
	// operator's are not a stranger's.
	setDecodeTime = time.Minute
)

// What is kept of evaluations; the file of one is its report as JSON.
type (
	evaluationSummary = api.EvaluationSummary
	evaluationStore   = jobs.Store[evaluationPlan, evaluationSummary]
	evaluationRecord  = jobs.Record[evaluationPlan, evaluationSummary]
	evaluationJob     = jobs.Job[evaluationPlan, evaluationSummary]
)

// evaluationPlan is a plan with what must not have changed for the evaluation to
// be resumed.
type evaluationPlan struct {
	api.EvaluationPlan
	ModelHash string `json:"model_hash"`
	DataHash  string `json:"data_hash"`
	Images    int    `json:"images"`
}

func (h handlers) evaluation(r evaluationRecord) api.Evaluation {
	return api.Evaluation{
		Id: r.ID, Created: r.Created, State: api.JobState(r.State), Error: optional(r.Error),
		Plan: r.Plan.EvaluationPlan, Progress: h.evaluationProgress(r), Summary: r.Summary,
	}
}

// evaluationProgress says how far an evaluation is, or was when it ended before
// it was done; nil where nothing of it is kept.
func (h handlers) evaluationProgress(r evaluationRecord) *api.JobProgress {
	if r.State == jobs.Running {
		return h.jobs.progress(r.ID)
	}
	if r.State == jobs.Done {
		return nil
	}
	n, ok := h.jobs.journals.images(r.ID)
	if !ok {
		return nil
	}
	return &api.JobProgress{Done: n, Total: r.Plan.Images}
}

// StartEvaluation begins an evaluation in the background. checkToken has let the
// request pass.
func (h handlers) StartEvaluation(ctx context.Context, req api.StartEvaluationRequestObject) (api.StartEvaluationResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, info.start.Add(h.deadline))
	defer cancel()
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	plan, m, set, err := h.evaluationPlan(ctx, req.Params)
	if err != nil {
		return nil, err
	}
	id, err := h.startEvaluation(plan, m, set, 0, func() (*evaluationJob, error) { return h.jobs.evaluations.Begin(bench.OriginAPI, plan) })
	if err != nil {
		return nil, err
	}
	r, err := h.jobs.evaluations.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return api.StartEvaluation202JSONResponse{
		Body: h.evaluation(r), Headers: api.StartEvaluation202ResponseHeaders{Location: new("/evaluations/" + id)},
	}, nil
}

// ResumeEvaluation goes on with an evaluation that has ended before it was done,
// in the background. checkToken has let the request pass.
func (h handlers) ResumeEvaluation(ctx context.Context, req api.ResumeEvaluationRequestObject) (api.ResumeEvaluationResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, info.start.Add(h.deadline))
	defer cancel()
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	r, err := h.jobs.evaluations.Get(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	plan, m, set, err := h.resumable(ctx, r)
	if err != nil {
		return nil, err
	}
	kept, _ := h.jobs.journals.images(r.ID)
	if _, err := h.startEvaluation(plan, m, set, kept, func() (*evaluationJob, error) { return h.jobs.evaluations.Resume(ctx, r.ID) }); err != nil {
		return nil, err
	}
	if r, err = h.jobs.evaluations.Get(ctx, r.ID); err != nil {
		return nil, err
	}
	return api.ResumeEvaluation202JSONResponse(h.evaluation(r)), nil
}

// resumable is what an evaluation goes on with. The error is jobs.ErrBusy where
// it runs, errNotResumable where it is done, nothing of it is kept, or it would
// be another one, or that of a plan that can no longer be carried out.
func (h handlers) resumable(ctx context.Context, r evaluationRecord) (plan evaluationPlan, m *model.Model, set eval.Set, err error) {
	switch _, kept := h.jobs.journals.images(r.ID); {
	case r.State == jobs.Running:
		return plan, nil, set, jobs.ErrBusy
	case r.State == jobs.Done:
		return plan, nil, set, fmt.Errorf("%w: it is done", errNotResumable)
	case !kept:
		return plan, nil, set, fmt.Errorf("%w: nothing of it is kept", errNotResumable)
	}
	p := r.Plan
	plan, m, set, err = h.evaluationPlan(ctx, api.StartEvaluationParams{
		DataSet: p.DataSet, Model: &p.Model, Targets: p.Targets, Preprocess: p.Preprocess, Threads: &p.Threads, Limit: p.Limit,
	})
	switch {
	case errors.Is(err, errQuery): // the request has no such parameters
		return plan, nil, set, fmt.Errorf("%w: %s", errNotResumable, strings.TrimPrefix(err.Error(), errQuery.Error()+": "))
	case err != nil:
		return plan, nil, set, err
	case plan.ModelHash != p.ModelHash:
		return plan, nil, set, fmt.Errorf("%w: the model %s is no longer the one that it began with", errNotResumable, p.Model)
	case plan.DataHash != p.DataHash:
		return plan, nil, set, fmt.Errorf("%w: images of the data set %s have changed since it began", errNotResumable, p.DataSet)
	}
	return plan, m, set, nil
}

// evaluationPlan makes the parameters a plan, with its model and images.
func (h handlers) evaluationPlan(ctx context.Context, p api.StartEvaluationParams) (plan evaluationPlan, m *model.Model, set eval.Set, err error) {
	plan.EvaluationPlan = api.EvaluationPlan{DataSet: p.DataSet, Threads: min(cmp.Or(h.store.threads, backend.DefaultThreads()), h.admission.size), Limit: p.Limit}
	if p.Threads != nil {
		plan.Threads = *p.Threads
	}
	if plan.Threads < 1 || plan.Threads > h.admission.size {
		return plan, nil, set, fmt.Errorf("%w: threads is %d, want 1 to %d", errQuery, plan.Threads, h.admission.size)
	}
	if p.Limit != nil && *p.Limit < 1 {
		return plan, nil, set, fmt.Errorf("%w: limit is %d, want 1 or more", errQuery, *p.Limit)
	}
	if _, err = h.dataSets.path(p.DataSet); err != nil {
		return plan, nil, set, err
	}
	e, err := h.store.find(ctx, value(p.Model))
	if err != nil {
		return plan, nil, set, err
	}
	plan.Model = e.name
	if m, err = e.ready(ctx); err != nil {
		return plan, nil, set, err
	}
	if plan.Targets, err = bench.ResolveTargets(ctx, h.registry, p.Targets); err != nil {
		return plan, nil, set, err
	}
	for i, t := range plan.Targets {
		if slices.Contains(plan.Targets[:i], t) {
			return plan, nil, set, fmt.Errorf("%w: target %s is named twice", errQuery, t)
		}
	}
	variants, err := eval.Variants(p.Preprocess, m.Preprocess)
	if err != nil {
		return plan, nil, set, fmt.Errorf("%w: %w", errQuery, err)
	}
	for _, v := range variants {
		plan.Preprocess = append(plan.Preprocess, v.Name)
	}
	if set, err = h.dataSets.open(p.DataSet, m); err != nil {
		return plan, nil, set, err
	}
	if p.Limit != nil {
		set = set.Spread(*p.Limit)
	}
	plan.ModelHash, plan.DataHash, plan.Images = m.Hash, dataHash(set), len(set.Images)
	return plan, m, set, nil
}

// startEvaluation takes the machine by begin and evaluates in the background,
// from where the evaluation's journal ends, which holds kept images. The model runs in sessions of its
// own, since threads may be others than those that serve.
func (h handlers) startEvaluation(plan evaluationPlan, m *model.Model, set eval.Set, kept int, begin func() (*evaluationJob, error)) (id string, err error) {
	var job *evaluationJob
	var report *eval.Report
	set.Data = "/" + plan.DataSet // for its journal, whatever the current folder is
	return h.jobs.start(task{
		done: kept, total: len(set.Images),
		begin: func() (id string, err error) {
			if job, err = begin(); err != nil {
				return "", err
			}
			h.jobs.tidyJournals()
			return job.ID, nil
		},
		work: func(ctx context.Context, j *longJob) (err error) {
			limits := h.limits
			limits.DecodeTime = setDecodeTime
			step := 0
			report, err = eval.Run(ctx, m, set, eval.Options{
				Registry: h.registry, Targets: plan.Targets, Preprocess: plan.Preprocess, Threads: plan.Threads, Limits: limits,
				Progress: func(done, total int) {
					if next := done * min(total, maxSteps) / total; next > step {
						step = next
						j.progress(done, total, api.JobProgress{Done: done, Total: total})
					}
				},
				Journal: h.jobs.journals.path(job.ID), JournalBytes: journalBytes,
				Hold: h.admission.some, Disturbances: h.admission.taken.Load,
			})
			return h.jobs.journals.hidePath(job.ID, err)
		},
		end: func(cause error) error {
			if cause != nil {
				return job.Fail(cause)
			}
			report.Model, report.Data = plan.Model, plan.DataSet // as they are served
			file, err := json.Marshal(report)
			if err != nil {
				return errors.Join(err, job.Fail(err))
			}
			if err := job.Done(plan, summaryOf(report), file); err != nil {
				return err
			}
			return h.jobs.journals.remove(job.ID)
		},
	})
}

func summaryOf(r *eval.Report) api.EvaluationSummary {
	s := api.EvaluationSummary{Images: r.Images, Evaluated: r.Evaluated, Misclassified: len(r.Misclassified), Targets: []api.TargetAccuracy{}}
	for _, t := range r.Preprocess[0].Targets {
		s.Targets = append(s.Targets, api.TargetAccuracy{Target: t.Target, Top1: api.Proportion(t.Top1), Top5: api.Proportion(t.Top5)})
	}
	return s
}

// ListEvaluations lists what is kept, the newest first.
func (h handlers) ListEvaluations(ctx context.Context, req api.ListEvaluationsRequestObject) (api.ListEvaluationsResponseObject, error) {
	limit, err := listLimit(req.Params.Limit)
	if err != nil {
		return nil, err
	}
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	records, err := h.jobs.evaluations.List(ctx, limit)
	if err != nil {
		return nil, err
	}
	list := api.ListEvaluations200JSONResponse{Evaluations: []api.Evaluation{}}
	for _, r := range records {
		list.Evaluations = append(list.Evaluations, h.evaluation(r))
	}
	return list, nil
}

// GetEvaluation describes one evaluation.
func (h handlers) GetEvaluation(ctx context.Context, req api.GetEvaluationRequestObject) (api.GetEvaluationResponseObject, error) {
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	r, err := h.jobs.evaluations.Get(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	return api.GetEvaluation200JSONResponse(h.evaluation(r)), nil
}

// DeleteEvaluation cancels the evaluation in progress, or removes another.
// checkToken has let the request pass.
func (h handlers) DeleteEvaluation(ctx context.Context, req api.DeleteEvaluationRequestObject) (api.DeleteEvaluationResponseObject, error) {
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	cancelled, err := remove(ctx, h.jobs, h.jobs.evaluations, req.Id)
	if err != nil {
		return nil, err
	}
	if cancelled {
		return api.DeleteEvaluation202Response{}, nil
	}
	if err := h.jobs.journals.remove(req.Id); err != nil {
		return nil, err
	}
	return api.DeleteEvaluation204Response{}, nil
}

// WatchEvaluation streams the events of an evaluation, or the end of one that
// has ended.
func (h handlers) WatchEvaluation(ctx context.Context, req api.WatchEvaluationRequestObject) (api.WatchEvaluationResponseObject, error) {
	if h.jobs.err != nil {
		return nil, h.jobs.err
	}
	s, err := watch(ctx, h.jobs, h.jobs.evaluations, req.Id, req.Params.LastEventID)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s eventStream) VisitWatchEvaluationResponse(w http.ResponseWriter) error { return s.visit(w) }

// report reads what is kept of an evaluation that is done. The error is
// jobs.ErrNotFound, or errNoReport where it is not done.
func (h handlers) report(ctx context.Context, id string) (file []byte, r *eval.Report, err error) {
	if h.jobs.err != nil {
		return nil, nil, h.jobs.err
	}
	record, err := h.jobs.evaluations.Get(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if record.State != jobs.Done {
		return nil, nil, h.noReport(record)
	}
	if file, err = h.jobs.evaluations.File(ctx, id); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(file, &r); err != nil {
		return nil, nil, fmt.Errorf("report of %s: %w", id, err)
	}
	return file, r, nil
}

// noReport says what an evaluation that is not done has come to.
func (h handlers) noReport(r evaluationRecord) error {
	p := h.evaluationProgress(r)
	what, after, then := "was "+string(r.State), "", "; nothing of it is kept, start another"
	if r.State == jobs.Failed {
		what = "failed"
	}
	if p != nil {
		after, then = fmt.Sprintf(" after %d of %d images", p.Done, p.Total), "; resume it"
	}
	if r.State == jobs.Running {
		what, then = "is running", "; wait for its end"
	}
	return fmt.Errorf("%w: the evaluation %s%s%s", errNoReport, what, after, then)
}

// GetEvaluationReport gives out the report of an evaluation that is done.
func (h handlers) GetEvaluationReport(ctx context.Context, req api.GetEvaluationReportRequestObject) (api.GetEvaluationReportResponseObject, error) {
	format := cmp.Or(value(req.Params.Format), "json")
	if format != "json" && format != "html" {
		return nil, fmt.Errorf("%w: format is %q, want json or html", errQuery, clip(format, 100))
	}
	file, r, err := h.report(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	if format == "html" {
		return reportPage{r}, nil
	}
	return reportJSON(file), nil
}

// reportJSON is a report as it is kept.
type reportJSON []byte

func (r reportJSON) VisitGetEvaluationReportResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := w.Write(r)
	return err
}

// reportPolicy lets a report's page have the style that is in it, which is not
// that of the other pages, and nothing else.
const reportPolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

// reportPage is a report as a page.
type reportPage struct{ *eval.Report }

func (r reportPage) VisitGetEvaluationReportResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Security-Policy", reportPolicy)
	return r.WriteHTML(w)
}

// GetEvaluationImage gives out a misclassified image if it still is what was
// evaluated. checkToken has let the request pass.
func (h handlers) GetEvaluationImage(ctx context.Context, req api.GetEvaluationImageRequestObject) (api.GetEvaluationImageResponseObject, error) {
	_, r, err := h.report(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	if req.N < 0 || req.N >= len(r.Misclassified) {
		return nil, fmt.Errorf("%w: image %d of %d misclassified ones, counted from 0", errNotFound, req.N, len(r.Misclassified))
	}
	image := r.Misclassified[req.N]
	path, err := h.dataSets.path(r.Data)
	if err != nil {
		return nil, err
	}
	data, err := eval.ReadImage(path, image.Path, h.limits.Bytes)
	if errors.Is(err, preprocess.ErrTooLarge) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errImageGone, image.Path, err)
	}
	format, supported := preprocess.Sniff(data)
	if !supported || eval.Sum(data) != image.SHA256 {
		return nil, fmt.Errorf("%w: %s is no longer the file that was evaluated", errImageChanged, image.Path)
	}
	return imageFile{"image/" + format, data}, nil
}

// imageFile is an image as it lies in its data set.
type imageFile struct {
	media string
	data  []byte
}

func (f imageFile) VisitGetEvaluationImageResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", f.media)
	_, err := w.Write(f.data)
	return err
}

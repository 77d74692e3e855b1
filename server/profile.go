package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/bench"
)

const (
	defaultProfileRuns = 20
	maxProfileRuns     = 200
	// profileProbe is how long the peak is probed, before and after.
	profileProbe = 50 * time.Millisecond
)

// ProfileModel answers where the time of a run goes. It holds the CPU tokens of
// one run for all of its runs.
func (h handlers) ProfileModel(ctx context.Context, req api.ProfileModelRequestObject) (api.ProfileModelResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, info.start.Add(h.deadline))
	defer cancel()
	runs := defaultProfileRuns
	if r := req.Params.Runs; r != nil {
		runs = *r
	}
	if runs < 1 || runs > maxProfileRuns {
		return nil, fmt.Errorf("%w: runs is %d, want 1 to %d", errQuery, runs, maxProfileRuns)
	}
	target, err := h.resolve(req.Params.Target)
	if err != nil {
		return nil, err
	}
	session, err := h.store.acquire(ctx, req.Name, target)
	if err != nil {
		return nil, err
	}
	defer h.store.release(session)
	info.model, info.target = session.entry.name, target.String()
	if err := h.admission.check(ctx, &h.admission.measured); err != nil {
		return nil, err
	}
	classifier, err := session.wait(ctx)
	if err != nil {
		return nil, err
	}
	release, err := h.admission.acquire(ctx, &h.admission.measured, classifier.Threads())
	if err != nil {
		return nil, err
	}
	defer release()
	p, err := bench.ProfileOf(ctx, classifier, runs, profileProbe)
	if errors.Is(err, backend.ErrUnsupported) {
		err = fmt.Errorf("%w: %s does not tell its steps", errNoProfiles, target)
	}
	if err != nil {
		return nil, err
	}
	answer := api.ProfileModel200JSONResponse{
		Model: session.entry.name, Target: p.Target, Threads: p.Threads, Runs: p.Runs,
		TotalMs: p.TotalMS, Gflops: p.GFLOPS, Provider: p.Provider, Steps: []api.ProfileStep{}, Findings: []api.Finding{},
		Peak: api.Peak{Precision: p.Peak.Precision, Instructions: p.Peak.Instructions, OneCore: p.Peak.OneCore, Cores: p.Peak.Cores, AllCores: p.Peak.AllCores},
	}
	for _, f := range p.Findings {
		answer.Findings = append(answer.Findings, api.Finding{Rule: f.Rule, Text: f.Text, Invalid: f.Invalid})
	}
	for _, s := range p.Steps {
		answer.Steps = append(answer.Steps, api.ProfileStep{
			Nodes: s.Nodes, Ms: s.MS, Share: s.Share, Macs: s.MACs, Gflops: s.GFLOPS, ShareOfPeak: s.ShareOfPeak,
		})
	}
	return answer, nil
}

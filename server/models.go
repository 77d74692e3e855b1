package server

import (
	"context"
	"errors"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/model"
)

// ListModels describes every model without its labels.
func (h handlers) ListModels(context.Context, api.ListModelsRequestObject) (api.ListModelsResponseObject, error) {
	entries, defaultName := h.store.list()
	answer := api.ListModels200JSONResponse{Default: optional(defaultName), Models: []api.Model{}}
	for _, e := range entries {
		m := h.describe(e)
		m.Labels = nil
		answer.Models = append(answer.Models, m)
	}
	return answer, nil
}

// GetModel describes one model.
func (h handlers) GetModel(ctx context.Context, req api.GetModelRequestObject) (api.GetModelResponseObject, error) {
	e, err := h.store.find(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	infoOf(ctx).model = e.name
	return api.GetModel200JSONResponse(h.describe(e)), nil
}

func (h handlers) describe(e *entry) api.Model {
	_, isRandom := model.IsRandom(e.name)
	a := api.Model{
		Name: e.name, State: e.state(), Default: h.store.isDefault(e),
		File: optional(e.file), Untrained: isRandom,
	}
	switch a.State {
	case api.Loading:
		return a
	case api.Failed:
		a.Findings = []string{e.err.Error()}
		var invalid *invalidModel
		if errors.As(e.err, &invalid) {
			a.Findings = invalid.findings
		}
		return a
	}
	m := e.model
	a.Format = optional(m.Format)
	a.Hash = optional(m.Hash)
	a.Classes = new(m.Graph.Classes())
	a.Parameters = new(int64(m.Parameters()))
	a.Macs = new(m.MACs())
	a.WeightBytes = new(m.WeightBytes())
	a.Untrained = m.Untrained
	a.Labels = m.Labels
	a.Notes = m.Notes
	a.Config = describeConfig(m.Config)
	a.Preprocess = &api.Preprocess{
		Size: m.Preprocess.Size, Resize: m.Preprocess.Resize, CropRatio: m.Preprocess.CropRatio,
		Filter: m.Preprocess.Filter, Mean: m.Preprocess.Mean[:], Std: m.Preprocess.Std[:],
	}
	for _, s := range h.store.openSessions(e) {
		d := s.classifier.Describe()
		h.store.release(s)
		a.Sessions = append(a.Sessions, api.Session{
			Target: s.target.String(), Threads: d.Threads, Provider: optional(d.Provider),
			Nodes: optional(d.Nodes), DelegatedNodes: optional(d.DelegatedNodes), LibraryVersion: optional(d.LibraryVersion),
			WeightBytes: optional(d.WeightBytes), ArenaBytes: optional(d.ArenaBytes), WorkerPid: optional(d.WorkerPID),
		})
	}
	return a
}

func (e *entry) state() api.ModelState {
	select {
	case <-e.loaded:
		if e.err != nil {
			return api.Failed
		}
		return api.Ready
	default:
		return api.Loading
	}
}

func describeConfig(c model.Config) *api.ModelConfig {
	return &api.ModelConfig{
		Layout: c.Layout, InputSize: c.InputSize, Classes: c.Classes,
		Depths: c.Depths[:], Dims: c.Dims[:], Heads: c.Heads[:],
		SampleRates: c.SampleRates[:], PatchSizes: c.PatchSizes[:], MlpHidden: c.MLPHidden[:],
		BlockLayerNormEps: c.BlockLayerNormEps, LayerNormEps: c.LayerNormEps, BatchNormEps: c.BatchNormEps,
		HeadBias: c.HeadBias, QkvBias: c.QKVBias, ConvBias: c.ConvBias,
		LocalAggKernel: c.LocalAggKernel, LocalAggMidNorm: c.LocalAggMidNorm, EveryStage: c.EveryStage,
		GroupNorm: c.GroupNorm, NoPreNorm: c.NoPreNorm, UnscaledAttention: c.UnscaledAttention,
	}
}

// ListBackends asks every backend what can run here.
func (h handlers) ListBackends(ctx context.Context, _ api.ListBackendsRequestObject) (api.ListBackendsResponseObject, error) {
	answer := api.ListBackends200JSONResponse{Default: h.store.target.String(), Targets: []api.Target{}}
	workers := h.registry.Workers()
	for _, s := range h.registry.Probe(ctx) {
		answer.Targets = append(answer.Targets, api.Target{
			Workers: describeWorkers(workers, s.Target),
			Target:  s.Target.String(), Backend: s.Target.Backend,
			Device: optional(s.Target.Device), Precision: optional(s.Target.Precision),
			Available: s.Available, Reason: optional(s.Reason), Default: s.Target == h.store.target,
		})
	}
	return answer, nil
}

func describeWorkers(all map[backend.Target]backend.Workers, t backend.Target) *api.Workers {
	w, ok := all[t]
	if !ok {
		return nil
	}
	a := &api.Workers{Running: w.Running, Restarting: w.Restarting, Restarts: w.Restarts}
	if w.Restarting > 0 {
		a.RestartInMs = new(ms(w.RestartIn))
	}
	return a
}

// Livez answers as long as the process does.
func (h handlers) Livez(context.Context, api.LivezRequestObject) (api.LivezResponseObject, error) {
	return api.Livez200JSONResponse{Status: api.Ok}, nil
}

// Readyz says whether the server should get requests.
func (h handlers) Readyz(context.Context, api.ReadyzRequestObject) (api.ReadyzResponseObject, error) {
	if h.draining.Load() {
		return nil, errClosing
	}
	name, err := h.store.readiness()
	if err != nil {
		return nil, err
	}
	return api.Readyz200JSONResponse{Status: api.Ok, Model: optional(name), Target: optional(h.store.target.String())}, nil
}

package server

import (
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/model"
	"edgevit/oip"
)

// protocol answers the Open Inference Protocol v2 under /v2. A model on a target
// other than the default one is also a model of the protocol's, MODEL@TARGET.
// oip.go describes models, oip_infer.go runs them, oip_repository.go lists, loads
// and unloads them.
type protocol struct{ handlers }

const (
	protocolPath = "/v2"
	modelVersion = "1" // the only one of every model

	imageInput          = "image"
	logitsOutput        = "logits"
	probabilitiesOutput = "probabilities"

	// maxBatch bounds the images of one request; a body's length may bound them
	// further.
	maxBatch = 32
	// maxBatchHeader is what a request may have beside the tensors of a full batch.
	maxBatchHeader = 4 << 10
)

// isProtocol says whether an answer has the protocol's form.
func isProtocol(r *http.Request) bool {
	return r.URL.Path == protocolPath || strings.HasPrefix(r.URL.Path, protocolPath+"/")
}

// protocolRoutes are not in openapi.yaml: the protocol has its own
// specification.
func (s *Server) protocolRoutes(r chi.Router) {
	p := protocol{handlers{s}}
	r.Group(func(r chi.Router) {
		r.Use(compressAnswers())
		r.Get("/v2", s.answer(p.server))
		r.Get("/v2/health/live", s.answer(p.live))
		r.Get("/v2/health/ready", s.answer(p.ready))
		r.Get("/v2/models", s.answer(p.list))
		r.Get("/v2/models/stats", s.answer(p.allStatistics))
		for _, path := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
			r.Get(path, s.answer(p.metadata))
			r.Get(path+"/ready", s.answer(p.modelReady))
			r.Get(path+"/config", s.answer(p.config))
			r.Get(path+"/stats", s.answer(p.modelStatistics))
			r.With(s.prepareBody).Post(path+"/infer", p.infer)
		}
		r.With(s.prepareBody).Post("/v2/repository/index", s.answer(p.index))
		guarded := r.With(s.checkToken, s.prepareBody) // which guards what is not in the contract
		guarded.Post("/v2/repository/models/{model}/load", s.answer(p.load))
		guarded.Post("/v2/repository/models/{model}/unload", s.answer(p.unload))
	})
}

// compressAnswers packs an answer where the request's Accept-Encoding asks for
// it. Its deflate is zlib's format, as RFC 9110 has it.
func compressAnswers() func(http.Handler) http.Handler {
	c := middleware.NewCompressor(gzip.BestSpeed, "application/json", octetStream)
	c.SetEncoder("deflate", func(w io.Writer, level int) io.Writer {
		z, err := zlib.NewWriterLevel(w, level)
		if err != nil {
			panic(err) // the level is one of zlib's
		}
		return z
	})
	return c.Handler
}

// answer makes a handler of what returns a JSON answer.
func (s *Server) answer(handle func(context.Context, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithDeadline(r.Context(), infoOf(r.Context()).start.Add(s.deadline))
		defer cancel()
		answer, err := handle(ctx, r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		body, err := json.Marshal(answer)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	}
}

func (p protocol) server(context.Context, *http.Request) (any, error) {
	return oip.ServerMetadata{Name: "edgevit", Version: p.version, Extensions: []string{
		oip.BinaryTensorData, oip.Classification, oip.ModelConfiguration, oip.ModelRepository, oip.Statistics,
	}}, nil
}

// KServe's client looks for the fields, Triton's at the status.
type (
	live struct {
		Live bool `json:"live"`
	}
	ready struct {
		Ready bool `json:"ready"`
	}
)

func (p protocol) live(context.Context, *http.Request) (any, error) { return live{true}, nil }

func (p protocol) ready(ctx context.Context, _ *http.Request) (any, error) {
	if _, err := p.Readyz(ctx, api.ReadyzRequestObject{}); err != nil {
		return nil, err
	}
	return ready{true}, nil
}

// served is a model of the protocol's: one of the store on a target.
type served struct {
	name   string // as the request has it
	model  string
	target backend.Target
	named  bool // the target is part of the name
}

// served returns the model in the request's path.
func (p protocol) served(r *http.Request) (served, error) {
	parts := [2]string{chi.URLParam(r, "model"), chi.URLParam(r, "version")}
	if r.URL.RawPath != "" { // which the router goes by
		for i, part := range parts {
			var err error
			if parts[i], err = url.PathUnescape(part); err != nil {
				return served{}, fmt.Errorf("%w: %w", errUnknownModel, err)
			}
		}
	}
	s := served{name: parts[0], target: p.store.target}
	var target string
	if s.model, target, s.named = strings.Cut(s.name, "@"); s.named {
		var err error
		if s.target, err = p.registry.Resolve(target); err != nil {
			return served{}, err
		}
	}
	if s.model == "" {
		return served{}, fmt.Errorf("%w: the path has no name of a model", errUnknownModel)
	}
	if v := parts[1]; v != "" && v != modelVersion {
		return served{}, fmt.Errorf("%w %s in version %q; there is version %s", errUnknownModel, clip(s.name, 100), clip(v, 100), modelVersion)
	}
	infoOf(r.Context()).model, infoOf(r.Context()).target = clip(s.model, 100), s.target.String()
	return s, nil
}

// loaded waits for the model in the request's path.
func (p protocol) loaded(ctx context.Context, r *http.Request) (served, *entry, *model.Model, error) {
	s, err := p.served(r)
	if err != nil {
		return s, nil, nil, err
	}
	e, err := p.store.find(ctx, s.model)
	if err != nil {
		return s, nil, nil, err
	}
	m, err := e.ready(ctx)
	return s, e, m, err
}

func (p protocol) metadata(ctx context.Context, r *http.Request) (any, error) {
	s, _, m, err := p.loaded(ctx, r)
	if err != nil {
		return nil, err
	}
	in, classes := m.Graph.Input(), int64(m.Graph.Classes())
	return oip.ModelMetadata{
		Name: s.name, Versions: []string{modelVersion}, Platform: platform(s.target),
		Inputs: []oip.TensorMetadata{{Name: imageInput, Datatype: oip.FP32, Shape: []int64{-1, int64(in.H), int64(in.W), int64(in.C)}}},
		Outputs: []oip.TensorMetadata{
			{Name: logitsOutput, Datatype: oip.FP32, Shape: []int64{-1, classes}},
			{Name: probabilitiesOutput, Datatype: oip.FP32, Shape: []int64{-1, classes}},
		},
		Properties: map[string]string{"model_hash": m.Hash, "target": s.target.String()},
	}, nil
}

func platform(t backend.Target) string { return "edgevit_" + t.Backend }

func (p protocol) config(ctx context.Context, r *http.Request) (any, error) {
	s, _, m, err := p.loaded(ctx, r)
	if err != nil {
		return nil, err
	}
	in, classes := m.Graph.Input(), []int64{int64(m.Graph.Classes())}
	return oip.ModelConfig{
		Name: s.name, Platform: platform(s.target), Backend: s.target.Backend, MaxBatchSize: p.maxBatch(m),
		Input: []oip.TensorConfig{{Name: imageInput, DataType: "TYPE_FP32", Format: "FORMAT_NHWC", Dims: []int64{int64(in.H), int64(in.W), int64(in.C)}}},
		Output: []oip.TensorConfig{
			{Name: logitsOutput, DataType: "TYPE_FP32", Dims: classes},
			{Name: probabilitiesOutput, DataType: "TYPE_FP32", Dims: classes},
		},
		VersionPolicy: map[string]any{"latest": map[string]int{"num_versions": 1}},
	}, nil
}

// maxBatch is the most images of one request: as many as a body holds raw
// tensors, at least one.
func (s *Server) maxBatch(m *model.Model) int {
	fit := (s.limits.Bytes - maxBatchHeader) / int64(4*m.Graph.Input().Len())
	return int(max(1, min(maxBatch, fit)))
}

// modelReady opens the model on its target, so that what is ready answers
// without that delay.
func (p protocol) modelReady(ctx context.Context, r *http.Request) (any, error) {
	s, err := p.served(r)
	if err != nil {
		return nil, err
	}
	if err := p.warm(ctx, s); err != nil {
		return nil, err
	}
	return oip.ModelReady{Name: s.name, Ready: true}, nil
}

func (p protocol) warm(ctx context.Context, s served) error {
	session, err := p.store.acquire(ctx, s.model, s.target)
	if err != nil {
		return err
	}
	defer p.store.release(session)
	_, err = session.wait(ctx)
	return err
}

// modelStatistics are those of requests under /v2 since the model was loaded.
func (p protocol) modelStatistics(ctx context.Context, r *http.Request) (any, error) {
	s, e, _, err := p.loaded(ctx, r)
	if err != nil {
		return nil, err
	}
	return oip.ModelStatistics{ModelStats: []oip.ModelStats{p.store.statistics(e, s.target).report(s.name)}}, nil
}

func (p protocol) allStatistics(context.Context, *http.Request) (any, error) {
	return oip.ModelStatistics{ModelStats: p.store.allStatistics()}, nil
}

// infer answers with JSON, or with JSON and raw tensors behind it.
func (p protocol) infer(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithDeadline(r.Context(), infoOf(r.Context()).start.Add(p.deadline))
	defer cancel()
	answer, err := p.inferred(ctx, r)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	body, jsonLength, err := answer.Encode()
	if err != nil {
		p.fail(w, r, err)
		return
	}
	w.Header().Set("Server-Timing", serverTimingOf(*infoOf(ctx).timing))
	w.Header().Set("Content-Type", "application/json")
	if jsonLength < len(body) {
		w.Header().Set("Content-Type", octetStream)
		w.Header().Set(oip.JSONLengthHeader, strconv.Itoa(jsonLength))
	}
	w.Write(body)
}

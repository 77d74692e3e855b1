package server

import (
	"context"
	"fmt"
	"math"
	"time"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/model"
	"edgevit/preprocess"
)

// defaultTopK is how many classes are answered where top_k is not given.
const defaultTopK = 5

// handlers implement the operations of the contract.
type handlers struct{ *Server }

// Classify is the way of an image: names are resolved and a full queue refuses
// before the body is read; the body is read before CPU tokens are taken, so
// that a slow client holds none; the tokens are taken before the image is
// decoded and held to the end of inference.
func (h handlers) Classify(ctx context.Context, req api.ClassifyRequestObject) (api.ClassifyResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel, err := h.withDeadline(ctx, req.Params.DeadlineMs)
	if err != nil {
		return nil, err
	}
	defer cancel()

	target, err := h.resolve(req.Params.Target)
	if err != nil {
		return nil, err
	}
	session, err := h.store.acquire(ctx, value(req.Params.Model), target)
	if err != nil {
		return nil, err
	}
	defer h.store.release(session)
	m := session.entry.model
	info.model, info.target = session.entry.name, target.String()
	topK, err := resolveTopK(req.Params.TopK, m.Graph.Classes())
	if err != nil {
		return nil, err
	}
	if err := h.admission.check(ctx, &session.lane); err != nil {
		return nil, err
	}

	data, err := readImage(req.MultipartBody, info.body)
	if err != nil {
		return nil, err
	}
	classifier, err := session.wait(ctx)
	if err != nil {
		return nil, err
	}
	result, err := h.infer(ctx, session, classifier, data)
	if err != nil {
		return nil, err
	}

	timing := result.timing
	timing.TotalMs = ms(time.Since(info.start))
	info.timing = &timing
	h.metrics.stages(info.target, timing)
	return api.Classify200JSONResponse{
		Body: api.Classification{
			Model:       session.entry.name,
			ModelHash:   m.Hash,
			Target:      info.target,
			Timing:      timing,
			Image:       imageOf(result.image, data),
			Untrained:   optional(m.Untrained),
			Predictions: predictions(m, result.logits, topK),
			RequestId:   info.id,
		},
		Headers: api.Classify200ResponseHeaders{ServerTiming: serverTimingOf(timing)},
	}, nil
}

func imageOf(i preprocess.Info, file []byte) api.Image {
	return api.Image{Format: i.Format, Width: i.Width, Height: i.Height, Orientation: i.Orientation, Bytes: int64(len(file))}
}

func predictions(m *model.Model, logits []float32, topK int) []api.Prediction {
	var all []api.Prediction
	for _, p := range m.Top(logits, topK) {
		all = append(all, api.Prediction{Index: p.Index, Label: p.Label, Probability: p.Probability, Logit: p.Logit})
	}
	return all
}

// withDeadline ends the request after the milliseconds that it asks for, or the
// server's own deadline, whichever is sooner, from its header on.
func (h handlers) withDeadline(ctx context.Context, want *int) (context.Context, context.CancelFunc, error) {
	longest := h.deadline
	if want != nil {
		if *want < 1 {
			return nil, nil, fmt.Errorf("%w: deadline_ms is %d, want 1 or more", errQuery, *want)
		}
		if ms := h.deadline.Milliseconds(); int64(*want) < ms {
			longest = time.Duration(*want) * time.Millisecond
		}
	}
	ctx, cancel := context.WithDeadline(ctx, infoOf(ctx).start.Add(longest))
	return ctx, cancel, nil
}

// resolve returns the canonical target; nil stands for the default.
func (h handlers) resolve(name *string) (backend.Target, error) {
	if name == nil {
		return h.store.target, nil
	}
	return h.registry.Resolve(*name)
}

func resolveTopK(want *int, classes int) (int, error) {
	switch {
	case want == nil:
		return min(defaultTopK, classes), nil
	case *want < 1 || *want > classes:
		return 0, fmt.Errorf("%w: top_k is %d, want 1 to %d", errQuery, *want, classes)
	}
	return *want, nil
}

type inference struct {
	image  preprocess.Info
	logits []float32 // [classes]
	timing api.Timing
}

// infer runs one image file with the session's CPU tokens held.
func (h handlers) infer(ctx context.Context, s *session, c *backend.Classifier, data []byte) (*inference, error) {
	var r inference
	stages := startStages(ctx)
	release, err := h.admission.acquire(ctx, &s.lane, c.Threads())
	r.timing.QueueMs = stages.end("queue", err)
	if err != nil {
		return nil, err
	}
	defer release()

	image, free, err := h.decode(ctx, data, s.entry.model)
	r.timing.DecodeMs = stages.end("decode", err)
	if err != nil {
		return nil, err
	}
	defer free()
	r.image = image.Info

	m := s.entry.model
	input, put := s.entry.input()
	defer put()
	err = image.Tensor(preprocess.Spec(m.Preprocess), input)
	r.timing.PreprocessMs = stages.end("preprocess", err)
	if err != nil {
		return nil, err
	}

	r.logits = make([]float32, m.Graph.Classes())
	err = c.Run(ctx, input, r.logits)
	r.timing.InferenceMs = stages.end("inference", err)
	if err != nil {
		return nil, err
	}
	return &r, checkFinite(s, r.logits)
}

// decode decodes an image for the model once there is memory for its pixels; free gives that
// back when they are used up.
func (s *Server) decode(ctx context.Context, data []byte, m *model.Model) (image *preprocess.Image, free func(), err error) {
	pending, err := preprocess.Open(data, s.limits)
	if err != nil {
		return nil, nil, err
	}
	memory := pending.Memory()
	if err := s.pixels.Acquire(ctx, memory); err != nil {
		return nil, nil, fmt.Errorf("waiting for %d bytes to decode into: %w", memory, err)
	}
	free = func() { s.pixels.Release(memory) }
	if image, err = pending.Decode(ctx, preprocess.Spec(m.Preprocess)); err != nil {
		free()
		return nil, nil, err
	}
	return image, free, nil
}

func checkFinite(s *session, logits []float32) error {
	for _, l := range logits {
		if math.IsNaN(float64(l)) || math.IsInf(float64(l), 0) {
			return fmt.Errorf("%w: the output of %s on %s for this image holds %v", errNotFinite, s.entry.name, s.target, l)
		}
	}
	return nil
}

// input lends one input tensor, [H W 3]; put gives it back.
func (e *entry) input() (tensor []float32, put func()) {
	p, ok := e.inputs.Get().(*[]float32)
	if !ok {
		t := make([]float32, e.model.Graph.Input().Len())
		p = &t
	}
	return *p, func() { e.inputs.Put(p) }
}

// value is what p points to, the zero value if nowhere.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// optional is nil for the zero value: the field is left out of the answer.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

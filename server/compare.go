package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/compare"
	"edgevit/model"
	"edgevit/preprocess"
)

// maxRepeat bounds the timed runs of one target in one request.
const maxRepeat = 100

// contestant is a target of a comparison. Where err is set there is nothing
// else, but for logits that are not finite.
type contestant struct {
	session    *session
	classifier *backend.Classifier
	logits     []float32 // [classes]
	timing     api.TargetTiming
	repeat     *api.RepeatTiming
	err        error
}

func (c *contestant) target() backend.Target { return c.session.target }

// traceable says that the target runs; where a NaN comes from is just what a
// trace shows.
func (c *contestant) traceable() bool { return c.err == nil || errors.Is(c.err, errNotFinite) }

// Compare runs one image on several targets. CPU tokens are taken for one run
// of one target at a time, so that a comparison never holds those of two.
func (h handlers) Compare(ctx context.Context, req api.CompareRequestObject) (api.CompareResponseObject, error) {
	info := infoOf(ctx)
	p := req.Params
	ctx, cancel, err := h.withDeadline(ctx, p.DeadlineMs)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if err := checkCompare(p); err != nil {
		return nil, err
	}
	targets, err := h.compareTargets(ctx, p.Targets)
	if err != nil {
		return nil, err
	}
	sessions, err := h.store.acquireAll(ctx, value(p.Model), targets)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, s := range sessions {
			h.store.release(s)
		}
	}()
	e := sessions[0].entry
	m := e.model
	info.model, info.target = e.name, joinTargets(targets)
	topK, err := resolveTopK(p.TopK, m.Graph.Classes())
	if err != nil {
		return nil, err
	}
	for _, s := range sessions {
		if err := h.admission.check(ctx, &s.lane); err != nil {
			return nil, err
		}
	}

	data, err := readImage(req.MultipartBody, info.body)
	if err != nil {
		return nil, err
	}
	input, put := e.input()
	defer put()
	answer := api.Comparison{Model: e.name, ModelHash: m.Hash, Untrained: optional(m.Untrained), RequestId: info.id}
	prepared, err := h.prepareInput(ctx, sessions[0], data, input)
	if err != nil {
		return nil, err
	}
	answer.Image = prepared.image

	var all []*contestant
	for _, s := range sessions {
		c := &contestant{session: s}
		if c.classifier, c.err = s.wait(ctx); c.err == nil {
			c.err = h.first(ctx, c, input)
		}
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("running %s: %w", s.target, err)
		}
		all = append(all, c)
	}
	stages := startStages(ctx)
	if value(p.Layers) {
		answer.Layers, err = h.compareLayers(ctx, all, input, p)
		stages.end("layers", err)
		if err != nil {
			return nil, err
		}
	}
	if p.Repeat != nil {
		err := h.repeat(ctx, all, input, *p.Repeat)
		stages.end("repeat", err)
		if err != nil {
			return nil, err
		}
	}

	answer.Targets = []api.TargetResult{}
	for _, c := range all {
		answer.Targets = append(answer.Targets, h.targetResult(c, m, topK, info))
	}
	answer.Pairs = pairsOf(all)
	answer.Timing = api.ComparisonTiming{DecodeMs: prepared.decodeMs, PreprocessMs: prepared.preprocessMs, TotalMs: ms(time.Since(info.start))}
	return api.Compare200JSONResponse{
		Body:    answer,
		Headers: api.Compare200ResponseHeaders{ServerTiming: comparisonTiming(answer)},
	}, nil
}

func comparisonTiming(c api.Comparison) string {
	all := []stageTime{{"decode", c.Timing.DecodeMs, ""}, {"preprocess", c.Timing.PreprocessMs, ""}}
	for _, t := range c.Targets {
		if t.Timing != nil {
			all = append(all, stageTime{"queue", t.Timing.QueueMs, t.Target}, stageTime{"inference", t.Timing.InferenceMs, t.Target})
		}
	}
	return serverTiming(append(all, stageTime{"total", c.Timing.TotalMs, ""}))
}

func checkCompare(p api.CompareParams) error {
	if r := p.Repeat; r != nil && (*r < 1 || *r > maxRepeat) {
		return fmt.Errorf("%w: repeat is %d, want 1 to %d", errQuery, *r, maxRepeat)
	}
	if t := p.ThresholdDb; t != nil {
		if !value(p.Layers) {
			return fmt.Errorf("%w: threshold_db is for layers=true only", errQuery)
		}
		if !(*t > 0 && *t <= compare.MaxSNR) {
			return fmt.Errorf("%w: threshold_db is %v, want above 0 to %d", errQuery, *t, compare.MaxSNR)
		}
	}
	return nil
}

// compareTargets resolves the targets that are named; none stands for all that
// are available, the default first. The default is there even if it cannot run,
// so that an answer says why.
func (h handlers) compareTargets(ctx context.Context, names []string) ([]backend.Target, error) {
	var targets []backend.Target
	for _, name := range names {
		t, err := h.registry.Resolve(name)
		if err != nil {
			return nil, err
		}
		if i := slices.Index(targets, t); i >= 0 {
			return nil, fmt.Errorf("%w: targets names %s twice, as %s and %s", errQuery, t, names[i], name)
		}
		targets = append(targets, t)
	}
	if names != nil {
		return targets, nil
	}
	targets = append(targets, h.store.target)
	for _, s := range h.registry.Probe(ctx) {
		if s.Available && s.Target != h.store.target {
			targets = append(targets, s.Target)
		}
	}
	return targets, nil
}

func joinTargets(targets []backend.Target) string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.String()
	}
	return strings.Join(names, ",")
}

// prepared is what is known of an image that has become an input tensor.
type prepared struct {
	image                           api.Image
	queueMs, decodeMs, preprocessMs float64
}

// prepareInput decodes the image into input, [H W 3]. Decoding takes one
// thread, so one token; s is whose queue the request waits in.
func (h handlers) prepareInput(ctx context.Context, s *session, data []byte, input []float32) (prepared, error) {
	var p prepared
	stages := startStages(ctx)
	release, err := h.admission.acquire(ctx, &s.lane, 1)
	p.queueMs = stages.end("queue", err)
	if err != nil {
		return p, err
	}
	defer release()
	image, free, err := h.decode(ctx, data, s.entry.model)
	p.decodeMs = stages.end("decode", err)
	if err != nil {
		return p, err
	}
	defer free()
	err = image.Tensor(preprocess.Spec(s.entry.model.Preprocess), input)
	p.preprocessMs = stages.end("preprocess", err)
	if err != nil {
		return p, err
	}
	p.image = imageOf(image.Info, data)
	return p, nil
}

// first is the run that gives the predictions.
func (h handlers) first(ctx context.Context, c *contestant, input []float32) error {
	c.logits = make([]float32, c.classifier.Graph().Classes())
	stages := startStages(ctx, targetKey.String(c.target().String()))
	release, err := h.admission.acquire(ctx, &c.session.lane, c.classifier.Threads())
	c.timing.QueueMs = stages.end("queue", err)
	if err != nil {
		return err
	}
	defer release()
	err = c.classifier.Run(ctx, input, c.logits)
	c.timing.InferenceMs = stages.end("inference", err)
	if err != nil {
		return err
	}
	return checkFinite(c.session, c.logits)
}

// runOnce runs the target with its CPU tokens held and returns the time of the
// run alone.
func (h handlers) runOnce(ctx context.Context, c *contestant, input, logits []float32) (time.Duration, error) {
	release, err := h.admission.acquire(ctx, &c.session.lane, c.classifier.Threads())
	if err != nil {
		return 0, err
	}
	defer release()
	begin := time.Now()
	err = c.classifier.Run(ctx, input, logits)
	return time.Since(begin), err
}

// repeat times interleaved runs of the targets that run.
func (h handlers) repeat(ctx context.Context, all []*contestant, input []float32, rounds int) error {
	var running []*contestant
	var runs []compare.Timed
	for _, c := range all {
		if c.err == nil {
			running = append(running, c)
			logits := make([]float32, len(c.logits))
			runs = append(runs, func(ctx context.Context) (time.Duration, error) { return h.runOnce(ctx, c, input, logits) })
		}
	}
	seed := rand.Uint64()
	times, errs := compare.Interleave(ctx, runs, rounds, seed)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("timed runs: %w", err)
	}
	reference := slices.IndexFunc(errs, func(err error) bool { return err == nil })
	for i, c := range running {
		if c.err = errs[i]; c.err != nil {
			continue
		}
		t := compare.TimingOf(times[i], times[reference], seed)
		c.repeat = &api.RepeatTiming{
			Runs: rounds, MedianMs: t.Median.Value, MedianLowMs: t.Median.Low, MedianHighMs: t.Median.High,
			Ratio: t.Ratio.Value, RatioLow: t.Ratio.Low, RatioHigh: t.Ratio.High, SamplesMs: times[i],
		}
	}
	return nil
}

// compareLayers holds the trace of each target against that of the first. Two
// traces are in memory at a time, and those of one request.
func (h handlers) compareLayers(ctx context.Context, all []*contestant, input []float32, p api.CompareParams) (*api.LayerComparison, error) {
	if err := h.traces.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("waiting for another comparison by layers: %w", err)
	}
	defer h.traces.Release(1)
	answer := &api.LayerComparison{ThresholdDb: compare.DefaultThreshold, Targets: []api.TargetLayers{}}
	if p.ThresholdDb != nil {
		answer.ThresholdDb = *p.ThresholdDb
	}
	var reference []backend.NodeTrace
	for _, c := range all {
		if !c.traceable() {
			continue
		}
		name := c.target().String()
		trace, err := h.trace(ctx, c, input)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("trace of %s: %w", name, err)
		}
		if errors.Is(err, backend.ErrUnsupported) {
			err = fmt.Errorf("%w: %s shows no node's output; leave layers or the target out", errNoTraces, name)
			if p.Targets != nil {
				return nil, err
			}
		}
		if err == nil && reference == nil {
			answer.Reference, reference = &name, trace
			continue
		}
		result := api.TargetLayers{Target: name}
		if err == nil {
			var layers []compare.Layer
			layers, result.FirstDiverging, err = diverging(c, reference, trace, answer.ThresholdDb)
			result.Nodes = layerNodes(layers, value(answer.Reference), name)
		}
		if err != nil {
			result.Problem = h.problemIn(infoOf(ctx), c, err)
		}
		answer.Targets = append(answer.Targets, result)
	}
	return answer, nil
}

func (h handlers) trace(ctx context.Context, c *contestant, input []float32) ([]backend.NodeTrace, error) {
	release, err := h.admission.acquire(ctx, &c.session.lane, c.classifier.Threads())
	if err != nil {
		return nil, err
	}
	defer release()
	return c.classifier.Trace(ctx, input)
}

func diverging(c *contestant, reference, trace []backend.NodeTrace, threshold float64) ([]compare.Layer, *string, error) {
	layers, first, err := compare.Layers(c.classifier.Graph(), reference, trace, threshold)
	return layers, optional(first), err
}

func layerNodes(layers []compare.Layer, reference, target string) []api.LayerNode {
	var nodes []api.LayerNode
	for _, l := range layers {
		s := l.Node.Shape
		n := api.LayerNode{
			Node: l.Node.Name, Kind: l.Node.Op.Kind(), Shape: []int{s.H, s.W, s.C},
			ReferenceMs: optional(ms(l.TimeA)), TargetMs: optional(ms(l.TimeB)),
		}
		if l.FoldedA {
			n.Folded = append(n.Folded, reference)
		}
		if l.FoldedB {
			n.Folded = append(n.Folded, target)
		}
		if n.Folded == nil {
			g := l.Agreement
			n.Agreement = &api.Agreement{MaxAbs: g.MaxAbs, MeanAbs: g.MeanAbs, Scale: g.Scale, Cosine: g.Cosine, SnrDb: g.SNR}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

func (h handlers) targetResult(c *contestant, m *model.Model, topK int, info *requestInfo) api.TargetResult {
	r := api.TargetResult{Target: c.target().String()}
	if c.err != nil {
		r.Problem = h.problemIn(info, c, c.err)
		return r
	}
	r.Predictions = predictions(m, c.logits, topK)
	r.Timing, r.Repeat = &c.timing, c.repeat
	return r
}

// problemIn is a target's problem inside an answer, which is logged where the
// answer does not say what it was.
func (h handlers) problemIn(info *requestInfo, c *contestant, err error) *api.Problem {
	p := problemOf(err)
	if p.err == errInternal {
		h.log.Error("target failed", zap.String("request_id", info.id), zap.Stringer("target", c.target()), zap.Error(err))
	}
	problem := p.describe(err, info)
	return &problem
}

func pairsOf(all []*contestant) []api.Pair {
	pairs := []api.Pair{}
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.err != nil || b.err != nil {
				continue
			}
			l := compare.OfLogits(a.logits, b.logits)
			pairs = append(pairs, api.Pair{
				A: a.target().String(), B: b.target().String(), Agrees: l.Agree(a.target(), b.target()),
				MaxAbs: l.MaxAbs, MeanAbs: l.MeanAbs, Scale: l.Scale, Cosine: l.Cosine, SnrDb: l.SNR,
				Kl: l.KL, Top1Equal: l.Top1Equal, Top5Overlap: l.Top5Overlap,
			})
		}
	}
	return pairs
}

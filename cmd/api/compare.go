package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"edgevit/backend"
	"edgevit/compare"
	"edgevit/model"
	"edgevit/preprocess"
)

type compareCmd struct {
	Images    []string `arg:"" help:"Images, folders of images, or glob patterns."`
	Targets   []string `help:"Targets, the reference first. Default: every one that is available here." placeholder:"A,B"`
	Layers    bool     `help:"Compare the output of every node too, and name the first that diverges."`
	Threshold float64  `help:"SNR in dB under which a node diverges." default:"80"`
	Repeat    int      `help:"Time N more runs of each target, interleaved." placeholder:"N"`
	Seed      uint64   `help:"Seed of the order of the timed runs; 0: drawn." placeholder:"N"`
	TopK      int      `name:"top-k" help:"Classes to print for each target; 0: min(5, classes), 3 in the table." placeholder:"N"`
	Threads   int      `help:"CPU threads of a run; 0: min(cores, 4)." placeholder:"N"`
	JSON      bool     `name:"json" help:"Print JSON."`
	modelFlags
}

// compareOutput is the JSON of compare.
type compareOutput struct {
	Model     string          `json:"model"`
	ModelHash string          `json:"model_hash"`
	Untrained bool            `json:"untrained,omitempty"`
	Results   []compareResult `json:"results"`
}

// compareResult is one image's: what the targets say, or the error of the
// image.
type compareResult struct {
	File    string          `json:"file"`
	Error   string          `json:"error,omitempty"`
	Targets []compareTarget `json:"targets,omitempty"`
	Pairs   []comparePair   `json:"pairs,omitempty"`
	Layers  *compareLayers  `json:"layers,omitempty"`
	Image   *imageFacts     `json:"image,omitempty"`
}

// compareTarget is what one target says of an image, or its error.
type compareTarget struct {
	Target      string             `json:"target"`
	Error       string             `json:"error,omitempty"`
	Predictions []model.Prediction `json:"predictions,omitempty"`
	InferenceMS float64            `json:"inference_ms,omitempty"`
	Repeat      *repeatTiming      `json:"repeat,omitempty"`
}

// repeatTiming sums up the timed runs, with 95 % intervals.
type repeatTiming struct {
	Runs         int       `json:"runs"`
	MedianMS     float64   `json:"median_ms"`
	MedianLowMS  float64   `json:"median_low_ms"`
	MedianHighMS float64   `json:"median_high_ms"`
	Ratio        float64   `json:"ratio"`
	RatioLow     float64   `json:"ratio_low"`
	RatioHigh    float64   `json:"ratio_high"`
	SamplesMS    []float64 `json:"samples_ms"`
}

type comparePair struct {
	A      string `json:"a"`
	B      string `json:"b"`
	Agrees bool   `json:"agrees"`
	compare.Logits
}

type compareLayers struct {
	Reference   string         `json:"reference"`
	ThresholdDB float64        `json:"threshold_db"`
	Targets     []targetLayers `json:"targets"`
}

type targetLayers struct {
	Target         string      `json:"target"`
	Error          string      `json:"error,omitempty"`
	FirstDiverging string      `json:"first_diverging,omitempty"`
	Nodes          []layerNode `json:"nodes,omitempty"`
}

type layerNode struct {
	Node        string             `json:"node"`
	Kind        string             `json:"kind"`
	Shape       [3]int             `json:"shape"`
	Folded      []string           `json:"folded,omitempty"`
	Agreement   *compare.Agreement `json:"agreement,omitempty"`
	ReferenceMS float64            `json:"reference_ms,omitempty"`
	TargetMS    float64            `json:"target_ms,omitempty"`
}

// contestant is a target that is compared; it is not open where err is set.
type contestant struct {
	target     backend.Target
	classifier *backend.Classifier
	err        error
}

func (c *compareCmd) Run(ctx context.Context, s std, registry *backend.Registry) error {
	if c.Repeat < 0 || c.Repeat > 100 {
		return fmt.Errorf("--repeat is %d, want 0 to 100", c.Repeat)
	}
	if !(c.Threshold > 0 && c.Threshold <= compare.MaxSNR) {
		return fmt.Errorf("--threshold is %v, want above 0 to %d", c.Threshold, compare.MaxSNR)
	}
	files, err := expand(c.Images)
	if err != nil {
		return err
	}
	targets, err := c.resolve(ctx, registry)
	if err != nil {
		return err
	}
	m, err := c.load()
	if err != nil {
		return err
	}
	if c.TopK < 0 || c.TopK > m.Config.Classes {
		return fmt.Errorf("--top-k is %d, want 1..%d, the classes of %s", c.TopK, m.Config.Classes, m.Name)
	}
	if c.TopK == 0 {
		c.TopK = min(5, m.Config.Classes)
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	var all []*contestant
	for _, t := range targets {
		o := &contestant{target: t}
		if o.classifier, o.err = openTarget(ctx, s, registry, t.String(), m, c.Threads); o.err == nil {
			defer o.classifier.Close()
		}
		all = append(all, o)
	}
	o := compareOutput{Model: m.Name, ModelHash: m.Hash, Untrained: m.Untrained}
	yes := true
	for _, file := range files {
		r, err := c.image(ctx, m, all, file)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r = compareResult{File: file, Error: err.Error()}
			fmt.Fprintf(s.err, "api: %s: %v\n", file, err)
		}
		o.Results = append(o.Results, r)
		yes = yes && r.agrees()
	}
	if err := o.print(s, c.JSON); err != nil {
		return err
	}
	if !yes {
		return errNo
	}
	return nil
}

// resolve returns the targets to compare, each once.
func (c *compareCmd) resolve(ctx context.Context, registry *backend.Registry) ([]backend.Target, error) {
	var targets []backend.Target
	for _, name := range c.Targets {
		t, err := registry.Resolve(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(targets, t) {
			return nil, fmt.Errorf("--targets names %s twice", t)
		}
		targets = append(targets, t)
	}
	if targets != nil {
		return targets, nil
	}
	for _, s := range registry.Probe(ctx) {
		if s.Available {
			targets = append(targets, s.Target)
		}
	}
	// As in the service, purego is the reference where none is given.
	slices.SortStableFunc(targets, func(a, b backend.Target) int { return isPurego(b) - isPurego(a) })
	return targets, nil
}

func isPurego(t backend.Target) int {
	if t == (backend.Target{Backend: "purego"}) {
		return 1
	}
	return 0
}

// image compares the targets on one image. The error is the image's.
func (c *compareCmd) image(ctx context.Context, m *model.Model, all []*contestant, file string) (compareResult, error) {
	data, err := readImage(file)
	if err != nil {
		return compareResult{}, err
	}
	im, err := preprocess.Decode(ctx, data, preprocess.DefaultLimits(), preprocess.Spec(m.Preprocess))
	if err != nil {
		return compareResult{}, err
	}
	input := make([]float32, m.Graph.Input().Len())
	if err := im.Tensor(preprocess.Spec(m.Preprocess), input); err != nil {
		return compareResult{}, err
	}
	r := compareResult{File: file, Image: &imageFacts{im.Format, im.Width, im.Height, im.Orientation, len(data)}}
	logits := make([][]float32, len(all)) // nil where the target did not run
	for i, o := range all {
		t := compareTarget{Target: o.target.String()}
		out := make([]float32, m.Config.Classes)
		inference, err := o.run(ctx, input, out)
		if err != nil {
			t.Error = err.Error()
		} else {
			logits[i] = out
			t.Predictions, t.InferenceMS = m.Top(out, c.TopK), milliseconds(inference)
		}
		r.Targets = append(r.Targets, t)
	}
	for i, a := range all {
		for j := i + 1; j < len(all); j++ {
			if b := all[j]; logits[i] != nil && logits[j] != nil {
				l := compare.OfLogits(logits[i], logits[j])
				r.Pairs = append(r.Pairs, comparePair{a.target.String(), b.target.String(), l.Agree(a.target, b.target), l})
			}
		}
	}
	if c.Layers {
		r.Layers = c.layers(ctx, m, all, input)
	}
	if c.Repeat > 0 {
		c.repeat(ctx, &r, all, input)
	}
	return r, nil
}

func (o *contestant) run(ctx context.Context, input, out []float32) (time.Duration, error) {
	if o.err != nil {
		return 0, o.err
	}
	begin := time.Now()
	err := o.classifier.Run(ctx, input, out)
	return time.Since(begin), err
}

func (c *compareCmd) layers(ctx context.Context, m *model.Model, all []*contestant, input []float32) *compareLayers {
	r := &compareLayers{ThresholdDB: c.Threshold, Targets: []targetLayers{}}
	var reference []backend.NodeTrace
	for _, o := range all {
		if o.err != nil {
			continue
		}
		trace, err := o.classifier.Trace(ctx, input)
		if err == nil && reference == nil {
			r.Reference, reference = o.target.String(), trace
			continue
		}
		t := targetLayers{Target: o.target.String()}
		var layers []compare.Layer
		if err == nil {
			layers, t.FirstDiverging, err = compare.Layers(m.Graph, reference, trace, c.Threshold)
		}
		if err != nil {
			t.Error = err.Error()
		}
		for _, l := range layers {
			s := l.Node.Shape
			n := layerNode{Node: l.Node.Name, Kind: l.Node.Op.Kind(), Shape: [3]int{s.H, s.W, s.C}, ReferenceMS: milliseconds(l.TimeA), TargetMS: milliseconds(l.TimeB)}
			if l.FoldedA {
				n.Folded = append(n.Folded, r.Reference)
			}
			if l.FoldedB {
				n.Folded = append(n.Folded, t.Target)
			}
			if n.Folded == nil {
				n.Agreement = &l.Agreement
			}
			t.Nodes = append(t.Nodes, n)
		}
		r.Targets = append(r.Targets, t)
	}
	return r
}

// repeat adds timed runs to the targets that have run.
func (c *compareCmd) repeat(ctx context.Context, r *compareResult, all []*contestant, input []float32) {
	var runs []compare.Timed
	var of []*compareTarget
	for i, o := range all {
		if t := &r.Targets[i]; t.Error == "" {
			out := make([]float32, o.classifier.Graph().Classes())
			of = append(of, t)
			runs = append(runs, func(ctx context.Context) (time.Duration, error) { return o.run(ctx, input, out) })
		}
	}
	times, errs := compare.Interleave(ctx, runs, c.Repeat, c.Seed)
	reference := slices.Index(errs, nil)
	for i, t := range of {
		if errs[i] != nil {
			t.Error = errs[i].Error()
			continue
		}
		g := compare.TimingOf(times[i], times[reference], c.Seed)
		t.Repeat = &repeatTiming{c.Repeat, g.Median.Value, g.Median.Low, g.Median.High, g.Ratio.Value, g.Ratio.Low, g.Ratio.High, times[i]}
	}
}

// agrees says whether every target ran, also layer by layer where that was
// asked for, and agrees with every other. A node that diverges is no verdict: a
// target of lower precision has one by its nature.
func (r compareResult) agrees() bool {
	ok := r.Error == ""
	for _, t := range r.Targets {
		ok = ok && t.Error == ""
	}
	for _, p := range r.Pairs {
		ok = ok && p.Agrees
	}
	if r.Layers != nil {
		for _, t := range r.Layers.Targets {
			ok = ok && t.Error == ""
		}
	}
	return ok
}

func (o compareOutput) print(s std, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, o)
	}
	if o.Untrained {
		fmt.Fprintf(s.err, "api: %s has untrained weights; its labels mean nothing\n", o.Model)
	}
	for i, r := range o.Results {
		if i > 0 {
			fmt.Fprintln(s.out)
		}
		if r.Error != "" {
			fmt.Fprintf(s.out, "%s: %s\n", r.File, r.Error)
			continue
		}
		fmt.Fprintf(s.out, "%s, model %s (%.12s)\n", r.File, o.Model, o.ModelHash)
		if err := r.print(s); err != nil {
			return err
		}
	}
	return nil
}

func (r compareResult) print(s std) error {
	t := newTable(s.out)
	fmt.Fprintln(s.out)
	t.row("target", "ms", "median ms (95 %)", "ratio (95 %)", "classes")
	for _, target := range r.Targets {
		if target.Error != "" {
			t.row(target.Target, "", "", "", target.Error)
			continue
		}
		median, ratio := "", ""
		if g := target.Repeat; g != nil {
			median = fmt.Sprintf("%.2f (%.2f..%.2f)", g.MedianMS, g.MedianLowMS, g.MedianHighMS)
			ratio = fmt.Sprintf("%.2f (%.2f..%.2f)", g.Ratio, g.RatioLow, g.RatioHigh)
		}
		var classes []string
		for _, p := range target.Predictions[:min(3, len(target.Predictions))] {
			classes = append(classes, fmt.Sprintf("%s %.1f %%", p.Label, 100*p.Probability))
		}
		t.row(target.Target, fmt.Sprintf("%.2f", target.InferenceMS), median, ratio, strings.Join(classes, ", "))
	}
	err := t.flush()
	if len(r.Pairs) > 0 {
		fmt.Fprintln(s.out)
		t.row("pair", "verdict", "max |Δ|", "of max |logit|", "mean |Δ|", "SNR dB", "cosine", "KL", "top-1", "top-5 overlap")
		for _, p := range r.Pairs {
			t.row(p.A+" / "+p.B, verdict(p.Agrees), fmt.Sprintf("%.2e", p.MaxAbs), fmt.Sprintf("%.3g", p.Scale), fmt.Sprintf("%.2e", p.MeanAbs),
				fmt.Sprintf("%.1f", p.SNR), fmt.Sprintf("%.9f", p.Cosine), fmt.Sprintf("%.1e", p.KL), map[bool]string{true: "equal", false: "DIFFERS"}[p.Top1Equal], fmt.Sprintf("%.3f", p.Top5Overlap))
		}
		err = errors.Join(err, t.flush())
	}
	if r.Layers == nil {
		return err
	}
	for _, l := range r.Layers.Targets {
		first := "no node diverges"
		switch {
		case l.Error != "":
			first = l.Error
		case l.FirstDiverging != "":
			first = "first node to diverge: " + l.FirstDiverging
		}
		fmt.Fprintf(s.out, "\n%s against %s, threshold %g dB: %s\n", l.Target, r.Layers.Reference, r.Layers.ThresholdDB, first)
		if l.Nodes == nil {
			continue
		}
		t.row("node", "operation", "shape", "max |Δ|", "of max", "SNR dB", "")
		for _, n := range l.Nodes {
			if n.Agreement == nil {
				t.row(n.Node, n.Kind, fmt.Sprint(n.Shape), "", "", "", "folded by "+strings.Join(n.Folded, ", "))
				continue
			}
			mark := ""
			if n.Node == l.FirstDiverging {
				mark = "<- diverges"
			}
			t.row(n.Node, n.Kind, fmt.Sprint(n.Shape), fmt.Sprintf("%.2e", n.Agreement.MaxAbs), fmt.Sprintf("%.3g", n.Agreement.Scale), fmt.Sprintf("%.1f", n.Agreement.SNR), mark)
		}
		err = errors.Join(err, t.flush())
	}
	return err
}

func verdict(agrees bool) string {
	if agrees {
		return "agrees"
	}
	return "DIFFERS"
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"edgevit/backend"
	"edgevit/backend/purego/kernel"
)

type profileCmd struct {
	Checkpoint string `arg:"" help:"Checkpoint (.pth, .pt, .safetensors), demo, or random:xxs|xs|s."`
	Target     string `help:"Where to run." default:"purego"`
	Threads    int    `help:"CPU threads of a run; shares of the peak are those of one core." default:"1"`
	Runs       int    `help:"How often to run." default:"200"`
	JSON       bool   `name:"json" help:"Print JSON."`
	settingFlags
}

// profileOutput is the JSON of profile.
type profileOutput struct {
	Model      string        `json:"model"`
	Target     string        `json:"target"`
	Threads    int           `json:"threads"`
	Runs       int           `json:"runs"`
	TotalMS    float64       `json:"total_ms"` // sum of the steps' medians
	GFLOPS     float64       `json:"gflops"`
	PeakGFLOPS float64       `json:"peak_gflops"`
	Peak       string        `json:"peak"` // what the probe used
	Steps      []profileStep `json:"steps"`
}

// profileStep is one step of a run; times are medians.
type profileStep struct {
	Nodes       []string `json:"nodes"`
	MS          float64  `json:"ms"`
	Share       float64  `json:"share"` // of the total
	MACs        int64    `json:"macs"`
	GFLOPS      float64  `json:"gflops"`
	ShareOfPeak float64  `json:"share_of_peak"`
}

func (c *profileCmd) Run(ctx context.Context, s std) error {
	if c.Runs < 1 || c.Runs > 100_000 {
		return fmt.Errorf("--runs is %d, want 1..100000", c.Runs)
	}
	m, err := loadCheckpoint(c.Checkpoint, c.settingFlags)
	if err != nil {
		return err
	}
	b, err := backend.Open(ctx, c.Target, m.Graph, backend.Options{Threads: c.Threads})
	if err != nil {
		return err
	}
	defer b.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	image := make([]float32, m.Graph.Input().Len())
	for i := range image {
		image[i] = float32(rng.NormFloat64())
	}
	if _, err := b.Profile(ctx, image, min(c.Runs, 20)); err != nil { // warm-up
		return err
	}
	const probe = 200 * time.Millisecond
	before, name := kernel.PeakFLOPS(ctx, probe)
	steps, err := b.Profile(ctx, image, c.Runs)
	if err != nil {
		return err
	}
	after, _ := kernel.PeakFLOPS(ctx, probe)
	o := profileOutput{
		Model: m.Name, Target: b.Target().String(), Threads: b.Threads(), Runs: c.Runs,
		PeakGFLOPS: (before + after) / 2, Peak: name,
	}
	if o.Model == "" {
		o.Model = c.Checkpoint
	}
	var macs int64
	for _, step := range steps {
		slices.Sort(step.Times)
		p := profileStep{Nodes: step.Nodes, MS: float64(step.Times[len(step.Times)/2].Nanoseconds()) / 1e6}
		for _, n := range step.Nodes {
			p.MACs += m.Graph.Find(n).MACs()
		}
		o.TotalMS += p.MS
		macs += p.MACs
		o.Steps = append(o.Steps, p)
	}
	for i := range o.Steps {
		p := &o.Steps[i]
		p.Share = p.MS / o.TotalMS
		p.GFLOPS = gflops(p.MACs, p.MS)
		p.ShareOfPeak = p.GFLOPS / o.PeakGFLOPS
	}
	o.GFLOPS = gflops(macs, o.TotalMS)
	return o.print(s, c.JSON)
}

func gflops(macs int64, ms float64) float64 {
	if ms == 0 {
		return 0
	}
	return 2 * float64(macs) / ms / 1e6
}

func (o profileOutput) print(s std, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, o)
	}
	fmt.Fprintf(s.out, "%s on %s, %d threads, medians of %d runs; peak %.1f GFLOP/s (%s)\n\n", o.Model, o.Target, o.Threads, o.Runs, o.PeakGFLOPS, o.Peak)
	t := newTable(s.out)
	t.row("ms", "share", "GFLOP/s", "of peak", "nodes")
	for _, p := range o.Steps {
		t.row(fmt.Sprintf("%.4f", p.MS), fmt.Sprintf("%.1f %%", 100*p.Share), fmt.Sprintf("%.1f", p.GFLOPS), fmt.Sprintf("%.0f %%", 100*p.ShareOfPeak), shortNames(p.Nodes))
	}
	t.row(fmt.Sprintf("%.4f", o.TotalMS), "100 %", fmt.Sprintf("%.1f", o.GFLOPS), fmt.Sprintf("%.0f %%", 100*o.GFLOPS/o.PeakGFLOPS), "in all")
	return t.flush()
}

// shortNames lists the nodes of one step, the part of the path that they share
// once.
func shortNames(nodes []string) string {
	if len(nodes) == 0 {
		return "(the rest of the step before)"
	}
	shared := strings.Split(nodes[0], ".")
	shared = shared[:len(shared)-1]
	for _, n := range nodes {
		path := strings.Split(n, ".")
		i := 0
		for i < len(shared) && i < len(path)-1 && shared[i] == path[i] {
			i++
		}
		shared = shared[:i]
	}
	prefix := strings.Join(shared, ".")
	if prefix == "" {
		return strings.Join(nodes, " ")
	}
	rest := make([]string, len(nodes))
	for i, n := range nodes {
		rest[i] = strings.TrimPrefix(n, prefix+".")
	}
	return prefix + ": " + strings.Join(rest, " ")
}

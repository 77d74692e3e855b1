package bench

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"edgevit/backend"
	"edgevit/backend/purego/kernel"
)

// Profile says where the time of a run goes.
type Profile struct {
	Model      string        `json:"model"`
	Target     string        `json:"target"`
	Threads    int           `json:"threads"`
	Runs       int           `json:"runs"`
	TotalMS    float64       `json:"total_ms"` // sum of the steps' medians
	GFLOPS     float64       `json:"gflops"`
	PeakGFLOPS float64       `json:"peak_gflops"` // of one core
	Peak       string        `json:"peak"`        // what the probe used
	Steps      []ProfileStep `json:"steps"`
}

// ProfileStep is one step of a run; times are medians.
type ProfileStep struct {
	Nodes       []string `json:"nodes"`
	MS          float64  `json:"ms"`
	Share       float64  `json:"share"` // of the total
	MACs        int64    `json:"macs"`
	GFLOPS      float64  `json:"gflops"`
	ShareOfPeak float64  `json:"share_of_peak"`
}

// profileWarm is how many runs are not counted, at most.
const profileWarm = 20

// ProfileOf runs an image of noise the given number of times, and probes one
// core's peak for the given time before and after. The error is
// backend.ErrUnsupported where the target has no profiles. Model is left to the
// caller.
func ProfileOf(ctx context.Context, c *backend.Classifier, runs int, probe time.Duration) (Profile, error) {
	g := c.Graph()
	rng := rand.New(rand.NewPCG(1, 1))
	image := make([]float32, g.Input().Len())
	for i := range image {
		image[i] = float32(rng.NormFloat64())
	}
	if _, err := c.Profile(ctx, image, min(runs, profileWarm)); err != nil {
		return Profile{}, err
	}
	before, name := kernel.PeakFLOPS(ctx, probe)
	steps, err := c.Profile(ctx, image, runs)
	if err != nil {
		return Profile{}, err
	}
	after, _ := kernel.PeakFLOPS(ctx, probe)
	if err := ctx.Err(); err != nil { // a probe that was cut short is 0
		return Profile{}, err
	}
	p := Profile{Target: c.Target().String(), Threads: c.Threads(), Runs: runs, PeakGFLOPS: (before + after) / 2, Peak: name}
	var macs int64
	for _, step := range steps {
		slices.Sort(step.Times)
		s := ProfileStep{Nodes: append([]string{}, step.Nodes...), MS: float64(step.Times[len(step.Times)/2].Nanoseconds()) / 1e6}
		for _, n := range step.Nodes {
			s.MACs += g.Find(n).MACs()
		}
		p.TotalMS += s.MS
		macs += s.MACs
		p.Steps = append(p.Steps, s)
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if p.TotalMS > 0 {
			s.Share = s.MS / p.TotalMS
		}
		s.GFLOPS = gflops(s.MACs, s.MS)
		s.ShareOfPeak = s.GFLOPS / p.PeakGFLOPS
	}
	p.GFLOPS = gflops(macs, p.TotalMS)
	return p, nil
}

func gflops(macs int64, ms float64) float64 {
	if ms == 0 {
		return 0
	}
	return 2 * float64(macs) / ms / 1e6
}

package bench

import (
	"context"
	"math/rand/v2"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"edgevit/backend"
)

// Profile says where the time of a run goes.
type Profile struct {
	Model  string `json:"model"`
	Target string `json:"target"`
	// Provider is the set of kernels that ran.
	Provider string  `json:"provider"`
	Threads  int     `json:"threads"`
	Runs     int     `json:"runs"`
	TotalMS  float64 `json:"total_ms"` // sum of the steps' medians
	GFLOPS   float64 `json:"gflops"`
	// Peak is that of the precision of the target's products, of as many cores
	// as there are threads.
	Peak  Peak          `json:"peak"`
	Steps []ProfileStep `json:"steps"`
	// Findings say what disturbed the runs.
	Findings []Finding `json:"findings"`
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

// ProfileOf runs an image of noise the given number of times, and probes the
// peak for the given time before and after. The error is
// backend.ErrUnsupported where the target has no profiles. Model is left to the
// caller.
func ProfileOf(ctx context.Context, c *backend.Classifier, runs int, probeTime time.Duration) (Profile, error) {
	g := c.Graph()
	rng := rand.New(rand.NewPCG(1, 1))
	image := make([]float32, g.Input().Len())
	for i := range image {
		image[i] = float32(rng.NormFloat64())
	}
	if _, err := c.Profile(ctx, image, min(runs, profileWarm)); err != nil {
		return Profile{}, err
	}
	p := Profile{Target: c.Target().String(), Provider: c.Describe().Provider, Threads: c.Threads(), Runs: runs, Findings: []Finding{}}
	var m machine
	precision, cores := precisionOf(p.Target), min(p.Threads, runtime.NumCPU())
	begin, errBegin := m.processorTime()
	var probes []Probe
	measure := func(ctx context.Context) { probes = append(probes, probe(ctx, precision, cores, probeTime)) }
	label := pprof.Labels("node", "(probe of the peak)") // as a step's samples have the names of its nodes
	pprof.Do(ctx, label, measure)
	steps, err := c.Profile(ctx, image, runs)
	if err != nil {
		return Profile{}, err
	}
	pprof.Do(ctx, label, measure)
	end, errEnd := m.processorTime()
	if err := ctx.Err(); err != nil { // a probe that was cut short is 0
		return Profile{}, err
	}
	if peaks := peaksOf(probes); len(peaks) > 0 {
		p.Peak = peaks[0]
	}
	others, stolen := load(begin, errBegin, end, errEnd)
	p.Findings = append(loadFindings(others, stolen), clockFindings(probes)...)
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
		s.ShareOfPeak = p.Peak.Share(s.GFLOPS)
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

// Package bench measures targets so that the figures hold up: after MLPerf's
// scenarios, with every target interleaved in randomised blocks of one run,
// intervals beside every figure, and rules that say when a run does not count.
//
//	b, err := bench.Run(ctx, bench.Plan{}, []*model.Model{m}, bench.Options{})
//	fmt.Println(b.Summary.Subjects[0].P50)
//
// bench.go is what is to be measured, run.go does it block by block,
// scenario.go sends the queries, meter.go and environment.go read the machine.
// summary.go makes figures and findings of the raw samples, stats.go
// their intervals. bundle.go is the file that holds all of a run, replay.go
// compares two, store.go keeps them.
package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"edgevit/backend"
)

// ErrPlan is the error of a plan that cannot be carried out.
var ErrPlan = errors.New("invalid benchmark plan")

// Scenario is how queries arrive, after MLPerf Inference (Reddi et al. 2020,
// section III-C).
type Scenario string

const (
	// SingleStream sends one query after another; p90 counts.
	SingleStream Scenario = "single-stream"
	// Server sends queries at random times at a rate; p99 counts, and whether
	// it stays under a bound.
	Server Scenario = "server"
	// Offline sends batches; throughput counts.
	Offline Scenario = "offline"
)

// Scenarios are all of them, the default first.
var Scenarios = []Scenario{SingleStream, Server, Offline}

// quantile is the one that the scenario is about.
func (s Scenario) quantile() float64 {
	switch s {
	case Server:
		return 0.99
	case Offline:
		return 0.5
	}
	return 0.9
}

// Plan says what is measured and how. Zero fields stand for defaults.
type Plan struct {
	Scenario Scenario `json:"scenario"`
	// Models are their names, in the order of Run's argument.
	Models []string `json:"models"`
	// Targets are measured for every model, the one that others are related to
	// first. A target may be there twice. Default: every available one, purego
	// first.
	Targets []string `json:"targets"`
	// Peers are the names of other programs' models, in the order of
	// Options.Peers. They run on PeerTarget only and are ranked among all.
	Peers []string `json:"peers,omitempty"`
	// Threads of one query. Default: backend.DefaultThreads.
	Threads int `json:"threads"`
	// Rate is the mean number of queries a second, Server only.
	Rate float64 `json:"rate,omitempty"`
	// BoundMS is what p99 is to stay under in milliseconds, Server only.
	// Default: 100.
	BoundMS float64 `json:"bound_ms,omitempty"`
	// Batch is the number of images of a query. Default: 8 for Offline, else 1.
	Batch int `json:"batch"`
	// MinDurationMS and MinCount are how long each target is measured at
	// least, in milliseconds and queries, over all blocks. Defaults: 5000, 100.
	MinDurationMS float64 `json:"min_duration_ms"`
	MinCount      int     `json:"min_count"`
	// Blocks is how often every target has its turn. Default: 20.
	Blocks int `json:"blocks"`
	// Seed is that of inputs, orders and arrivals, up to 2⁵³-1.
	Seed uint64 `json:"seed"`
}

// Bounds of a plan, and so of a bundle.
const (
	maxNames      = 64
	maxSubjects   = 64
	maxBlocks     = 1000
	maxThreads    = 4096
	maxBatch      = 1024
	maxRate       = 1e5
	maxDurationMS = 3600e3
	maxSeed       = 1<<53 - 1
	// MaxSamples is the largest number of raw samples of a run.
	MaxSamples = 1_000_000
)

// WithDefaults returns p with its zero fields filled in, but for Targets.
func (p Plan) WithDefaults() Plan {
	p.Scenario = cmp.Or(p.Scenario, SingleStream)
	p.Threads = cmp.Or(p.Threads, backend.DefaultThreads())
	if p.Scenario == Offline {
		p.Batch = cmp.Or(p.Batch, 8)
	}
	p.Batch = cmp.Or(p.Batch, 1)
	if p.Scenario == Server {
		p.BoundMS = cmp.Or(p.BoundMS, 100)
	}
	p.MinDurationMS = cmp.Or(p.MinDurationMS, 5000)
	p.MinCount = cmp.Or(p.MinCount, 100)
	p.Blocks = cmp.Or(p.Blocks, 20)
	return p
}

// Check reports ErrPlan where a plan with its defaults filled in cannot be
// carried out.
func (p Plan) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrPlan}, args...)...)
	}
	for _, field := range []struct {
		name      string
		value     float64
		low, high float64
	}{
		{"the number of models", float64(len(p.Models)), 1, maxNames},
		{"the number of targets", float64(len(p.Targets)), 0, maxNames},
		{"the number of peers", float64(len(p.Peers)), 0, maxNames},
		{"models times targets and peers", float64(p.subjects()), 0, maxSubjects},
		{"threads", float64(p.Threads), 1, maxThreads},
		{"batch", float64(p.Batch), 1, maxBatch},
		{"minimum duration in ms", p.MinDurationMS, 1, maxDurationMS},
		{"minimum count", float64(p.MinCount), 1, MaxSamples},
		{"blocks", float64(p.Blocks), 1, maxBlocks},
		{"seed", float64(p.Seed), 0, maxSeed},
	} {
		if !(field.low <= field.value && field.value <= field.high) { // so that NaN is caught
			return bad("%s is %v, want %v to %v", field.name, field.value, field.low, field.high)
		}
	}
	if slices.Contains(p.Models, "") || slices.Contains(p.Targets, "") || slices.Contains(p.Peers, "") {
		return bad("a model or target without a name")
	}
	for i, name := range p.Peers {
		if slices.Contains(p.Peers[:i], name) || slices.Contains(p.Models, name) {
			return bad("two models are named %s", name)
		}
	}
	if need := max(p.subjects(), 1) * max(p.MinCount, p.Blocks); need > MaxSamples {
		return bad("%d samples in all, want at most %d", need, MaxSamples)
	}
	switch p.Scenario {
	case SingleStream, Offline:
		if p.Rate != 0 || p.BoundMS != 0 {
			return bad("rate and bound are for the %s scenario", Server)
		}
	case Server:
		if !(p.Rate > 0 && p.Rate <= maxRate) {
			return bad("rate is %v, want above 0 to %v queries a second", p.Rate, float64(maxRate))
		}
		if !(p.BoundMS > 0 && p.BoundMS <= maxDurationMS) {
			return bad("bound is %v, want above 0 to %v ms", p.BoundMS, float64(maxDurationMS))
		}
		// The arrivals of one turn are drawn before it begins.
		if n := p.Rate * p.MinDurationMS / 1000 * float64(max(p.subjects(), 1)); n > MaxSamples/2 {
			return bad("about %.0f samples in all, want at most %d", n, MaxSamples/2)
		}
	default:
		return bad("scenario is %q, want one of %v", p.Scenario, Scenarios)
	}
	if p.Scenario != Offline && p.Batch != 1 {
		return bad("batch is for the %s scenario", Offline)
	}
	return nil
}

// PeerTarget is the target of every peer.
const PeerTarget = "onnx"

// subjects is their number: every model on every target, and the peers.
func (p Plan) subjects() int { return len(p.Models)*len(p.Targets) + len(p.Peers) }

// subject is the model and target of subject i, and the subject that it is
// related to: its model's first, for a peer the first of all.
func (p Plan) subject(i int) (model, target string, reference int) {
	if peer := i - len(p.Models)*len(p.Targets); peer >= 0 {
		return p.Peers[peer], PeerTarget, 0
	}
	m, t := i/len(p.Targets), i%len(p.Targets)
	return p.Models[m], p.Targets[t], m * len(p.Targets)
}

// turn is how long a target's turn in one block lasts: at least minMS and
// count queries, at most most queries.
func (p Plan) turn(subjects int) (minMS float64, count, most int) {
	most = max(MaxSamples/(subjects*p.Blocks), 1)
	return p.MinDurationMS / float64(p.Blocks), min(int(math.Ceil(float64(p.MinCount)/float64(p.Blocks))), most), most
}

// seed is the plan's for one purpose and block.
func (p Plan) seed(purpose, block int) uint64 {
	return p.Seed ^ uint64(purpose)<<53 ^ uint64(block)*0x9e3779b97f4a7c15
}

// Purposes of seeds.
const (
	forInputs = iota + 1
	forOrder
	forArrivals
	forIntervals
)

package bench

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edgevit/backend"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

// synthetic is a run of one model whose samples come from sample, in ms.
func synthetic(targets []string, blocks, per int, sample func(subject, block int) float64) *Bundle {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	measured := Reading{Value: 0.01, Meter: "made up"}
	b := &Bundle{
		Schema: Schema, ID: "20260301-120000-00000001", Origin: OriginAPI, Created: at, Finished: at.Add(time.Minute),
		Plan:        Plan{Models: []string{"m"}, Targets: targets, Threads: 1, MinDurationMS: 1, MinCount: 1, Blocks: blocks, Seed: 7}.WithDefaults(),
		Models:      []ModelFacts{{Name: "m", Hash: strings.Repeat("0", 64), MACs: 1e9}},
		Environment: Environment{Others: measured, Stolen: measured, PeakResident: measured, CPUFlags: []string{}, LoadBefore: []float64{0.5, 0.5, 0.5}},
		Probes:      []Probe{{Precision: "fp32", Instructions: "made up", OneCore: 100, Cores: 1, AllCores: 100}},
	}
	for i, target := range targets {
		s := Subject{Model: "m", Target: target, Label: target, Sessions: blocks + 1, Resident: measured, EnergyMissing: "made up"}
		for block := range blocks {
			l := Slice{Block: block, Position: i + 1, StartMS: float64(block)}
			for range per {
				v := sample(i, block)
				l.SamplesMS = append(l.SamplesMS, v)
				l.DurationMS += v
			}
			s.Slices = append(s.Slices, l)
		}
		b.Subjects = append(b.Subjects, s)
	}
	b.Summary = Summarise(b)
	return b
}

// lognormal draws positive samples around 1 with a shift for each block that
// all targets share, as drift is.
func lognormal(rng *rand.Rand, shared, spread float64) func(subject, block int) float64 {
	shifts := map[int]float64{}
	return func(_, block int) float64 {
		if _, ok := shifts[block]; !ok {
			shifts[block] = rng.NormFloat64() * shared
		}
		return math.Exp(shifts[block] + rng.NormFloat64()*spread)
	}
}

func TestPlan(t *testing.T) {
	good := Plan{Models: []string{"m"}, Targets: []string{"a", "b"}}
	if err := good.WithDefaults().Check(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		edit func(*Plan)
		want string
	}{
		{"no model", func(p *Plan) { p.Models = nil }, "number of models is 0"},
		{"nameless target", func(p *Plan) { p.Targets = []string{""} }, "without a name"},
		{"unknown scenario", func(p *Plan) { p.Scenario = "multi-stream" }, "multi-stream"},
		{"rate without server", func(p *Plan) { p.Rate = 1 }, "server"},
		{"server without rate", func(p *Plan) { p.Scenario = Server }, "rate is 0"},
		{"a rate that is not a number", func(p *Plan) { p.Scenario, p.Rate = Server, math.NaN() }, "rate is NaN"},
		{"more arrivals than samples", func(p *Plan) { p.Scenario, p.Rate, p.MinDurationMS = Server, 1e5, 3600e3 }, "samples in all"},
		{"batch without offline", func(p *Plan) { p.Batch = 8 }, "offline"},
		{"negative duration", func(p *Plan) { p.MinDurationMS = -1 }, "duration"},
		{"a duration that is not a number", func(p *Plan) { p.MinDurationMS = math.NaN() }, "duration"},
		{"negative blocks", func(p *Plan) { p.Blocks = -1 }, "blocks"},
		{"seed past JSON's numbers", func(p *Plan) { p.Seed = 1 << 53 }, "seed"},
		{"too many samples", func(p *Plan) { p.MinCount = MaxSamples }, "samples in all"},
	} {
		p := good
		row.edit(&p)
		if err := p.WithDefaults().Check(); !errors.Is(err, ErrPlan) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want ErrPlan with %q", row.name, err, row.want)
		}
	}
}

// fake is a backend whose sessions answer at once, or fail from a run on.
type fake struct {
	name   string
	failAt int64 // 0: never
	runs   atomic.Int64
	cancel context.CancelFunc
}

func (f *fake) Name() string { return f.name }
func (f *fake) Targets() []backend.Target {
	return []backend.Target{{Backend: f.name, Device: "cpu", Precision: "fp32"}}
}
func (f *fake) Probe(context.Context) []backend.TargetStatus {
	return []backend.TargetStatus{{Target: f.Targets()[0], Available: true}}
}
func (f *fake) Open(context.Context, *graph.Graph, backend.Options) (backend.Session, error) {
	return f, nil
}
func (f *fake) Close() error { return nil }
func (f *fake) Describe() backend.Description {
	return backend.Description{Threads: 1, Provider: "none", LibraryVersion: "1.2"}
}
func (f *fake) Run(_ context.Context, in, out []float32) error {
	n := f.runs.Add(1)
	if f.cancel != nil && n > 50 {
		f.cancel()
	}
	if f.failAt > 0 && n >= f.failAt {
		return errors.New("the device is lost")
	}
	copy(out, in)
	return nil
}

func tiny(t *testing.T) *model.Model {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.pth")
	if err := os.WriteFile(path, modeltest.Bytes(t, "tiny/official.pth"), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := model.Open(path, model.Sidecar{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRun(t *testing.T) {
	m := tiny(t)
	for _, scenario := range Scenarios {
		var r backend.Registry
		a, lost := &fake{name: "a"}, &fake{name: "lost", failAt: 1e15}
		r.Register(a)
		r.Register(lost)
		p := Plan{Scenario: scenario, Targets: []string{"a", "a", "lost"}, Threads: 1, MinDurationMS: 30, MinCount: 400, Blocks: 6, Seed: 3}
		if scenario == Server {
			p.Rate = 20000
		}
		var served, news, held atomic.Int64
		b, err := Run(t.Context(), p, []*model.Model{m}, Options{
			Registry: &r, Version: "v", Disturbances: func() int64 { return served.Load() },
			Progress: func(p Progress) {
				news.Add(1)
				served.Store(5)
				if p.Block == 2 {
					lost.failAt = 1
				}
				if len(p.SamplesMS) == 0 || p.Total != 18 || p.Model != m.Name {
					t.Errorf("%s: progress %+v", scenario, p)
				}
			},
			Hold: func(context.Context) (func(), error) { held.Add(1); return func() { held.Add(100) }, nil },
		})
		if err != nil {
			t.Errorf("%s: %v", scenario, err)
			continue
		}
		if held.Load() != 606 {
			t.Errorf("%s: blocks were held and released %d, want 6 and 6", scenario, held.Load())
		}
		if len(b.Probes) != 7 || b.Probes[3].OneCore <= 0 || b.Probes[3].Precision != "fp32" || b.Probes[3].Instructions == "" {
			t.Errorf("%s: probes %+v", scenario, b.Probes)
		}
		labels := []string{b.Subjects[0].Label, b.Subjects[1].Label, b.Subjects[2].Label}
		if got := strings.Join(labels, ", "); got != "a, a #2, lost" {
			t.Errorf("%s: labels %s", scenario, got)
		}
		for _, s := range b.Subjects[:2] {
			if len(s.Slices) != 6 || s.Sessions != 7 || len(s.OpenMS) != 7 || slices.Min(s.OpenMS) <= 0 || s.Error != "" || s.Description == nil || s.Description.LibraryVersion != "1.2" {
				t.Errorf("%s: %s has %d slices, error %q, description %+v", scenario, s.Label, len(s.Slices), s.Error, s.Description)
			}
		}
		if s := b.Subjects[2]; !strings.Contains(s.Error, "the device is lost") || len(s.Slices) > 4 || b.Summary.Subjects[2].Valid {
			t.Errorf("%s: the target that failed has %d slices, error %q", scenario, len(s.Slices), s.Error)
		}
		sum := b.Summary.Subjects[1]
		if !sum.Open.Bounded() || sum.Open.Value > slices.Max(b.Subjects[1].OpenMS) {
			t.Errorf("%s: opening takes %+v of %v", scenario, sum.Open, b.Subjects[1].OpenMS)
		}
		if sum.Samples < 400 || sum.P50.Value <= 0 || !sum.P90.Bounded() || !sum.Ratio.Bounded() || sum.Throughput.Value <= 0 || (sum.GFLOPS > 0) == (scenario == Server) || (sum.BoundMet != nil) != (scenario == Server) {
			t.Errorf("%s: %+v", scenario, sum)
		}
		if b.Disturbances != 5 || b.Summary.Valid || sum.Rank != 0 || !has(b.Summary.Findings, "disturbed") {
			t.Errorf("%s: a disturbed run has %d disturbances, rank %d, findings %+v", scenario, b.Disturbances, sum.Rank, b.Summary.Findings)
		}
		if err := b.check(); err != nil {
			t.Errorf("%s: its own bundle: %v", scenario, err)
		}
		orders := map[string]bool{}
		for block := range 6 {
			orders[string(rune('0'+b.Subjects[0].Slices[block].Position))+string(rune('0'+b.Subjects[1].Slices[block].Position))] = true
		}
		if len(orders) < 2 {
			t.Errorf("%s: every block has the same order %v", scenario, orders)
		}
	}
}

func TestRunErrors(t *testing.T) {
	m := tiny(t)
	var r backend.Registry
	a, lost := &fake{name: "a"}, &fake{name: "lost", failAt: 1}
	r.Register(a)
	r.Register(lost)
	o := Options{Registry: &r}
	if _, err := Run(t.Context(), Plan{Targets: []string{"abacus"}}, []*model.Model{m}, o); !errors.Is(err, backend.ErrUnknownTarget) {
		t.Errorf("unknown target: %v", err)
	}
	if _, err := Run(t.Context(), Plan{Models: []string{"x", "y"}}, []*model.Model{m}, o); !errors.Is(err, ErrPlan) {
		t.Errorf("two names for one model: %v", err)
	}
	if _, err := Run(t.Context(), Plan{Targets: []string{"lost"}}, []*model.Model{m}, o); err == nil || !strings.Contains(err.Error(), "no target could run") {
		t.Errorf("no target that runs: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	a.cancel = cancel
	if _, err := Run(ctx, Plan{Targets: []string{"a"}, Threads: 1}, []*model.Model{m}, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func has(found []Finding, rule string) bool {
	for _, f := range found {
		if f.Rule == rule {
			return true
		}
	}
	return false
}

package bench

import (
	"math/rand/v2"
	"testing"
)

func TestValidity(t *testing.T) {
	for _, row := range []struct {
		name    string
		edit    func(*Bundle)
		rule    string
		invalid bool
	}{
		{"quiet", func(*Bundle) {}, "", false},
		{"others had a core", func(b *Bundle) { b.Environment.Others.Value = 0.5 }, "other load", true},
		{"others not measurable", func(b *Bundle) { b.Environment.Others = missing("no /proc") }, "other load", false},
		{"stolen time", func(b *Bundle) { b.Environment.Stolen.Value = 0.1 }, "stolen time", true},
		{"requests meanwhile", func(b *Bundle) { b.Disturbances = 3 }, "disturbed", true},
		{"the clock went down", func(b *Bundle) {
			b.Probes = append(b.Probes, Probe{Precision: "fp32", OneCore: 60, AllCores: 60, Cores: 1})
		}, "clock", false},
		{"fewer samples than planned", func(b *Bundle) { b.Plan.MinCount = 10000 }, "too few samples", true},
		{"shorter than planned", func(b *Bundle) { b.Plan.MinDurationMS = 1e6 }, "too few samples", true},
		{"one session", func(b *Bundle) { b.Subjects[1].Sessions = 1 }, "one session", false},
		{"a browser's", func(b *Bundle) { b.Origin = OriginBrowser }, "browser", false},
		{"an error", func(b *Bundle) { b.Subjects[1].Error = "lost" }, "error", true},
		{"slower and slower", func(b *Bundle) {
			for block, l := range b.Subjects[1].Slices {
				for i := range l.SamplesMS {
					l.SamplesMS[i] *= 1 + float64(block)/20
				}
			}
		}, "drift", true},
		{"unanswered", func(b *Bundle) {
			b.Plan.Scenario, b.Plan.Rate, b.Plan.BoundMS = Server, 100, 10
			b.Subjects[1].Slices[0].Unanswered = 2
		}, "overload", true},
	} {
		b := synthetic([]string{"a", "b"}, 20, 30, lognormal(rand.New(rand.NewPCG(3, 3)), 0, 0.01))
		row.edit(b)
		s := Summarise(b)
		var rules []string
		for _, f := range s.Findings {
			rules = append(rules, f.Rule)
			if f.Rule == row.rule && f.Invalid != row.invalid {
				t.Errorf("%s: invalid %v, want %v: %s", row.name, f.Invalid, row.invalid, f.Text)
			}
		}
		if row.rule == "" && len(rules) > 0 || row.rule != "" && !has(s.Findings, row.rule) {
			t.Errorf("%s: findings %v, want %q", row.name, rules, row.rule)
		}
		if last := s.Subjects[1]; (last.Rank == 0) != row.invalid || last.Valid == row.invalid {
			t.Errorf("%s: rank %d, valid %v", row.name, last.Rank, last.Valid)
		}
	}
	few := synthetic([]string{"a"}, 5, 100, func(int, int) float64 { return 1 })
	if s := few.Summary; s.Valid || !has(s.Findings, "too few blocks") || s.Subjects[0].P50.Bounded() {
		t.Errorf("five blocks: %+v", s)
	}
}

func TestFigures(t *testing.T) {
	// 2 ms and 4 ms a query of 10⁹ multiply-adds on a core of 100 GFLOP/s.
	at := func(s, _ int) float64 { return 2 + 2*float64(s) }
	b := synthetic([]string{"a", "b", "c:webgpu", "d:int8"}, 10, 40, at)
	s := b.Summary.Subjects
	if s[0].GFLOPS != 1000 || s[0].Share != 10 || s[1].GFLOPS != 500 || s[1].Share != 5 {
		t.Errorf("%+v\n%+v\nwant 1000 and 500 GFLOP/s, 10 and 5 times the peak", s[0], s[1])
	}
	if s[2].Share != 0 {
		t.Errorf("a GPU has the share %v of the processor's peak", s[2].Share)
	}
	if s[3].Share != 0 || s[3].GFLOPS == 0 {
		t.Errorf("int8 has the share %v of the peak of fp32, and %v GFLOP/s", s[3].Share, s[3].GFLOPS)
	}
	b.Probes = append(b.Probes, Probe{Precision: "int8", OneCore: 400, Cores: 1, AllCores: 400}, Probe{Precision: "bf16", Cores: 1})
	probed := Summarise(b)
	if share, want := probed.Subjects[3].Share, probed.Subjects[3].GFLOPS/400; share != want || len(probed.Peaks) != 2 {
		t.Errorf("int8 has the share %v of its peak, want %v; peaks %+v, want those of fp32 and int8", share, want, probed.Peaks)
	}
	if s[0].Throughput.Value != 500 || s[1].Ratio != (Interval{2, 2, 2}) || s[1].P99 != (Interval{4, 4, 4}) {
		t.Errorf("throughput %v, ratio %v, p99 %v; want 500, 2, 4", s[0].Throughput, s[1].Ratio, s[1].P99)
	}
	if s[0].Rank != 1 || s[1].Rank != 2 || s[2].Rank != 3 {
		t.Errorf("ranks %d, %d, %d", s[0].Rank, s[1].Rank, s[2].Rank)
	}
	b.Plan.Scenario, b.Plan.Batch = Offline, 8
	if s := Summarise(b).Subjects; s[0].Throughput.Value != 4000 || s[0].GFLOPS != 8000 || s[0].Rank != 1 {
		t.Errorf("batches of 8: %+v, want 4000 images/s at 8000 GFLOP/s", s[0])
	}
	b.Plan.Scenario, b.Plan.Batch, b.Plan.Rate, b.Plan.BoundMS = Server, 1, 100, 3
	if s := Summarise(b).Subjects; !*s[0].BoundMet || *s[1].BoundMet || s[0].GFLOPS != 0 {
		t.Errorf("bound of 3 ms: met %v and %v, %v GFLOP/s", *s[0].BoundMet, *s[1].BoundMet, s[0].GFLOPS)
	}
	b.Subjects[0].OpenMS, b.Subjects[1].OpenMS = []float64{90, 3, 3, 3, 3, 3, 4}, []float64{90, 3, 3, 3, 4}
	if s := Summarise(b).Subjects; s[0].Open.Value != 3 || !s[0].Open.Bounded() || s[1].Open != (Interval{Value: 3}) || s[2].Open != (Interval{}) {
		t.Errorf("opening takes %+v, %+v, %+v; want 3 ms with bounds, 3 ms without, nothing", s[0].Open, s[1].Open, s[2].Open)
	}
	joules := 0.4
	for i := range b.Subjects[0].Slices {
		b.Subjects[0].Slices[i].EnergyJ = &joules
	}
	b.Subjects[0].EnergyMissing = ""
	if s := Summarise(b).Subjects; s[0].Energy.Value < 0.00999 || s[0].Energy.Value > 0.01001 || s[0].Energy.Meter == "" || s[1].Energy.Measured() {
		t.Errorf("energy %+v and %+v; want 0.01 J an image, and a reason", s[0].Energy, s[1].Energy)
	}
}

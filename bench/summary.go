package bench

import (
	"cmp"
	"fmt"
	"slices"

	"edgevit/compare"
)

// Summary is what a run says.
type Summary struct {
	// Valid says that no rule is broken that concerns all of the run.
	Valid    bool             `json:"valid"`
	Subjects []SubjectSummary `json:"subjects"`
	Findings []Finding        `json:"findings"`
	// Peaks are those that were probed, fp32 first.
	Peaks []Peak `json:"peaks"`
}

// SubjectSummary is what a run says of a subject.
type SubjectSummary struct {
	Model string `json:"model"`
	Label string `json:"label"`
	Error string `json:"error,omitempty"`
	// Valid says that neither the run nor this subject breaks a rule. Only
	// then is there a Rank among the subjects of the model, from 1; in a run
	// with peers, among all.
	Valid bool `json:"valid"`
	Rank  int  `json:"rank,omitempty"`
	// Samples is their number. Percentiles are in milliseconds, of one query.
	Samples int      `json:"samples"`
	P50     Interval `json:"p50_ms"`
	P90     Interval `json:"p90_ms"`
	P99     Interval `json:"p99_ms"`
	// Ratio is the median over the blocks of this subject's median over that
	// of the model's first subject in the same block; of a peer's, the run's
	// first.
	Ratio Interval `json:"ratio"`
	// Throughput is in images a second, the median over the blocks.
	Throughput Interval `json:"throughput"`
	// Open is the median time of opening a session in milliseconds; the zero
	// value where it was not noted.
	Open Interval `json:"open_ms,omitzero"`
	// GFLOPS are 2 operations a MAC at p50, 0 of a peer, whose MACs are not
	// known. Share is that of the peak, in the precision of the target's
	// products, of as many cores as the plan has threads; 0 on other devices, and
	// in a browser, where nothing is probed and threads are each target's own.
	GFLOPS float64 `json:"gflops"`
	Share  float64 `json:"peak_share,omitempty"`
	// BoundMet says whether p99 stays under the plan's bound, Server only.
	BoundMet   *bool   `json:"bound_met,omitempty"`
	Unanswered int     `json:"unanswered,omitempty"`
	Resident   Reading `json:"resident_bytes"`
	// Energy is in joules an image.
	Energy Reading `json:"energy_j"`
}

// Finding is a rule that a run or a subject breaks, or something to know.
type Finding struct {
	Rule string `json:"rule"`
	// Model and Label are empty where it concerns all of the run.
	Model string `json:"model,omitempty"`
	Label string `json:"label,omitempty"`
	Text  string `json:"text"`
	// Invalid says that the figures do not count.
	Invalid bool `json:"invalid"`
}

// Limits of a valid run.
const (
	maxDrift  = 0.05 // of a subject's median, last third against first
	maxOthers = 0.05 // of the time of all cores
	maxStolen = 0.02
	maxClock  = 0.10 // between the lowest and the highest probe
)

// Summarise makes a summary of the raw samples. It is the same for the same
// samples.
func Summarise(b *Bundle) Summary {
	s := Summary{Findings: []Finding{}, Peaks: peaksOf(b.Probes)}
	s.Findings = append(s.Findings, runFindings(b)...)
	s.Valid = !slices.ContainsFunc(s.Findings, func(f Finding) bool { return f.Invalid })
	for i := range b.Subjects {
		subject := &b.Subjects[i]
		_, _, reference := b.Plan.subject(i)
		t := summariseSubject(b, subject, &b.Subjects[reference])
		if m := i / len(b.Plan.Targets); m < len(b.Models) {
			t.share(b, &s, subject, b.Models[m].MACs)
		}
		found := subjectFindings(b, subject, &t)
		t.Valid = s.Valid && t.Error == "" && !slices.ContainsFunc(found, func(f Finding) bool { return f.Invalid })
		s.Subjects, s.Findings = append(s.Subjects, t), append(s.Findings, found...)
	}
	rankSubjects(s.Subjects, b.Plan)
	return s
}

func summariseSubject(b *Bundle, subject, reference *Subject) SubjectSummary {
	p := b.Plan
	t := SubjectSummary{Model: subject.Model, Label: subject.Label, Error: subject.Error, Resident: subject.Resident}
	if t.Error != "" {
		return t
	}
	var blocks [][]float64
	var throughput []float64
	energy, images := Reading{}, 0
	for _, l := range subject.Slices {
		blocks = append(blocks, l.SamplesMS)
		t.Samples += len(l.SamplesMS)
		t.Unanswered += l.Unanswered
		answered := (len(l.SamplesMS) - l.Unanswered) * p.Batch
		images += answered
		throughput = append(throughput, float64(answered)/l.DurationMS*1000)
		if l.EnergyJ != nil {
			energy.Value += *l.EnergyJ
			energy.Meter = "RAPL, whole processor packages"
		}
	}
	seed := p.seed(forIntervals, 0)
	q := percentiles(blocks, []float64{0.5, 0.9, 0.99}, seed)
	t.P50, t.P90, t.P99 = q[0], q[1], q[2]
	t.Throughput = intervalOf(compare.BootstrapMedian(throughput, seed))
	var openings [][]float64 // each in a block of its own
	for _, v := range subject.OpenMS {
		openings = append(openings, []float64{v})
	}
	t.Open = percentiles(openings, []float64{0.5}, seed)[0]
	if reference.Error == "" {
		t.Ratio = intervalOf(compare.TimingOf(medians(subject.Slices), medians(reference.Slices), seed).Ratio)
	}
	switch {
	case subject.EnergyMissing != "":
		t.Energy = missing("%s", subject.EnergyMissing)
	case energy.Meter == "" || images == 0:
		t.Energy = missing("no counter could be read")
	default:
		t.Energy = Reading{Value: energy.Value / float64(images), Meter: energy.Meter}
	}
	if p.Scenario == Server {
		met := t.P99.Value <= p.BoundMS
		t.BoundMet = &met
	}
	return t
}

func medians(slices []Slice) []float64 {
	var m []float64
	for _, l := range slices {
		m = append(m, Percentile(l.SamplesMS, 0.5))
	}
	return m
}

// share fills in GFLOPS and Share. A query's time in the Server scenario holds
// waiting, and so has neither.
func (t *SubjectSummary) share(b *Bundle, s *Summary, subject *Subject, macs int64) {
	p50 := max(t.P50.Value, clockStep)
	if t.Error != "" || b.Plan.Scenario == Server {
		return
	}
	t.GFLOPS = 2 * float64(macs) * float64(b.Plan.Batch) / p50 / 1e6
	for _, p := range s.Peaks {
		if b.Origin == OriginAPI && p.Precision == precisionOf(subject.Target) {
			t.Share = p.Share(t.GFLOPS)
		}
	}
}

func runFindings(b *Bundle) []Finding {
	found := loadFindings(b.Environment.Others, b.Environment.Stolen)
	if b.Disturbances > 0 {
		found = append(found, finding("disturbed", true, "%d requests were served during the run", b.Disturbances))
	}
	if b.Plan.Blocks < minBlocks {
		found = append(found, finding("too few blocks", true, "%d blocks; fewer than %d give no intervals", b.Plan.Blocks, minBlocks))
	}
	found = append(found, clockFindings(b.Probes)...)
	if b.Origin == OriginBrowser {
		found = append(found, finding("browser", false, "measured by a browser and not checked by this program"))
	}
	return found
}

func finding(rule string, invalid bool, format string, args ...any) Finding {
	return Finding{Rule: rule, Text: fmt.Sprintf(format, args...), Invalid: invalid}
}

// loadFindings say whether anything else took the cores' time, or that it is
// not known.
func loadFindings(others, stolen Reading) []Finding {
	var found []Finding
	for _, r := range []struct {
		rule    string
		reading Reading
		limit   float64
		who     string
	}{
		{"other load", others, maxOthers, "other programs"},
		{"stolen time", stolen, maxStolen, "other virtual machines"},
	} {
		switch {
		case !r.reading.Measured():
			found = append(found, finding(r.rule, false, "what %s took is %s", r.who, cmp.Or(r.reading.Missing, "not known")))
		case r.reading.Value > r.limit:
			found = append(found, finding(r.rule, true, "%s took %.1f %% of all cores' time (%s), at most %.0f %%", r.who, 100*r.reading.Value, r.reading.Meter, 100*r.limit))
		}
	}
	return found
}

// clockFindings say that the core was not always as fast, by the probes of the
// first one's precision.
func clockFindings(probes []Probe) []Finding {
	var peaks []float64
	for _, p := range probes {
		if p.Precision == probes[0].Precision {
			peaks = append(peaks, p.OneCore)
		}
	}
	if len(peaks) == 0 || slices.Max(peaks) <= (1+maxClock)*slices.Min(peaks) {
		return nil
	}
	return []Finding{finding("clock", false, "the core's peak was between %.1f and %.1f GOP/s; shares of it are rough", slices.Min(peaks), slices.Max(peaks))}
}

func subjectFindings(b *Bundle, subject *Subject, t *SubjectSummary) []Finding {
	var found []Finding
	add := func(rule string, invalid bool, format string, args ...any) {
		found = append(found, Finding{Rule: rule, Model: t.Model, Label: t.Label, Text: fmt.Sprintf(format, args...), Invalid: invalid})
	}
	if t.Error != "" {
		add("error", true, "could not run: %s", t.Error)
		return found
	}
	p := b.Plan
	duration := 0.0
	for _, l := range subject.Slices {
		duration += l.DurationMS
	}
	switch q := p.Scenario.quantile(); {
	case t.Samples < p.MinCount:
		add("too few samples", true, "%d samples, want %d", t.Samples, p.MinCount)
	case !enough(q, t.Samples):
		add("too few samples", true, "%d samples are too few for an interval of p%.0f", t.Samples, 100*q)
	case p.Scenario != Server && duration < p.MinDurationMS:
		add("too few samples", true, "measured for %.0f ms, want %.0f: no more than %d samples are kept", duration, p.MinDurationMS, MaxSamples)
	}
	if subject.Sessions == 1 {
		add("one session", false, "opening takes long, so that all samples come from one session; the intervals leave out what another would differ by")
	}
	if third := len(subject.Slices) / 3; third >= 2 {
		m := medians(subject.Slices)
		first := compare.BootstrapMedian(m[:third], p.seed(forIntervals, 1))
		last := compare.BootstrapMedian(m[len(m)-third:], p.seed(forIntervals, 2))
		drift := max(last.Value, clockStep)/max(first.Value, clockStep) - 1
		if (drift > maxDrift || drift < -maxDrift) && (last.Low > first.High || last.High < first.Low) {
			add("drift", true, "the median went from %.3g ms in the first third to %.3g ms in the last, %+.0f %%, at most ±%.0f %%", first.Value, last.Value, 100*drift, 100*maxDrift)
		}
	}
	if t.Unanswered > 0 {
		add("overload", true, "%d of %d queries were not answered: the rate of %g a second is more than it serves", t.Unanswered, t.Samples, p.Rate)
	}
	return found
}

// rankSubjects ranks the valid subjects of each model by what the scenario is
// about; where there are peers, which are there to be ranked with them, all.
func rankSubjects(all []SubjectSummary, p Plan) {
	groups := map[string][]*SubjectSummary{}
	for i := range all {
		if group := all[i].Model; all[i].Valid {
			if len(p.Peers) > 0 {
				group = ""
			}
			groups[group] = append(groups[group], &all[i])
		}
	}
	cost := func(t *SubjectSummary) float64 {
		switch p.Scenario {
		case Server:
			return t.P99.Value
		case Offline:
			return -t.Throughput.Value
		}
		return t.P90.Value
	}
	for _, group := range groups {
		for _, t := range group {
			t.Rank = 1
			for _, other := range group {
				if cost(other) < cost(t) {
					t.Rank++
				}
			}
		}
	}
}

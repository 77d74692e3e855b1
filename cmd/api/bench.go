package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"edgevit/backend"
	"edgevit/backend/onnx"
	"edgevit/bench"
	"edgevit/model"
)

type benchCmd struct {
	Models      []string       `help:"Models: served names, checkpoints, demo, random:xxs|xs|s." default:"random:xxs" placeholder:"A,B"`
	Targets     []string       `help:"Targets, the one that others are related to first; one may be named twice. Default: every one that is available here." placeholder:"X,Y"`
	Peer        []string       `help:"Other programs' .onnx files, to be measured and ranked beside the models: one image in, one row of logits out." placeholder:"FILE,FILE" type:"existingfile"`
	Threads     int            `help:"CPU threads of a query; 0: min(cores, 4)." placeholder:"N"`
	Scenario    bench.Scenario `help:"single-stream: one query after another. server: queries at random times. offline: batches." enum:"single-stream,server,offline" default:"single-stream"`
	Rate        float64        `help:"Queries a second of the server scenario." placeholder:"R"`
	Bound       float64        `help:"What p99 of the server scenario is to stay under, in ms; 0: 100." placeholder:"MS"`
	Batch       int            `help:"Images of a query of the offline scenario; 0: 8." placeholder:"N"`
	MinDuration time.Duration  `help:"Shortest time that each target is measured." default:"5s"`
	MinCount    int            `help:"Fewest queries to each target." default:"100"`
	Blocks      int            `help:"How often every target has its turn." default:"20"`
	Seed        uint64         `help:"Seed of inputs, orders and arrivals; 0: drawn." placeholder:"N"`
	JSON        bool           `name:"json" help:"Print JSON." xor:"form"`
	CSV         bool           `name:"csv" help:"Print CSV, one line a target." xor:"form"`
	Out         string         `help:"Write the run with all its samples, as a bundle." placeholder:"FILE" type:"path"`
	Replay      string         `help:"Repeat the run of this bundle and compare; the flags of the plan do not count." placeholder:"BUNDLE" type:"existingfile"`
	Data        string         `help:"Folder of models and runs. Default: the user's data folder." placeholder:"DIR" env:"EDGEVIT_DATA" type:"path"`
}

// benchOutput is the JSON of bench.
type benchOutput struct {
	ID           string             `json:"id"`
	Created      time.Time          `json:"created"`
	Plan         bench.Plan         `json:"plan"`
	Models       []bench.ModelFacts `json:"models"`
	Peers        []bench.PeerFacts  `json:"peers,omitempty"`
	Environment  bench.Environment  `json:"environment"`
	Disturbances int64              `json:"disturbances"`
	Summary      bench.Summary      `json:"summary"`
	Replay       *benchReplay       `json:"replay,omitempty"`
}

// benchReplay relates the run to the one that it repeats.
type benchReplay struct {
	ID      string         `json:"id"`
	Changes []bench.Change `json:"changes"`
}

func (c *benchCmd) Run(ctx context.Context, s std, registry *backend.Registry) error {
	plan, before, err := c.plan(ctx, registry)
	if err != nil {
		return err
	}
	if c.Data == "" {
		c.Data = dataFolder()
	}
	var models []*model.Model
	for _, name := range plan.Models {
		m, err := modelFlags{Model: name, Models: filepath.Join(c.Data, "models")}.load()
		if err != nil {
			return err
		}
		models = append(models, m)
	}
	peers, err := openPeers(c.Peer)
	if err != nil {
		return err
	}
	if before != nil {
		if err := before.CheckModels(models, peers); err != nil {
			return err
		}
	}
	b, err := c.measure(ctx, s, registry, plan, models, peers)
	if err != nil {
		return err
	}
	if c.Out != "" {
		if err := writeBundle(c.Out, b); err != nil {
			return err
		}
	}
	o := benchOutput{b.ID, b.Created, b.Plan, b.Models, b.Peers, b.Environment, b.Disturbances, b.Summary, nil}
	if before != nil {
		o.Replay = &benchReplay{before.ID, bench.Changes(before, b)}
	}
	switch {
	case c.JSON:
		err = writeJSON(s.out, o)
	case c.CSV:
		err = o.csv(s.out)
	default:
		err = o.print(s.out)
	}
	if err != nil {
		return err
	}
	for _, t := range b.Summary.Subjects {
		if t.Error != "" {
			return errNo
		}
	}
	return nil
}

// plan is that of the flags, or of the bundle to repeat.
func (c *benchCmd) plan(ctx context.Context, registry *backend.Registry) (bench.Plan, *bench.Bundle, error) {
	if c.Replay != "" {
		f, err := os.Open(c.Replay)
		if err != nil {
			return bench.Plan{}, nil, err
		}
		defer f.Close()
		b, err := bench.ReadBundle(f)
		if err != nil {
			return bench.Plan{}, nil, fmt.Errorf("%s: %w", c.Replay, err)
		}
		if b.Origin == bench.OriginBrowser {
			return bench.Plan{}, nil, fmt.Errorf("%s: a browser measured this run; only a browser can repeat it", c.Replay)
		}
		return b.Plan, b, nil
	}
	p := bench.Plan{
		Scenario: c.Scenario, Models: c.Models, Targets: c.Targets, Threads: c.Threads, Rate: c.Rate, BoundMS: c.Bound, Batch: c.Batch,
		MinDurationMS: float64(c.MinDuration) / float64(time.Millisecond), MinCount: c.MinCount, Blocks: c.Blocks, Seed: c.Seed,
	}
	if p.Seed == 0 {
		p.Seed = rand.Uint64() >> 11 // JSON's numbers hold 53 bits
	}
	for _, file := range c.Peer {
		p.Peers = append(p.Peers, filepath.Base(file))
	}
	p = p.WithDefaults()
	var err error
	if p.Targets, err = bench.ResolveTargets(ctx, registry, p.Targets); err != nil {
		return bench.Plan{}, nil, err
	}
	return p, nil, p.Check()
}

// measure holds the machine, and keeps the run beside the others.
func (c *benchCmd) measure(ctx context.Context, s std, registry *backend.Registry, plan bench.Plan, models []*model.Model, peers []bench.Peer) (*bench.Bundle, error) {
	store, err := bench.OpenStore(c.Data)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	job, err := store.Begin(plan)
	if err != nil {
		return nil, err
	}
	bar := newProgress(s.err)
	b, err := bench.Run(ctx, plan, models, bench.Options{Registry: registry, Version: buildVersion(), Peers: peers, Progress: func(p bench.Progress) { bar.set(p.Done, p.Total) }})
	bar.end()
	if err := errors.Join(err, job.End(b, err)); err != nil {
		return nil, err
	}
	return b, nil
}

// openPeers reads .onnx files. The error is that of a file that cannot be read
// or is no such classifier. Where the runtime is missing, which is no file's
// fault, every peer has the reason in it.
func openPeers(files []string) ([]bench.Peer, error) {
	var peers []bench.Peer
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		p := bench.Peer{Name: filepath.Base(file), Hash: fmt.Sprintf("%x", sha256.Sum256(data))}
		switch o, err := onnx.ReadPeer(data); {
		case errors.Is(err, backend.ErrUnavailable):
			p.Err = err
		case err != nil:
			return nil, fmt.Errorf("peer %s: %w", file, err)
		default:
			p.Graph, p.Open = o.Graph(), o.Open
		}
		peers = append(peers, p)
	}
	return peers, nil
}

func writeBundle(path string, b *bench.Bundle) error {
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		return err
	}
	return os.WriteFile(path, file.Bytes(), 0o644)
}

// number is an interval for people: the value and, where there are any, its
// bounds.
func number(i bench.Interval, digits int) string {
	text := strconv.FormatFloat(i.Value, 'f', digits, 64)
	if i.Bounded() {
		text += fmt.Sprintf(" (%.*f..%.*f)", digits, i.Low, digits, i.High)
	}
	return text
}

// reading is a value for people in a unit, or the words that it is not
// measurable.
func reading(r bench.Reading, unit float64, digits int) string {
	if !r.Measured() {
		return "not measurable here"
	}
	return strconv.FormatFloat(r.Value/unit, 'f', digits, 64)
}

const mega = 1e6

func (o benchOutput) print(w io.Writer) error {
	p := o.Plan
	fmt.Fprintf(w, "%s, threads %d, %d blocks, seed %d, run %s\n", p.Scenario, p.Threads, p.Blocks, p.Seed, o.ID)
	several := len(o.Models)+len(o.Peers) > 1
	for _, m := range o.Models {
		note := ""
		if m.Untrained {
			note = ", untrained"
		}
		fmt.Fprintf(w, "%s: %.12s, %.1f M multiply-adds an image%s\n", m.Name, m.Hash, float64(m.MACs)/1e6, note)
	}
	for _, m := range o.Peers {
		if m.Classes > 0 { // else a finding has the reason
			fmt.Fprintf(w, "%s: %.12s, %d x %d pixels, %d classes, multiply-adds not known\n", m.Name, m.Hash, m.Width, m.Height, m.Classes)
		}
	}
	fmt.Fprintln(w)
	t := newTable(w)
	head := []any{"rank", "target", "p50 ms (95 %)", "p90 ms", "p99 ms", "ratio", "GFLOP/s", "of peak", "images/s", "open ms", "MB resident", "mJ/image"}
	if p.Scenario == bench.Server {
		head = append(head, fmt.Sprintf("p99 <= %g ms", p.BoundMS))
	}
	t.row(head...)
	for _, r := range o.Summary.Subjects {
		name := r.Label
		if several {
			name = r.Model + " " + r.Label
		}
		if r.Error != "" {
			t.row("-", name, "cannot run")
			continue
		}
		cells := []any{"-", name, number(r.P50, 3), number(r.P90, 3), number(r.P99, 3), number(r.Ratio, 3), "-", "-", number(r.Throughput, 1), number(r.Open, 1), reading(r.Resident, mega, 1), reading(r.Energy, 1e-3, 1)}
		if r.Rank > 0 {
			cells[0] = r.Rank
		}
		if r.GFLOPS > 0 {
			cells[6] = fmt.Sprintf("%.1f", r.GFLOPS)
		}
		if r.Share > 0 {
			cells[7] = fmt.Sprintf("%.1f %%", 100*r.Share)
		}
		if r.BoundMet != nil {
			cells = append(cells, map[bool]string{true: "yes", false: "no"}[*r.BoundMet])
		}
		t.row(cells...)
	}
	if err := t.flush(); err != nil {
		return err
	}
	o.environment(w)
	printFindings(w, o.Summary.Findings)
	if o.Replay == nil {
		return nil
	}
	fmt.Fprintf(w, "\nagainst run %s\n", o.Replay.ID)
	t.row("target", "p50 ms then", "now", "now / then (95 %)")
	for _, c := range o.Replay.Changes {
		t.row(c.Model+" "+c.Label, fmt.Sprintf("%.3f", c.BeforeMS), fmt.Sprintf("%.3f", c.AfterMS), number(c.Ratio, 3))
	}
	return t.flush()
}

// environment prints the machine in three lines, and the energy meter's reason
// once.
func (o benchOutput) environment(w io.Writer) {
	e, sum := o.Environment, o.Summary
	or := func(s, otherwise string) string {
		if s == "" {
			return otherwise
		}
		return s
	}
	share := func(r bench.Reading) string {
		if !r.Measured() {
			return "not measurable here"
		}
		return fmt.Sprintf("%.1f %%", 100*r.Value)
	}
	quota := "none"
	if e.Quota > 0 {
		quota = fmt.Sprintf("%.2f cores", e.Quota)
	}
	fmt.Fprintf(w, "\n%s, %d cores, %.1f GB; %s %s, kernel %s, governor %s, CPU quota %s\n", or(e.CPU, "CPU not named"), e.Cores, float64(e.MemoryBytes)/1e9, e.OS, e.Arch, or(e.Kernel, "not told"), or(e.Governor, "not told"), quota)
	fmt.Fprintf(w, "edgevit %s, %s, GOMAXPROCS %d; load %v before, %v after; others %s, stolen %s\n", or(e.Version, "unknown"), e.Go, e.GoMaxProcs, e.LoadBefore, e.LoadAfter, share(e.Others), share(e.Stolen))
	for _, p := range sum.Peaks {
		fmt.Fprintln(w, peakLine(p))
	}
	for _, r := range sum.Subjects {
		if r.Energy.Missing != "" {
			fmt.Fprintf(w, "energy: %s\n", r.Energy.Missing)
			break
		}
	}
}

func peakLine(p bench.Peak) string {
	line := fmt.Sprintf("peak of %s by probe (%s): %.1f GOP/s on one core", p.Precision, p.Instructions, p.OneCore)
	if p.Cores > 1 {
		line += fmt.Sprintf(", %.1f on %d at once", p.AllCores, p.Cores)
	}
	return line
}

func printFindings(w io.Writer, findings []bench.Finding) {
	for _, f := range findings {
		kind, where := "note", strings.TrimSpace(f.Model+" "+f.Label)
		if f.Invalid {
			kind = "INVALID"
		}
		if where != "" {
			where += ": "
		}
		fmt.Fprintf(w, "%s: %s: %s%s\n", kind, f.Rule, where, f.Text)
	}
}

func (o benchOutput) csv(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{
		"id", "model", "model_hash", "target", "scenario", "threads", "batch", "valid", "rank", "error", "samples", "p50_ms", "p50_low_ms", "p50_high_ms", "p90_ms", "p90_low_ms", "p90_high_ms",
		"p99_ms", "p99_low_ms", "p99_high_ms", "ratio", "ratio_low", "ratio_high", "images_per_s", "gflops", "peak_share", "resident_bytes", "energy_j",
		"open_ms", "open_low_ms", "open_high_ms",
	}}
	f := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	// three is empty where there is no value or interval.
	three := func(i bench.Interval) []string {
		switch {
		case i.Bounded():
			return []string{f(i.Value), f(i.Low), f(i.High)}
		case i.Value > 0:
			return []string{f(i.Value), "", ""}
		}
		return []string{"", "", ""}
	}
	value := func(r bench.Reading) string {
		if !r.Measured() {
			return ""
		}
		return f(r.Value)
	}
	hashes := map[string]string{}
	for _, m := range o.Models {
		hashes[m.Name] = m.Hash
	}
	for _, m := range o.Peers {
		hashes[m.Name] = m.Hash
	}
	for _, r := range o.Summary.Subjects {
		row := []string{o.ID, r.Model, hashes[r.Model], r.Label, string(o.Plan.Scenario), strconv.Itoa(o.Plan.Threads), strconv.Itoa(o.Plan.Batch), strconv.FormatBool(r.Valid), strconv.Itoa(r.Rank), r.Error, strconv.Itoa(r.Samples)}
		for _, i := range []bench.Interval{r.P50, r.P90, r.P99, r.Ratio} {
			row = append(row, three(i)...)
		}
		row = append(row, f(r.Throughput.Value), f(r.GFLOPS), f(r.Share), value(r.Resident), value(r.Energy))
		rows = append(rows, append(row, three(r.Open)...))
	}
	return c.WriteAll(rows)
}

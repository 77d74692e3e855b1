package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"time"

	"edgevit/backend"
	"edgevit/bench"
)

type profileCmd struct {
	Checkpoint string `arg:"" help:"Checkpoint (.pth, .pt, .safetensors), demo, or random:xxs|xs|s."`
	Target     string `help:"Where to run." default:"purego"`
	Threads    int    `help:"CPU threads of a run." default:"1"`
	Runs       int    `help:"How often to run." default:"200"`
	CPUProfile string `name:"cpuprofile" help:"Write a CPU profile of the runs and of the probes to this file; go tool pprof -http=: -tagroot=node FILE shows its flame graph by node." placeholder:"FILE" type:"path"`
	JSON       bool   `name:"json" help:"Print JSON."`
	settingFlags
}

func (c *profileCmd) Run(ctx context.Context, s std, registry *backend.Registry) error {
	if c.Runs < 1 || c.Runs > 100_000 {
		return fmt.Errorf("--runs is %d, want 1..100000", c.Runs)
	}
	m, err := loadCheckpoint(c.Checkpoint, c.settingFlags)
	if err != nil {
		return err
	}
	b, err := openTarget(ctx, s, registry, c.Target, m, c.Threads)
	if err != nil {
		return err
	}
	defer b.Close()
	stop, err := c.startCPUProfile()
	if err != nil {
		return err
	}
	o, err := bench.ProfileOf(ctx, b, c.Runs, 200*time.Millisecond)
	if errors.Is(err, backend.ErrUnsupported) {
		err = fmt.Errorf("%w: %s runs a model as a whole; `--target purego`, or purego:PRECISION, tells its steps", err, c.Target)
	}
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	o.Model = m.Name
	if o.Model == "" {
		o.Model = c.Checkpoint
	}
	return printProfile(s, o, c.JSON)
}

// startCPUProfile begins the file of --cpuprofile; stop ends it.
func (c *profileCmd) startCPUProfile() (stop func() error, err error) {
	if c.CPUProfile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(c.CPUProfile)
	if err != nil {
		return nil, fmt.Errorf("--cpuprofile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("--cpuprofile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func printProfile(s std, o bench.Profile, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, o)
	}
	fmt.Fprintf(s.out, "%s on %s (%s), threads %d, medians of %d runs\n", o.Model, o.Target, o.Provider, o.Threads, o.Runs)
	if o.Peak.OneCore > 0 {
		fmt.Fprintln(s.out, peakLine(o.Peak))
	}
	fmt.Fprintln(s.out)
	ofPeak := func(share float64) string {
		if o.Peak.OneCore == 0 {
			return "-"
		}
		return fmt.Sprintf("%.0f %%", 100*share)
	}
	t := newTable(s.out)
	t.row("ms", "share", "GFLOP/s", "of peak", "nodes")
	for _, p := range o.Steps {
		t.row(fmt.Sprintf("%.4f", p.MS), fmt.Sprintf("%.1f %%", 100*p.Share), fmt.Sprintf("%.1f", p.GFLOPS), ofPeak(p.ShareOfPeak), shortNames(p.Nodes))
	}
	t.row(fmt.Sprintf("%.4f", o.TotalMS), "100 %", fmt.Sprintf("%.1f", o.GFLOPS), ofPeak(o.Peak.Share(o.GFLOPS)), "in all")
	if err := t.flush(); err != nil {
		return err
	}
	printFindings(s.out, o.Findings)
	return nil
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

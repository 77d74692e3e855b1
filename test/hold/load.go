//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
	"golang.org/x/sys/unix"
)

const (
	loadQueue    = 64
	loadDeadline = 5 * time.Second
	// probeBound is what /livez and /metrics are to answer within, at p99.
	probeBound = time.Second
	// maxOthers is the share of the service's core that other work may take
	// before goodputs cannot be compared.
	maxOthers = 0.05
)

// load measures goodput at and past the service's capacity: the service on one
// core, the generator on another. Levels take turns in rounds, so that the
// machine's other work meets all alike.
func load(ctx context.Context, t *trial) error {
	if runtime.NumCPU() < 2 {
		t.skip("goodput at 5× within 10 % of 1×", "one core cannot hold both the service and the generator")
		return nil
	}
	if err := keepOffCore(0); err != nil {
		return err
	}
	photo, err := os.ReadFile(filepath.Join(t.root, "docs", "cat.jpg"))
	if err != nil {
		return err
	}
	dir, remove, err := t.newFolder()
	if err != nil {
		return err
	}
	defer remove()
	v, err := t.start(ctx, setup{
		folder: dir, core: 0, env: []string{"GOMAXPROCS=1"},
		args: []string{"--default-model", "random:xxs", "--queue", strconv.Itoa(loadQueue), "--deadline", loadDeadline.String()},
	})
	if err != nil {
		return err
	}
	defer v.kill()

	attack(ctx, v, photo, vegeta.Rate{}, 4, time.Second) // warms up
	closed := attack(ctx, v, photo, vegeta.Rate{}, 4, within(t, 3*time.Second, 10*time.Second))
	capacity := closed.goodput
	t.figure("capacity, closed loop of 4 clients", "%.1f /s; p50 %.0f ms, p99 %.0f ms", capacity, ms(closed.quantile(0.5)), ms(closed.quantile(0.99)))
	if capacity <= 0 {
		return fmt.Errorf("nothing was answered: %v", closed.faults)
	}

	levels := []float64{0.5, 1, 2, 5}
	blocks := map[float64][]outcome{}
	for range within(t, 2, 5) {
		for _, level := range levels {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			rate := vegeta.Rate{Freq: max(1, int(capacity*level*10)), Per: 10 * time.Second}
			blocks[level] = append(blocks[level], attack(ctx, v, photo, rate, 0, within(t, 2*time.Second, 15*time.Second)))
			time.Sleep(200 * time.Millisecond)
		}
	}

	var disturbed float64
	for _, of := range blocks {
		for _, o := range of {
			disturbed = max(disturbed, o.others)
		}
	}
	// What is a matter of time is judged on a quiet machine in the long form;
	// elsewhere it says more of the machine than of the service.
	timed := func(ok bool, promise, figure string, args ...any) {
		switch figure = fmt.Sprintf(figure, args...); {
		case !t.long:
			t.skip(promise, "%s; judged with -long only", figure)
		case disturbed > maxOthers:
			t.skip(promise, "%s; other work took up to %.0f %% of the core, more than %.0f %%, so not judged", figure, 100*disturbed, 100*maxOthers)
		default:
			t.promise(ok, promise, "%s", figure)
		}
	}

	var probes []time.Duration
	for _, level := range levels {
		sum := merge(blocks[level])
		t.figure(fmt.Sprintf("at %g×: offered", level), "%.0f /s; %d answers, of them %d accepted, %d refused, %d past their deadline",
			capacity*level, sum.answers, len(sum.latencies), sum.refused, sum.late)
		t.promise(len(sum.faults) == 0, fmt.Sprintf("at %g×: every answer a 200 or an honest 429 or 503, none lost", level), "%d lost or dishonest%s", len(sum.faults), first(sum.faults))
		// All that may wait is answered one after another at the pace of the goodput.
		bound := min(time.Duration(1.5*(loadQueue+4)/sum.goodput*1e9), loadDeadline)
		timed(sum.quantile(0.99) <= bound, fmt.Sprintf("at %g×: p99 of the accepted ≤ 1.5 × (queue + 4) ÷ goodput, at most the deadline", level), "p50 %.0f ms, p99 %.0f ms (%.0f ms of them in the service's total_ms); bound %.0f ms",
			ms(sum.quantile(0.5)), ms(sum.quantile(0.99)), ms(quantile(sum.totals, 0.99)), ms(bound))
		probes = append(probes, sum.probes...)
	}
	slices.Sort(probes)
	timed(quantile(probes, 0.99) <= probeBound, "/livez and /metrics under load: p99 ≤ 1 s", "p50 %.0f ms, p99 %.0f ms, worst %.0f ms of %d", ms(quantile(probes, 0.5)), ms(quantile(probes, 0.99)), ms(quantile(probes, 1)), len(probes))

	var wall, perSecond []float64
	for i, most := range blocks[5] {
		wall = append(wall, most.goodput/blocks[1][i].goodput)
		perSecond = append(perSecond, most.perSecond/blocks[1][i].perSecond)
	}
	timed(median(wall) >= 0.9, "goodput at 5× ≥ 0.9 × that at 1×", "%.2f, the median of %.2f", median(wall), wall)
	timed(median(perSecond) >= 0.9, "the same by the service's own processor seconds, which other work leaves alone", "%.2f, the median of %.2f; %.1f and %.1f answers a processor second",
		median(perSecond), perSecond, merge(blocks[5]).perSecond, merge(blocks[1]).perSecond)
	if _, _, err := v.stop(30 * time.Second); err != nil {
		t.promise(false, "the service lives to the end", "%v", err)
	}
	return nil
}

// outcome is what came of an attack.
type outcome struct {
	goodput   float64         // accepted answers a second, after the first second
	perSecond float64         // the same by second of the service on a processor
	others    float64         // share of the service's core that others took
	latencies []time.Duration // of the accepted, sorted
	totals    []time.Duration // the same as the service says, sorted
	answers   int
	refused   int
	late      int
	faults    []string // requests that were lost or not answered honestly
	probes    []time.Duration
}

func (o outcome) quantile(q float64) time.Duration { return quantile(o.latencies, q) }

// attack sends the photograph at the rate, whatever comes back, or, at the rate
// 0, from so many clients one after another, and waits for every answer.
func attack(ctx context.Context, v *service, photo []byte, rate vegeta.Rate, clients uint64, length time.Duration) outcome {
	target := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodPost, URL: v.url + "/classify", Body: photo})
	options := []func(*vegeta.Attacker){vegeta.Timeout(loadDeadline + 30*time.Second), vegeta.KeepAlive(true), vegeta.Connections(2000)}
	if clients > 0 {
		options = append(options, vegeta.Workers(clients), vegeta.MaxWorkers(clients))
	}
	attacker := vegeta.NewAttacker(options...)
	probing, stop := context.WithCancel(ctx)
	defer stop()
	var o outcome
	var group sync.WaitGroup
	group.Go(func() { o.probes = probe(probing, v) })

	const settle = time.Second // until the queue has its length
	begin := time.Now()
	var work, core float64
	start := time.AfterFunc(settle, func() { work, core = processors(v.pid()), busy(0) })
	var workEnd, coreEnd float64
	measured := make(chan struct{})
	time.AfterFunc(length, func() {
		workEnd, coreEnd = processors(v.pid()), busy(0)
		close(measured)
	})
	good := 0
	for r := range attacker.Attack(target, rate, length, "") {
		if ctx.Err() != nil {
			attacker.Stop()
		}
		a := answer{status: int(r.Code), header: r.Headers, body: r.Body}
		if r.Error != "" && r.Code == 0 {
			o.faults = append(o.faults, r.Error)
			continue
		}
		o.answers++
		switch err := a.honest(http.StatusTooManyRequests, http.StatusServiceUnavailable); {
		case a.status == http.StatusGatewayTimeout && a.problem().Type == "/problems/deadline":
			o.late++
			o.faults = append(o.faults, "504, accepted and not answered within its deadline")
		case err != nil:
			o.faults = append(o.faults, err.Error())
		case a.status == http.StatusOK:
			total, ok := complete(a.body)
			if !ok {
				o.faults = append(o.faults, "200 with "+clip(a.body))
				continue
			}
			o.totals = append(o.totals, total)
			o.latencies = append(o.latencies, r.Latency)
			if end := r.End().Sub(begin); end > settle && end <= length {
				good++
			}
		default:
			o.refused++
		}
	}
	<-measured
	start.Stop()
	stop()
	group.Wait()
	slices.Sort(o.latencies)
	slices.Sort(o.totals)
	o.goodput = float64(good) / (length - settle).Seconds()
	if work = workEnd - work; work > 0 {
		o.perSecond = float64(good) / work
	}
	o.others = max(0, coreEnd-core-work) / (length - settle).Seconds()
	return o
}

// probe asks for /livez and /metrics until ctx ends, and says how long each
// took. A lost or refused answer counts as a minute.
func probe(ctx context.Context, v *service) []time.Duration {
	var took []time.Duration
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return took
		case <-tick.C:
		}
		a, err := v.doContext(ctx, http.MethodGet, []string{"/livez", "/metrics"}[i%2], nil)
		switch {
		case ctx.Err() != nil:
		case err != nil || a.status != http.StatusOK:
			took = append(took, time.Minute)
		default:
			took = append(took, a.took)
		}
	}
}

// complete says whether a body is an answer to POST /classify, and how long the
// service says that it took.
func complete(body []byte) (total time.Duration, ok bool) {
	var c struct {
		Predictions []json.RawMessage
		ModelHash   string `json:"model_hash"`
		Timing      struct {
			TotalMs float64 `json:"total_ms"`
		}
	}
	ok = json.Unmarshal(body, &c) == nil && len(c.Predictions) > 0 && len(c.ModelHash) == 64
	return time.Duration(c.Timing.TotalMs * 1e6), ok
}

func merge(blocks []outcome) outcome {
	var sum outcome
	for _, b := range blocks {
		sum.goodput += b.goodput / float64(len(blocks))
		sum.perSecond += b.perSecond / float64(len(blocks))
		sum.latencies = append(sum.latencies, b.latencies...)
		sum.totals = append(sum.totals, b.totals...)
		sum.answers += b.answers
		sum.refused += b.refused
		sum.late += b.late
		sum.faults = append(sum.faults, b.faults...)
		sum.probes = append(sum.probes, b.probes...)
	}
	slices.Sort(sum.latencies)
	slices.Sort(sum.totals)
	return sum
}

// keepOffCore keeps this process off a core.
func keepOffCore(core int) error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return err
	}
	set.Clear(core)
	threads, err := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		id, _ := strconv.Atoi(thread.Name())
		err = errors.Join(err, unix.SchedSetaffinity(id, &set))
	}
	return err
}

func all(faults []string) string {
	if len(faults) == 0 {
		return ""
	}
	return ": " + strings.Join(faults, "; ")
}

func first(faults []string) string {
	if len(faults) == 0 {
		return ""
	}
	return ", such as: " + faults[0]
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

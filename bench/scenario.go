package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// query runs a target once.
type query func(ctx context.Context) error

// turn is what a target did in its turn.
type turn struct {
	samples    []float64 // ms
	duration   time.Duration
	unanswered int
}

// closedLoop sends one query after another for at least d and count queries, at
// most most. A sample is the time of a query.
func closedLoop(ctx context.Context, q query, d time.Duration, count, most int) (turn, error) {
	var t turn
	begin := time.Now()
	for n := 0; n < most && (n < count || time.Since(begin) < d); n++ {
		at := time.Now()
		if err := q(ctx); err != nil {
			return t, err
		}
		t.samples = append(t.samples, milliseconds(time.Since(at)))
	}
	t.duration = time.Since(begin)
	return t, nil
}

// openLoop sends a query at every arrival, whether or not earlier ones are
// answered, as clients that know nothing of each other do; workers serve them
// in order of arrival. A sample is the time from the scheduled arrival to the
// answer, so that a stall shows in every query that came during it (no
// coordinated omission: Tene 2015). What has not been begun at the time giveUp
// counts as unanswered, with the time that it has waited until then.
func openLoop(ctx context.Context, workers []query, arrivals []time.Duration, giveUp time.Duration) (turn, error) {
	t := turn{samples: make([]float64, len(arrivals))}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next, unanswered atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, len(workers))
	begin := time.Now()
	for w, q := range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(arrivals) {
					return
				}
				if errs[w] = sleepUntil(ctx, begin.Add(arrivals[i])); errs[w] != nil {
					return
				}
				if time.Since(begin) > giveUp {
					unanswered.Add(1)
				} else if errs[w] = q(ctx); errs[w] != nil {
					cancel() // the others stop too
					return
				}
				t.samples[i] = milliseconds(time.Since(begin) - arrivals[i])
			}
		})
	}
	wg.Wait()
	t.duration, t.unanswered = time.Since(begin), int(unanswered.Load())
	var first error
	for _, err := range errs {
		if first == nil || errors.Is(first, context.Canceled) && err != nil {
			first = err
		}
	}
	return t, first
}

func sleepUntil(ctx context.Context, at time.Time) error {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// poisson draws the arrivals of a Poisson process of rate a second up to d, but
// at least count and at most most. They are the same for the same seed.
func poisson(rate float64, d time.Duration, count, most int, seed uint64) []time.Duration {
	rng := rand.New(rand.NewPCG(seed, 0))
	var arrivals []time.Duration
	for at := 0.0; len(arrivals) < most; {
		at += rng.ExpFloat64() / rate * float64(time.Second)
		if len(arrivals) >= count && at >= float64(d) {
			break
		}
		arrivals = append(arrivals, time.Duration(at))
	}
	return arrivals
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func fromMilliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

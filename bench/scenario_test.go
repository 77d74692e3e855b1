package bench

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestPoisson(t *testing.T) {
	const rate, seconds = 50.0, 4000
	arrivals := poisson(rate, seconds*time.Second, 0, math.MaxInt, 3)
	var counts [seconds]float64
	var sum, squares, before float64
	for _, at := range arrivals {
		counts[int(at/time.Second)]++
		gap := at.Seconds() - before
		before = at.Seconds()
		sum += gap
		squares += gap * gap
	}
	n := float64(len(arrivals))
	mean := sum / n
	deviation := math.Sqrt(squares/n - mean*mean)
	// Of 200,000 exponential gaps mean and deviation lie within 1 % of 1/rate.
	if math.Abs(mean*rate-1) > 0.01 || math.Abs(deviation*rate-1) > 0.01 {
		t.Errorf("gaps: mean %v, standard deviation %v, want %v for both", mean, deviation, 1/rate)
	}
	var total, spread float64
	for _, c := range counts {
		total += c
	}
	for _, c := range counts {
		spread += (c - total/seconds) * (c - total/seconds)
	}
	// A Poisson count's variance is its mean; of 4,000 counts the variance has
	// a standard error of 2.2 %.
	if ratio := spread / total; math.Abs(total/seconds/rate-1) > 0.01 || math.Abs(ratio-1) > 0.09 {
		t.Errorf("counts a second: mean %v, variance %v, want %v for both", total/seconds, spread/seconds, rate)
	}
	if got := poisson(rate, time.Millisecond, 25, math.MaxInt, 3); len(got) != 25 {
		t.Errorf("%d arrivals, want at least 25", len(got))
	}
	if got := poisson(1e9, time.Hour, 0, 100, 3); len(got) != 100 {
		t.Errorf("%d arrivals, want at most 100", len(got))
	}
}

// TestStall stops a target that answers in 1 ms for a second, once. A closed
// loop stops asking meanwhile and sees one slow query; the clients of an open
// loop go on coming, and every one of them has waited. Time is synctest's.
func TestStall(t *testing.T) {
	stalling := func() query {
		n := 0
		return func(context.Context) error {
			if n++; n == 500 {
				time.Sleep(time.Second)
			}
			time.Sleep(time.Millisecond)
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		closed, err := closedLoop(t.Context(), stalling(), 0, 2000, 2000)
		if err != nil {
			t.Fatal(err)
		}
		arrivals := poisson(200, 10*time.Second, 0, MaxSamples, 1)
		open, err := openLoop(t.Context(), []query{stalling()}, arrivals, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if got := Percentile(closed.samples, 0.99); got != 1 {
			t.Errorf("closed loop: p99 is %v ms; it hides the stall and has 1", got)
		}
		// 200 of 2,000 queries came in the second of the stall; half of them
		// have waited for more than about half of it.
		if got := Percentile(open.samples, 0.99); got < 800 || got > 1010 {
			t.Errorf("open loop: p99 is %v ms, want 800 to 1010", got)
		}
		if got := Percentile(open.samples, 0.5); got < 1 || got > 10 {
			t.Errorf("open loop: p50 is %v ms, want 1 to 10", got)
		}
		slow := 0
		for _, v := range open.samples {
			if v > 100 {
				slow++
			}
		}
		if slow < 130 || slow > 270 {
			t.Errorf("open loop: %d queries took over 100 ms, want about 200", slow)
		}
	})
}

func TestOpenLoop(t *testing.T) {
	work := func(d time.Duration) query {
		return func(ctx context.Context) error { time.Sleep(d); return ctx.Err() }
	}
	every := func(n int, gap time.Duration) []time.Duration {
		a := make([]time.Duration, n)
		for i := range a {
			a[i] = time.Duration(i) * gap
		}
		return a
	}
	synctest.Test(t, func(t *testing.T) {
		// Two workers serve what one could not.
		got, err := openLoop(t.Context(), []query{work(15 * time.Millisecond), work(15 * time.Millisecond)}, every(100, 10*time.Millisecond), time.Hour)
		if err != nil || Percentile(got.samples, 1) != 15 || got.unanswered != 0 {
			t.Errorf("two workers: slowest %v ms, %d unanswered, %v; want 15, 0", Percentile(got.samples, 1), got.unanswered, err)
		}
		// One worker falls back by 5 ms a query, and gives up at 600 ms, when 40
		// queries are answered; the last arrival, at 990 ms, is not asked for.
		got, err = openLoop(t.Context(), []query{work(15 * time.Millisecond)}, every(100, 10*time.Millisecond), 600*time.Millisecond)
		if err != nil || got.unanswered < 58 || got.unanswered > 60 || got.samples[39] != 15+39*5 {
			t.Errorf("an overload: %d unanswered, query 39 took %v ms, %v; want about 59, 210", got.unanswered, got.samples[39], err)
		}
		broken := func(context.Context) error { return errors.New("broken") }
		if _, err := openLoop(t.Context(), []query{work(time.Hour), broken}, every(10, time.Second), time.Hour); err == nil || err.Error() != "broken" {
			t.Errorf("a worker that fails: %v, want its own error", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Millisecond)
		defer cancel()
		if _, err := openLoop(ctx, []query{work(time.Millisecond)}, every(10, 10*time.Millisecond), time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a context that ends: %v", err)
		}
	})
}

package server

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// run waits for tokens in a lane and holds them for a time. It returns how long
// it waited.
func run(t *testing.T, a *admission, l *lane, tokens int, hold time.Duration) time.Duration {
	begin := time.Now()
	release, err := a.acquire(t.Context(), l, tokens)
	if err != nil {
		t.Error(err)
		return 0
	}
	waited := time.Since(begin)
	time.Sleep(hold)
	release()
	return waited
}

// TestFairness: a lane that is asked too much of delays another one by no more
// than an equal share of the CPU, however many wait in it and however long its
// runs are.
func TestFairness(t *testing.T) {
	for _, c := range []struct {
		name       string
		busy, rare time.Duration // of a run
		tokens     int           // of a busy run
		longest    time.Duration
	}{
		{"equal runs", 10 * time.Millisecond, 10 * time.Millisecond, 2, 10 * time.Millisecond},
		{"the busy one is slow", 100 * time.Millisecond, 10 * time.Millisecond, 2, 100 * time.Millisecond},
		{"the busy one is quick", time.Millisecond, 10 * time.Millisecond, 2, 21 * time.Millisecond},
		{"one token each", 10 * time.Millisecond, 10 * time.Millisecond, 1, 20 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAdmission(2, 1000, time.Hour)
				busy, rare := &lane{name: "busy"}, &lane{name: "rare"}
				run(t, a, busy, c.tokens, c.busy) // both are known
				run(t, a, rare, 2, c.rare)
				var all sync.WaitGroup
				for range 300 {
					all.Go(func() { run(t, a, busy, c.tokens, c.busy) })
				}
				synctest.Wait()
				for range 20 {
					if waited := run(t, a, rare, 2, c.rare); waited > c.longest {
						t.Errorf("waited %v behind %d runs of %v, want %v at most", waited, a.depth(busy), c.busy, c.longest)
					}
				}
				if a.depth(busy) == 0 {
					t.Error("nothing was waiting any more")
				}
				all.Wait()
				if a.free != 2 || a.waiting != 0 || len(a.lanes) != 0 {
					t.Errorf("afterwards %d tokens are free, %d wait in %d lanes", a.free, a.waiting, len(a.lanes))
				}
			})
		})
	}
}

// TestEqualShares: two lanes that always have somebody waiting share the CPU by
// time, not by runs.
func TestEqualShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(1, 1000, time.Hour)
		end := time.Now().Add(10 * time.Second)
		var all sync.WaitGroup
		var had [2]time.Duration
		for i, hold := range []time.Duration{3 * time.Millisecond, 50 * time.Millisecond} {
			l := &lane{name: hold.String()}
			var mu sync.Mutex
			for range 4 {
				all.Go(func() {
					for time.Now().Before(end) {
						run(t, a, l, 1, hold)
						mu.Lock()
						had[i] += hold
						mu.Unlock()
					}
				})
			}
		}
		all.Wait()
		if ratio := had[0].Seconds() / had[1].Seconds(); ratio < 0.9 || ratio > 1.1 {
			t.Errorf("runs of 3 ms had %v of the CPU, runs of 50 ms %v", had[0], had[1])
		}
	})
}

// TestNoOvertaking: one who needs all tokens gets them, though others who need
// fewer keep coming.
func TestNoOvertaking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(4, 1000, time.Hour)
		small, wide := &lane{name: "small"}, &lane{name: "wide"}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for ctx.Err() == nil {
					run(t, a, small, 1, 10*time.Millisecond)
				}
			})
		}
		time.Sleep(time.Second)
		if waited := run(t, a, wide, 4, time.Millisecond); waited > 20*time.Millisecond {
			t.Errorf("waited %v for all tokens beside runs of 10 ms", waited)
		}
		cancel()
		all.Wait()
	})
}

// TestExpectedWait: what would begin too late is refused at once, and told when
// to come again.
func TestExpectedWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(1, 1000, 5*time.Second)
		l := &lane{name: "demo on fake"}
		run(t, a, l, 1, time.Second)
		var all sync.WaitGroup
		var refused, served atomic.Int64
		for range 20 {
			all.Go(func() {
				begin := time.Now()
				release, err := a.acquire(t.Context(), l, 1)
				if err != nil {
					var o *overload
					if !errors.As(err, &o) || !errors.Is(err, errQueueFull) || time.Since(begin) != 0 || !strings.Contains(err.Error(), "demo on fake") {
						t.Errorf("got %v after %v, want a refusal at once", err, time.Since(begin))
					}
					if o.wait < 5*time.Second || o.wait > 7*time.Second {
						t.Errorf("told to wait %v behind five runs of 1 s and one in progress", o.wait)
					}
					refused.Add(1)
					return
				}
				served.Add(1)
				if waited := time.Since(begin); waited > 5500*time.Millisecond {
					t.Errorf("was let in and waited %v", waited)
				}
				time.Sleep(time.Second)
				release()
			})
		}
		all.Wait()
		if served.Load() != 6 || refused.Load() != 14 {
			t.Errorf("%d served and %d refused, want 6 and 14", served.Load(), refused.Load())
		}
		if retry := retryAfter(&overload{wait: 5500 * time.Millisecond}); retry != 6 {
			t.Errorf("Retry-After is %d, want 6", retry)
		}
	})
}

// TestDeadlineRefuses: a request whose deadline leaves no time is refused
// before it waits; one that has time waits.
func TestDeadlineRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(1, 1000, time.Hour)
		l := &lane{name: "demo on fake"}
		run(t, a, l, 1, time.Second)
		for range 3 {
			go run(t, a, l, 1, time.Second)
		}
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := a.check(short, l); !errors.Is(err, errQueueFull) || !strings.Contains(err.Error(), "deadline") {
			t.Errorf("with 2 s left: %v, want a refusal for the deadline", err)
		}
		long, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := a.check(long, l); err != nil {
			t.Errorf("with 10 s left: %v", err)
		}
		time.Sleep(5 * time.Second)
	})
}

// TestLeavesQueue: one who gives up leaves at once, never starts, and makes way
// for those behind who need fewer tokens.
func TestLeavesQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(2, 1000, time.Hour)
		l := &lane{name: "demo on fake"}
		release, err := a.acquire(t.Context(), l, 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := a.acquire(ctx, l, 2)
			left <- err
		}()
		synctest.Wait()
		behind := make(chan func())
		go func() {
			release, err := a.acquire(t.Context(), l, 1)
			if err != nil {
				t.Error(err)
			}
			behind <- release
		}()
		synctest.Wait()
		if n := a.depth(l); n != 2 {
			t.Fatalf("%d wait, want 2: nobody overtakes", n)
		}
		before := a.taken.Load()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		(<-behind)()
		release()
		if started := a.taken.Load() - before; started != 1 {
			t.Errorf("%d started, want the one behind only", started)
		}
		if a.inUse() != 0 || a.waiting != 0 {
			t.Errorf("afterwards %d tokens are in use and %d wait", a.inUse(), a.waiting)
		}
	})
}

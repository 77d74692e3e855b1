package server

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// admission is the process-wide pool of CPU tokens. A request takes as many
// tokens as its session has threads before its image is decoded, so that an
// overloaded server refuses before it decodes and targets never oversubscribe
// each other.
//
// Each session has a lane, served first come first served. Between lanes the
// one goes first that has had the least of the CPU (start-time fair queueing:
// Goyal, Vin and Cheng 1996), so that a target that is asked too much of, or a
// slow one, delays the others by no more than an equal share.
type admission struct {
	size    int
	queue   int           // most that may wait in a lane
	maxWait time.Duration // longest that one may be expected to wait

	taken atomic.Int64 // how often there were tokens for something else than what the measured lane is for

	mu       sync.Mutex
	free     int
	waiting  int     // in all lanes
	clock    float64 // virtual time: what the lane served last had had of the CPU
	lanes    []*lane // those in which something waits
	measured lane    // of benchmarks, evaluations and profiles
}

// lane is the queue of one session. It is under its admission's mu.
type lane struct {
	name    string // for errors
	waiting []*ticket
	// had is what the lane has had of the CPU, in token seconds. A lane that
	// was idle saves nothing up: it starts at the clock.
	had float64
	// cost is what one run took of the CPU lately, in token seconds; 0 before
	// the first.
	cost float64
}

// ticket is one who waits.
type ticket struct {
	tokens  int
	granted chan struct{}
	charged float64 // what the lane was charged in advance, token seconds
}

// overload is a refusal. It wraps errQueueFull.
type overload struct {
	reason string
	// wait is how long what waits already will take, as far as can be told.
	wait time.Duration
}

func (o *overload) Error() string { return fmt.Sprintf("%v: %s", errQueueFull, o.reason) }
func (o *overload) Unwrap() error { return errQueueFull }

// recent is the weight of the last run in a lane's cost.
const recent = 1. / 8

func newAdmission(size, queue int, maxWait time.Duration) *admission {
	return &admission{size: size, queue: queue, maxWait: maxWait, free: size, measured: lane{name: "a profile"}}
}

// check reports errQueueFull where a request could not wait in the lane now, so
// that it can be refused before its body is read.
func (a *admission) check(ctx context.Context, l *lane) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.room(ctx, l)
}

// room says why one more may not wait in the lane. The caller holds mu.
func (a *admission) room(ctx context.Context, l *lane) error {
	wait, run := a.expect(l)
	if len(l.waiting) >= a.queue {
		return &overload{fmt.Sprintf("%d for %s", len(l.waiting), l.name), wait}
	}
	if a.waiting == 0 {
		return nil
	}
	longest, whose := a.maxWait, "one may be expected to wait"
	if end, ok := ctx.Deadline(); ok && time.Until(end)-run < longest {
		longest, whose = max(time.Until(end)-run, 0), "the request's deadline leaves"
	}
	if wait > longest {
		return &overload{fmt.Sprintf("%s would begin in about %v, and %v is the longest that %s",
			l.name, wait.Round(time.Millisecond), longest.Round(time.Millisecond), whose), wait}
	}
	return nil
}

// expect estimates how long one who joins the lane now waits, and how long its
// run takes. Until it is served, no other lane gets more than its own does. The
// caller holds mu.
func (a *admission) expect(l *lane) (wait, run time.Duration) {
	mine := float64(len(l.waiting)) * l.cost
	ahead := mine + float64(a.size-a.free)*l.cost/2/float64(a.size) // runs in progress are half done
	for _, other := range a.lanes {
		if other != l {
			ahead += min(float64(len(other.waiting))*other.cost, mine+l.cost)
		}
	}
	seconds := func(s float64) time.Duration { return time.Duration(s / float64(a.size) * float64(time.Second)) }
	return seconds(ahead), seconds(l.cost)
}

// acquire takes the tokens of one run and returns the function that gives them
// back. The error is errQueueFull or the context's.
func (a *admission) acquire(ctx context.Context, l *lane, threads int) (release func(), err error) {
	a.mu.Lock()
	if err := a.room(ctx, l); err != nil {
		a.mu.Unlock()
		return nil, err
	}
	return a.enter(ctx, l, threads)
}

// acquireAnyway is acquire for what the server itself has to do: it waits as
// long as it takes.
func (a *admission) acquireAnyway(ctx context.Context, l *lane, threads int) (release func(), err error) {
	a.mu.Lock()
	return a.enter(ctx, l, threads)
}

// all takes every token for a benchmark and returns the function that gives
// them back.
func (a *admission) all(ctx context.Context) (release func(), err error) {
	return a.some(ctx, a.size)
}

// some takes the tokens of a step of a benchmark or evaluation, and returns the
// function that gives them back. Nobody is refused for its sake.
func (a *admission) some(ctx context.Context, threads int) (release func(), err error) {
	return a.acquireAnyway(ctx, &a.measured, threads)
}

// enter waits for tokens. The caller holds mu, which enter gives back.
func (a *admission) enter(ctx context.Context, l *lane, threads int) (release func(), err error) {
	t := &ticket{tokens: min(max(threads, 1), a.size), granted: make(chan struct{})}
	if err := ctx.Err(); err != nil {
		a.mu.Unlock()
		return nil, fmt.Errorf("waiting for %d CPU threads: %w", t.tokens, err)
	}
	if len(l.waiting) == 0 {
		l.had = max(l.had, a.clock)
		a.lanes = append(a.lanes, l)
	}
	l.waiting = append(l.waiting, t)
	a.waiting++
	a.dispatch()
	a.mu.Unlock()
	select {
	case <-t.granted:
	case <-ctx.Done():
		if a.leave(l, t) {
			return nil, fmt.Errorf("waiting for %d CPU threads: %w", t.tokens, ctx.Err())
		}
		// The tokens came at the same moment: who takes them finds that the
		// context has ended.
	}
	// Whoever was let in by the one before would take the core over from it, run
	// after run, and requests that come in meanwhile would not be looked at.
	runtime.Gosched()
	begin := time.Now()
	return func() { a.giveBack(l, t, time.Since(begin)) }, nil
}

// leave takes a ticket out of its lane, unless it has been granted.
func (a *admission) leave(l *lane, t *ticket) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(l.waiting, t)
	if i < 0 {
		return false
	}
	a.remove(l, i)
	a.dispatch() // it may have been the one that needed more tokens than are free
	return true
}

// remove takes the lane's i-th ticket out. The caller holds mu.
func (a *admission) remove(l *lane, i int) {
	l.waiting = slices.Delete(l.waiting, i, i+1)
	a.waiting--
	if len(l.waiting) == 0 {
		a.lanes = slices.DeleteFunc(a.lanes, func(other *lane) bool { return other == l })
	}
}

// dispatch grants tokens as long as there are enough for whose turn it is;
// nobody overtakes one who needs many. The caller holds mu.
func (a *admission) dispatch() {
	for len(a.lanes) > 0 {
		l := a.lanes[0]
		for _, other := range a.lanes[1:] {
			if other.had < l.had {
				l = other
			}
		}
		t := l.waiting[0]
		if t.tokens > a.free {
			return
		}
		a.remove(l, 0)
		a.free -= t.tokens
		a.clock = max(a.clock, l.had)
		t.charged = l.cost
		l.had += t.charged
		if l != &a.measured {
			a.taken.Add(1)
		}
		close(t.granted)
	}
}

// giveBack returns a ticket's tokens and settles what its run really took.
func (a *admission) giveBack(l *lane, t *ticket, held time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	took := held.Seconds() * float64(t.tokens)
	l.had += took - t.charged
	if l.cost == 0 {
		l.cost = took
	} else {
		l.cost += (took - l.cost) * recent
	}
	a.free += t.tokens
	a.dispatch()
}

// inUse is how many tokens are taken.
func (a *admission) inUse() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.size - a.free
}

// depth is how many wait in the lane.
func (a *admission) depth(l *lane) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(l.waiting)
}

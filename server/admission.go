package server

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// retryAfter is what a refused client is told to wait.
const retryAfter = time.Second

// admission is the process-wide pool of CPU tokens. A request takes as many
// tokens as its session has threads before its image is decoded, so that an
// overloaded server refuses before it decodes and targets never oversubscribe
// each other.
type admission struct {
	tokens *semaphore.Weighted
	size   int
	inUse  atomic.Int64
	taken  atomic.Int64 // how often there were tokens for a session's run
	// queue bounds how many requests wait for one session.
	queue int64
}

func newAdmission(size, queue int) *admission {
	return &admission{tokens: semaphore.NewWeighted(int64(size)), size: size, queue: int64(queue)}
}

// check reports errQueueFull while no more requests may wait for the session,
// so that one can be refused before its body is read.
func (a *admission) check(s *session) error {
	if s.waiting.Load() >= a.queue {
		return fmt.Errorf("%w: %d for %s on %s", errQueueFull, a.queue, s.entry.name, s.target)
	}
	return nil
}

// acquire takes the tokens of one run on the session, first come first served,
// and returns the function that gives them back. The error is errQueueFull or
// the context's.
func (a *admission) acquire(ctx context.Context, s *session, threads int) (release func(), err error) {
	n := int64(min(max(threads, 1), a.size))
	if !a.tokens.TryAcquire(n) {
		if waiting := s.waiting.Add(1); waiting > a.queue {
			s.waiting.Add(-1)
			return nil, fmt.Errorf("%w: %d for %s on %s", errQueueFull, a.queue, s.entry.name, s.target)
		}
		err := a.tokens.Acquire(ctx, n)
		s.waiting.Add(-1)
		if err != nil {
			return nil, fmt.Errorf("waiting for %d CPU threads: %w", n, err)
		}
	}
	a.taken.Add(1)
	return a.hold(n), nil
}

// all takes every token, behind who has come before, and returns the function
// that gives them back.
func (a *admission) all(ctx context.Context) (release func(), err error) {
	return a.some(ctx, a.size)
}

// some takes the tokens of a step of a long job, behind who has come before,
// and returns the function that gives them back. Nobody is refused for its sake.
func (a *admission) some(ctx context.Context, threads int) (release func(), err error) {
	n := int64(min(max(threads, 1), a.size))
	if err := a.tokens.Acquire(ctx, n); err != nil {
		return nil, fmt.Errorf("waiting for %d CPU threads: %w", n, err)
	}
	return a.hold(n), nil
}

func (a *admission) hold(n int64) (release func()) {
	a.inUse.Add(n)
	return func() {
		a.inUse.Add(-n)
		a.tokens.Release(n)
	}
}

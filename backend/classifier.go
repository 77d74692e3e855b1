package backend

import (
	"context"
	"fmt"
	"sync"

	"edgevit/graph"
)

// Classifier is an open session with the checks that every backend needs:
// lengths, use after Close, Close waiting for calls in progress. It is safe for
// concurrent use.
type Classifier struct {
	session Session
	graph   *graph.Graph
	target  Target
	threads int

	// mu is held for reading while a call is in progress.
	mu     sync.RWMutex
	closed bool
}

// Target is the canonical target that the classifier runs on.
func (c *Classifier) Target() Target { return c.target }

// Threads is the number of CPU threads of this machine that one Run takes.
func (c *Classifier) Threads() int { return c.threads }

// Graph is the graph that was opened.
func (c *Classifier) Graph() *graph.Graph { return c.graph }

// Run reads in, [N H W 3] float32, and fills out, [N classes] logits. The
// error is ErrShape, ErrClosed, the context's, or the runtime's.
func (c *Classifier) Run(ctx context.Context, in, out []float32) error {
	n, err := c.graph.Batch(in)
	if err != nil {
		return fmt.Errorf("%s: %w: %w", c.target, ErrShape, err)
	}
	if want := n * c.graph.Classes(); len(out) != want {
		return fmt.Errorf("%s: %w: output has %d values, want %d", c.target, ErrShape, len(out), want)
	}
	return c.call(ctx, func() error { return c.session.Run(ctx, in, out) })
}

// Trace runs one image, [H W 3], and reports every node. The error is
// ErrUnsupported where the runtime has no traces.
func (c *Classifier) Trace(ctx context.Context, in []float32) ([]NodeTrace, error) {
	t, ok := c.session.(Tracer)
	if !ok {
		return nil, fmt.Errorf("%s: traces: %w", c.target, ErrUnsupported)
	}
	if want := c.graph.Input().Len(); len(in) != want {
		return nil, fmt.Errorf("%s: %w: input has %d values, want %d", c.target, ErrShape, len(in), want)
	}
	var trace []NodeTrace
	err := c.call(ctx, func() (err error) {
		trace, err = t.Trace(ctx, in)
		return err
	})
	return trace, err
}

// Profile runs one image, [H W 3], the given number of times and reports the
// steps of a run. The error is ErrUnsupported where the runtime has no profiles.
func (c *Classifier) Profile(ctx context.Context, in []float32, runs int) ([]Step, error) {
	p, ok := c.session.(Profiler)
	if !ok {
		return nil, fmt.Errorf("%s: profiles: %w", c.target, ErrUnsupported)
	}
	if want := c.graph.Input().Len(); len(in) != want {
		return nil, fmt.Errorf("%s: %w: input has %d values, want %d", c.target, ErrShape, len(in), want)
	}
	var steps []Step
	err := c.call(ctx, func() (err error) {
		steps, err = p.Profile(ctx, in, runs)
		return err
	})
	return steps, err
}

// call runs f unless the classifier is closed or ctx has ended.
func (c *Classifier) call(ctx context.Context, f func() error) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return fmt.Errorf("%s: %w", c.target, ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", c.target, err)
	}
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", c.target, err)
	}
	return nil
}

// Describe says what truly runs where; Threads at least.
func (c *Classifier) Describe() Description {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if d, ok := c.session.(Describer); ok && !c.closed {
		return d.Describe()
	}
	return Description{Threads: c.threads}
}

// Up is nil unless the session runs in a process of its own that is down; it
// then says why, and when it starts again.
func (c *Classifier) Up() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if s, ok := c.session.(Supervised); ok && !c.closed {
		if err := s.Up(); err != nil {
			return fmt.Errorf("%s: %w", c.target, err)
		}
	}
	return nil
}

// Close waits for calls in progress and frees the session. A second Close
// returns ErrClosed.
func (c *Classifier) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fmt.Errorf("%s: %w", c.target, ErrClosed)
	}
	c.closed = true
	return c.session.Close()
}

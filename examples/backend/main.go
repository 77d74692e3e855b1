// Command backend is a backend as an executable of its own: it evaluates a graph
// plainly, in float64. The service runs it beside its own ones:
//
//	go build -o reference ./examples/backend
//	api serve --backend reference=./reference
//	curl --data-binary @photo.jpg '127.0.0.1:8080/classify?target=reference'
package main

import (
	"context"
	"fmt"

	"edgevit/backend"
	"edgevit/backend/worker"
	"edgevit/graph"
)

func main() { worker.Serve(reference{}) }

// reference is graph.Eval as a backend.
type reference struct{}

// The service gives a backend the name that it was started with.
func (reference) Name() string { return "reference" }

func (reference) Targets() []backend.Target {
	return []backend.Target{{Backend: "reference", Device: "cpu", Precision: "fp32"}}
}

func (r reference) Probe(context.Context) []backend.TargetStatus {
	return []backend.TargetStatus{{Target: r.Targets()[0], Available: true}}
}

// Open keeps the weights: Eval needs them as they are.
func (reference) Open(_ context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	full, err := g.Full()
	if err != nil {
		return nil, err
	}
	for _, n := range full.Nodes {
		if err := n.CheckWeights(); err != nil {
			return nil, err
		}
	}
	return session{full, max(o.Threads, 1)}, nil
}

type session struct {
	graph   *graph.Graph
	threads int
}

// Run evaluates one image after another. Eval cannot be cancelled, so where ctx
// ends it is left to finish by itself.
func (s session) Run(ctx context.Context, in, out []float32) error {
	n, err := s.graph.Batch(in)
	if err != nil {
		return fmt.Errorf("%w: %w", backend.ErrShape, err)
	}
	size, classes := s.graph.Input().Len(), s.graph.Classes()
	for i := range n {
		image := append([]float32(nil), in[i*size:][:size]...)
		done := make(chan error, 1)
		var values [][]float64
		go func() {
			var err error
			values, err = graph.Eval(s.graph, image)
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		for c, v := range values[len(values)-1] {
			out[i*classes+c] = float32(v)
		}
	}
	return nil
}

// Describe says what runs; leaving it out is allowed.
func (s session) Describe() backend.Description {
	return backend.Description{Threads: s.threads, Provider: "graph.Eval"}
}

func (session) Close() error { return nil }

package backendtest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/purego"
	"edgevit/graph"
)

// broken is the pure-Go engine with one fault.
type broken struct {
	purego.Backend
	fault string
}

type brokenSession struct {
	backend.Session
	fault string
	graph *graph.Graph
	runs  atomic.Int64
}

func (b broken) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	if b.fault == "takes any option" {
		o.Device, o.Precision = "", ""
	}
	s, err := b.Backend.Open(ctx, g, o)
	if err != nil {
		return nil, err
	}
	if b.fault == "leaks a goroutine" {
		go func() { select {} }()
	}
	return &brokenSession{Session: s, fault: b.fault, graph: g}, nil
}

func (s *brokenSession) Run(ctx context.Context, in, out []float32) error {
	run := s.runs.Add(1)
	if s.fault == "ignores the context" {
		ctx = context.WithoutCancel(ctx)
	}
	n := s.graph.Input().Len()
	if s.fault == "runs the first image for all" {
		in = append([]float32(nil), in...)
		for i := n; i < len(in); i += n {
			copy(in[i:i+n], in[:n])
		}
	}
	if s.fault == "drops what is not a number" {
		in = append([]float32(nil), in...)
		for i, v := range in {
			if v-v != 0 {
				in[i] = 0
			}
		}
	}
	err := s.Session.Run(ctx, in, out)
	switch s.fault {
	case "is off by a thousandth":
		for i := range out {
			out[i] *= 1.001
		}
	case "differs from run to run":
		out[0] += float32(run%7) * 1e-8 * (1 + out[0]*out[0])
		out[0] *= 1 + float32(run%2)*3e-7
	}
	return err
}

// Trace is the engine's, with one node off.
func (s *brokenSession) Trace(ctx context.Context, in []float32) ([]backend.NodeTrace, error) {
	trace, err := s.Session.(backend.Tracer).Trace(ctx, in)
	if s.fault == "traces a wrong node" && err == nil {
		trace[len(trace)/2].Output[0] += 1
	}
	return trace, err
}

const faultVariable = "BACKENDTEST_FAULT"

// faults names the subtest that must catch each fault.
var faults = map[string]string{
	"is off by a thousandth":       "golden_logits",
	"runs the first image for all": "batches_equal_singles",
	"differs from run to run":      "deterministic",
	"ignores the context":          "cancellation",
	"drops what is not a number":   "not_a_number",
	"takes any option":             "unknown_options",
	"traces a wrong node":          "trace",
	"leaks a goroutine":            "goroutines_end",
}

// TestSuiteCatches runs the suite on broken backends, in a process of its own
// each, since a failing suite fails its test.
func TestSuiteCatches(t *testing.T) {
	for fault, subtest := range faults {
		t.Run(fault, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestBroken$/^purego$/^"+subtest+"$", "-test.v")
			cmd.Env = append(os.Environ(), faultVariable+"="+fault)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestBroken/purego/"+subtest) {
				t.Errorf("a backend that %s passes %s:\n%s", fault, subtest, out)
			}
		})
	}
}

func TestBroken(t *testing.T) {
	fault := os.Getenv(faultVariable)
	if fault == "" {
		t.Skip("runs only as a child of TestSuiteCatches")
	}
	backendtest.Run(t, broken{fault: fault})
}

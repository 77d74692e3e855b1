// Package tflite runs a graph by TensorFlow Lite.
//
// Opening a graph writes it as a .tflite file (package export) and hands that to
// the library through github.com/mattn/go-tflite. The library is found at run
// time: the program is linked to a small archive (folder forward) whose functions
// jump to the library's, so that it starts, and says what is missing, where there
// is none. library.go finds and loads the library, delegate.go attaches delegates,
// session.go runs.
//
// The package needs cgo and the build tag tflite, with the archive's flags, as
// `make build` sets them; without, stub.go registers the same targets as
// unavailable.
package tflite

import (
	"context"
	"fmt"
	"io"

	"edgevit/backend"
	"edgevit/backend/tflite/export"
	"edgevit/graph"
)

func init() { backend.Register(Backend{}) }

// Backend is TensorFlow Lite.
type Backend struct{}

// The devices: XNNPACK's CPU kernels, TensorFlow Lite's own CPU kernels, the
// GPU delegate.
const (
	deviceXNNPACK = "xnnpack"
	devicePlain   = "plain"
	deviceGPU     = "gpu"
)

var targets = []backend.Target{
	{Backend: "tflite", Device: deviceXNNPACK, Precision: "fp32"},
	{Backend: "tflite", Device: devicePlain, Precision: "fp32"},
	{Backend: "tflite", Device: deviceGPU, Precision: "fp32"},
}

// Name is tflite.
func (Backend) Name() string { return targets[0].Backend }

// Targets are the devices, all in float32.
func (Backend) Targets() []backend.Target { return targets }

// Probe implements backend.Backend.
func (Backend) Probe(context.Context) []backend.TargetStatus {
	var all []backend.TargetStatus
	for _, t := range targets {
		s := backend.TargetStatus{Target: t, Available: true}
		if err := available(t.Device); err != nil {
			s.Available, s.Reason = false, err.Error()
		}
		all = append(all, s)
	}
	return all
}

// Open writes g as a file, in the user's cache folder if g has an ID, and opens
// it.
func (Backend) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	if o.Device == "" {
		o.Device = deviceXNNPACK
	}
	if o.Precision == "" {
		o.Precision = targets[0].Precision
	}
	if o.Threads < 1 {
		o.Threads = backend.DefaultThreads()
	}
	for _, t := range targets {
		if o.Device != t.Device || o.Precision != t.Precision {
			continue
		}
		if err := available(o.Device); err != nil {
			return nil, fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
		}
		return open(ctx, g, o)
	}
	return nil, fmt.Errorf("%w: device %q, precision %q; TensorFlow Lite has xnnpack, plain and gpu, fp32", backend.ErrUnsupported, o.Device, o.Precision)
}

// Format implements backend.Exporter.
func (Backend) Format() string { return "tflite" }

// Export implements backend.Exporter: a file for one image at a time.
func (Backend) Export(w io.Writer, g *graph.Graph, metadata map[string]string) error {
	return export.Write(w, g, export.Options{Batch: 1, Metadata: metadata})
}

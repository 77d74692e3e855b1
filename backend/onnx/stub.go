//go:build !cgo

package onnx

import (
	"context"
	"fmt"

	"edgevit/backend"
	"edgevit/graph"
)

const noCgo = "this program was built without cgo, by which ONNX Runtime is called; build it with CGO_ENABLED=1 and a C compiler"

// Probe finds no target available.
func (b Backend) Probe(context.Context) []backend.TargetStatus {
	var all []backend.TargetStatus
	for _, t := range b.Targets() {
		all = append(all, backend.TargetStatus{Target: t, Reason: noCgo})
	}
	return all
}

// Open reports ErrUnavailable.
func (Backend) Open(_ context.Context, _ *graph.Graph, o backend.Options) (backend.Session, error) {
	if _, err := findDevice(o); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: %s", backend.ErrUnavailable, noCgo)
}

// Peer is a classifier in an .onnx file of another program.
type Peer struct{}

// ReadPeer reports ErrUnavailable.
func ReadPeer([]byte) (*Peer, error) {
	return nil, fmt.Errorf("%w: %s", backend.ErrUnavailable, noCgo)
}

// Graph is nil.
func (*Peer) Graph() *graph.Graph { return nil }

// Open reports ErrUnavailable.
func (*Peer) Open(context.Context, int) (*backend.Classifier, error) {
	return nil, fmt.Errorf("%w: %s", backend.ErrUnavailable, noCgo)
}

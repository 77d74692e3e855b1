//go:build !(cgo && tflite && (linux || darwin))

package tflite

import (
	"context"
	"errors"

	"edgevit/backend"
	"edgevit/graph"
)

// available says why no target is: the runtime was left out of the program.
func available(string) error {
	return errors.New("this program was built without TensorFlow Lite; rebuild it with `make build` on Linux or macOS, with cgo (CGO_ENABLED=1 and a C compiler)")
}

// open is not reached: nothing is available.
func open(context.Context, *graph.Graph, backend.Options) (backend.Session, error) {
	return nil, backend.ErrUnavailable
}

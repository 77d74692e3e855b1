//go:build !cgo

package onnx_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"edgevit/backend"
	"edgevit/backend/onnx"
	"edgevit/model/modeltest"
)

func TestStub(t *testing.T) {
	var b backend.Backend = onnx.Backend{}
	g := modeltest.Tiny(t).Model.Graph
	for _, s := range b.Probe(t.Context()) {
		if s.Available || !strings.Contains(s.Reason, "without cgo") {
			t.Errorf("Probe says %+v", s)
		}
		if _, err := b.Open(t.Context(), g, backend.Options{Device: s.Target.Device}); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%v: Open returns %v, want ErrUnavailable", s.Target, err)
		}
	}
	if _, err := b.Open(t.Context(), g, backend.Options{Device: "abacus"}); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("Open on an unknown device returns %v, want ErrUnsupported", err)
	}
	var file bytes.Buffer
	if err := b.(backend.Exporter).Export(&file, g, nil); err != nil || file.Len() == 0 {
		t.Errorf("Export writes %d bytes, error %v", file.Len(), err)
	}
}

//go:build !(cgo && tflite && (linux || darwin))

package tflite

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"edgevit/backend"
	"edgevit/model/modeltest"
)

func TestStub(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	for _, s := range (Backend{}).Probe(t.Context()) {
		if s.Available || !strings.Contains(s.Reason, "make build") {
			t.Errorf("%v: available %v, reason %q", s.Target, s.Available, s.Reason)
		}
		if _, err := (Backend{}).Open(t.Context(), g, backend.Options{Device: s.Target.Device}); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%v: %v, want ErrUnavailable", s.Target, err)
		}
	}
	if _, err := (Backend{}).Open(t.Context(), g, backend.Options{Device: "abacus"}); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("abacus: %v, want ErrUnsupported", err)
	}
	var file bytes.Buffer
	if err := (Backend{}).Export(&file, g, nil); err != nil || string(file.Bytes()[4:8]) != "TFL3" {
		t.Errorf("export: %v", err)
	}
}

package server

import (
	"errors"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"edgevit/model"
)

// forget lets go of the weights that are in memory.
func (st *store) forget() {
	st.tidy()
}

// TestWeightsAreReadAgain: a served model holds no weights; what needs them
// reads the file again, and refuses another model in its place.
func TestWeightsAreReadAgain(t *testing.T) {
	s := newServer(t, files{"a.pth": "ok 1"}, &fake{}, nil)
	reads := 0
	s.store.open = func(path string) (*model.Model, error) { reads++; return openFile(path) }
	m := s.store.entries["a"].model
	for _, n := range m.Graph.Nodes {
		if n.Weights != nil {
			t.Errorf("%s holds weights", n.Name)
		}
	}
	s.store.forget()
	full, err := m.Graph.Full()
	if err != nil || len(full.Find("head").Weight("weight")) != 3*classes || reads != 1 {
		t.Fatalf("weights after %d reads: %v", reads, err)
	}
	if again, err := m.Graph.Full(); again != full || err != nil || reads != 1 {
		t.Errorf("read %d times while somebody holds them: %v", reads, err)
	}
	runtime.KeepAlive(full)
	if answer := s.get(t, "/models/a/export?format=safetensors"); answer.StatusCode != http.StatusOK {
		t.Errorf("export: %s", answer.Status)
	}

	writeFiles(t, s.store.dir, files{"a.pth": "ok 2"})
	full = nil
	s.store.forget()
	_, err = m.Graph.Full()
	if !errors.Is(err, errCheckpoint) || !strings.Contains(err.Error(), "changed since it was loaded") {
		t.Errorf("another model in its place: %v", err)
	}
	answer := s.get(t, "/models/a/export?format=safetensors")
	if text := string(read(t, answer)); answer.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(text, "changed since it was loaded") {
		t.Errorf("export: %s: %s", answer.Status, text)
	}
	writeFiles(t, s.store.dir, files{"a.pth": "broken"})
	if _, err = m.Graph.Full(); !errors.Is(err, errCheckpoint) || strings.Contains(err.Error(), filepath.Dir(s.store.dir)) {
		t.Errorf("a broken file in its place: %v", err)
	}
}

package server

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"edgevit/api"
	"edgevit/model"
	"edgevit/preprocess"
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

// TestMemoryBudget: a session that was not used for the longest time makes room
// for another; those in use and the default one stay.
func TestMemoryBudget(t *testing.T) {
	// A session takes 84 bytes of weights before it opens, and the 579 that its
	// runtime tells from then on.
	f := &fake{gate: make(chan struct{}, 100)}
	s := newServer(t, files{"a.pth": "ok 1", "b.pth": "ok 2", "c.pth": "ok 3"}, f, func(c *Config) {
		c.DefaultModel, c.Memory = "a", 2*579+50
	})
	file := jpegFile(t)
	open := func() string {
		var names []string
		for _, name := range []string{"a", "b", "c"} {
			e, err := s.store.find(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			for _, session := range s.store.openSessions(e) {
				names = append(names, name+" on "+session.target.String())
				s.store.release(session)
			}
		}
		return strings.Join(names, ", ")
	}
	for _, c := range []struct{ query, open string }{
		{"?model=b", "a on fake, b on fake"},
		{"?model=c", "a on fake, c on fake"},
		{"?model=a&target=fake:int8", "a on fake, a on fake:int8"},
		{"", "a on fake, a on fake:int8"},
		{"?model=b", "a on fake, b on fake"},
	} {
		f.gate <- struct{}{}
		if resp := s.post(t, c.query, file); resp.StatusCode != 200 {
			t.Fatalf("%s: %d %s", c.query, resp.StatusCode, read(t, resp))
		}
		if got := open(); got != c.open {
			t.Errorf("after %q open are %s, want %s", c.query, got, c.open)
		}
	}
	eventually(t, "closed", func() bool { return f.closed.get() == 3 })

	// One in use makes room when its users are done, and lets others wait.
	busy, waits := make(chan int), make(chan int)
	go func() { busy <- s.post(t, "?model=b", file).StatusCode }()
	eventually(t, "running", func() bool { return f.running.get() == 1 })
	go func() { waits <- s.post(t, "?model=c", file).StatusCode }()
	eventually(t, "b on its way out", func() bool { return open() == "a on fake" })
	f.gate <- struct{}{}
	if status := <-busy; status != 200 {
		t.Errorf("the one in use: %d, want 200", status)
	}
	f.gate <- struct{}{}
	if status := <-waits; status != 200 {
		t.Errorf("the one that waits for memory: %d, want 200", status)
	}
}

// TestMemoryWaits: who waits for memory longer than requests wait for their turn
// is told to come again; the model is opened all the same.
func TestMemoryWaits(t *testing.T) {
	s := newServer(t, files{"a.pth": "ok 1", "b.pth": "ok 2", "c.pth": "ok 3"}, &fake{}, func(c *Config) {
		c.DefaultModel, c.Memory, c.MaxWait = "a", 2*579+50, 50*time.Millisecond
	})
	b, err := s.store.acquire(t.Context(), "b", s.store.target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := jpegFile(t)
	resp := s.post(t, "?model=c", file)
	if p := decode[api.Problem](t, resp); resp.StatusCode != 503 || p.Type != "/problems/memory-budget" || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("while b is in use: %d %+v, Retry-After %q; want 503 memory-budget and 1", resp.StatusCode, p, resp.Header.Get("Retry-After"))
	}
	s.store.release(b)
	eventually(t, "c open", func() bool { return s.post(t, "?model=c", file).StatusCode == 200 })
}

// TestMemoryStarvesNobody: a model is opened although another one, whose memory
// it needs, is in use without a pause; and so is the other one again.
func TestMemoryStarvesNobody(t *testing.T) {
	s := newServer(t, files{"a.pth": "ok 1", "b.pth": "ok 2", "c.pth": "ok 3"}, &fake{}, func(c *Config) {
		c.DefaultModel, c.Memory = "a", 2*579+50
	})
	file := jpegFile(t)
	held, err := s.store.acquire(t.Context(), "b", s.store.target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	steady := make(chan error)
	go func() {
		for ctx.Err() == nil {
			next, err := s.store.acquire(t.Context(), "b", s.store.target)
			if err != nil {
				steady <- err
				return
			}
			s.store.release(held) // b always has a user
			held = next
			time.Sleep(time.Millisecond)
		}
		s.store.release(held)
		steady <- nil
	}()
	for _, name := range []string{"c", "b", "c"} {
		if resp := s.post(t, "?model="+name, file); resp.StatusCode != 200 {
			t.Errorf("%s beside steady use of b: %d %s, want 200", name, resp.StatusCode, read(t, resp))
		}
	}
	stop()
	if err := <-steady; err != nil {
		t.Error(err)
	}
}

// TestModelTooLarge: a model that waiting would not help is refused as such.
func TestModelTooLarge(t *testing.T) {
	for name, c := range map[string]struct {
		memory               int64
		defaultModel, detail string
	}{
		"alone":                    {83, "", "takes 84 bytes at least; --memory-bytes lets open models take 83, 0 of which"},
		"as its opening shows":     {300, "", "takes 579 bytes at least; --memory-bytes lets open models take 300, 0 of which"},
		"beside the default model": {579 + 83, "a", "takes 84 bytes at least; --memory-bytes lets open models take 662, 579 of which"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, files{"a.pth": "ok 1", "b.pth": "ok 2"}, &fake{}, func(cfg *Config) { cfg.DefaultModel, cfg.Memory = c.defaultModel, c.memory })
			resp := s.post(t, "?model=b", jpegFile(t))
			p := decode[api.Problem](t, resp)
			if resp.StatusCode != 503 || p.Type != "/problems/model-too-large" || resp.Header.Get("Retry-After") != "" || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("%d %+v, Retry-After %q; want 503 model-too-large that says %q, and no Retry-After", resp.StatusCode, p, resp.Header.Get("Retry-After"), c.detail)
			}
		})
	}
}

// TestIrregularFile: a pipe in the models folder, which would be read for ever,
// is listed as failed, and the rest is served.
func TestIrregularFile(t *testing.T) {
	folder := t.TempDir()
	if err := exec.Command("mkfifo", filepath.Join(folder, "pipe.pth")).Run(); err != nil {
		t.Skip("no mkfifo:", err)
	}
	s := newServer(t, files{"a.pth": "ok"}, &fake{}, func(c *Config) { c.ModelsDir, c.DefaultModel = folder, "a" })
	if body := string(read(t, s.get(t, "/models"))); !strings.Contains(body, "neither a regular file") {
		t.Errorf("models: %s", body)
	}
}

// TestPixelBudget: an image is decoded when there is memory for its pixels, and
// gives it back.
func TestPixelBudget(t *testing.T) {
	limits := preprocess.DefaultLimits()
	limits.DecodeBytes = 1 << 20
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Memory, c.Limits = 2000, limits })
	file := jpegFile(t)
	if !s.pixels.TryAcquire(limits.DecodeBytes) {
		t.Fatal("the budget has no room for one image")
	}
	for _, path := range []string{"/classify", "/compare", "/preprocess"} {
		resp := s.do(t, httptest.NewRequest(http.MethodPost, path+"?deadline_ms=50", bytes.NewReader(file)))
		if p := decode[api.Problem](t, resp); resp.StatusCode != 504 || !strings.Contains(p.Detail, "bytes to decode into") {
			t.Errorf("%s without memory: %d %+v", path, resp.StatusCode, p)
		}
	}
	s.pixels.Release(limits.DecodeBytes)
	for _, body := range [][]byte{file, file[:len(file)/2], []byte("no image")} {
		s.post(t, "", body)
		if !s.pixels.TryAcquire(limits.DecodeBytes) {
			t.Fatal("memory for pixels was lost")
		}
		s.pixels.Release(limits.DecodeBytes)
	}
}

package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/graph"
)

// crashing is the fake backend in a process that may be down.
type crashing struct {
	*fake
	mu   sync.Mutex
	down error
}

func (c *crashing) set(down error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// Up is backend.Supervised's.
func (c *crashing) Up() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down
}

// Workers is backend.Supervisor's.
func (c *crashing) Workers() []backend.Workers {
	w := backend.Workers{Target: c.Targets()[0], Running: 1, Restarts: 3}
	if c.Up() != nil {
		w.Running, w.Restarting, w.RestartIn = 0, 1, 1500*time.Millisecond
	}
	return []backend.Workers{w}
}

func (c *crashing) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	s, err := c.fake.Open(ctx, g, o)
	return crashingSession{s, c}, err
}

type crashingSession struct {
	backend.Session
	*crashing
}

func (s crashingSession) Run(ctx context.Context, in, out []float32) error {
	if err := s.Up(); err != nil {
		return err
	}
	return s.Session.Run(ctx, in, out)
}

func (s crashingSession) Close() error { return s.Session.Close() }

func (s crashingSession) Describe() backend.Description {
	return backend.Description{Threads: 1, WorkerPID: 4711}
}

// TestCrashedRuntime: while a target's process is down its requests are 503 with
// the reason, /readyz and /backends tell, and all is well once it is there again.
func TestCrashedRuntime(t *testing.T) {
	c := &crashing{fake: &fake{}}
	var registry backend.Registry
	registry.Register(c)
	s := newServer(t, nil, c.fake, func(config *Config) { config.Registry = &registry })
	image := pngFile(t)

	workers := func() api.Workers {
		w := decode[api.TargetList](t, s.get(t, "/backends")).Targets[0].Workers
		if w == nil {
			t.Fatal("/backends says nothing of workers")
		}
		return *w
	}
	if w := workers(); w.Running != 1 || w.Restarting != 0 || w.Restarts != 3 || w.RestartInMs != nil {
		t.Errorf("workers %+v", w)
	}
	if m := decode[api.Model](t, s.get(t, "/models/demo")); len(m.Sessions) != 1 || m.Sessions[0].WorkerPid == nil || *m.Sessions[0].WorkerPid != 4711 {
		t.Errorf("sessions %+v, want one in process 4711", m.Sessions)
	}

	c.set(fmt.Errorf("%w: its worker process died; it starts again in 1.5s", backend.ErrCrashed))
	resp := s.post(t, "", image)
	if p := decode[api.Problem](t, resp); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || p.Type != "/problems/runtime-crashed" || !strings.Contains(p.Detail, "starts again in 1.5s") {
		t.Errorf("classify answers %d %+v", resp.StatusCode, p)
	}
	resp = s.get(t, "/readyz")
	if p := decode[api.Problem](t, resp); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || p.Type != "/problems/not-ready" || !strings.Contains(p.Detail, "starts again in 1.5s") {
		t.Errorf("readyz answers %d %+v", resp.StatusCode, p)
	}
	if w := workers(); w.Running != 0 || w.Restarting != 1 || w.RestartInMs == nil || *w.RestartInMs != 1500 {
		t.Errorf("workers %+v", w)
	}
	if text := read(t, s.get(t, "/metrics")); !strings.Contains(string(text), `edgevit_worker_restarts_total{backend="fake"} 3`) {
		t.Error("the metrics do not have the restarts")
	}

	c.set(nil)
	for path, resp := range map[string]int{"/readyz": s.get(t, "/readyz").StatusCode, "/classify": s.post(t, "", image).StatusCode} {
		if resp != 200 {
			t.Errorf("%s answers %d once the process is there again", path, resp)
		}
	}
}

package server

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/purego"
	"edgevit/backend/remote"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

// hosted is the remote backend on a service that has every graph that is opened.
type hosted struct {
	remote.Backend
	server *Server

	mu     *sync.Mutex
	models map[any]string // by the graph's ID, else by the graph
}

// Open gives the graph to the service first, once.
func (h hosted) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	var key any = g
	if g.ID != "" {
		key = g.ID
	}
	h.mu.Lock()
	name := h.models[key]
	if name == "" {
		name = fmt.Sprintf("model-%d", len(h.models))
		h.models[key] = name
		h.server.store.host(name, g)
	}
	h.mu.Unlock()
	o.Model = name
	return h.Backend.Open(ctx, g, o)
}

// host serves a graph under a name.
func (st *store) host(name string, g *graph.Graph) {
	e := newEntry(name, func() (*model.Model, error) {
		return &model.Model{Name: name, Graph: g, Hash: g.ID, Config: model.Config{Classes: g.Classes()}}, nil
	})
	st.mu.Lock()
	st.entries[name], st.wanted[name] = e, e
	st.mu.Unlock()
	st.loadEntry(context.Background(), e)
}

func newHosted(t *testing.T, wrap func(http.Handler) http.Handler) hosted {
	t.Helper()
	var registry backend.Registry
	registry.Register(purego.Backend{})
	s, err := New(Config{Registry: &registry, Demo: tinyModel})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	<-s.Start()
	handler := s.Handler()
	if wrap != nil {
		handler = wrap(handler)
	}
	there := httptest.NewServer(handler)
	t.Cleanup(there.Close)
	b, err := remote.New([]remote.Server{{Name: "there", Base: there.URL}})
	if err != nil {
		t.Fatal(err)
	}
	return hosted{b, s, new(sync.Mutex), map[any]string{}}
}

// TestRemoteConformance holds the remote backend, and this service as its server,
// to the suite of all backends.
func TestRemoteConformance(t *testing.T) { backendtest.Run(t, newHosted(t, nil)) }

// TestRemoteIsExact: the same graph on the same engine gives the same bits there.
func TestRemoteIsExact(t *testing.T) {
	tiny := modeltest.Tiny(t)
	g := tiny.Model.Graph
	var r backend.Registry
	r.Register(purego.Backend{})
	r.Register(newHosted(t, nil))
	var all [2][]float32
	for i, target := range []string{"purego", "remote:there"} {
		c, err := r.Open(t.Context(), target, g, backend.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all[i] = make([]float32, len(tiny.Logits))
		if err := c.Run(t.Context(), tiny.Input, all[i]); err != nil {
			t.Fatal(err)
		}
		if d := c.Describe(); i == 1 && (!strings.Contains(d.Provider, "same model_hash") || !strings.HasPrefix(d.LibraryVersion, "edgevit")) {
			t.Errorf("described as %+v", d)
		}
	}
	for i := range all[0] {
		if math.Float32bits(all[0][i]) != math.Float32bits(all[1][i]) {
			t.Errorf("logit %d is %v here, %v there", i, all[0][i], all[1][i])
		}
	}
}

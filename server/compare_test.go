package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/backend/purego"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

// bent is purego with the weights of one node off by a twentieth, so that the
// node and all that follows come out wrong. It folds another node.
type bent struct{ node, folded string }

func (bent) Name() string { return "bent" }
func (bent) Targets() []backend.Target {
	return []backend.Target{{Backend: "bent", Device: "cpu", Precision: "fp32"}}
}
func (b bent) Probe(context.Context) []backend.TargetStatus {
	return []backend.TargetStatus{{Target: b.Targets()[0], Available: true}}
}
func (b bent) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	g, err := g.Full()
	if err != nil {
		return nil, err
	}
	own := graph.Graph{}
	for _, n := range g.Nodes {
		c := *n
		c.In = nil
		for _, in := range n.In {
			c.In = append(c.In, own.Nodes[in.Index])
		}
		if n.Name == b.node {
			w := c.Weights["weight"]
			w.Data = slices.Clone(w.Data)
			for i := range w.Data {
				w.Data[i] *= 1.05
			}
			c.Weights = map[string]graph.Tensor{"weight": w, "bias": c.Weights["bias"]}
		}
		own.Nodes = append(own.Nodes, &c)
	}
	s, err := purego.Backend{}.Open(ctx, &own, o)
	return bentSession{s, b.folded}, err
}

type bentSession struct {
	backend.Session
	folded string
}

func (s bentSession) Trace(ctx context.Context, in []float32) ([]backend.NodeTrace, error) {
	all, err := s.Session.(backend.Tracer).Trace(ctx, in)
	for i, n := range all {
		if n.Node == s.folded {
			all[i] = backend.NodeTrace{Node: n.Node, Folded: true}
		}
	}
	return all, err
}

// newCompareServer serves a small trained network on purego, bent and fake.
func newCompareServer(t *testing.T, b bent, f *fake) *testServer {
	t.Helper()
	return newServer(t, nil, f, func(c *Config) {
		c.Registry.Register(purego.Backend{})
		c.Registry.Register(b)
		c.DefaultTarget = "purego"
		c.Demo = func() (*model.Model, error) { return modeltest.Tiny(t).Model, nil }
	})
}

func (s *testServer) compare(t testing.TB, query string, body []byte) *http.Response {
	t.Helper()
	return s.do(t, httptest.NewRequest(http.MethodPost, "/compare"+query, bytes.NewReader(body)))
}

func TestCompare(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	file := jpegFile(t)
	resp := s.compare(t, "?top_k=2", file)
	got := decode[api.Comparison](t, resp)
	if got.Model != "demo" || got.ModelHash != strings.Repeat("ab", 32) || got.RequestId != resp.Header.Get("X-Request-ID") || got.Layers != nil || got.Untrained != nil {
		t.Errorf("got %s", read(t, resp))
	}
	if want := (api.Image{Format: "jpeg", Width: 20, Height: 12, Orientation: 1, Bytes: int64(len(file))}); got.Image != want {
		t.Errorf("image %+v, want %+v", got.Image, want)
	}
	var names []string
	for _, r := range got.Targets {
		slug := ""
		if r.Problem != nil {
			slug = strings.TrimPrefix(r.Problem.Type, "/problems/")
		} else if len(r.Predictions) != 2 || r.Predictions[0].Label != "gnu" || r.Timing.InferenceMs <= 0 || r.Repeat != nil {
			t.Errorf("%s: %+v", r.Target, r)
		}
		names = append(names, r.Target+" "+slug)
	}
	// The GPU is not available and so not meant by default.
	if want := []string{"fake ", "fake:odd target-unsupported", "fake:int8 ", "fake:odd:int8 target-unsupported"}; !slices.Equal(names, want) {
		t.Errorf("targets %q, want %q", names, want)
	}
	if p := got.Targets[1].Problem; p.Status != 503 || p.Instance != "/compare" || p.RequestId != got.RequestId || !strings.Contains(p.Detail, "head: Conv") {
		t.Errorf("problem %+v", p)
	}
	if len(got.Pairs) != 1 {
		t.Fatalf("pairs %+v, want one", got.Pairs)
	}
	if p := got.Pairs[0]; p.A != "fake" || p.B != "fake:int8" || !p.Agrees || p.MaxAbs != 0 || p.SnrDb != 300 || !p.Top1Equal || p.Top5Overlap < .999 || p.Scale != classes-1 {
		t.Errorf("pair %+v, want equal logits", p)
	}
	if tm := got.Timing; tm.DecodeMs <= 0 || tm.TotalMs < tm.DecodeMs+tm.PreprocessMs {
		t.Errorf("timing %+v", tm)
	}

	got = decode[api.Comparison](t, s.compare(t, "?targets=fake:gpu,fake:int8", file))
	if got.Targets[0].Problem == nil || got.Targets[0].Problem.Type != "/problems/target-unavailable" || got.Targets[1].Predictions == nil || len(got.Pairs) != 0 {
		t.Errorf("an unavailable target that was asked for: %+v", got)
	}
	multi, multiType := form(t, "image", string(file))
	r := httptest.NewRequest(http.MethodPost, "/compare?targets=fake", bytes.NewReader(multi))
	r.Header.Set("Content-Type", multiType)
	if resp := s.do(t, r); resp.StatusCode != 200 {
		t.Errorf("a form: %d %s", resp.StatusCode, read(t, resp))
	}
}

// TestCompareLayers has a network that goes wrong at a known node, on its way
// through the server.
func TestCompareLayers(t *testing.T) {
	const wrong, folded = "blocks2.0.LocalAgg.conv1", "blocks1.0.LocalAgg.norm1"
	s := newCompareServer(t, bent{wrong, folded}, &fake{})
	file := jpegFile(t)
	got := decode[api.Comparison](t, s.compare(t, "?layers=true&targets=purego,bent", file))
	if got.Layers == nil || value(got.Layers.Reference) != "purego" || got.Layers.ThresholdDb != 80 || len(got.Layers.Targets) != 1 {
		t.Fatalf("layers %+v", got.Layers)
	}
	l := got.Layers.Targets[0]
	if l.Target != "bent" || value(l.FirstDiverging) != wrong {
		t.Errorf("%s diverges first at %q, want bent at %s", l.Target, value(l.FirstDiverging), wrong)
	}
	g := modeltest.Tiny(t).Model.Graph
	if len(l.Nodes) != len(g.Nodes) {
		t.Fatalf("%d nodes, want %d", len(l.Nodes), len(g.Nodes))
	}
	before := true
	for i, n := range l.Nodes {
		want := g.Nodes[i]
		if n.Node != want.Name || n.Kind != want.Op.Kind() || !slices.Equal(n.Shape, []int{want.Shape.H, want.Shape.W, want.Shape.C}) {
			t.Errorf("node %d is %+v, want %s", i, n, want.Name)
		}
		before = before && n.Node != wrong
		switch {
		case n.Node == folded:
			if n.Agreement != nil || !slices.Equal(n.Folded, []string{"bent"}) {
				t.Errorf("folded %+v", n)
			}
		case n.Agreement == nil || n.Folded != nil:
			t.Errorf("%s: %+v, want an agreement", n.Node, n)
		case before && n.Agreement.SnrDb != 300:
			t.Errorf("%s comes before the fault and has %v dB", n.Node, n.Agreement.SnrDb)
		case n.Node == wrong && math.Abs(n.Agreement.SnrDb-26) > 6: // a twentieth is 26 dB, but for the bias
			t.Errorf("%s has %v dB, want about 26", n.Node, n.Agreement.SnrDb)
		}
	}
	if p := got.Pairs[0]; p.Agrees || p.MaxAbs == 0 {
		t.Errorf("pair %+v of a network that is off", p)
	}

	got = decode[api.Comparison](t, s.compare(t, "?layers=true&threshold_db=3&targets=bent,purego", file))
	if l := got.Layers; value(l.Reference) != "bent" || l.ThresholdDb != 3 || l.Targets[0].FirstDiverging != nil {
		t.Errorf("at 3 dB: %s, %+v", value(l.Reference), l.Targets[0].FirstDiverging)
	}
	// By default a target without traces has a problem in their place, and the
	// others are compared all the same.
	got = decode[api.Comparison](t, s.compare(t, "?layers=true", file))
	var rows []string
	for _, l := range got.Layers.Targets {
		if strings.HasPrefix(l.Target, "purego") { // its other precisions
			continue
		}
		row := l.Target + " " + value(l.FirstDiverging)
		if l.Problem != nil {
			row += strings.TrimPrefix(l.Problem.Type, "/problems/")
		}
		rows = append(rows, row)
	}
	if want := []string{"bent " + wrong, "fake no-traces", "fake:int8 no-traces"}; !slices.Equal(rows, want) {
		t.Errorf("layers of all targets: %q, want %q", rows, want)
	}
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens in use afterwards", n)
	}
}

func TestCompareRepeat(t *testing.T) {
	f := &fake{}
	// Each run takes all tokens: a request that held those of two would wait
	// for itself.
	s := newServer(t, nil, f, func(c *Config) { c.Threads = 1000 })
	got := decode[api.Comparison](t, s.compare(t, "?repeat=7&targets=fake,fake:int8,fake:gpu", jpegFile(t)))
	for i, r := range got.Targets[:2] {
		q := r.Repeat
		if q == nil || q.Runs != 7 || len(q.SamplesMs) != 7 || q.MedianLowMs > q.MedianMs || q.MedianMs > q.MedianHighMs || q.MedianLowMs < slices.Min(q.SamplesMs) || q.RatioLow > q.Ratio || q.Ratio > q.RatioHigh || q.Ratio <= 0 {
			t.Errorf("%s: %+v", r.Target, q)
			continue
		}
		if i == 0 && (q.Ratio != 1 || q.RatioHigh != 1) {
			t.Errorf("the first target's ratio to itself: %+v", q)
		}
	}
	if got.Targets[2].Repeat != nil || got.Targets[2].Problem == nil {
		t.Errorf("an unavailable target was timed: %+v", got.Targets[2])
	}
	if n := f.done.get(); n != 2*(1+1+7) {
		t.Errorf("%d runs, want 2 each to warm up and to answer, and 14", n)
	}
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens in use afterwards", n)
	}
}

// TestCompareFaults has targets that fail in their own ways beside ones that
// do not.
func TestCompareFaults(t *testing.T) {
	f := &fake{}
	s := newCompareServer(t, bent{}, f)
	f.mu.Lock()
	f.out = func(out []float32) { out[3] = float32(math.NaN()) }
	f.mu.Unlock()
	got := decode[api.Comparison](t, s.compare(t, "?targets=purego,fake,bent&repeat=2", jpegFile(t)))
	if p := got.Targets[1].Problem; p == nil || p.Type != "/problems/not-finite" || got.Targets[1].Repeat != nil {
		t.Errorf("NaN: %+v", got.Targets[1])
	}
	if len(got.Pairs) != 1 || !got.Pairs[0].Agrees || got.Pairs[0].B != "bent" || got.Targets[2].Repeat == nil {
		t.Errorf("beside a NaN: %+v", got)
	}

	f.mu.Lock()
	f.out, f.open = nil, func() error { return errors.New("secret cause") }
	f.mu.Unlock()
	resp := s.compare(t, "?targets=fake:int8,purego", jpegFile(t))
	got = decode[api.Comparison](t, resp)
	if p := got.Targets[0].Problem; p == nil || p.Type != "/problems/internal-error" || p.Detail != "internal error" || strings.Contains(string(read(t, resp)), "secret") {
		t.Errorf("a fault: %s", read(t, resp))
	}
	line := s.logs.FilterMessage("target failed").FilterField(zap.String("request_id", got.RequestId)).All()
	if len(line) != 1 || !strings.Contains(fmt.Sprint(line[0].ContextMap()["error"]), "secret cause") {
		t.Errorf("log %v, want the cause", line)
	}
}

func TestCompareAnswers(t *testing.T) {
	file := jpegFile(t)
	s := newServer(t, files{"one.pth": "ok", "bad.pth": "no"}, &fake{}, func(c *Config) {
		c.DefaultModel = "one"
		c.Limits = defaultLimits(10_000)
	})
	for _, c := range []struct {
		name, query string
		body        []byte // file if nil
		status      int
		slug        string
		detail      string
	}{
		{"one target", "?targets=fake", nil, 200, "", ""},
		{"another model", "?model=random:xxs&targets=fake", nil, 200, "", ""},
		{"all classes", "?targets=fake&top_k=7", nil, 200, "", ""},
		{"most runs", "?targets=fake&repeat=100", nil, 200, "", ""},
		{"layers off", "?targets=fake&layers=false", nil, 200, "", ""},

		{"unknown target", "?targets=fake,onnx", nil, 404, "unknown-target", "this build has fake"},
		{"malformed target", "?targets=fake,a:b:c:d", nil, 400, "invalid-target", "backend[:device][:precision]"},
		{"empty target", "?targets=fake,,fake:int8", nil, 400, "invalid-target", ""},
		{"no target", "?targets=", nil, 400, "invalid-query", "targets is empty"},
		{"same target twice", "?targets=fake,fake", nil, 400, "invalid-query", "names fake twice"},
		{"two spellings", "?targets=fake,fake:int8,fake:cpu:fp32", nil, 400, "invalid-query", "names fake twice, as fake and fake:cpu:fp32"},
		{"two spellings of int8", "?targets=fake:cpu:int8,fake:int8", nil, 400, "invalid-query", "names fake:int8 twice"},
		{"targets given twice", "?targets=fake&targets=fake:int8", nil, 400, "invalid-query", "targets"},
		{"repeat 0", "?repeat=0", nil, 400, "invalid-query", "repeat is 0, want 1 to 100"},
		{"repeat 101", "?repeat=101", nil, 400, "invalid-query", "repeat is 101"},
		{"repeat negative", "?repeat=-1", nil, 400, "invalid-query", "repeat"},
		{"repeat abc", "?repeat=abc", nil, 400, "invalid-query", "repeat"},
		{"repeat 10^30", "?repeat=1000000000000000000000000000000", nil, 400, "invalid-query", "repeat"},
		{"layers maybe", "?layers=maybe", nil, 400, "invalid-query", "layers"},
		{"threshold without layers", "?threshold_db=50", nil, 400, "invalid-query", "layers=true only"},
		{"threshold 0", "?layers=true&threshold_db=0", nil, 400, "invalid-query", "threshold_db"},
		{"threshold 301", "?layers=true&threshold_db=301", nil, 400, "invalid-query", "threshold_db"},
		{"threshold NaN", "?layers=true&threshold_db=NaN", nil, 400, "invalid-query", "threshold_db"},
		{"layers without traces", "?layers=true&targets=fake", nil, 422, "no-traces", "fake shows no node's output"},
		{"top_k 0", "?top_k=0", nil, 400, "invalid-query", "want 1 to 7"},
		{"unknown parameter", "?target=fake", nil, 400, "invalid-query", `unknown parameter "target"`},
		{"unknown model", "?model=cats", nil, 404, "unknown-model", "bad, one"},
		{"invalid checkpoint", "?model=bad", nil, 422, "invalid-checkpoint", "missing tensor"},
		{"empty body", "", []byte{}, 400, "empty-body", ""},
		{"text", "", []byte("This is not a photograph.\n"), 415, "unknown-image-format", ""},
		{"cut short", "", file[:len(file)/2], 422, "damaged-image", ""},
		{"too long", "", make([]byte, 10_001), 413, "body-too-large", ""},
		{"bomb", "", claimingBMP(), 413, "image-too-large", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := c.body
			if body == nil {
				body = file
			}
			resp := s.compare(t, c.query, body)
			if resp.StatusCode != c.status {
				t.Fatalf("status %d, want %d\n%s", resp.StatusCode, c.status, read(t, resp))
			}
			if c.slug == "" {
				return
			}
			if p := decode[api.Problem](t, resp); p.Type != "/problems/"+c.slug || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("got %s\nwant type %s with %q in its detail", read(t, resp), c.slug, c.detail)
			}
		})
	}
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens in use afterwards", n)
	}
}

func TestCompareQueueFull(t *testing.T) {
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Queue = 1 })
	session, err := s.store.acquire(t.Context(), "demo", s.store.target)
	if err != nil {
		t.Fatal(err)
	}
	defer s.store.release(session)
	oneWaits(t, s, session)
	unread := &watched{Reader: bytes.NewReader(jpegFile(t))}
	resp := s.do(t, httptest.NewRequest(http.MethodPost, "/compare", unread))
	if p := decode[api.Problem](t, resp); resp.StatusCode != 429 || p.Type != "/problems/queue-full" || unread.reads != 0 {
		t.Errorf("got %d %+v after %d reads, want 429 queue-full and no read", resp.StatusCode, p, unread.reads)
	}
}

// oneWaits holds all CPU tokens and lets one request wait for the session, until
// the test ends.
func oneWaits(t *testing.T, s *testServer, on *session) {
	t.Helper()
	release, err := s.admission.all(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); waiting.Wait(); release() })
	waiting.Go(func() {
		if _, err := s.admission.acquireAnyway(ctx, &on.lane, 1); err == nil {
			t.Error("got tokens where there were none")
		}
	})
	eventually(t, "waiting", func() bool { return s.admission.depth(&on.lane) == 1 })
}

func TestCompareDeadline(t *testing.T) {
	for _, query := range []string{"?targets=fake", "?targets=fake,fake:int8&repeat=100"} {
		f := &fake{gate: make(chan struct{}, 10)}
		if strings.Contains(query, "repeat") {
			for range cap(f.gate) {
				f.gate <- struct{}{} // it gets as far as the timed runs
			}
		}
		s := newServer(t, nil, f, func(c *Config) { c.Deadline = 200 * time.Millisecond })
		resp := s.compare(t, query, jpegFile(t))
		if p := decode[api.Problem](t, resp); resp.StatusCode != 504 || p.Type != "/problems/deadline" {
			t.Errorf("%s: got %d %+v, want 504 deadline", query, resp.StatusCode, p)
		}
		if n := s.admission.inUse(); n != 0 {
			t.Errorf("%s: %d tokens in use afterwards", query, n)
		}
	}
}

func TestCompareDisconnect(t *testing.T) {
	f := &fake{gate: make(chan struct{})}
	s := newServer(t, nil, f, nil)
	url, _, _ := serve(t, s)
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/compare?repeat=100", bytes.NewReader(jpegFile(t)))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range 4 { // both predictions, two timed runs
			f.gate <- struct{}{}
		}
		// Two more have warmed the sessions.
		eventually(t, "running", func() bool { return f.done.get() == 6 && f.running.get() == 1 })
		leave()
	}()
	if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) {
		t.Errorf("client error %v, want its own cancellation", err)
	}
	eventually(t, "logged", func() bool { return s.logs.FilterMessage("request").Len() == 1 })
	if line := s.logs.FilterMessage("request").All()[0].ContextMap(); line["status"] != int64(statusClientGone) {
		t.Errorf("log %v, want status 499", line)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !errors.Is(f.last, context.Canceled) {
		t.Errorf("the run ended with %v, want context canceled", f.last)
	}
}

// TestEveryTarget sends an image to every target that /backends lists.
func TestEveryTarget(t *testing.T) {
	s := newCompareServer(t, bent{}, &fake{})
	list := decode[api.TargetList](t, s.get(t, "/backends"))
	for _, target := range list.Targets {
		resp := s.post(t, "?target="+target.Target, jpegFile(t))
		want := 200
		if strings.Contains(target.Target, "gpu") || strings.Contains(target.Target, "odd") {
			want = 503
		}
		if resp.StatusCode != want {
			t.Errorf("%s: %d %s", target.Target, resp.StatusCode, read(t, resp))
		} else if want == 200 && decode[api.Classification](t, resp).Target != target.Target {
			t.Errorf("%s answers as %s", target.Target, read(t, resp))
		}
	}
}

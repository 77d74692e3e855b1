package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/oip"
)

// fake is a backend whose logit for class i is i, plus the mean of the input
// for class 0.
type fake struct {
	gate    chan struct{} // Run waits until it can receive; nil: it does not wait
	opens   counter
	running counter
	done    counter // Runs that ended
	closed  counter

	mu   sync.Mutex
	last error // of the last Run
	open func() error
	out  func([]float32)
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add(n int) { c.mu.Lock(); c.n += n; c.mu.Unlock() }
func (c *counter) get() int  { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

func (f *fake) Name() string { return "fake" }
func (f *fake) Targets() []backend.Target {
	var all []backend.Target
	for _, precision := range []string{"fp32", "int8"} {
		for _, device := range []string{"cpu", "gpu", "odd"} {
			all = append(all, backend.Target{Backend: "fake", Device: device, Precision: precision})
		}
	}
	return all
}
func (f *fake) Probe(context.Context) []backend.TargetStatus {
	var all []backend.TargetStatus
	for _, t := range f.Targets() {
		s := backend.TargetStatus{Target: t, Available: t.Device != "gpu"}
		if !s.Available {
			s.Reason = "no GPU: tried /dev/fake; plug one in"
		}
		all = append(all, s)
	}
	return all
}
func (f *fake) Open(_ context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	switch o.Device {
	case "gpu":
		return nil, fmt.Errorf("%w: no GPU: tried /dev/fake; plug one in", backend.ErrUnavailable)
	case "odd":
		return nil, fmt.Errorf("head: Conv: %w", backend.ErrUnsupported)
	}
	f.opens.add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != nil {
		if err := f.open(); err != nil {
			return nil, err
		}
	}
	return fakeSession{f, g}, nil
}

type fakeSession struct {
	*fake
	graph *graph.Graph
}

func (s fakeSession) Run(ctx context.Context, in, out []float32) (err error) {
	s.running.add(1)
	defer func() {
		s.running.add(-1)
		s.mu.Lock()
		s.last = err
		s.mu.Unlock()
		s.done.add(1)
	}()
	blank := slices.Max(in) == 0 && slices.Min(in) == 0 // the warm-up
	if s.gate != nil && !blank {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	sum := 0.0
	for _, v := range in {
		sum += float64(v)
	}
	for i := range out {
		out[i] = float32(i)
	}
	out[0] = float32(sum / float64(len(in)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil && !blank {
		s.out(out)
	}
	return nil
}

func (s fakeSession) Close() error { s.closed.add(1); return nil }
func (s fakeSession) Describe() backend.Description {
	return backend.Description{Threads: 1, Provider: "fake kernels", Nodes: 3, WeightBytes: 123, ArenaBytes: 456}
}

const side, classes = 8, 7

func tinyModel() (*model.Model, error) {
	b, x := graph.NewBuilder(graph.Shape{H: side, W: side, C: 3})
	x = b.Add("pool", graph.MeanPool{}, x)
	head := b.Add("head", graph.Conv{Out: classes, Kernel: 1, Stride: 1, Groups: 1, Linear: true}, x)
	head.Weights = map[string]graph.Tensor{"weight": {Shape: []int{classes, 3}, Data: make([]float32, 3*classes)}}
	g, err := b.Graph()
	return &model.Model{
		Name: "tiny", Graph: g, Hash: strings.Repeat("ab", 32), Format: "torch",
		Config: model.Config{Layout: "official", InputSize: side, Classes: classes},
		Labels: []string{"ant", "bee", "cat", "dog", "eel", "fox", "gnu"},
		Preprocess: model.Preprocess{
			Size: side, Resize: "shorter_side", CropRatio: 1, Filter: "bicubic", Mean: [3]float64{.5, .5, .5}, Std: [3]float64{.5, .5, .5},
		},
		Notes: []string{"for tests"},
	}, err
}

// testServer is a server with the fake backend.
type testServer struct {
	*Server
	fake *fake
	logs *observer.ObservedLogs
}

// files of the models folder: "ok" loads as the tiny model, anything else is
// an invalid checkpoint.
type files map[string]string

func newServer(t testing.TB, dir files, f *fake, change func(*Config)) *testServer {
	t.Helper()
	s := newStopped(t, dir, f, change)
	s.Start()
	eventually(t, "ready", func() bool { _, err := s.store.readiness(); return err == nil })
	eventually(t, "settled", func() bool { s.store.mu.Lock(); defer s.store.mu.Unlock(); return s.store.settled })
	return s
}

func newStopped(t testing.TB, dir files, f *fake, change func(*Config)) *testServer {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	var registry backend.Registry
	registry.Register(f)
	c := Config{
		Log: zap.New(core), Registry: &registry, ModelsDir: t.TempDir(), Demo: tinyModel,
		DefaultTarget: "fake", Threads: 1, AllowedHosts: []string{"Example.com"}, Version: "test",
	}
	if change != nil {
		change(&c)
	}
	writeFiles(t, c.ModelsDir, dir)
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.store.open = openFile
	t.Cleanup(s.Close)
	return &testServer{s, f, logs}
}

func writeFiles(t testing.TB, dir string, f files) {
	t.Helper()
	for name, content := range f {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func openFile(path string) (*model.Model, error) {
	b, err := os.ReadFile(path)
	switch {
	case err != nil:
		return nil, err
	case string(b) == "panic":
		panic("a bug in the reader")
	case !strings.HasPrefix(string(b), "ok"):
		return nil, fmt.Errorf("%s: %w", path, &model.InvalidError{Findings: []string{"missing tensor head.weight [7 3]", "unexpected tensor " + string(b)}})
	}
	m, err := tinyModel()
	if m != nil {
		m.Hash = string(b)
	}
	return m, err
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for range 2000 {
		if done() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("still not %s after 10 s", what)
}

func (s *testServer) do(t testing.TB, r *http.Request) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	resp := w.Result()
	checkContract(t, r, resp)
	return resp
}

func (s *testServer) get(t testing.TB, path string) *http.Response {
	t.Helper()
	return s.do(t, httptest.NewRequest(http.MethodGet, path, nil))
}

func (s *testServer) post(t testing.TB, query string, body []byte) *http.Response {
	t.Helper()
	return s.do(t, httptest.NewRequest(http.MethodPost, "/classify"+query, bytes.NewReader(body)))
}

func read(t testing.TB, resp *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return b
}

func decode[T any](t testing.TB, resp *http.Response) T {
	t.Helper()
	var v T
	d := json.NewDecoder(bytes.NewReader(read(t, resp)))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v\n%s", err, read(t, resp))
	}
	return v
}

var contract = sync.OnceValues(func() (*openapi3.T, error) { return openapi3.NewLoader().LoadFromData(api.YAML) })

// checkContract holds an answer against openapi.yaml.
func checkContract(t testing.TB, r *http.Request, resp *http.Response) {
	t.Helper()
	spec, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	body := read(t, resp)
	media := resp.Header.Get("Content-Type")
	isProblem := media == "application/problem+json"
	if resp.StatusCode >= 400 != isProblem {
		t.Errorf("%s %s: %d with Content-Type %q\n%s", r.Method, r.URL, resp.StatusCode, media, body)
	}
	if resp.Header.Get("X-Request-ID") == "" {
		t.Errorf("%s %s: no X-Request-ID", r.Method, r.URL)
	}
	schema := spec.Components.Schemas["Problem"].Value
	if op := operation(spec, r); op != nil && resp.StatusCode != http.StatusMethodNotAllowed {
		answer := op.Responses.Status(resp.StatusCode)
		if answer == nil {
			t.Fatalf("%s %s: status %d is not in the contract\n%s", r.Method, r.URL, resp.StatusCode, body)
		}
		content := answer.Value.Content[media]
		if answer.Value.Content == nil {
			if len(body) > 0 || media != "" {
				t.Errorf("%s %s: status %d has a body, %q", r.Method, r.URL, resp.StatusCode, media)
			}
			return
		}
		if content == nil {
			t.Fatalf("%s %s: Content-Type %q of status %d is not in the contract", r.Method, r.URL, media, resp.StatusCode)
		}
		schema = content.Schema.Value
		if isProblem {
			slug := strings.TrimPrefix(decode[api.Problem](t, resp).Type, "/problems/")
			if content.Examples[slug] == nil {
				t.Errorf("%s %s: problem %s is not in the contract for status %d", r.Method, r.URL, slug, resp.StatusCode)
			}
		}
	}
	if strings.HasSuffix(media, "json") {
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%s %s: %v\n%s", r.Method, r.URL, err, body)
		}
		if err := schema.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
			t.Errorf("%s %s: answer is not what the contract says: %v\n%s", r.Method, r.URL, err, body)
		}
	}
}

func operation(spec *openapi3.T, r *http.Request) *openapi3.Operation {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	sent := strings.Split(r.URL.Path, "/")
	for path, item := range spec.Paths.Map() {
		parts := strings.Split(path, "/")
		if slices.EqualFunc(parts, sent, func(part, sent string) bool { return part == sent || strings.HasPrefix(part, "{") }) && item.Operations()[method] != nil {
			return item.Operations()[method]
		}
	}
	return nil
}

func testImage(w, h int) image.Image {
	im := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			im.Set(x, y, color.RGBA{uint8(40 + 5*x), uint8(60 + 3*y), 200, 255})
		}
	}
	return im
}

func jpegFile(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, testImage(20, 12), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pngFile(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, testImage(12, 20)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestClassify(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	file := jpegFile(t)
	resp := s.post(t, "?top_k=3&target=fake:cpu:fp32", file)
	if resp.StatusCode != 200 {
		t.Fatalf("status %d: %s", resp.StatusCode, read(t, resp))
	}
	got := decode[api.Classification](t, resp)
	if got.Model != "demo" || got.ModelHash != strings.Repeat("ab", 32) || got.Target != "fake" || got.Untrained != nil {
		t.Errorf("got model %q, hash %q, target %q, untrained %v; want demo on the canonical target fake", got.Model, got.ModelHash, got.Target, got.Untrained)
	}
	if want := (api.Image{Format: "jpeg", Width: 20, Height: 12, Orientation: 1, Bytes: int64(len(file))}); got.Image != want {
		t.Errorf("image %+v, want %+v", got.Image, want)
	}
	if got.RequestId != resp.Header.Get("X-Request-ID") {
		t.Errorf("request_id %q, header %q", got.RequestId, resp.Header.Get("X-Request-ID"))
	}
	var labels []string
	sum := 0.0
	for i := range classes - 1 {
		sum += math.Exp(float64(i + 1))
	}
	for _, p := range got.Predictions {
		labels = append(labels, p.Label)
		if p.Logit != float64(p.Index) || math.Abs(p.Probability-math.Exp(p.Logit)/sum) > .01 {
			t.Errorf("%+v: want logit %d and probability about %.3f", p, p.Index, math.Exp(p.Logit)/sum)
		}
	}
	if want := []string{"gnu", "fox", "eel"}; !slices.Equal(labels, want) {
		t.Errorf("labels %v, want %v", labels, want)
	}
	tm := got.Timing
	if parts := tm.DecodeMs + tm.PreprocessMs + tm.QueueMs + tm.InferenceMs; tm.DecodeMs <= 0 || tm.TotalMs < parts {
		t.Errorf("timing %+v: want positive stages and a total of at least their sum", tm)
	}

	got = decode[api.Classification](t, s.post(t, "", file))
	if len(got.Predictions) != defaultTopK {
		t.Errorf("%d predictions without top_k, want %d", len(got.Predictions), defaultTopK)
	}
}

func TestClassifyPixels(t *testing.T) {
	// A white image normalises to 1 everywhere, so that class 0 has logit 1.
	im := image.NewGray(image.Rect(0, 0, 9, 9))
	for i := range im.Pix {
		im.Pix[i] = 255
	}
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, nil, &fake{}, nil)
	got := decode[api.Classification](t, s.post(t, fmt.Sprintf("?top_k=%d", classes), b.Bytes()))
	for _, p := range got.Predictions {
		if p.Index == 0 && math.Abs(p.Logit-1) > 1e-6 {
			t.Errorf("logit of a white image is %v, want 1", p.Logit)
		}
	}
}

func TestRandomModel(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	got := decode[api.Classification](t, s.post(t, "?model=random:xxs", jpegFile(t)))
	if got.Model != "random:xxs" || got.Untrained == nil || !*got.Untrained {
		t.Errorf("model %q, untrained %v; want random:xxs, marked", got.Model, got.Untrained)
	}
	m := decode[api.Model](t, s.get(t, "/models/random:xxs"))
	if m.State != api.Ready || !m.Untrained || value(m.Parameters) != 4067704 {
		t.Errorf("got %+v, want a ready untrained model with 4067704 parameters", m)
	}
}

func TestModels(t *testing.T) {
	s := newServer(t, files{"My Model.pth": "ok", "broken.pt": "nonsense", "My-Model.safetensors": "ok", "panic.pth": "panic", "note.txt": "", "é.pth": "ok"}, &fake{},
		func(c *Config) { c.DefaultModel = "my-model" })
	list := decode[api.ModelList](t, s.get(t, "/models"))
	type row struct {
		name, file string
		state      api.ModelState
		isDefault  bool
		findings   string
	}
	var got []row
	for _, m := range list.Models {
		got = append(got, row{m.Name, value(m.File), m.State, m.Default, strings.Join(m.Findings, "; ")})
		if m.Labels != nil {
			t.Errorf("%s: labels in the list", m.Name)
		}
	}
	want := []row{
		{"-", "é.pth", api.Ready, false, ""},
		{"broken", "broken.pt", api.Failed, false, "missing tensor head.weight [7 3]; unexpected tensor nonsense"},
		{"my-model", "My Model.pth", api.Ready, true, ""},
		{"my-model", "My-Model.safetensors", api.Failed, false, "its name my-model is taken by My Model.pth: rename one of the two files"},
		{"panic", "panic.pth", api.Failed, false, "internal error: a bug in the reader"},
	}
	if want[0].name = model.ServedName("é.pth"); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if value(list.Default) != "my-model" {
		t.Errorf("default %q, want my-model", value(list.Default))
	}

	m := decode[api.Model](t, s.get(t, "/models/my-model"))
	if len(m.Labels) != classes || value(m.Classes) != classes || value(m.Parameters) != 3*classes || value(m.Macs) != 3*classes ||
		value(m.WeightBytes) != 12*classes || m.Config.InputSize != side || m.Preprocess.Filter != "bicubic" || !slices.Equal(m.Notes, []string{"for tests"}) {
		t.Errorf("got %s", read(t, s.get(t, "/models/my-model")))
	}
	if len(m.Sessions) != 1 || m.Sessions[0].Target != "fake" || value(m.Sessions[0].Provider) != "fake kernels" {
		t.Errorf("sessions %+v, want the default one with what it runs on", m.Sessions)
	}
}

// TestDefaultModel has the rules of which model a request means.
func TestDefaultModel(t *testing.T) {
	for _, c := range []struct {
		name   string
		files  files
		config string
		want   string // the model that answers, or the problem
	}{
		{"empty folder", nil, "", "demo"},
		{"single file", files{"one.pth": "ok"}, "", "one"},
		{"single broken file", files{"one.pth": "no"}, "", "/problems/invalid-checkpoint"},
		{"two files", files{"one.pth": "ok", "two.pt": "ok"}, "", "/problems/model-required"},
		{"one broken of two", files{"one.pth": "ok", "two.pt": "no"}, "", "/problems/model-required"},
		{"configured", files{"one.pth": "ok", "two.pt": "ok"}, "two", "two"},
		{"demo beside files", files{"one.pth": "ok"}, "demo", "demo"},
		{"demo file", files{"demo.pth": "ok file"}, "", "demo"},
		{"random", files{"one.pth": "ok"}, "random:xxs", "random:xxs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStopped(t, c.files, &fake{}, func(cfg *Config) { cfg.DefaultModel = c.config })
			s.Start()
			resp := s.post(t, "", jpegFile(t))
			var got string
			if resp.StatusCode == 200 {
				got = decode[api.Classification](t, resp).Model
			} else {
				got = decode[api.Problem](t, resp).Type
			}
			if got != c.want {
				t.Errorf("got %q, want %q\n%s", got, c.want, read(t, resp))
			}
		})
	}
}

func TestNewErrors(t *testing.T) {
	var registry backend.Registry
	registry.Register(&fake{})
	file := filepath.Join(t.TempDir(), "file")
	writeFiles(t, filepath.Dir(file), files{"file": ""})
	for _, c := range []struct {
		name   string
		config Config
		want   string
	}{
		{"default target", Config{DefaultTarget: "onnx"}, `default target: unknown target "onnx"; this build has fake, `},
		{"default model", Config{DefaultTarget: "fake", DefaultModel: "cats"}, `default model: unknown model "cats"; there are random:s, random:xs, random:xxs`},
		{"folder", Config{DefaultTarget: "fake", ModelsDir: file}, "models folder: "},
	} {
		c.config.Registry = &registry
		if _, err := New(c.config); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s…", c.name, err, c.want)
		}
	}
}

func TestBackends(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	got := decode[api.TargetList](t, s.get(t, "/backends"))
	var names []string
	for _, target := range got.Targets {
		names = append(names, target.Target)
		if target.Available != (target.Reason == nil) || target.Default != (target.Target == "fake") {
			t.Errorf("%+v: want a reason exactly where it is unavailable, and fake the default", target)
		}
	}
	if want := []string{"fake", "fake:gpu", "fake:odd", "fake:int8", "fake:gpu:int8", "fake:odd:int8"}; !slices.Equal(names, want) || got.Default != "fake" {
		t.Errorf("targets %v, default %s; want %v, fake", names, got.Default, want)
	}
}

func TestReadiness(t *testing.T) {
	f := &fake{}
	block := make(chan struct{})
	f.open = func() error { <-block; return nil }
	s := newStopped(t, nil, f, nil)
	if resp := s.get(t, "/livez"); resp.StatusCode != 200 {
		t.Errorf("livez %d before start", resp.StatusCode)
	}
	if resp := s.get(t, "/readyz"); resp.StatusCode != 503 {
		t.Errorf("readyz %d before start, want 503", resp.StatusCode)
	}
	s.Start()
	eventually(t, "opening", func() bool { return f.opens.get() == 1 })
	if p := decode[api.Problem](t, s.get(t, "/readyz")); p.Type != "/problems/not-ready" || !strings.Contains(p.Detail, "demo is loading") {
		t.Errorf("readyz while opening: %+v", p)
	}
	close(block)
	eventually(t, "ready", func() bool { return s.get(t, "/readyz").StatusCode == 200 })
	if f.done.get() != 1 {
		t.Errorf("%d runs when ready, want 1 (the warm-up)", f.done.get())
	}
	if h := decode[api.Health](t, s.get(t, "/readyz")); value(h.Model) != "demo" || value(h.Target) != "fake" {
		t.Errorf("readyz %+v, want demo on fake", h)
	}
}

func TestReadinessReasons(t *testing.T) {
	for _, c := range []struct {
		name   string
		files  files
		target string
		want   string
	}{
		{"broken default", files{"one.pth": "no"}, "fake", "missing tensor head.weight"},
		{"unavailable target", nil, "fake:gpu", "plug one in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStopped(t, c.files, &fake{}, func(cfg *Config) { cfg.DefaultTarget = c.target })
			s.Start()
			eventually(t, "settled", func() bool { s.store.mu.Lock(); defer s.store.mu.Unlock(); return s.store.settled })
			resp := s.get(t, "/readyz")
			if body := string(read(t, resp)); resp.StatusCode != 503 || !strings.Contains(body, c.want) {
				t.Errorf("readyz %d, want 503 with %q\n%s", resp.StatusCode, c.want, body)
			}
		})
	}
	t.Run("no default", func(t *testing.T) {
		s := newServer(t, files{"one.pth": "ok", "two.pth": "ok"}, &fake{}, nil)
		if h := decode[api.Health](t, s.get(t, "/readyz")); h.Model != nil {
			t.Errorf("readyz %+v, want ready without a model", h)
		}
	})
}

func TestReload(t *testing.T) {
	f := &fake{}
	s := newServer(t, files{"one.pth": "ok 1", "two.pth": "ok 2"}, f, func(c *Config) { c.DefaultModel = "one" })
	hash := func(name string) string {
		resp := s.post(t, "?model="+name, jpegFile(t))
		if resp.StatusCode != 200 {
			return decode[api.Problem](t, resp).Type
		}
		return decode[api.Classification](t, resp).ModelHash
	}
	if hash("one") != "ok 1" || hash("two") != "ok 2" {
		t.Fatalf("before: %s, %s", hash("one"), hash("two"))
	}
	dir := s.store.dir
	writeFiles(t, dir, files{"one.pth": "ok one, new", "three.pth": "ok 3"})
	if err := os.Remove(filepath.Join(dir, "two.pth")); err != nil {
		t.Fatal(err)
	}
	s.Reload()
	eventually(t, "reloaded", func() bool { return hash("one") == "ok one, new" && hash("three") == "ok 3" })
	if got := hash("two"); got != "/problems/unknown-model" {
		t.Errorf("a removed model answers %s", got)
	}
	eventually(t, "closed", func() bool { return f.closed.get() == 2 }) // old one, two
	writeFiles(t, dir, files{"one.pth": "broken now"})
	s.Reload()
	failed := func() (n int) {
		for _, m := range decode[api.ModelList](t, s.get(t, "/models")).Models {
			if m.State == api.Failed {
				n++
			}
		}
		return n
	}
	eventually(t, "failed", func() bool { return failed() == 1 })
	if got := hash("one"); got != "ok one, new" {
		t.Errorf("with a broken file in its place the model answers %s, want it served as it was", got)
	}
	writeFiles(t, dir, files{"one.pth": "ok again"})
	s.Reload()
	eventually(t, "mended", func() bool { return hash("one") == "ok again" && failed() == 0 })
	writeFiles(t, dir, files{"one.a.pth": "", "ONE.pt": "ok other"})
	s.Reload()
	eventually(t, "clash", func() bool { return failed() == 2 })
	if got := hash("one"); got != "ok again" {
		t.Errorf("beside another file of its name the model answers %s, want it served as it was", got)
	}
}

// TestReloadInFlight checks that a request keeps its session when its model is
// replaced.
func TestReloadInFlight(t *testing.T) {
	f := &fake{gate: make(chan struct{})}
	s := newServer(t, files{"one.pth": "ok 1"}, f, nil)
	result := make(chan *http.Response, 1)
	go func() { result <- s.post(t, "", jpegFile(t)) }()
	eventually(t, "running", func() bool { return f.running.get() == 1 })
	writeFiles(t, s.store.dir, files{"one.pth": "ok replaced"})
	s.Reload()
	eventually(t, "replaced", func() bool { return f.opens.get() == 2 })
	if n := f.closed.get(); n != 0 {
		t.Errorf("%d sessions closed while a request runs", n)
	}
	f.gate <- struct{}{}
	if got := decode[api.Classification](t, <-result); got.ModelHash != "ok 1" {
		t.Errorf("hash %s, want that of the model it began with", got.ModelHash)
	}
	eventually(t, "closed", func() bool { return f.closed.get() == 1 })
}

// TestOpenOnce checks that many first requests open a session once, and that a
// failed opening is tried again.
func TestOpenOnce(t *testing.T) {
	f := &fake{}
	s := newServer(t, nil, f, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if resp := s.post(t, "?target=fake:int8", jpegFile(t)); resp.StatusCode != 200 {
				t.Errorf("status %d: %s", resp.StatusCode, read(t, resp))
			}
		})
	}
	wg.Wait()
	if got := f.opens.get(); got != 2 {
		t.Errorf("opened %d times, want 2: default and int8", got)
	}
}

func TestOpenFailureIsRetried(t *testing.T) {
	f := &fake{}
	fails := 1
	f.open = func() error {
		if fails > 0 {
			fails--
			return fmt.Errorf("%w: out of device memory", backend.ErrUnavailable)
		}
		return nil
	}
	s := newStopped(t, nil, f, nil)
	s.Start()
	eventually(t, "settled", func() bool { s.store.mu.Lock(); defer s.store.mu.Unlock(); return s.store.settled })
	if resp := s.get(t, "/readyz"); resp.StatusCode != 503 {
		t.Errorf("readyz %d, want 503", resp.StatusCode)
	}
	if resp := s.post(t, "", jpegFile(t)); resp.StatusCode != 200 {
		t.Errorf("second opening: %d %s", resp.StatusCode, read(t, resp))
	}
	if resp := s.get(t, "/readyz"); resp.StatusCode != 200 {
		t.Errorf("readyz %d once the session is open, want 200", resp.StatusCode)
	}
}

// TestConcurrent runs more requests than there are tokens, on two targets.
func TestConcurrent(t *testing.T) {
	f := &fake{}
	s := newServer(t, nil, f, func(c *Config) { c.Threads = 100 })
	file := jpegFile(t)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			target := []string{"fake", "fake:int8"}[i%2]
			resp := s.post(t, "?target="+target, file)
			if resp.StatusCode != 200 {
				t.Errorf("status %d: %s", resp.StatusCode, read(t, resp))
				return
			}
			if got := decode[api.Classification](t, resp); got.Predictions[0].Label != "gnu" {
				t.Errorf("got %+v", got.Predictions)
			}
		})
	}
	wg.Wait()
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens in use afterwards", n)
	}
	if n := s.admission.waiting; n != 0 {
		t.Errorf("%d requests wait afterwards", n)
	}
	if !s.bodies.TryAcquire(maxBodies) {
		t.Error("body memory was lost")
	}
}

func TestMetrics(t *testing.T) {
	s := newServer(t, files{"one.pth": "ok", "bad.pth": "no"}, &fake{}, func(c *Config) { c.DefaultModel = "one" })
	s.post(t, "", jpegFile(t))
	s.post(t, "", nil)
	s.get(t, "/nothing/here")
	body := string(read(t, s.get(t, "/metrics")))
	for _, want := range []string{
		`edgevit_http_requests_total{code="200",route="/classify"} 1`,
		`edgevit_http_requests_total{code="400",route="/classify"} 1`,
		`edgevit_http_requests_total{code="404",route="none"} 1`,
		`edgevit_stage_seconds_count{stage="decode",target="fake"} 1`,
		`edgevit_stage_seconds_count{stage="preprocess",target="fake"} 1`,
		`edgevit_stage_seconds_count{stage="queue",target="fake"} 1`,
		`edgevit_stage_seconds_count{stage="inference",target="fake"} 1`,
		`edgevit_stage_seconds_count{stage="total",target="fake"} 1`,
		`edgevit_queue_depth{model="one",target="fake"} 0`,
		`edgevit_sessions{model="one",target="fake"} 1`,
		`edgevit_session_bytes{kind="weights",model="one",target="fake"} 123`,
		fmt.Sprintf(`edgevit_model_bytes{model="one"} %d`, 12*classes),
		`edgevit_models{state="failed"} 1`,
		`edgevit_models{state="ready"} 1`,
		`edgevit_build_info{version="test"} 1`,
		fmt.Sprintf(`edgevit_cpu_tokens %d`, runtime.GOMAXPROCS(0)),
		`edgevit_cpu_tokens_in_use 0`,
		`go_goroutines `,
		`process_cpu_seconds_total `,
	} {
		if !strings.Contains(body, "\n"+want) {
			t.Errorf("no line %q", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

func TestRequestID(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	for _, c := range []struct {
		name, sent string
		kept       bool
	}{
		{"well-formed", "Bench-17.a_b", true},
		{"absent", "", false},
		{"longest", strings.Repeat("x", 64), true},
		{"too long", strings.Repeat("x", 65), false},
		{"line break", "a\nb", false},
		{"space", "a b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/nothing", nil)
			r.Header.Set("X-Request-ID", c.sent)
			resp := s.do(t, r)
			got := resp.Header.Get("X-Request-ID")
			if (got == c.sent) != c.kept || !requestID.MatchString(got) {
				t.Errorf("sent %q, got %q, want kept: %v", c.sent, got, c.kept)
			}
			if p := decode[api.Problem](t, resp); p.RequestId != got {
				t.Errorf("request_id %q in the problem, %q in the header", p.RequestId, got)
			}
			if s.logs.FilterField(zap.String("request_id", got)).Len() == 0 {
				t.Errorf("%q is not in the log", got)
			}
		})
	}
}

func TestLogLine(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	file := jpegFile(t)
	s.post(t, "?top_k=2&target=fake", file)
	s.post(t, "?nonsense="+strings.Repeat("x", 5000), file)
	lines := s.logs.FilterMessage("request").All()
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2", len(lines))
	}
	fields := lines[0].ContextMap()
	for name, want := range map[string]any{
		"method": "POST", "route": "/classify", "path": "/classify", "query": "top_k=2&target=fake", "status": int64(200),
		"model": "demo", "target": "fake", "body_bytes": int64(len(file)),
	} {
		if fields[name] != want {
			t.Errorf("%s is %v, want %v", name, fields[name], want)
		}
	}
	for _, name := range []string{"request_id", "bytes", "duration_ms", "decode_ms", "preprocess_ms", "queue_ms", "inference_ms"} {
		if fields[name] == nil {
			t.Errorf("no %s in %v", name, fields)
		}
	}
	if q := lines[1].ContextMap()["query"].(string); len(q) > 210 {
		t.Errorf("%d bytes of query in the log", len(q))
	}
}

func TestInternalError(t *testing.T) {
	f := &fake{}
	s := newServer(t, nil, f, nil)
	for _, c := range []struct {
		name   string
		out    func([]float32)
		slug   string
		detail string
		logged string
	}{
		{"panic", func([]float32) { panic("secret cause") }, "internal-error", "internal error", "secret cause"},
		{"NaN", func(out []float32) { out[3] = float32(math.NaN()) }, "not-finite", "", "NaN"},
		{"infinity", func(out []float32) { out[3] = float32(math.Inf(1)) }, "not-finite", "", "Inf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.mu.Lock()
			f.out = c.out
			f.mu.Unlock()
			resp := s.post(t, "", jpegFile(t))
			p := decode[api.Problem](t, resp)
			if resp.StatusCode != 500 || p.Type != "/problems/"+c.slug || c.detail != "" && p.Detail != c.detail || strings.Contains(string(read(t, resp)), "secret") {
				t.Errorf("got %d %s, want 500 %s", resp.StatusCode, read(t, resp), c.slug)
			}
			line := s.logs.FilterField(zap.String("request_id", p.RequestId)).All()
			if len(line) != 1 || line[0].Level != zap.ErrorLevel || !strings.Contains(fmt.Sprint(line[0].ContextMap()["error"]), c.logged) {
				t.Errorf("log %v, want one error with %q", line, c.logged)
			}
		})
	}
	f.mu.Lock()
	f.out = nil
	f.mu.Unlock()
	if resp := s.post(t, "", jpegFile(t)); resp.StatusCode != 200 || s.admission.inUse() != 0 {
		t.Errorf("after a panic: status %d, %d tokens in use", resp.StatusCode, s.admission.inUse())
	}
}

func TestPages(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	for _, c := range []struct {
		path, media string
		want        []string
	}{
		{"/docs", "text/html", []string{"<code>/classify</code>", "top_k", `href="/problems/queue-full"`, "Subtracted from red", "&#34;predictions&#34;", "multipart/form-data", "Authorization: Bearer TOKEN", `href="/problems/name-taken"`}},
		{"/openapi.yaml", "application/yaml", []string{"openapi: 3.1.0"}},
		{"/problems/queue-full", "text/html", []string{"Too many requests wait", "Retry-After"}},
	} {
		resp := s.get(t, c.path)
		body := string(read(t, resp))
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != c.media {
			t.Errorf("%s: %d %s", c.path, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
		for _, want := range c.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q", c.path, want)
			}
		}
		for _, foreign := range []string{"<script", "src=", "@import", "url(", "<link"} {
			if strings.Contains(body, foreign) && c.media != "application/yaml" {
				t.Errorf("%s: loads something: %q", c.path, foreign)
			}
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, styleHash) {
			t.Errorf("%s: Content-Security-Policy %q", c.path, csp)
		}
	}
	index := string(read(t, s.get(t, "/")))
	media := map[string]string{"/": "text/html; charset=utf-8", "/icon.svg": "image/svg+xml", "/samples/cat.jpg": "image/jpeg"}
	for _, m := range regexp.MustCompile(`(?:src|href)="\.(/assets/[^"]+\.(js|css))"`).FindAllStringSubmatch(index, -1) {
		media[m[1]] = map[string]string{"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}[m[2]]
	}
	if len(media) < 5 {
		t.Errorf("the page names no script or no style:\n%s", index)
	}
	for path, want := range media {
		resp := s.get(t, path)
		body := string(read(t, resp))
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != want || resp.Header.Get("Content-Security-Policy") != webPolicy {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, resp.Header)
		}
		// What the policy would refuse; a browser tells the rest.
		for _, wrong := range []string{" style=\"", "<style", " onclick=", "@import"} {
			if strings.Contains(body, wrong) {
				t.Errorf("%s: has %q", path, wrong)
			}
		}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", resp.Header.Get("ETag"))
		if again := s.do(t, r); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s: %d with its ETag, want 304", path, again.StatusCode)
		}
	}
	if resp := s.get(t, "/web.go"); resp.StatusCode != 404 {
		t.Errorf("/web.go: %d", resp.StatusCode)
	}
	if got := read(t, s.get(t, "/openapi.yaml")); !bytes.Equal(got, api.YAML) {
		t.Error("/openapi.yaml is not the file")
	}
}

// TestSecureHeaders looks at answers of every kind.
func TestSecureHeaders(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	for path, camera := range map[string]string{
		"/": "camera=(self)", "/docs": "", "/models": "", "/openapi.yaml": "", "/nothing": "", "/models?x=1": "", "/classify": "",
	} {
		resp := s.get(t, path)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
			"Cross-Origin-Embedder-Policy": "require-corp", "Permissions-Policy": camera,
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: Content-Security-Policy %q", path, csp)
		}
	}
}

// TestCacheControl checks that a browser shows no list of earlier.
func TestCacheControl(t *testing.T) {
	s := newExportServer(t, nil, &exporting{}, func(c *Config) { c.Data = t.TempDir() })
	for path, want := range map[string]string{
		"/models": "no-store", "/models/demo": "no-store", "/backends": "no-store", "/benchmarks": "no-store", "/livez": "no-store", "/readyz": "no-store",
		"/metrics": "no-store", "/openapi.yaml": "no-store", "/docs": "no-store", "/nothing": "no-store", "/": "no-cache", "/models/demo/export?format=json": "no-cache",
	} {
		resp := s.get(t, path)
		if got := resp.Header.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q, want %q", path, got, want)
		}
		if want == "no-store" {
			continue
		}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("If-None-Match", resp.Header.Get("ETag"))
		if again := s.do(t, r); again.StatusCode != http.StatusNotModified || again.Header.Get("Cache-Control") != want {
			t.Errorf("%s with its ETag: %d, Cache-Control %q, want 304, %q", path, again.StatusCode, again.Header.Get("Cache-Control"), want)
		}
	}
	if got := s.post(t, "", jpegFile(t)).Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("/classify: Cache-Control %q", got)
	}
}

// TestProblemPages checks that every row of the table has a page and stands in
// the contract with its status and title, and that the contract has no others.
func TestProblemPages(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	spec, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]api.Problem{}
	for name, answer := range spec.Components.Responses {
		for slug, example := range answer.Value.Content["application/problem+json"].Examples {
			b, err := json.Marshal(example.Value.Value)
			if err != nil {
				t.Fatal(err)
			}
			var p api.Problem
			if err := json.Unmarshal(b, &p); err != nil {
				t.Fatal(err)
			}
			if p.Type != "/problems/"+slug {
				t.Errorf("%s: example %s has type %s", name, slug, p.Type)
			}
			documented[slug] = p
		}
	}
	known := map[string]bool{}
	for _, p := range problems {
		first := !known[p.slug]
		known[p.slug] = true
		if first != (p.meaning != "" && p.remedy != "") {
			t.Errorf("%s (%v): want meaning and remedy in the slug's first row only", p.slug, p.err)
		}
		// What is answered under /v2 alone has the form of its protocol.
		if d := documented[p.slug]; p.err != oip.ErrMessage && (d.Status != p.status || d.Title != p.title) {
			t.Errorf("%s: the contract says %d %q, the table %d %q", p.slug, d.Status, d.Title, p.status, p.title)
		}
		resp := s.get(t, "/problems/"+p.slug)
		if body := string(read(t, resp)); resp.StatusCode != 200 || !strings.Contains(body, "<title>"+p.title) {
			t.Errorf("/problems/%s: %d %s", p.slug, resp.StatusCode, body)
		}
	}
	for _, slug := range slices.Sorted(maps.Keys(documented)) {
		if !known[slug] {
			t.Errorf("the contract documents %s, which the server does not know", slug)
		}
	}
}

func TestAnyHost(t *testing.T) {
	for hosts, want := range map[string]int{"edgevit": http.StatusMisdirectedRequest, "*": http.StatusOK} {
		s := newStopped(t, nil, &fake{}, func(c *Config) { c.AllowedHosts = []string{hosts} })
		r := httptest.NewRequest(http.MethodGet, "/livez", nil)
		r.Host = "edgevit-predictor.models.svc.cluster.local"
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("allowed hosts %q: %d, want %d", hosts, w.Code, want)
		}
	}
}

package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

// exporting is a backend whose files are the metadata as JSON.
type exporting struct {
	*fake
	before, after error // the first byte
}

func (exporting) Name() string { return "exporting" }
func (exporting) Targets() []backend.Target {
	return []backend.Target{{Backend: "exporting", Device: "cpu", Precision: "fp32"}}
}
func (exporting) Format() string { return "json" }
func (e *exporting) Export(w io.Writer, _ *graph.Graph, metadata map[string]string) error {
	if e.before != nil {
		return e.before
	}
	if e.after != nil {
		w.Write(make([]byte, 1<<16))
		return e.after
	}
	return json.NewEncoder(w).Encode(metadata)
}

func newExportServer(t testing.TB, dir files, e *exporting, change func(*Config)) *testServer {
	t.Helper()
	e.fake = &fake{}
	return newServer(t, dir, &fake{}, func(c *Config) {
		c.Registry.Register(e)
		if change != nil {
			change(c)
		}
	})
}

func TestExport(t *testing.T) {
	s := newExportServer(t, nil, &exporting{}, nil)
	resp := s.get(t, "/models/demo/export?format=json")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Disposition") != `attachment; filename="demo.json"` {
		t.Fatalf("%d, %v: %s", resp.StatusCode, resp.Header, read(t, resp))
	}
	got := decode[map[string]string](t, resp)
	m, err := tinyModel()
	if err != nil {
		t.Fatal(err)
	}
	var labels []string
	var spec model.Preprocess
	var config model.Config
	for key, v := range map[string]any{"labels": &labels, "preprocess": &spec, "config": &config} {
		if err := json.Unmarshal([]byte(got[key]), v); err != nil {
			t.Errorf("metadata %s: %v in %q", key, err, got[key])
		}
	}
	if got["hash"] != m.Hash || got["name"] != "tiny" || len(labels) != classes || spec != m.Preprocess || config != m.Config {
		t.Errorf("metadata %v", got)
	}

	tag := resp.Header.Get("ETag")
	if !strings.HasPrefix(tag, `"`+m.Hash+"-") {
		t.Errorf("ETag %s, want the model's hash in it", tag)
	}
	for sent, want := range map[string]int{tag: 304, "W/" + tag: 304, `"other", ` + tag: 304, "*": 304, `"other"`: 200, "": 200} {
		r := httptest.NewRequest(http.MethodGet, "/models/demo/export?format=json", nil)
		if sent != "" {
			r.Header.Set("If-None-Match", sent)
		}
		if resp := s.do(t, r); resp.StatusCode != want || resp.Header.Get("ETag") != tag {
			t.Errorf("If-None-Match %s: %d, ETag %s; want %d", sent, resp.StatusCode, resp.Header.Get("ETag"), want)
		}
	}
	if other := s.get(t, "/models/demo/export?format=safetensors").Header.Get("ETag"); other == tag {
		t.Error("two formats have one ETag")
	}
	if resp := s.get(t, "/models/random:xxs/export?format=json"); resp.StatusCode != 200 || resp.Header.Get("Content-Disposition") != `attachment; filename="random-xxs.json"` {
		t.Errorf("random: %d %v", resp.StatusCode, resp.Header)
	}
}

// TestExportSafetensors reads an export as a checkpoint again.
func TestExportSafetensors(t *testing.T) {
	want := modeltest.Goldens(t)[4].Model // birder's, with labels
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Demo = func() (*model.Model, error) { return want, nil } })
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, read(t, s.get(t, "/models/demo/export?format=safetensors")), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := model.Open(path, model.Sidecar{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Hash != want.Hash || got.Preprocess != want.Preprocess || fmt.Sprint(got.Labels) != fmt.Sprint(want.Labels) || got.Labels == nil {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestExportAnswers(t *testing.T) {
	e := &exporting{}
	s := newExportServer(t, files{"one.pth": "ok", "bad.pth": "no"}, e, func(c *Config) { c.DefaultModel = "one" })
	for _, c := range []struct {
		name, path string
		before     error
		status     int
		slug       string
		detail     string
	}{
		{"unknown format", "/models/one/export?format=gguf", nil, 400, "invalid-query", `unknown format "gguf", want json, safetensors`},
		{"format in capitals", "/models/one/export?format=JSON", nil, 400, "invalid-query", ""},
		{"no format", "/models/one/export", nil, 400, "invalid-query", "format"},
		{"empty format", "/models/one/export?format=", nil, 400, "invalid-query", "format"},
		{"unknown parameter", "/models/one/export?format=json&x=1", nil, 400, "invalid-query", "x"},
		{"unknown model", "/models/cats/export?format=json", nil, 404, "unknown-model", ""},
		{"invalid checkpoint", "/models/bad/export?format=json", nil, 422, "invalid-checkpoint", ""},
		{"unsupported network", "/models/one/export?format=json", fmt.Errorf("head: %w", backend.ErrUnsupported), 503, "target-unsupported", "head"},
		{"fault", "/models/one/export?format=json", errors.New("secret cause"), 500, "internal-error", "internal error"},
	} {
		e.before = c.before
		resp := s.get(t, c.path)
		p := decode[api.Problem](t, resp)
		if resp.StatusCode != c.status || p.Type != "/problems/"+c.slug || !strings.Contains(p.Detail, c.detail) || resp.Header.Get("Content-Disposition") != "" {
			t.Errorf("%s: %d %s, %v", c.name, resp.StatusCode, read(t, resp), resp.Header)
		}
	}
	if !s.exports.TryAcquire(maxExports) {
		t.Error("room for exports was lost")
	}
}

// TestExportBreaks checks that a file which fails halfway cannot be taken for a
// whole one.
func TestExportBreaks(t *testing.T) {
	s := newExportServer(t, nil, &exporting{after: errors.New("disk of the moon")}, nil)
	url, _, _ := serve(t, s)
	resp, err := http.Get(url + "/models/demo/export?format=json")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("the answer ended as if it were whole")
	}
	eventually(t, "logged", func() bool { return s.logs.FilterMessage("request").Len() == 1 })
	if line := s.logs.FilterMessage("request").All()[0].ContextMap(); !strings.Contains(fmt.Sprint(line["error"]), "moon") {
		t.Errorf("log %v", line)
	}
	if n := s.logs.FilterField(zap.String("route", "/models/{name}/export")).Len(); n != 1 {
		t.Errorf("%d lines of its route", n)
	}
}

func TestExportsAtOnce(t *testing.T) {
	s := newExportServer(t, nil, &exporting{}, nil)
	if !s.exports.TryAcquire(maxExports) {
		t.Fatal("no room")
	}
	resp := s.get(t, "/models/demo/export?format=json")
	if p := decode[api.Problem](t, resp); resp.StatusCode != 429 || p.Type != "/problems/overloaded" {
		t.Errorf("got %d %+v, want 429 overloaded", resp.StatusCode, p)
	}
}

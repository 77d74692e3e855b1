package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"edgevit/api"
	"edgevit/bench"
	"edgevit/jobs"
)

// short is the query of a run that takes no time.
const short = "targets=fake,fake&blocks=6&min_count=36&min_duration_ms=6&threads=1&seed=3"

// slow is a backend whose run takes a millisecond.
func slow() *fake { return &fake{out: func([]float32) { time.Sleep(time.Millisecond) }} }

func newBenchServer(t testing.TB, f *fake, change func(*Config)) *testServer {
	t.Helper()
	return newUploadServer(t, nil, f, func(c *Config) {
		c.Data = t.TempDir()
		if change != nil {
			change(c)
		}
	})
}

func (s *testServer) send(t testing.TB, method, path string, body []byte) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	return s.do(t, r)
}

// start begins a run and returns its path.
func (s *testServer) start(t testing.TB, query string) string {
	t.Helper()
	return s.begin(t, "/benchmarks?"+query)
}

// begin starts a long job and returns its path.
func (s *testServer) begin(t testing.TB, path string) string {
	t.Helper()
	resp := s.send(t, http.MethodPost, path, nil)
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%d %s", resp.StatusCode, read(t, resp))
	}
	return resp.Header.Get("Location")
}

func (s *testServer) state(t testing.TB, path string) api.Benchmark {
	t.Helper()
	return decode[api.Benchmark](t, s.get(t, path))
}

func (s *testServer) await(t testing.TB, path string, want jobs.State) api.Benchmark {
	t.Helper()
	eventually(t, string(want), func() bool { return string(s.state(t, path).State) == string(want) })
	return s.state(t, path)
}

func TestBenchmark(t *testing.T) {
	s := newBenchServer(t, &fake{}, nil)
	path := s.start(t, short)
	events := string(read(t, s.get(t, path+"/events"))) // to the end
	got := s.await(t, path, jobs.Done)
	if got.Summary == nil || len(got.Summary.Subjects) != 2 || got.Summary.Subjects[1].Label != "fake #2" || got.Summary.Subjects[1].Samples < 36 || got.Plan.Models[0] != "demo" || got.Plan.Seed != 3 || got.Progress != nil {
		t.Errorf("%+v", got)
	}
	for _, f := range got.Summary.Findings {
		if f.Rule == "disturbed" {
			t.Errorf("nobody asked for anything: %+v", f)
		}
	}
	if strings.Count(events, "event: progress\n") != 12 || !strings.HasSuffix(events, "event: end\ndata: {\"state\":\"done\"}\n\n") {
		t.Errorf("events:\n%s", events)
	}
	if got := string(read(t, s.get(t, path+"/events"))); got != "event: end\ndata: {\"state\":\"done\"}\n\n" {
		t.Errorf("events of a run that is done: %q", got)
	}

	resp := s.get(t, path+"/bundle")
	file := read(t, resp)
	b, err := bench.ReadBundle(bytes.NewReader(file))
	if err != nil || "/benchmarks/"+b.ID != path || !strings.Contains(resp.Header.Get("Content-Disposition"), b.ID+".json.gz") || b.Environment.Version != "test" {
		t.Errorf("bundle %v, header %v", err, resp.Header)
	}
	if resp := s.send(t, http.MethodPost, "/benchmarks/import", file); resp.StatusCode != 409 {
		t.Errorf("import of what is there: %d", resp.StatusCode)
	}
	if resp := s.send(t, http.MethodDelete, path, nil); resp.StatusCode != 204 {
		t.Errorf("delete: %d", resp.StatusCode)
	}
	if resp := s.get(t, path); resp.StatusCode != 404 {
		t.Errorf("after its end: %d", resp.StatusCode)
	}
	resp = s.send(t, http.MethodPost, "/benchmarks/import", file)
	if resp.StatusCode != 201 || resp.Header.Get("Location") != path {
		t.Errorf("import: %d %s", resp.StatusCode, read(t, resp))
	}
	if again := s.state(t, path); !reflect.DeepEqual(again.Summary, got.Summary) || !reflect.DeepEqual(again.Plan, got.Plan) {
		t.Errorf("imported as %+v, was %+v", again, got)
	}
	if list := decode[api.BenchmarkList](t, s.get(t, "/benchmarks?limit=1")); len(list.Benchmarks) != 1 || "/benchmarks/"+list.Benchmarks[0].Id != path {
		t.Errorf("list %+v", list)
	}
}

// browsers is a bundle as the page makes it, with an edit.
func browsers(t testing.TB, old, new string) []byte {
	t.Helper()
	samples := "1" + strings.Repeat(",1.5", 49)
	var slices []string
	for block := range 8 {
		slices = append(slices, fmt.Sprintf(`{"block":%d,"position":1,"start_ms":%d,"duration_ms":74.5,"samples_ms":[%s]}`, block, 100*block, samples))
	}
	subject := func(target string) string {
		return `{"model":"demo","target":"` + target + `","label":"` + target + `","sessions":8,"open_ms":[40,30,31,32,30,30,30,33],
			"resident_bytes":{"value":0,"missing":"not measurable here"},"energy_missing":"not measurable here","slices":[` + strings.Join(slices, ",") + `]}`
	}
	reading := `{"value":0,"missing":"not measurable here"}`
	text := `{"schema":2,"id":"20260301-120000-browser1","origin":"browser","created":"2026-03-01T12:00:00Z","finished":"2026-03-01T12:01:00Z",
		"plan":{"scenario":"single-stream","models":["demo"],"targets":["ort-web:threads","ort-web:webgpu"],"threads":1,"batch":1,"min_duration_ms":400,"min_count":100,"blocks":8,"seed":1},
		"models":[{"name":"demo","hash":"` + strings.Repeat("ab", 32) + `","untrained":false,"macs":21}],
		"environment":{"os":"Linux","cores":8,"browser":"Mozilla/5.0","others":` + reading + `,"stolen":` + reading + `,"peak_resident_bytes":` + reading + `},
		"disturbances":0,"probes":[],"subjects":[` + subject("ort-web:threads") + "," + subject("ort-web:webgpu") + `]}`
	if !strings.Contains(text, old) {
		t.Fatalf("the bundle has no %s", old)
	}
	return gzipped([]byte(strings.Replace(text, old, new, 1)))
}

func TestBrowsersBenchmark(t *testing.T) {
	s := newBenchServer(t, &fake{}, nil)
	const label = `ort-web & "threads"`
	file := browsers(t, `"label":"ort-web:threads"`, `"label":"ort-web & \"threads\""`)
	resp := s.send(t, http.MethodPost, "/benchmarks/import", file)
	if resp.StatusCode != 201 {
		t.Fatalf("%d %s", resp.StatusCode, read(t, resp))
	}
	list := decode[api.BenchmarkList](t, s.get(t, "/benchmarks")).Benchmarks
	if len(list) != 1 || list[0].Origin != api.BenchmarkByBrowser || list[0].Summary == nil || len(list[0].Summary.Subjects) != 2 {
		t.Fatalf("listed %+v", list)
	}
	subject := list[0].Summary.Subjects[0]
	if subject.Label != label || subject.OpenMs == nil || subject.OpenMs.Value != 30 || subject.PeakShare != nil || value(subject.Rank) != 1 {
		t.Errorf("got %+v; want the label as text, 30 ms to open, no share of a peak", subject)
	}
	b, err := bench.ReadBundle(bytes.NewReader(read(t, s.get(t, "/benchmarks/"+list[0].Id+"/bundle"))))
	if err != nil || b.Environment.Browser != "Mozilla/5.0" {
		t.Errorf("bundle %+v, %v", b, err)
	}
	for _, c := range []struct {
		name, old, new string
		status         int
		want           string
	}{
		{"the same id", `"schema":2`, `"schema":2`, 409, "run-exists"},
		{"NaN", "1.5", "NaN", 422, "invalid-bundle"},
		{"a negative time", "1.5", "-1.5", 422, "a time in ms is -1.5"},
		{"a negative opening", `"open_ms":[40`, `"open_ms":[-40`, 422, "an opening in ms is -40"},
		{"10⁷ samples", `"samples_ms":[1`, `"samples_ms":[1` + strings.Repeat(",1", 1e7), 422, "more than 1000000 samples"},
		{"another origin", `"origin":"browser"`, `"origin":"https://evil.example"`, 422, "origin is"},
		{"a browser's run as the service's", `"origin":"browser"`, `"origin":"api"`, 422, "not of the origin api"},
		{"markup as a label", `"label":"ort-web:threads"`, `"label":"<img src=x onerror=alert(1)>"`, 422, "are not for names"},
		{"markup as a model", `"models":["demo"]`, `"models":["<b>"]`, 422, "are not for names"},
		{"more time than there was", `"duration_ms":74.5`, `"duration_ms":0.5`, 422, "its queries took"},
		{"null", `"samples_ms":[1`, `"samples_ms":[null,1`, 422, "a sample is null"},
		{"an id with a path", `"id":"2026`, `"id":"../2026`, 422, "id "},
	} {
		resp := s.send(t, http.MethodPost, "/benchmarks/import", browsers(t, c.old, c.new))
		if body := string(read(t, resp)); resp.StatusCode != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %.500s; want %d with %q", c.name, resp.StatusCode, body, c.status, c.want)
		}
	}
}

// TestBenchmarkBesideRequests classifies during a run: the request is answered,
// and the run says so.
func TestBenchmarkBesideRequests(t *testing.T) {
	s := newBenchServer(t, slow(), nil)
	path := s.start(t, strings.Replace(short, "min_duration_ms=6", "min_duration_ms=1200", 1))
	eventually(t, "under way", func() bool { p := s.state(t, path).Progress; return p != nil && p.Done > 0 })
	if resp := s.send(t, http.MethodPost, "/benchmarks?"+short, nil); resp.StatusCode != 409 {
		t.Errorf("a second run: %d %s", resp.StatusCode, read(t, resp))
	}
	if resp := s.post(t, "", jpegFile(t)); resp.StatusCode != 200 {
		t.Errorf("a request meanwhile: %d %s", resp.StatusCode, read(t, resp))
	}
	got := s.await(t, path, jobs.Done)
	disturbed := false
	for _, f := range got.Summary.Findings {
		disturbed = disturbed || f.Rule == "disturbed" && f.Invalid
	}
	if !disturbed || got.Summary.Valid || got.Summary.Subjects[0].Rank != nil {
		t.Errorf("after a request: %+v", got.Summary)
	}
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens are held after the run", n)
	}
}

func TestBenchmarkCancelled(t *testing.T) {
	s := newBenchServer(t, slow(), nil)
	path := s.start(t, "targets=fake&min_duration_ms=60000&threads=1")
	if resp := s.send(t, http.MethodDelete, path, nil); resp.StatusCode != 202 {
		t.Errorf("cancel: %d %s", resp.StatusCode, read(t, resp))
	}
	s.await(t, path, jobs.Cancelled)
	if resp := s.get(t, path+"/bundle"); resp.StatusCode != 404 {
		t.Errorf("its bundle: %d", resp.StatusCode)
	}
	if resp := s.send(t, http.MethodDelete, path, nil); resp.StatusCode != 204 {
		t.Errorf("then delete: %d", resp.StatusCode)
	}
}

func TestBenchmarkFails(t *testing.T) {
	f := &fake{}
	s := newBenchServer(t, f, nil)
	f.mu.Lock()
	f.open = func() error { return errors.New("the device is lost") }
	f.mu.Unlock()
	path := s.start(t, short)
	got := s.await(t, path, jobs.Failed)
	if !strings.Contains(value(got.Error), "the device is lost") {
		t.Errorf("%+v", got)
	}
}

// TestBenchmarkSurvives ends the server in the middle of a run and starts
// another on its data.
func TestBenchmarkSurvives(t *testing.T) {
	data := t.TempDir()
	same := func(c *Config) { c.Data = data }
	s := newBenchServer(t, slow(), same)
	done := s.start(t, short)
	s.await(t, done, jobs.Done)
	cut := s.start(t, "targets=fake&min_duration_ms=60000&threads=1")
	s.Close()
	s = newBenchServer(t, &fake{}, same)
	s.await(t, done, jobs.Done)
	s.await(t, cut, jobs.Interrupted)
}

// TestBenchmarkEvents comes late, leaves and comes back.
func TestBenchmarkEvents(t *testing.T) {
	s := newBenchServer(t, slow(), nil)
	url, stop, ended := serve(t, s)
	path := s.start(t, "targets=fake&min_duration_ms=60000&blocks=1000&min_count=1&threads=1")
	eventually(t, "under way", func() bool { p := s.state(t, path).Progress; return p != nil && p.Done > 3 })
	watch := func(last string) (first int, end string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+path+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var e struct {
				bench.Progress
				State string
			}
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				t.Fatal(err)
			}
			if first == 0 {
				first = e.Done
				if last == "" {
					return first, ""
				}
				stop() // the stream ends with the server
			}
			end = e.State
		}
		return first, end
	}
	if first, _ := watch(""); first != 1 {
		t.Errorf("who comes late begins with turn %d, want 1", first)
	}
	if first, end := watch("3"); first != 4 || end != "interrupted" {
		t.Errorf("who has seen 3 goes on with turn %d to the end %q, want 4, interrupted", first, end)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func TestBenchmarkAnswers(t *testing.T) {
	s := newBenchServer(t, &fake{}, nil)
	off := newUploadServer(t, nil, &fake{}, nil)
	notFolder := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notFolder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := newBenchServer(t, &fake{}, func(c *Config) { c.Data = notFolder })
	for _, c := range []struct {
		name   string
		server *testServer
		method string
		path   string
		body   string
		header map[string]string
		status int
		slug   string
		detail string
	}{
		{name: "no token", header: map[string]string{"Authorization": ""}, status: 401, slug: "token-required"},
		{name: "import without token", path: "/benchmarks/import", header: map[string]string{"Authorization": ""}, status: 401, slug: "token-required"},
		{name: "delete without token", method: "DELETE", path: "/benchmarks/x", header: map[string]string{"Authorization": ""}, status: 401, slug: "token-required"},
		{name: "another page", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 403, slug: "cross-origin"},
		{name: "unknown model", path: "/benchmarks?models=resnet", status: 404, slug: "unknown-model"},
		{name: "unknown target", path: "/benchmarks?targets=abacus", status: 404, slug: "unknown-target"},
		{name: "malformed target", path: "/benchmarks?targets=a:b:c:d", status: 400, slug: "invalid-target"},
		{name: "unknown parameter", path: "/benchmarks?colour=red", status: 400, slug: "invalid-query"},
		{name: "unknown scenario", path: "/benchmarks?scenario=multi-stream", status: 400, slug: "invalid-plan", detail: "multi-stream"},
		{name: "server without rate", path: "/benchmarks?scenario=server", status: 400, slug: "invalid-plan", detail: "rate is 0"},
		{name: "negative blocks", path: "/benchmarks?blocks=-1", status: 400, slug: "invalid-plan", detail: "blocks"},
		{name: "no threads", path: "/benchmarks?targets=fake&threads=0", status: 400, slug: "invalid-plan", detail: "threads is 0"},
		{name: "no seed", path: "/benchmarks?targets=fake&seed=0", status: 400, slug: "invalid-plan", detail: "seed is 0"},
		{name: "a long block", path: "/benchmarks?targets=fake&blocks=1&min_duration_ms=6000", status: 400, slug: "invalid-plan", detail: "at most 5s"},
		{name: "a block of many", path: "/benchmarks?targets=fake&blocks=10&min_count=1001", status: 400, slug: "invalid-plan", detail: "min_count"},
		{name: "a rate that is not a number", path: "/benchmarks?scenario=server&rate=NaN", status: 400, slug: "invalid-plan"},
		{name: "list of none", method: "GET", path: "/benchmarks?limit=0", status: 400, slug: "invalid-query"},
		{name: "unknown run", method: "GET", path: "/benchmarks/none", status: 404, slug: "unknown-run"},
		{name: "events of an unknown run", method: "GET", path: "/benchmarks/none/events", status: 404, slug: "unknown-run"},
		{name: "bundle of an unknown run", method: "GET", path: "/benchmarks/none/bundle", status: 404, slug: "unknown-run"},
		{name: "delete an unknown run", method: "DELETE", path: "/benchmarks/none", status: 404, slug: "unknown-run"},
		{name: "empty import", path: "/benchmarks/import", status: 400, slug: "empty-body"},
		{name: "import of text", path: "/benchmarks/import", body: "hello", status: 422, slug: "invalid-bundle"},
		{name: "import of another JSON", path: "/benchmarks/import", body: string(gzipped([]byte(`{"schema":1}`))), status: 422, slug: "invalid-bundle"},
		{name: "no data folder", server: off, status: 503, slug: "runs-unavailable", detail: "without a data folder"},
		{name: "no data folder to list", server: off, method: "GET", status: 503, slug: "runs-unavailable"},
		{name: "no data folder to look", server: off, method: "GET", path: "/benchmarks/x", status: 503, slug: "runs-unavailable"},
		{name: "no data folder to import", server: off, path: "/benchmarks/import", body: "x", status: 503, slug: "runs-unavailable"},
		{name: "a data folder that is a file", server: broken, status: 503, slug: "runs-unavailable", detail: "log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.method == "" {
				c.method = http.MethodPost
			}
			if c.path == "" {
				c.path = "/benchmarks"
			}
			if c.server == nil {
				c.server = s
			}
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			r.Header.Set("Authorization", "Bearer "+token)
			for name, v := range c.header {
				r.Header.Set(name, v)
				if v == "" {
					r.Header.Del(name)
				}
			}
			resp := c.server.do(t, r)
			p := decode[api.Problem](t, resp)
			if resp.StatusCode != c.status || p.Type != "/problems/"+c.slug || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("got %d %s\nwant %d %s with %q", resp.StatusCode, read(t, resp), c.status, c.slug, c.detail)
			}
			if strings.Contains(p.Detail, notFolder) {
				t.Errorf("the answer shows a path: %s", p.Detail)
			}
		})
	}
	if list := decode[api.BenchmarkList](t, s.get(t, "/benchmarks")); len(list.Benchmarks) != 0 {
		t.Errorf("left behind: %+v", list.Benchmarks)
	}
	disabled := newServer(t, nil, &fake{}, func(c *Config) { c.Data = t.TempDir() })
	if resp := disabled.send(t, http.MethodPost, "/benchmarks", nil); resp.StatusCode != 403 {
		t.Errorf("a server without a token: %d", resp.StatusCode)
	}
}

package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"edgevit/api"
	"edgevit/model"
	"edgevit/model/modeltest"
)

const token = "0123456789abcdef"

// newUploadServer is a server that takes changes.
func newUploadServer(t testing.TB, dir files, f *fake, change func(*Config)) *testServer {
	t.Helper()
	return newServer(t, dir, f, func(c *Config) {
		c.Token = token
		if change != nil {
			change(c)
		}
	})
}

func (s *testServer) upload(t testing.TB, query string, body []byte) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/models"+query, bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	return s.do(t, r)
}

func (s *testServer) remove(t testing.TB, name string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodDelete, "/models/"+name, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return s.do(t, r)
}

// folder lists the models folder, hidden files too.
func (s *testServer) folder(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(s.store.dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestUpload(t *testing.T) {
	s := newUploadServer(t, files{"one.pth": "ok"}, &fake{}, func(c *Config) { c.DefaultModel = "one" })
	resp := s.upload(t, "?name=birds.v2", []byte("ok birds"))
	if resp.StatusCode != 201 || resp.Header.Get("Location") != "/models/birds.v2" {
		t.Fatalf("%d, Location %q: %s", resp.StatusCode, resp.Header.Get("Location"), read(t, resp))
	}
	m := decode[api.Model](t, resp)
	if m.Name != "birds.v2" || m.State != api.Ready || value(m.File) != "birds.v2.pth" || value(m.Hash) != "ok birds" || m.Default {
		t.Errorf("answer %s", read(t, resp))
	}
	if got := string(read(t, s.get(t, resp.Header.Get("Location")))); got != string(read(t, resp)) {
		t.Errorf("its description is %s\nits upload answered %s", got, read(t, resp))
	}
	if got := decode[api.Classification](t, s.post(t, "?model=birds.v2", jpegFile(t))); got.ModelHash != "ok birds" {
		t.Errorf("it classifies as %+v", got)
	}
	if got, want := s.folder(t), []string{"birds.v2.pth", "one.pth"}; !slices.Equal(got, want) {
		t.Errorf("folder %v, want %v", got, want)
	}
	// A look at the folder finds what is there already, and loads it no more.
	e, _ := s.store.find(t.Context(), "birds.v2")
	s.store.reload()
	if again, _ := s.store.find(t.Context(), "birds.v2"); again != e {
		t.Error("a reload has replaced the model")
	}
}

// TestUploadRealFiles has published forms of a checkpoint, through gzip and not.
func TestUploadRealFiles(t *testing.T) {
	s := newUploadServer(t, nil, &fake{}, nil)
	s.store.open = func(path string) (*model.Model, error) { return model.Open(path, model.Sidecar{}) }
	want := modeltest.Tiny(t).Model
	var safetensors bytes.Buffer
	if err := want.WriteSafetensors(&safetensors); err != nil {
		t.Fatal(err)
	}
	zip := modeltest.Bytes(t, "tiny/official.pth")
	for _, c := range []struct {
		name, file string
		body       []byte
		encoding   string
	}{
		{"zip", "zip.pth", zip, ""},
		{"legacy", "legacy.pth", modeltest.Bytes(t, "tiny/official_legacy.pth"), ""},
		{"safe", "safe.safetensors", safetensors.Bytes(), ""},
		{"gzip", "gzip.pth", gzipped(zip), "gzip"},
	} {
		r := httptest.NewRequest(http.MethodPost, "/models?name="+c.name, bytes.NewReader(c.body))
		r.Header.Set("Authorization", "bearer  "+token)
		r.Header.Set("Content-Encoding", c.encoding)
		resp := s.do(t, r)
		if m := decode[api.Model](t, resp); resp.StatusCode != 201 || value(m.File) != c.file || value(m.Classes) != want.Config.Classes {
			t.Errorf("%s: %d %s", c.name, resp.StatusCode, read(t, resp))
		}
	}
	for name, body := range map[string][]byte{"half": zip[:len(zip)/2], "text": []byte("not a checkpoint"), "zeros": make([]byte, 4096), "torn": safetensors.Bytes()[:safetensors.Len()-8]} {
		resp := s.upload(t, "?name="+name, body)
		p := decode[api.Problem](t, resp)
		if resp.StatusCode != 422 || len(p.Findings) == 0 || strings.Contains(string(read(t, resp)), s.store.dir) || strings.Contains(string(read(t, resp)), uploadPrefix) {
			t.Errorf("%s: %d %s; want 422 with findings and no path", name, resp.StatusCode, read(t, resp))
		}
	}
	if got, want := s.folder(t), []string{"gzip.pth", "legacy.pth", "safe.safetensors", "zip.pth"}; !slices.Equal(got, want) {
		t.Errorf("folder %v, want %v", got, want)
	}
}

func TestUploadAnswers(t *testing.T) {
	const limit = 1000
	s := newUploadServer(t, files{"one.pth": "ok", "bad.pth": "no", "Two Words.pth": "ok", "two-words.pt": "ok", "lone.json": "{}"}, &fake{},
		func(c *Config) { c.DefaultModel, c.CheckpointBytes = "demo", limit })
	before := s.folder(t)
	multi, multiType := form(t, "checkpoint", "ok")
	for _, c := range []struct {
		name, query string
		body        string
		reader      io.Reader
		header      map[string]string
		status      int
		slug        string
		detail      string
	}{
		{name: "no token", header: map[string]string{"Authorization": ""}, status: 401, slug: "token-required"},
		{name: "another token", header: map[string]string{"Authorization": "Bearer 0123456789abcdeg"}, status: 401, slug: "token-required"},
		{name: "part of the token", header: map[string]string{"Authorization": "Bearer 0123456789abcde"}, status: 401, slug: "token-required"},
		{name: "another scheme", header: map[string]string{"Authorization": "Basic " + token}, status: 401, slug: "token-required"},
		{name: "token alone", header: map[string]string{"Authorization": token}, status: 401, slug: "token-required"},
		{name: "no token and too long", header: map[string]string{"Authorization": ""}, body: strings.Repeat("x", limit+1), status: 401, slug: "token-required"},
		{name: "cross-site page with the token", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 403, slug: "cross-origin"},

		{name: "no name", query: "?", status: 400, slug: "invalid-query", detail: "name"},
		{name: "empty name", query: "?name=", status: 400, slug: "invalid-query", detail: "name"},
		{name: "capitals", query: "?name=Birds", status: 400, slug: "invalid-query", detail: "a-z 0-9"},
		{name: "path", query: "?name=../birds", status: 400, slug: "invalid-query"},
		{name: "encoded path", query: "?name=..%2Fbirds", status: 400, slug: "invalid-query"},
		{name: "hidden", query: "?name=.birds", status: 400, slug: "invalid-query", detail: "the first a letter or digit"},
		{name: "random", query: "?name=random:xxs", status: 400, slug: "invalid-query"},
		{name: "line break", query: "?name=a%0A", status: 400, slug: "invalid-query"},
		{name: "dot at the end", query: "?name=birds.", status: 400, slug: "invalid-query", detail: "the last no dot"},
		{name: "device", query: "?name=con", status: 400, slug: "invalid-query", detail: "device"},
		{name: "device with an extension", query: "?name=lpt1.v2", status: 400, slug: "invalid-query", detail: "device"},
		{name: "extension of a checkpoint", query: "?name=birds.pth", status: 400, slug: "invalid-query", detail: "extension"},
		{name: "extension of a sidecar", query: "?name=birds.json", status: 400, slug: "invalid-query", detail: "extension"},
		{name: "65 characters", query: "?name=" + strings.Repeat("x", 65), status: 400, slug: "invalid-query"},
		{name: "unknown parameter", query: "?name=x&format=pth", status: 400, slug: "invalid-query"},
		{name: "empty body", body: " ", reader: strings.NewReader(""), status: 400, slug: "empty-body", detail: "checkpoint"},
		{name: "form", body: string(multi), header: map[string]string{"Content-Type": multiType}, status: 400, slug: "invalid-multipart", detail: "--data-binary"},
		{name: "not gzip", body: "ok", header: map[string]string{"Content-Encoding": "gzip"}, status: 400, slug: "malformed-body"},

		{name: "served name", query: "?name=one", status: 409, slug: "name-taken", detail: "one.pth"},
		{name: "failed name", query: "?name=bad", status: 409, slug: "name-taken", detail: "bad.pth"},
		{name: "name of two files", query: "?name=two-words", status: 409, slug: "name-taken"},
		{name: "built-in name", query: "?name=demo", status: 409, slug: "name-taken"},
		{name: "name of a sidecar", query: "?name=lone", status: 409, slug: "name-taken", detail: "lone.json"},

		{name: "too long", body: strings.Repeat("x", limit+1), status: 413, slug: "body-too-large"},
		{name: "too long in chunks", reader: unsized{strings.NewReader(strings.Repeat("x", limit+1))}, status: 413, slug: "body-too-large"},
		{name: "endless", reader: unsized{endless{}}, status: 413, slug: "body-too-large"},
		{name: "gzip bomb", body: string(gzipped(make([]byte, 100*limit))), header: map[string]string{"Content-Encoding": "gzip"}, status: 413, slug: "body-too-large"},
		{name: "brotli", body: "ok", header: map[string]string{"Content-Encoding": "br"}, status: 415, slug: "unsupported-content-encoding"},

		{name: "invalid checkpoint", body: "nonsense", status: 422, slug: "invalid-checkpoint", detail: "missing tensor head.weight"},
		{name: "fault of the reader", body: "panic", status: 422, slug: "invalid-checkpoint", detail: "internal error"},
		{name: "wrong host", header: map[string]string{"Host": "evil.example"}, status: 421, slug: "wrong-host"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.query == "" {
				c.query = "?name=new"
			}
			if c.body == "" {
				c.body = "ok"
			}
			if c.reader == nil {
				c.reader = strings.NewReader(c.body)
			}
			r := httptest.NewRequest(http.MethodPost, "/models"+c.query, c.reader)
			r.Header.Set("Authorization", "Bearer "+token)
			for name, v := range c.header {
				r.Header.Set(name, v)
				if name == "Host" {
					r.Host = v
				}
				if v == "" {
					r.Header.Del(name)
				}
			}
			resp := s.do(t, r)
			p := decode[api.Problem](t, resp)
			if resp.StatusCode != c.status || p.Type != "/problems/"+c.slug || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("got %d %s\nwant %d %s with %q", resp.StatusCode, read(t, resp), c.status, c.slug, c.detail)
			}
			if got := resp.Header.Get("WWW-Authenticate"); (got == "Bearer") != (c.status == 401) {
				t.Errorf("WWW-Authenticate %q on %d", got, c.status)
			}
			if c.slug == "invalid-checkpoint" && len(p.Findings) == 0 {
				t.Error("no findings")
			}
		})
	}
	if got := s.folder(t); !slices.Equal(got, before) {
		t.Errorf("folder %v, before %v", got, before)
	}
	if !s.uploads.TryAcquire(maxUploads) {
		t.Error("room for uploads was lost")
	}
}

func TestChangesDisabled(t *testing.T) {
	s := newServer(t, files{"one.pth": "ok"}, &fake{}, nil)
	for _, resp := range []*http.Response{s.upload(t, "?name=new", []byte("ok")), s.remove(t, "one"), s.remove(t, "nothing")} {
		if p := decode[api.Problem](t, resp); resp.StatusCode != 403 || p.Type != "/problems/changes-disabled" {
			t.Errorf("got %d %+v, want 403 changes-disabled", resp.StatusCode, p)
		}
	}
	if got := s.folder(t); !slices.Equal(got, []string{"one.pth"}) {
		t.Errorf("folder %v", got)
	}
}

func TestUploadFull(t *testing.T) {
	dir := files{}
	for i := range maxModels {
		dir[fmt.Sprintf("m%d.pth", i)] = "ok"
	}
	s := newUploadServer(t, dir, &fake{}, nil)
	if p := decode[api.Problem](t, s.upload(t, "?name=new", []byte("ok"))); p.Type != "/problems/models-full" || p.Status != 409 {
		t.Errorf("the 65th model: %+v, want 409 models-full", p)
	}
	s.remove(t, "m7")
	if resp := s.upload(t, "?name=new", []byte("ok")); resp.StatusCode != 201 {
		t.Errorf("after one is removed: %d %s", resp.StatusCode, read(t, resp))
	}
}

func TestUploadQuota(t *testing.T) {
	s := newUploadServer(t, files{"one.pth": "ok 1"}, &fake{}, func(c *Config) { c.ModelsBytes = 10 })
	if p := decode[api.Problem](t, s.upload(t, "?name=new", []byte("ok 2345"))); p.Type != "/problems/models-full" || p.Status != 409 || !strings.Contains(p.Detail, "11 bytes together, at most 10") {
		t.Errorf("11 bytes in all: %+v, want 409 models-full", p)
	}
	if got, want := s.folder(t), []string{"one.pth"}; !slices.Equal(got, want) {
		t.Errorf("folder %v, want %v", got, want)
	}
	if resp := s.upload(t, "?name=new", []byte("ok 234")); resp.StatusCode != 201 {
		t.Errorf("10 bytes in all: %d %s", resp.StatusCode, read(t, resp))
	}
}

func TestUploadStorage(t *testing.T) {
	s := newUploadServer(t, nil, &fake{}, func(c *Config) { c.ModelsDir = filepath.Join(t.TempDir(), "not", "yet") })
	if resp := s.upload(t, "?name=one", []byte("ok")); resp.StatusCode != 201 {
		t.Errorf("a folder that is missing is made: %d %s", resp.StatusCode, read(t, resp))
	}
	for _, c := range []struct{ name, want string }{{"a file is in its place", "not a directory"}, {"no folder", "without one"}} {
		s := newUploadServer(t, nil, &fake{}, nil)
		if c.want == "without one" {
			s.store.dir = ""
		} else if err := errors.Join(os.Remove(s.store.dir), os.WriteFile(s.store.dir, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		resp := s.upload(t, "?name=one", []byte("ok"))
		if p := decode[api.Problem](t, resp); resp.StatusCode != 503 || p.Type != "/problems/storage-unavailable" || !strings.Contains(p.Detail, c.want) || s.store.dir != "" && strings.Contains(p.Detail, s.store.dir) {
			t.Errorf("%s: %d %+v, want 503 storage-unavailable with %q", c.name, resp.StatusCode, p, c.want)
		}
	}
}

func TestUploadsAtOnce(t *testing.T) {
	s := newUploadServer(t, nil, &fake{}, nil)
	if !s.uploads.TryAcquire(maxUploads) {
		t.Fatal("no room")
	}
	resp := s.upload(t, "?name=new", []byte("ok"))
	if p := decode[api.Problem](t, resp); resp.StatusCode != 429 || p.Type != "/problems/overloaded" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a third upload: %d %+v", resp.StatusCode, p)
	}
	s.uploads.Release(maxUploads)

	// Both have the name free when they begin; only one may get it.
	statuses := make([]int, 2)
	var wg sync.WaitGroup
	var feeds []*io.PipeWriter
	for i := range statuses {
		body, feed := io.Pipe()
		feeds = append(feeds, feed)
		wg.Go(func() {
			r := httptest.NewRequest(http.MethodPost, "/models?name=same", body)
			r.Header.Set("Authorization", "Bearer "+token)
			statuses[i] = s.do(t, r).StatusCode
		})
	}
	for _, feed := range feeds {
		io.WriteString(feed, "ok") // is read, so that both have begun
	}
	for _, feed := range feeds {
		feed.Close()
	}
	wg.Wait()
	if slices.Sort(statuses); !slices.Equal(statuses, []int{201, 409}) {
		t.Errorf("two uploads of one name: %v, want 201 and 409", statuses)
	}
	if got := s.folder(t); !slices.Equal(got, []string{"same.pth"}) {
		t.Errorf("folder %v", got)
	}
}

// TestUploadCut has clients that go away, stop, or whose upload a crash has
// cut.
func TestUploadCut(t *testing.T) {
	s := newUploadServer(t, nil, &fake{}, nil)
	url, _, _ := serve(t, s)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /models?name=cut HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\nok and", token)
	eventually(t, "begun", func() bool { return len(s.folder(t)) == 1 })
	if got := decode[api.ModelList](t, s.get(t, "/models")); len(got.Models) != 1 || got.Models[0].Name != "demo" {
		t.Errorf("models during an upload: %+v", got.Models)
	}
	s.store.reload() // a scan does not see it
	conn.Close()
	eventually(t, "cleaned", func() bool { return len(s.folder(t)) == 0 })
	eventually(t, "logged", func() bool { return s.logs.FilterMessage("request").Len() == 2 })
	if line := s.logs.FilterMessage("request").All()[1].ContextMap(); line["status"] != int64(statusClientGone) || line["body_bytes"] != int64(6) {
		t.Errorf("log %v, want status 499 after 6 bytes", line)
	}

	s = newUploadServer(t, nil, &fake{}, nil)
	s.transfer = 200 * time.Millisecond
	url, _, _ = serve(t, s)
	body, feed := io.Pipe()
	defer feed.Close()
	go io.WriteString(feed, "ok")
	r, err := http.NewRequest(http.MethodPost, url+"/models?name=slow", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if p := decode[api.Problem](t, resp); resp.StatusCode != 408 || p.Type != "/problems/slow-body" || len(s.folder(t)) != 0 {
		t.Errorf("a client that stops: %d %+v, folder %v", resp.StatusCode, p, s.folder(t))
	}
}

// TestUploadLeftovers: a start removes what an upload has left behind whose
// process is gone, and leaves alone what another server is taking in.
func TestUploadLeftovers(t *testing.T) {
	s := newUploadServer(t, nil, &fake{}, nil)
	url, _, _ := serve(t, s)
	body, feed := io.Pipe()
	go io.WriteString(feed, "ok ")
	done := make(chan int)
	go func() {
		r, _ := http.NewRequest(http.MethodPost, url+"/models?name=shared", body)
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Error(err)
			done <- 0
			return
		}
		resp.Body.Close()
		done <- resp.StatusCode
	}()
	eventually(t, "begun", func() bool { return len(s.folder(t)) == 1 })
	begun := s.folder(t)
	writeFiles(t, s.store.dir, files{uploadPrefix + "left": "x"})

	other := newStopped(t, nil, &fake{}, func(c *Config) { c.ModelsDir = s.store.dir })
	other.Start()
	if got := s.folder(t); !slices.Equal(got, begun) {
		t.Errorf("after the start of another server: %v, want %v, which this one takes in", got, begun)
	}
	io.WriteString(feed, "1")
	feed.Close()
	if status := <-done; status != http.StatusCreated {
		t.Errorf("the upload that went on meanwhile: %d, want 201", status)
	}
	if got := s.folder(t); !slices.Equal(got, []string{"shared.pth"}) {
		t.Errorf("in the end: %v, want shared.pth alone", got)
	}
}

// TestUploadTakesTime checks that a checkpoint may take longer than an image.
func TestUploadTakesTime(t *testing.T) {
	s := newUploadServer(t, nil, &fake{}, func(c *Config) { c.Deadline = 100 * time.Millisecond })
	url, _, _ := serve(t, s)
	body, feed := io.Pipe()
	go func() {
		io.WriteString(feed, "ok")
		time.Sleep(400 * time.Millisecond)
		feed.Close()
	}()
	r, err := http.NewRequest(http.MethodPost, url+"/models?name=long", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 201 {
		t.Errorf("%d %s", resp.StatusCode, read(t, resp))
	}
}

// TestDefaultFollowsFolder checks that changes by requests follow the rules of
// a scan: the demo where the folder is empty, the single one, none of several.
func TestDefaultFollowsFolder(t *testing.T) {
	s := newUploadServer(t, nil, &fake{}, nil)
	answers := func(want string) {
		t.Helper()
		eventually(t, "answered by "+want, func() bool {
			resp := s.post(t, "", jpegFile(t))
			if resp.StatusCode != 200 {
				return decode[api.Problem](t, resp).Type == "/problems/"+want
			}
			return decode[api.Classification](t, resp).Model == want && s.get(t, "/readyz").StatusCode == 200
		})
	}
	answers("demo")
	s.upload(t, "?name=one", []byte("ok"))
	answers("one")
	s.upload(t, "?name=two", []byte("ok"))
	answers("model-required")
	s.remove(t, "one")
	answers("two")
	s.remove(t, "two")
	answers("demo")
}

func TestDelete(t *testing.T) {
	s := newUploadServer(t, files{
		"one.pth": "ok", "one.json": "{}", "two.pth": "ok 2", "bad.pth": "no", "bad.json": "{",
		"same.pth": "ok a", "same.safetensors": "ok b", "same.json": "{}", "Big.pth": "ok",
	}, &fake{}, func(c *Config) { c.DefaultModel = "demo" })
	for _, c := range []struct {
		name   string
		status int
		slug   string
	}{
		{"one", 204, ""},
		{"one", 404, "unknown-model"},
		{"big", 204, ""},
		{"bad", 204, ""},
		{"demo", 409, "built-in-model"},
		{"random:xxs", 409, "built-in-model"},
		{"nothing", 404, "unknown-model"},
		{"..%2Ftwo.pth", 404, "unknown-model"},
		{"same", 204, ""}, // the one that is served
	} {
		resp := s.remove(t, c.name)
		if resp.StatusCode != c.status || c.slug != "" && decode[api.Problem](t, resp).Type != "/problems/"+c.slug {
			t.Errorf("%s: %d %s, want %d %s", c.name, resp.StatusCode, read(t, resp), c.status, c.slug)
		}
	}
	// The sidecar of one is gone, that of two files stays for the other.
	if got, want := s.folder(t), []string{"same.json", "same.safetensors", "two.pth"}; !slices.Equal(got, want) {
		t.Errorf("folder %v, want %v", got, want)
	}
	eventually(t, "served by the other file", func() bool {
		m := decode[api.Model](t, s.get(t, "/models/same"))
		return m.State == api.Ready && value(m.Hash) == "ok b"
	})
	if resp := s.post(t, "?model=one", jpegFile(t)); resp.StatusCode != 404 {
		t.Errorf("a removed model answers %d", resp.StatusCode)
	}
	if resp := s.do(t, httptest.NewRequest(http.MethodDelete, "/models/two", nil)); resp.StatusCode != 401 {
		t.Errorf("without the token: %d", resp.StatusCode)
	}
}

// TestDeleteInUse checks that a request keeps the model that it began with.
func TestDeleteInUse(t *testing.T) {
	f := &fake{gate: make(chan struct{})}
	s := newUploadServer(t, files{"one.pth": "ok 1"}, f, nil)
	result := make(chan *http.Response, 1)
	go func() { result <- s.post(t, "", jpegFile(t)) }()
	eventually(t, "running", func() bool { return f.running.get() == 1 })
	if resp := s.remove(t, "one"); resp.StatusCode != 204 {
		t.Fatalf("%d %s", resp.StatusCode, read(t, resp))
	}
	if n := f.closed.get(); n != 0 {
		t.Errorf("%d sessions closed while a request runs", n)
	}
	f.gate <- struct{}{}
	if got := decode[api.Classification](t, <-result); got.ModelHash != "ok 1" {
		t.Errorf("hash %s, want that of the model it began with", got.ModelHash)
	}
	eventually(t, "closed", func() bool { return f.closed.get() == 1 })
}

// TestDeleteWhileLoading checks that a model which is removed before it is
// loaded does not come back.
func TestDeleteWhileLoading(t *testing.T) {
	s := newUploadServer(t, files{"one.pth": "ok 1", "two.pth": "ok"}, &fake{}, nil)
	held, release := make(chan struct{}), make(chan struct{})
	s.store.open = func(path string) (*model.Model, error) {
		close(held)
		<-release
		return openFile(path)
	}
	writeFiles(t, s.store.dir, files{"one.pth": "ok, another"})
	s.Reload()
	<-held
	if resp := s.remove(t, "one"); resp.StatusCode != 204 {
		t.Fatalf("%d %s", resp.StatusCode, read(t, resp))
	}
	close(release)
	eventually(t, "reloaded", func() bool {
		ended := s.store.reloading.TryLock()
		if ended {
			s.store.reloading.Unlock()
		}
		return ended
	})
	if resp := s.get(t, "/models/one"); resp.StatusCode != 404 {
		t.Errorf("a removed model is back: %s", read(t, resp))
	}
}

func TestTokenIsLong(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Token: "short"}, "at least 16"},
		{Config{CheckpointBytes: 1 << 40}, "largest checkpoint"},
		{Config{CheckpointBytes: -1}, "largest checkpoint"},
	} {
		c.config.Registry, c.config.DefaultTarget = s.registry, "fake"
		if _, err := New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
	}
}

package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/jobs"
	"edgevit/model"
)

// photos writes a data set of which a fake, which names gnu, has two of five
// right and cannot decode one.
func photos(t testing.TB) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "operators-photos")
	for name, data := range map[string]string{
		"gnu/1.jpg": string(jpegFile(t)), "gnu/2.png": string(pngFile(t)), "cat/<b>1.jpg": string(jpegFile(t)), "cat/2.png": string(pngFile(t)), "ant/1.jpg": string(jpegFile(t)),
		"ant/damaged.jpg": "\xff\xd8\xff", "ant/notes.txt": "",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newEvalServer(t testing.TB, f *fake, dir string, change func(*Config)) *testServer {
	t.Helper()
	return newBenchServer(t, f, func(c *Config) {
		c.DataSets = map[string]string{"photos": dir}
		if change != nil {
			change(c)
		}
	})
}

// evaluate begins an evaluation and returns its path.
func (s *testServer) evaluate(t testing.TB, query string) string {
	t.Helper()
	return s.begin(t, "/evaluations?"+query)
}

func (s *testServer) awaitEvaluation(t testing.TB, path string, want jobs.State) (e api.Evaluation) {
	t.Helper()
	eventually(t, string(want), func() bool {
		e = decode[api.Evaluation](t, s.get(t, path))
		return string(e.State) == string(want)
	})
	return e
}

func TestEvaluation(t *testing.T) {
	dir := photos(t)
	f := &fake{gate: make(chan struct{})}
	s := newEvalServer(t, f, dir, nil)
	path := s.evaluate(t, "data_set=photos&targets=fake,fake:int8,fake:gpu&preprocess=nearest&threads=1")
	watched := s.jobs.running(strings.TrimPrefix(path, "/evaluations/"))
	close(f.gate) // nothing ran before it was watched
	got := s.awaitEvaluation(t, path, jobs.Done)
	sent, _, _ := watched.since(0)
	if len(sent) != 6 || string(sent[0]) != `{"done":1,"total":6}` || string(sent[5]) != `{"done":6,"total":6}` {
		t.Errorf("events: %s", sent)
	}
	events := string(read(t, s.get(t, path+"/events")))
	if events != "event: end\ndata: {\"state\":\"done\"}\n\n" {
		t.Errorf("events of one that is done: %q", events)
	}
	if p := got.Plan; p.Model != "demo" || p.DataSet != "photos" || !slices.Equal(p.Preprocess, []string{"reference", "nearest"}) || p.Threads != 1 || got.Progress != nil {
		t.Errorf("%+v", got)
	}
	if sum := got.Summary; sum == nil || sum.Images != 6 || sum.Evaluated != 5 || sum.Misclassified != 3 || len(sum.Targets) != 2 || sum.Targets[1].Target != "fake:int8" || sum.Targets[1].Top1.Count != 2 || sum.Targets[1].Top1.Of != 5 {
		t.Errorf("summary %+v", sum)
	}
	resp := s.get(t, path+"/report")
	r := decode[api.EvaluationReport](t, resp)
	if r.Form != 1 || r.Model != "demo" || r.Data != "photos" || r.Targets[2].Error == nil || len(r.Preprocess) != 2 || len(r.Misclassified) != 3 || r.Misclassified[1].Path != "cat/2.png" || r.Failures[0].Path != "ant/damaged.jpg" || r.Disturbances != nil {
		t.Errorf("report %+v", r)
	}
	page := s.get(t, path+"/report?format=html")
	html := string(read(t, page))
	if !strings.Contains(html, "40.00 %") || strings.Contains(html, "<b>1.jpg") || !strings.Contains(page.Header.Get("Content-Security-Policy"), "sandbox") || strings.Contains(page.Header.Get("Content-Security-Policy"), "script") {
		t.Errorf("page %v\n%s", page.Header, html)
	}
	for _, text := range []string{events, html, string(read(t, resp)), string(read(t, s.get(t, "/datasets")))} {
		if strings.Contains(text, "operators-photos") {
			t.Errorf("the server's folder is shown:\n%s", text)
		}
	}
	if list := decode[api.EvaluationList](t, s.get(t, "/evaluations?limit=1")); len(list.Evaluations) != 1 || "/evaluations/"+list.Evaluations[0].Id != path {
		t.Errorf("list %+v", list)
	}
	if list := decode[api.BenchmarkList](t, s.get(t, "/benchmarks")); len(list.Benchmarks) != 0 {
		t.Errorf("listed among benchmarks: %+v", list)
	}
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens are held afterwards", n)
	}

	// Its images, as long as they are what was evaluated.
	images := path + "/images/"
	first := s.send(t, http.MethodGet, images+"0", nil) // ant/1.jpg
	if string(read(t, first)) != string(jpegFile(t)) || first.Header.Get("Content-Type") != "image/jpeg" || first.Header.Get("X-Content-Type-Options") != "nosniff" || first.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("image 0: %d %v", first.StatusCode, first.Header)
	}
	if resp := s.send(t, http.MethodGet, images+"1", nil); resp.Header.Get("Content-Type") != "image/png" {
		t.Errorf("image 1: %d %v", resp.StatusCode, resp.Header)
	}
	secret := filepath.Join(filepath.Dir(dir), "secret.jpg")
	for _, err := range []error{
		os.WriteFile(secret, jpegFile(t), 0o644),
		os.WriteFile(filepath.Join(dir, "ant", "1.jpg"), pngFile(t), 0o644),
		os.Remove(filepath.Join(dir, "cat", "<b>1.jpg")),
		os.Remove(filepath.Join(dir, "cat", "2.png")),
		os.Symlink("../../secret.jpg", filepath.Join(dir, "cat", "<b>1.jpg")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	misclassified := func(name string) string {
		i := slices.IndexFunc(r.Misclassified, func(m api.Misclassified) bool { return m.Path == name })
		return images + string(rune('0'+i))
	}
	for _, c := range []struct {
		name, path string
		status     int
		slug       string
	}{
		{"changed", misclassified("ant/1.jpg"), 409, "image-changed"},
		{"gone", misclassified("cat/2.png"), 404, "image-gone"},
		{"a link to the outside", misclassified("cat/<b>1.jpg"), 404, "image-gone"},
		{"past the last", images + "3", 404, "not-found"},
		{"before the first", images + "-1", 404, "not-found"},
		{"no number", images + "x", 400, "invalid-query"},
	} {
		resp := s.send(t, http.MethodGet, c.path, nil)
		p := decode[api.Problem](t, resp)
		if resp.StatusCode != c.status || p.Type != "/problems/"+c.slug || strings.Contains(p.Detail, "operators-photos") {
			t.Errorf("%s: %d %+v, want %d %s", c.name, resp.StatusCode, p, c.status, c.slug)
		}
	}
	if resp := s.get(t, images+"0"); resp.StatusCode != 401 {
		t.Errorf("an image without token: %d", resp.StatusCode)
	}

	if resp := s.send(t, http.MethodDelete, strings.Replace(path, "evaluations", "benchmarks", 1), nil); resp.StatusCode != 404 {
		t.Errorf("deleted as a benchmark: %d", resp.StatusCode)
	}
	if resp := s.send(t, http.MethodDelete, path, nil); resp.StatusCode != 204 {
		t.Errorf("delete: %d", resp.StatusCode)
	}
	if resp := s.get(t, path+"/report"); resp.StatusCode != 404 {
		t.Errorf("report after that: %d", resp.StatusCode)
	}
}

// TestEvaluationBesideRequests: requests are answered while it runs, and the
// report says that there were some.
func TestEvaluationBesideRequests(t *testing.T) {
	f := &fake{gate: make(chan struct{})}
	s := newEvalServer(t, f, photos(t), nil)
	path := s.evaluate(t, "data_set=photos&targets=fake&threads=1&limit=2")
	f.gate <- struct{}{}
	eventually(t, "under way", func() bool {
		p := decode[api.Evaluation](t, s.get(t, path)).Progress
		return p != nil && p.Done == 1 && p.Total == 2
	})
	for _, other := range []string{"/evaluations?data_set=photos", "/benchmarks?" + short} {
		resp := s.send(t, http.MethodPost, other, nil)
		if p := decode[api.Problem](t, resp); resp.StatusCode != 409 || p.Type != "/problems/job-running" {
			t.Errorf("%s meanwhile: %d %+v", other, resp.StatusCode, p)
		}
	}
	answered := make(chan int)
	go func() { answered <- s.post(t, "", jpegFile(t)).StatusCode }()
	for got := 0; got == 0; {
		select {
		case f.gate <- struct{}{}: // the evaluation's run, or the request's
		case got = <-answered:
			if got != 200 {
				t.Errorf("a request meanwhile: %d", got)
			}
		}
	}
	go func() {
		for {
			select {
			case f.gate <- struct{}{}:
			case <-t.Context().Done():
				return
			}
		}
	}()
	s.awaitEvaluation(t, path, jobs.Done)
	if r := decode[api.EvaluationReport](t, s.get(t, path+"/report")); value(r.Disturbances) > 1 || r.Images != 2 {
		t.Errorf("%d disturbances, %d images; want at most one of the one request, 2", value(r.Disturbances), r.Images)
	}
}

// TestEvaluationDisturbed counts a request that certainly falls into the
// evaluation.
func TestEvaluationDisturbed(t *testing.T) {
	s := newEvalServer(t, &fake{}, photos(t), nil)
	f := s.fake
	f.mu.Lock()
	var once bool
	f.out = func([]float32) {
		if !once {
			once = true
			s.admission.taken.Add(2) // as two requests do
		}
	}
	f.mu.Unlock()
	path := s.evaluate(t, "data_set=photos&targets=fake")
	s.awaitEvaluation(t, path, jobs.Done)
	if r := decode[api.EvaluationReport](t, s.get(t, path+"/report")); value(r.Disturbances) != 2 {
		t.Errorf("%d disturbances, want 2", value(r.Disturbances))
	}
	if html := string(read(t, s.get(t, path+"/report?format=html"))); !strings.Contains(html, "and 2 requests to the service") {
		t.Errorf("the page does not say so:\n%s", html)
	}
}

func TestEvaluationEnds(t *testing.T) {
	data, dir := t.TempDir(), photos(t)
	same := func(c *Config) { c.Data = data }
	s := newEvalServer(t, &fake{gate: make(chan struct{})}, dir, same)
	path := s.evaluate(t, "data_set=photos&targets=fake")
	if resp := s.send(t, http.MethodDelete, strings.Replace(path, "evaluations", "benchmarks", 1), nil); resp.StatusCode != 404 {
		t.Errorf("cancelled as a benchmark: %d", resp.StatusCode)
	}
	if resp := s.send(t, http.MethodDelete, path, nil); resp.StatusCode != 202 {
		t.Errorf("cancel: %d", resp.StatusCode)
	}
	s.awaitEvaluation(t, path, jobs.Cancelled)
	if p := decode[api.Problem](t, s.get(t, path+"/report")); p.Type != "/problems/no-report" || !strings.Contains(p.Detail, "was cancelled after 0 of 6 images; resume it") {
		t.Errorf("its report: %+v", p)
	}
	cut := s.evaluate(t, "data_set=photos&targets=fake")
	s.Close()

	f := &fake{}
	s = newEvalServer(t, f, dir, same)
	s.awaitEvaluation(t, cut, jobs.Interrupted)
	f.mu.Lock()
	f.open = func() error { return errors.New("the device is lost") }
	f.mu.Unlock()
	failed := s.awaitEvaluation(t, s.evaluate(t, "data_set=photos&targets=fake"), jobs.Failed)
	if !strings.Contains(value(failed.Error), "the device is lost") {
		t.Errorf("%+v", failed)
	}
}

// feed lets n runs of a fake pass, and waits until the evaluation has so many
// images done.
func (s *testServer) feed(t testing.TB, path string, n, done int) {
	t.Helper()
	for range n {
		s.fake.gate <- struct{}{}
	}
	eventually(t, "under way", func() bool {
		p := decode[api.Evaluation](t, s.get(t, path)).Progress
		return p != nil && p.Done == done
	})
}

// TestEvaluationResumes: an evaluation that ends three times before it is done
// comes to the report of one that runs through, without an image run again.
func TestEvaluationResumes(t *testing.T) {
	data, dir := t.TempDir(), photos(t)
	server := func(change func(*Config)) *testServer {
		return newEvalServer(t, &fake{gate: make(chan struct{})}, dir, func(c *Config) {
			c.Data = data
			if change != nil {
				change(c)
			}
		})
	}
	refused := func(s *testServer, path, slug, detail string) {
		t.Helper()
		method := http.MethodPost
		if strings.HasSuffix(path, "/report") {
			method = http.MethodGet
		}
		resp := s.send(t, method, path, nil)
		if p := decode[api.Problem](t, resp); resp.StatusCode != 409 || p.Type != "/problems/"+slug || !strings.Contains(p.Detail, detail) || strings.Contains(p.Detail, "operators") || strings.Contains(p.Detail, data) {
			t.Errorf("%s: %d %+v, want %s with %q", path, resp.StatusCode, p, slug, detail)
		}
	}
	ended := func(s *testServer, path string, state jobs.State, done int) {
		t.Helper()
		if e := s.awaitEvaluation(t, path, state); e.Progress == nil || *e.Progress != (api.JobProgress{Done: done, Total: 6}) {
			t.Fatalf("%s came to %+v, want %d of 6", state, e.Progress, done)
		}
	}
	resume := func(s *testServer, path string, kept int) {
		t.Helper()
		resp := s.send(t, http.MethodPost, path+"/resume", nil)
		if e := decode[api.Evaluation](t, resp); resp.StatusCode != 202 || "/evaluations/"+e.Id != path || value(e.Progress).Done < kept {
			t.Fatalf("resume: %d %s", resp.StatusCode, read(t, resp))
		}
	}

	s := server(nil)
	path := s.evaluate(t, "data_set=photos&targets=fake")
	refused(s, path+"/report", "no-report", "is running")
	refused(s, path+"/resume", "job-running", "")
	s.feed(t, path, 2, 3) // one of the three is damaged
	s.send(t, http.MethodDelete, path, nil)
	ended(s, path, jobs.Cancelled, 2)
	refused(s, path+"/report", "no-report", "was cancelled after 2 of 6 images; resume it")
	if resp := s.do(t, httptest.NewRequest(http.MethodPost, path+"/resume", nil)); resp.StatusCode != 401 {
		t.Errorf("resumed without token: %d", resp.StatusCode)
	}
	resume(s, path, 2)
	s.feed(t, path, 1, 4) // the damaged one is tried again
	s.Close()

	s = server(func(c *Config) {
		c.Demo = func() (*model.Model, error) {
			m, err := tinyModel()
			m.Hash = strings.Repeat("cd", 32)
			return m, err
		}
	})
	ended(s, path, jobs.Interrupted, 3)
	refused(s, path+"/resume", "not-resumable", "the model demo is no longer")
	s.Close()

	s = server(nil)
	file := filepath.Join(dir, "gnu", "2.png")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	touch := func(at time.Time) {
		t.Helper()
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	touch(info.ModTime().Add(time.Second))
	refused(s, path+"/resume", "not-resumable", "images of the data set photos have changed")
	refused(s, path+"/report", "no-report", "was interrupted after 3 of 6 images; resume it")
	touch(info.ModTime())

	opening := func(err error) {
		s.fake.mu.Lock()
		defer s.fake.mu.Unlock()
		s.fake.open = func() error { return err }
	}
	opening(errors.New("the device is lost"))
	resume(s, path, 0) // it may have ended before it is looked at
	ended(s, path, jobs.Failed, 3)
	opening(nil)
	resume(s, path, 3)
	s.feed(t, path, 1, 5)
	s.fake.gate <- struct{}{}
	e := s.awaitEvaluation(t, path, jobs.Done)
	if e.Progress != nil || e.Error != nil || e.Summary.Evaluated != 5 {
		t.Errorf("done: %+v", e)
	}
	refused(s, path+"/resume", "not-resumable", "it is done")
	if files, err := os.ReadDir(filepath.Join(data, "evaluations")); err != nil || len(files) != 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}

	whole := s.evaluate(t, "data_set=photos&targets=fake")
	for range 5 {
		s.fake.gate <- struct{}{}
	}
	s.awaitEvaluation(t, whole, jobs.Done)
	reports := [2]api.EvaluationReport{decode[api.EvaluationReport](t, s.get(t, path+"/report")), decode[api.EvaluationReport](t, s.get(t, whole+"/report"))}
	for _, r := range reports {
		r.Preprocess[0].Results[0].MedianInferenceMs = 0
	}
	if !reflect.DeepEqual(reports[0], reports[1]) {
		t.Errorf("in parts   %+v\nas a whole %+v", reports[0], reports[1])
	}
}

// TestJournals: journals are kept of the newest evaluations that can be resumed,
// and of no others.
func TestJournals(t *testing.T) {
	s := newEvalServer(t, &fake{}, photos(t), nil)
	folder := s.jobs.journals.folder
	var want []string
	add := func(id string) {
		if err := os.WriteFile(s.jobs.journals.path(id), []byte("{\"journal\":2}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	record := func(state jobs.State) string {
		id := fmt.Sprintf("2026-%02d", len(want))
		if err := s.jobs.evaluations.Insert(evaluationRecord{ID: id, Created: time.Now(), State: state, Plan: evaluationPlan{Images: 3}}, nil); err != nil {
			t.Fatal(err)
		}
		add(id)
		return id
	}
	for range maxJournals + 2 {
		want = append(want, record(jobs.Interrupted))
	}
	add(record(jobs.Done))
	add("nobody")
	s.jobs.tidyJournals()
	want = want[2:]
	var got []string
	files, err := os.ReadDir(folder)
	for _, f := range files {
		got = append(got, strings.TrimSuffix(f.Name(), journalSuffix))
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("kept %v, %v; want %v", got, err, want)
	}
	for id, detail := range map[string]string{"2026-00": "was interrupted; nothing of it is kept, start another", "2026-02": "was interrupted after 0 of 3 images; resume it"} {
		if p := decode[api.Problem](t, s.get(t, "/evaluations/"+id+"/report")); !strings.HasSuffix(p.Detail, detail) {
			t.Errorf("%s: %s, want %s", id, p.Detail, detail)
		}
	}
	resp := s.send(t, http.MethodPost, "/evaluations/2026-00/resume", nil)
	if p := decode[api.Problem](t, resp); resp.StatusCode != 409 || p.Type != "/problems/not-resumable" || !strings.Contains(p.Detail, "nothing of it is kept") {
		t.Errorf("without a journal: %+v", p)
	}
	if resp := s.send(t, http.MethodDelete, "/evaluations/2026-02", nil); resp.StatusCode != 204 {
		t.Errorf("delete: %d", resp.StatusCode)
	}
	if _, err := os.Stat(s.jobs.journals.path("2026-02")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its journal: %v", err)
	}
}

func TestDataSets(t *testing.T) {
	dir := photos(t)
	list := filepath.Join(filepath.Dir(dir), "list.csv")
	if err := os.WriteFile(list, []byte("operators-photos/gnu/1.jpg,gnu\noperators-photos/cat/2.png,cat\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newEvalServer(t, &fake{}, dir, func(c *Config) {
		c.Threads = 0 // as many as are usual
		c.DataSets["listed"] = list
		c.DataSets["gone"] = filepath.Join(dir, "nowhere")
		c.DataSets["other"] = filepath.Dir(dir)
	})
	got := decode[api.DataSetList](t, s.get(t, "/datasets")).DataSets
	if len(got) != 4 || got[0].Name != "gone" || got[0].Images != nil || !strings.Contains(value(got[0].Error), "no such file") || strings.Contains(value(got[0].Error), dir) {
		t.Fatalf("%+v", got)
	}
	if l := got[1]; value(l.Images) != 2 || value(l.Classes) != 2 {
		t.Errorf("listed: %+v", l)
	}
	if p := got[3]; value(p.Images) != 6 || value(p.Classes) != 3 || value(p.IgnoredFiles) != 1 || p.Error != nil {
		t.Errorf("photos: %+v", p)
	}
	if err := os.WriteFile(filepath.Join(dir, "gnu", "3.jpg"), jpegFile(t), 0o644); err != nil {
		t.Fatal(err)
	}
	if again := decode[api.DataSetList](t, s.get(t, "/datasets")).DataSets; value(again[3].Images) != 6 {
		t.Errorf("counted anew at once: %+v", again[3])
	}
	s.dataSets.mu.Lock()
	s.dataSets.counted = time.Now().Add(-surveyEvery)
	s.dataSets.mu.Unlock()
	if again := decode[api.DataSetList](t, s.get(t, "/datasets")).DataSets; value(again[3].Images) != 7 {
		t.Errorf("not counted anew later: %+v", again[3])
	}

	path := s.evaluate(t, "data_set=listed&targets=fake")
	if e := s.awaitEvaluation(t, path, jobs.Done); e.Plan.Threads != min(backend.DefaultThreads(), runtime.GOMAXPROCS(0)) {
		t.Errorf("%d threads by default", e.Plan.Threads)
	}
	if resp := s.send(t, http.MethodGet, path+"/images/0", nil); string(read(t, resp)) != string(pngFile(t)) {
		t.Errorf("an image of a list: %d", resp.StatusCode)
	}
	for _, name := range []string{"", "A", "a/b", strings.Repeat("a", 65)} {
		if _, err := newDataSets(map[string]string{name: dir}); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
	if _, err := newDataSets(map[string]string{"a": ""}); err == nil {
		t.Error("no path is a path")
	}
}

func TestEvaluationAnswers(t *testing.T) {
	dir := photos(t)
	if err := os.MkdirAll(filepath.Join(dir, "..", "other", "lion"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newEvalServer(t, &fake{}, dir, func(c *Config) {
		c.DataSets["other"] = filepath.Join(dir, "..", "other")
		c.DataSets["gone"] = filepath.Join(dir, "nowhere")
	})
	none := newBenchServer(t, &fake{}, nil)
	off := newUploadServer(t, nil, &fake{}, nil)
	for _, c := range []struct {
		name   string
		server *testServer
		method string // POST if empty
		path   string
		open   bool // without token
		status int
		slug   string
		detail string
	}{
		{name: "no token", path: "?data_set=photos", open: true, status: 401, slug: "token-required"},
		{name: "delete without token", method: "DELETE", path: "/x", open: true, status: 401, slug: "token-required"},
		{name: "no data set", path: "?targets=fake", status: 400, slug: "invalid-query", detail: "data_set"},
		{name: "unknown data set", path: "?data_set=birds", status: 404, slug: "unknown-data-set", detail: "there are gone, other, photos"},
		{name: "a path", path: "?data_set=" + dir, status: 404, slug: "unknown-data-set"},
		{name: "no data sets", server: none, path: "?data_set=photos", status: 404, slug: "unknown-data-set", detail: "without --data-set"},
		{name: "other classes", path: "?data_set=other", status: 422, slug: "invalid-data-set", detail: "data set other: folder lion: "},
		{name: "a folder that is gone", path: "?data_set=gone", status: 422, slug: "invalid-data-set", detail: "data set gone: no such file"},
		{name: "unknown model", path: "?data_set=photos&model=resnet", status: 404, slug: "unknown-model"},
		{name: "unknown target", path: "?data_set=photos&targets=abacus", status: 404, slug: "unknown-target"},
		{name: "a target twice", path: "?data_set=photos&targets=fake,fake:cpu", status: 400, slug: "invalid-query", detail: "named twice"},
		{name: "unknown preprocessing", path: "?data_set=photos&preprocess=box", status: 400, slug: "invalid-query", detail: "no-antialias"},
		{name: "too many threads", path: "?data_set=photos&threads=9999", status: 400, slug: "invalid-query", detail: "threads is 9999"},
		{name: "no threads", path: "?data_set=photos&threads=0", status: 400, slug: "invalid-query"},
		{name: "no images", path: "?data_set=photos&limit=0", status: 400, slug: "invalid-query", detail: "limit"},
		{name: "unknown parameter", path: "?data_set=photos&colour=red", status: 400, slug: "invalid-query"},
		{name: "list of none", method: "GET", path: "?limit=0", status: 400, slug: "invalid-query"},
		{name: "unknown evaluation", method: "GET", path: "/none", status: 404, slug: "unknown-run"},
		{name: "its events", method: "GET", path: "/none/events", status: 404, slug: "unknown-run"},
		{name: "its report", method: "GET", path: "/none/report", status: 404, slug: "unknown-run"},
		{name: "its report as text", method: "GET", path: "/none/report?format=text", status: 400, slug: "invalid-query"},
		{name: "its image", method: "GET", path: "/none/images/0", status: 404, slug: "unknown-run"},
		{name: "resume it", path: "/none/resume", status: 404, slug: "unknown-run"},
		{name: "delete it", method: "DELETE", path: "/none", status: 404, slug: "unknown-run"},
		{name: "no data folder", server: off, path: "?data_set=photos", status: 503, slug: "runs-unavailable"},
		{name: "no data folder to list", server: off, method: "GET", status: 503, slug: "runs-unavailable"},
		{name: "no data folder to look", server: off, method: "GET", path: "/x", status: 503, slug: "runs-unavailable"},
		{name: "no data folder to watch", server: off, method: "GET", path: "/x/events", status: 503, slug: "runs-unavailable"},
		{name: "no data folder to delete", server: off, method: "DELETE", path: "/x", status: 503, slug: "runs-unavailable"},
		{name: "no data folder to resume", server: off, path: "/x/resume", status: 503, slug: "runs-unavailable"},
		{name: "no data folder for a report", server: off, method: "GET", path: "/x/report", status: 503, slug: "runs-unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.server == nil {
				c.server = s
			}
			if c.method == "" {
				c.method = http.MethodPost
			}
			r := httptest.NewRequest(c.method, "/evaluations"+c.path, nil)
			if !c.open {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			resp := c.server.do(t, r)
			var p api.Problem
			if err := json.Unmarshal(read(t, resp), &p); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.status || p.Type != "/problems/"+c.slug || !strings.Contains(p.Detail, c.detail) || c.name != "a path" && strings.Contains(p.Detail, "operators-photos") {
				t.Errorf("got %d %+v\nwant %d %s with %q", resp.StatusCode, p, c.status, c.slug, c.detail)
			}
		})
	}
	if list := decode[api.EvaluationList](t, s.get(t, "/evaluations")); len(list.Evaluations) != 0 {
		t.Errorf("left behind: %+v", list.Evaluations)
	}
	disabled := newServer(t, nil, &fake{}, nil)
	if resp := disabled.send(t, http.MethodGet, "/evaluations/x/images/0", nil); resp.StatusCode != 403 {
		t.Errorf("an image of a server without a token: %d", resp.StatusCode)
	}
	if list := decode[api.DataSetList](t, disabled.get(t, "/datasets")); len(list.DataSets) != 0 {
		t.Errorf("data sets of a server without any: %+v", list)
	}
}

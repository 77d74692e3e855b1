package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgevit/backend"
	"edgevit/model/demo"
	"edgevit/server"
)

// another is a second instance of the service, with the models of a folder or the
// demo model.
func another(t *testing.T, models string) *httptest.Server {
	t.Helper()
	s, err := server.New(server.Config{Registry: &backend.Default, ModelsDir: models, Demo: demo.Model})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	<-s.Start()
	there := httptest.NewServer(s.Handler())
	t.Cleanup(there.Close)
	return there
}

// TestRemote: the commands that take targets reach another instance, which
// computes the same bits.
func TestRemote(t *testing.T) {
	there := another(t, "")
	flag := "--remote=x=" + there.URL
	code, out, errs := call(t, "compare", cat, "--model", "demo", "--targets", "purego,remote:x", flag, "--json")
	if code != exitYes || !strings.Contains(errs, "api: remote:x: "+there.URL+", model demo; same model_hash\n") {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var o compareOutput
	decode(t, out, &o)
	r := o.Results[0]
	if len(r.Targets) != 2 || r.Targets[1].Target != "remote:x" || r.Targets[1].InferenceMS <= 0 || len(r.Pairs) != 1 || r.Pairs[0].MaxAbs != 0 || !r.Pairs[0].Agrees {
		t.Errorf("targets %+v, pairs %+v", r.Targets, r.Pairs)
	}

	// A target of the other instance, by the name of the model there.
	code, out, errs = call(t, "compare", cat, "--targets", "purego:int8,remote:x", flag+"/v2/models/demo%40purego:int8", "--json")
	decode(t, out, &o)
	if code != exitYes || o.Results[0].Pairs[0].MaxAbs != 0 {
		t.Errorf("int8 there: exit %d: %s\n%+v", code, errs, o.Results[0].Pairs)
	}

	t.Setenv("EDGEVIT_REMOTES", "x="+there.URL+",y=http://127.0.0.1:1")
	code, out, _ = call(t, "classify", cat, "--target", "remote:x", "--top-k", "1")
	if code != exitYes || !strings.Contains(out, "cat") {
		t.Errorf("classify: exit %d\n%s", code, out)
	}
	code, out, _ = call(t, "compare", cat, "--targets", "purego,remote:y")
	if code != exitNo || !strings.Contains(out, "connection refused") {
		t.Errorf("no server: exit %d\n%s", code, out)
	}
	dir := t.TempDir()
	code, out, errs = call(t, "bench", "--models", "demo", "--targets", "purego,remote:x", "--min-duration", "20ms", "--min-count", "2", "--blocks", "2", "--data", t.TempDir(), "--json")
	if code != exitYes || !strings.Contains(out, `"label": "remote:x"`) {
		t.Errorf("bench: exit %d: %s\n%s", code, errs, out)
	}
	photo, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "cat"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cat", "1.jpg"), photo, 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errs = call(t, "eval", "--data", dir, "--targets", "purego,remote:x", "--json")
	if code != exitYes || !strings.Contains(out, `"remote:x"`) {
		t.Errorf("eval: exit %d: %s\n%.2000s", code, errs, out)
	}
}

// TestRemoteVerify: a checkpoint against the same one there, and against another.
func TestRemoteVerify(t *testing.T) {
	dir, tiny := golden(t, "tiny/official.pth", "tiny/input.npy", "tiny/logits.npy")
	there := another(t, "")
	verify := []string{"verify", tiny, "--input", filepath.Join(dir, "input.npy"), "--expect", filepath.Join(dir, "logits.npy"), "--targets", "remote:x"}
	code, _, errs := call(t, append(verify, "--remote=x="+there.URL+"/v2/models/demo")...)
	if code != exitUsage || !strings.Contains(errs, "is another one") {
		t.Errorf("another model: exit %d: %s", code, errs)
	}
	code, _, errs = call(t, append(verify, "--remote=x="+there.URL)...)
	if code != exitUsage || !strings.Contains(errs, `404`) || !strings.Contains(errs, `unknown model "official"`) {
		t.Errorf("no such model there: exit %d: %s", code, errs)
	}
}

func TestRemoteUsage(t *testing.T) {
	for _, flags := range [][]string{{"--remote=x"}, {"--remote=x=ftp://host"}, {"--remote=x=http://a", "--remote=x=http://b"}} {
		if code, _, errs := call(t, append([]string{"version"}, flags...)...); code != exitUsage || !strings.Contains(errs, "--remote") {
			t.Errorf("%v: exit %d: %s", flags, code, errs)
		}
	}
	// serve has it as a target too, and fetches nothing that a client names.
	there := another(t, "")
	registry, err := withRemotes([]string{"x=" + there.URL})
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(server.Config{Registry: registry, Demo: demo.Model})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	<-s.Start()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/v2/models/demo@remote:x/ready", nil))
	if w.Code != 200 {
		t.Errorf("a server's remote target: %d %s", w.Code, w.Body)
	}
}

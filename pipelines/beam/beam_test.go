package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem/local"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/testing/ptest"
)

func TestMain(m *testing.M) { ptest.Main(m) } // on prism, in this process

// sampleFolder holds the repository's images of all formats, and what is none.
func sampleFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	images, err := filepath.Glob("../../preprocess/testdata/*.*")
	if err != nil || len(images) < 50 {
		t.Fatalf("%d images: %v", len(images), err)
	}
	for _, path := range append(images, "../../docs/cat.jpg") {
		if ext := filepath.Ext(path); ext == ".py" || ext == ".json" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cat, err := os.ReadFile("../../docs/cat.jpg")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"cut.jpg": cat[:200], "empty.png": nil, "text.jpg": []byte("no image at all")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestEqualsClassify: the pipeline says of every image what api classify says,
// to the last bit.
func TestEqualsClassify(t *testing.T) {
	dir := sampleFolder(t)
	program := filepath.Join(t.TempDir(), "api")
	build := exec.Command("go", "build", "-C", "../..", "-o", program, "./cmd/api")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	classify := exec.Command(program, "classify", "--json", "--model", "demo", "--threads", "1", filepath.Join(dir, "*"))
	classify.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir())
	out, _ := classify.Output() // it exits 1 because of the damaged ones
	var want struct {
		Model   string `json:"model"`
		Hash    string `json:"model_hash"`
		Results []result
	}
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatalf("%v in %s", err, out)
	}

	output, failures := filepath.Join(t.TempDir(), "named.jsonl"), filepath.Join(t.TempDir(), "failed.jsonl")
	p, s := beam.NewPipelineWithRoot()
	named, failed := classifyFiles(s, filepath.Join(dir, "*"), classifyFn{TopK: 5})
	textio.Write(s, output, named)
	textio.Write(s, failures, failed)
	run, err := ptest.RunWithMetrics(p)
	if err != nil {
		t.Fatal(err)
	}

	got := map[string]result{}
	counts := map[string]int64{"images_classified": 0, "images_failed": 0}
	for name, file := range map[string]string{"images_classified": output, "images_failed": failures} {
		for _, r := range lines(t, file) {
			if (r.Error != "") != (name == "images_failed") {
				t.Errorf("%s is in the wrong file: %+v", r.File, r)
			}
			counts[name]++
			got[r.File] = r
		}
	}
	if len(got) != len(want.Results) || counts["images_failed"] < 3 || counts["images_classified"] < 50 {
		t.Errorf("%d results, want %d; %v", len(got), len(want.Results), counts)
	}
	for _, w := range want.Results {
		w.Model, w.ModelHash = want.Model, want.Hash
		if !reflect.DeepEqual(got[w.File], w) {
			t.Errorf("%s: %+v, api classify says %+v", filepath.Base(w.File), got[w.File], w)
		}
	}
	for _, c := range run.Metrics().AllMetrics().Counters() {
		if want, ok := counts[c.Name()]; ok {
			if c.Result() != want {
				t.Errorf("counter %s is %d, want %d", c.Name(), c.Result(), want)
			}
			delete(counts, c.Name())
		}
	}
	if len(counts) > 0 {
		t.Errorf("counters %v were not reported", counts)
	}
}

// TestFewerClassesThanAsked: a top-k beyond the model's classes is all of them.
func TestFewerClassesThanAsked(t *testing.T) {
	output := filepath.Join(t.TempDir(), "named.jsonl")
	p, s := beam.NewPipelineWithRoot()
	named, _ := classifyFiles(s, "../../docs/cat.jpg", classifyFn{TopK: 1000})
	textio.Write(s, output, named)
	if err := ptest.Run(p); err != nil {
		t.Fatal(err)
	}
	if r := lines(t, output); len(r) != 1 || len(r[0].Predictions) != 10 || r[0].Predictions[0].Label != "cat" {
		t.Errorf("the cat is %+v", r)
	}
}

func TestBrokenCheckpoint(t *testing.T) {
	file := filepath.Join(t.TempDir(), "net.pth")
	if err := os.WriteFile(file, []byte("not a checkpoint"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, s := beam.NewPipelineWithRoot()
	classifyFiles(s, "../../docs/cat.jpg", classifyFn{Checkpoint: file, TopK: 5})
	if err := ptest.Run(p); err == nil || !strings.Contains(err.Error(), "net.pth") {
		t.Errorf("a broken checkpoint: %v", err)
	}
}

// lines reads JSON lines, with no field that a result does not have, and none
// twice.
func lines(t *testing.T, file string) []result {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []result
	var files []string
	for line := range bytes.Lines(data) {
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		var r result
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if slices.Contains(files, r.File) {
			t.Errorf("%s is there twice", r.File)
		}
		files = append(files, r.File)
		all = append(all, r)
	}
	return all
}

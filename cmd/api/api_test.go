package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgevit/bench"
	"edgevit/model/modeltest"
	"edgevit/npy"
)

const cat = "../../docs/cat.jpg"

// call runs a command line and returns its exit code and both streams.
func call(t *testing.T, args ...string) (code int, out, errors string) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir()) // no models of the machine's user
	var o, e bytes.Buffer
	code = run(t.Context(), args, std{&o, &e})
	return code, o.String(), e.String()
}

// decode checks that text is JSON of v's form, with no other field.
func decode(t *testing.T, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// golden writes a checkpoint of modeltest with its input and logits into a
// folder.
func golden(t *testing.T, checkpoint, input, logits string) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	for from, to := range map[string]string{checkpoint: filepath.Base(checkpoint), input: "input.npy", logits: "logits.npy"} {
		if err := os.WriteFile(filepath.Join(dir, to), modeltest.Bytes(t, from), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, filepath.Join(dir, filepath.Base(checkpoint))
}

func TestClassify(t *testing.T) {
	code, out, errs := call(t, "classify", cat, "--json")
	if code != exitYes {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var o classifyOutput
	decode(t, out, &o)
	if o.Model != "demo" || o.Target != "purego" || len(o.ModelHash) != 64 || len(o.Results) != 1 {
		t.Fatalf("answer %+v", o)
	}
	r := o.Results[0]
	if len(r.Predictions) != 5 || r.Predictions[0].Label != "cat" || r.Predictions[0].Probability < 0.5 {
		t.Errorf("the cat is %+v", r.Predictions)
	}
	if *r.Image != (imageFacts{"jpeg", 300, 300, 1, r.Image.Bytes}) || r.Timing.TotalMS <= 0 {
		t.Errorf("image %+v, timing %+v", r.Image, r.Timing)
	}

	code, out, _ = call(t, "classify", cat, "--top-k", "2")
	if code != exitYes || !strings.Contains(out, "cat.jpg  cat  ") || strings.Count(out, "%") != 2 {
		t.Errorf("exit %d, table:\n%s", code, out)
	}
}

func TestClassifyFolder(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 25 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.jpg", i)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"07.jpg": "not an image at all", "notes.txt": "no image"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := call(t, "classify", dir, "--json")
	var o classifyOutput
	decode(t, out, &o)
	if code != exitNo || len(o.Results) != 25 || o.Results[7].Error == "" || o.Results[8].Error != "" {
		t.Errorf("exit %d, %d results, the damaged one %+v", code, len(o.Results), o.Results[7])
	}
	if errs != "api: 1 of 25 images could not be classified\n" {
		t.Errorf("standard error, which is no terminal, has more or less than the summary:\n%s", errs)
	}
	if code, out, _ := call(t, "classify", filepath.Join(dir, "0[0-3].jpg")); code != exitYes || strings.Count(out, "cat") != 4 {
		t.Errorf("a pattern: exit %d\n%s", code, out)
	}
}

func TestExitCodes(t *testing.T) {
	dir, tiny := golden(t, "tiny/official.pth", "tiny/input.npy", "tiny/logits.npy")
	input, logits := filepath.Join(dir, "input.npy"), filepath.Join(dir, "logits.npy")
	broken := filepath.Join(dir, "broken.pth")
	if err := os.WriteFile(broken, []byte("not a checkpoint"), 0o644); err != nil {
		t.Fatal(err)
	}
	short, empty := filepath.Join(dir, "short"), filepath.Join(dir, "empty")
	for path, text := range map[string]string{short: "secret\n", empty: "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		name string
		args string
		code int
		err  string
	}{
		{"help", "--help", exitYes, ""},
		{"help of a command", "verify --help", exitYes, ""},
		{"version", "version", exitYes, ""},
		{"no command", "", exitUsage, "expected one of"},
		{"unknown command", "clasify", exitUsage, "clasify"},
		{"unknown flag", "version --yaml", exitUsage, "--yaml"},
		{"missing image", "classify nowhere.jpg", exitNo, "nowhere.jpg: "},
		{"pattern without a match", "classify nowhere*.jpg", exitUsage, "no file matches"},
		{"folder without images", "classify " + dir, exitUsage, "holds no image file"},
		{"top-k over the classes", "classify " + cat + " --top-k 11", exitUsage, "want 1..10"},
		{"top-k below", "classify " + cat + " --top-k=-1", exitUsage, "want 1..10"},
		{"unknown target", "classify " + cat + " --target abacus", exitUsage, `unknown target "abacus"; this build has`},
		{"malformed target", "classify " + cat + " --target a:b:c:d", exitUsage, "malformed target"},
		{"unknown model", "classify " + cat + " --model resnet", exitUsage, `no model "resnet"`},
		{"unknown random model", "classify " + cat + " --model random:xl", exitUsage, "want xxs, xs or s"},
		{"model that is not there", "classify " + cat + " --model nowhere.pth", exitUsage, "nowhere.pth"},
		{"labels of another model", "classify " + cat + " --model " + tiny + " --labels Makefile", exitUsage, "Makefile"},
		{"inspect", "inspect " + tiny, exitYes, ""},
		{"inspect text", "inspect " + broken, exitUsage, "broken.pth"},
		{"profile of no runs", "profile demo --runs 0", exitUsage, "want 1..100000"},
		{"profile of a target without profiles", "profile demo --target onnx", exitUsage, "onnx"},
		{"pull what nobody publishes", "pull resnet", exitUsage, "there are: easycv-xxs, easycv-xs, easycv-s, birder-xxs, birder-xs; or give --url"},
		{"pull what nobody verified", "pull easycv-xxs", exitUsage, "easycv-xxs is unverified: it has no published checksum and comes over plain http"},
		{"pull a file without a checksum", "pull --url " + tiny, exitUsage, "official is unverified: it has no published checksum. Give --sha256"},
		{"pull two at once", "pull birder-xs --url " + tiny, exitUsage, "not both"},
		{"pull with half a checksum", "pull birder-xs --sha256 38ab9c6f", exitUsage, "want 64 hex digits"},
		{"pull with another checksum than is published", "pull birder-xs --sha256 " + strings.Repeat("0", 64), exitUsage, "is published as 38ab9c6f"},
		{"pull nothing by force", "pull --force", exitUsage, "name a checkpoint, or give --url"},
		{"pull without time", "pull birder-xs --deadline 0s", exitUsage, "--deadline"},
		{"pull under an odd name", "pull birder-xs --name ../birds", exitUsage, "choose one by --name"},
		{"pull under a file's name", "pull birder-xs --name birds.pth", exitUsage, "choose one by --name"},
		{"pull a URL without a name", "pull --url http://127.0.0.1:1/ --trust-first-use", exitUsage, "choose one by --name"},
		{"pull by FTP", "pull --url ftp://127.0.0.1/net.pth --trust-first-use", exitUsage, "want http://"},
		{"pull a file that is not there", "pull --url nowhere.pth --trust-first-use", exitUsage, "nowhere.pth"},
		{"pull with labels that are not there", "pull birder-xs --labels nowhere", exitUsage, "nowhere"},
		{"pull text", "pull --trust-first-use --url " + broken, exitNo, "not a checkpoint"},
		{"convert to another format", "convert " + tiny + " out.pth", exitUsage, ".safetensors"},
		{"convert into no folder", "convert " + tiny + " " + dir + "/no/out.safetensors", exitUsage, "no such file"},
		{"verify", "verify " + tiny + " --input " + input + " --expect " + logits, exitYes, ""},
		{"verify at no tolerance", "verify " + tiny + " --input " + input + " --expect " + logits + " --tolerance 0", exitNo, ""},
		{"verify with another target", "verify " + tiny + " --input " + input + " --expect " + logits + " --targets abacus", exitUsage, "abacus"},
		{"verify logits as input", "verify " + tiny + " --input " + logits + " --expect " + logits, exitUsage, "[N C H W]"},
		{"verify against the input", "verify " + tiny + " --input " + input + " --expect " + input, exitUsage, "want float32 [2 10]"},
		{"verify without input", "verify " + tiny + " --expect " + logits, exitUsage, "--input"},
		{"compare with another target", "compare " + cat + " --targets purego,abacus", exitUsage, "abacus"},
		{"compare two spellings", "compare " + cat + " --targets purego,purego:cpu", exitUsage, "names purego twice"},
		{"compare less than no times", "compare " + cat + " --repeat=-1", exitUsage, "--repeat"},
		{"compare at no threshold", "compare " + cat + " --threshold 0", exitUsage, "--threshold"},
		{"compare more classes", "compare " + cat + " --top-k 11", exitUsage, "want 1..10"},
		{"compare a missing image", "compare nowhere.jpg --targets purego", exitNo, "nowhere.jpg"},
		{"export to an unknown format", "export " + tiny + " --format gguf --out " + dir + "/x", exitUsage, `unknown format "gguf", want`},
		{"export into no folder", "export " + tiny + " --format safetensors --out " + dir + "/no/x.safetensors", exitUsage, "no such file"},
		{"export without a file", "export " + tiny + " --format safetensors", exitUsage, "--out"},
		{"serve with a short token", "serve --listen 127.0.0.1:0 --token-file " + short, exitUsage, "at least 16"},
		{"serve with an empty token", "serve --listen 127.0.0.1:0 --token-file " + empty, exitUsage, "is empty"},
		{"serve with a token in no folder", "serve --listen 127.0.0.1:0 --token-file " + dir + "/nothing/token", exitUsage, "token file"},
		{"serve checkpoints of 1 TB", "serve --listen 127.0.0.1:0 --max-checkpoint-bytes 1000000000000", exitUsage, "largest checkpoint"},
		{"preprocess a missing image", "preprocess nowhere.jpg --size 64 --out " + dir, exitNo, "nowhere.jpg"},
		{"preprocess to no size", "preprocess " + cat + " --size 0 --out " + dir, exitUsage, "size 0"},
		{"preprocess two of one name", "preprocess " + cat + " " + cat + " --size 8 --out " + dir, exitUsage, "would both be written"},
		{"healthy without a service", "healthy --listen 127.0.0.1:1", exitNo, "127.0.0.1:1"},
		{"serve an unknown target", "serve --listen 127.0.0.1:0 --default-target abacus", exitUsage, "abacus"},
		{"serve an unknown model", "serve --listen 127.0.0.1:0 --default-model resnet", exitUsage, "resnet"},
		{"serve with no queue", "serve --queue 0", exitUsage, "--queue must be more than 0"},
		{"serve with negative threads", "serve --threads=-3", exitUsage, "--threads must not be negative"},
		{"serve a file as folder", "serve --models " + tiny, exitUsage, "is not a folder"},
		{"serve nowhere", "serve --listen 256.0.0.1:1", exitUsage, "listen"},
		{"serve with traces to no address", "serve --otlp collector:4318", exitUsage, "want the collector's address"},
		{"serve profiles nowhere", "serve --debug-listen 256.0.0.1:1", exitUsage, "--debug-listen"},
		{"serve profiles without a port", "serve --debug-listen localhost", exitUsage, "--debug-listen"},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, out, errs := call(t, strings.Fields(row.args)...)
			if code != row.code || !strings.Contains(errs, row.err) {
				t.Errorf("api %s: exit %d, want %d, and %q on standard error:\n%s%s", row.args, code, row.code, row.err, out, errs)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	for _, row := range [][3]string{
		{"tiny/training_run.pth", "tiny/input.npy", "tiny/logits.npy"},
		{"tiny/easycv.pth", "tiny/input.npy", "tiny/easycv_logits.npy"},
		{"tiny-birder/checkpoint.pt", "tiny-birder/input.npy", "tiny-birder/logits.npy"},
		{"tiny-1hunters-distilled/checkpoint.pt", "tiny-1hunters-distilled/input.npy", "tiny-1hunters-distilled/logits.npy"},
	} {
		dir, file := golden(t, row[0], row[1], row[2])
		code, out, errs := call(t, "verify", file, "--input", filepath.Join(dir, "input.npy"), "--expect", filepath.Join(dir, "logits.npy"), "--targets", "purego", "--tolerance", "1e-4", "--json")
		if code != exitYes {
			t.Errorf("%s: exit %d\n%s%s", row[0], code, out, errs)
			continue
		}
		var o verifyOutput
		decode(t, out, &o)
		v := o.Targets[0]
		if !o.Agrees || o.Images != 2 || v.Target != "purego" || v.Top1Equal != 2 || v.SNR < 80 || v.MaxAbs == 0 && v.SNR < 300 {
			t.Errorf("%s: %+v", row[0], o)
		}
	}
}

func TestConvertAndInspect(t *testing.T) {
	_, file := golden(t, "tiny-birder/checkpoint.pt", "tiny-birder/input.npy", "tiny-birder/logits.npy")
	to := filepath.Join(t.TempDir(), "bird.safetensors")
	code, out, errs := call(t, "convert", file, to, "--json")
	if code != exitYes {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var c convertOutput
	decode(t, out, &c)
	var before, after inspectOutput
	_, out, _ = call(t, "inspect", file, "--json")
	decode(t, out, &before)
	_, out, _ = call(t, "inspect", to, "--json")
	decode(t, out, &after)
	if after.Name != "bird" || after.Format != "safetensors" || after.Hash != c.Hash {
		t.Errorf("converted to %+v, inspected as %+v", c, after)
	}
	before.Name, before.Format = after.Name, after.Format
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	if before.Config.Layout != "birder" || before.Config.HeadBias || len(before.Labels) != 10 || before.Preprocess.Resize != "squash" || before.Config.InputSize != 64 {
		t.Errorf("inspected as %+v", before)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(to), ".*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestLabels: the same labels from a file of lines and from a JSON list, and
// from nowhere for untrained weights of 1,000 classes.
func TestLabels(t *testing.T) {
	dir, tiny := golden(t, "tiny/official.pth", "tiny/input.npy", "tiny/logits.npy")
	for _, row := range []struct {
		name, text, err string
	}{
		{"lines", "a\nb\nc\nd\ne\nf\ng\nh\ni\nthe last one\n", ""},
		{"lines of Windows", "\uFEFFa\r\nb\r\nc\r\nd\r\ne\r\nf\r\ng\r\nh\r\ni\r\nthe last one\r\n", ""},
		{"JSON", `  ["a","b","c","d","e","f","g","h","i","the last one"]`, ""},
		{"too few", `["a"]`, "1 labels for 10 classes"},
		{"numbers", `[1, 2]`, "JSON list of strings"},
		{"not text", "a\xff", "not UTF-8"},
		{"too long", strings.Repeat("a", maxLabels+1), "more than"},
	} {
		file := filepath.Join(dir, "labels")
		if err := os.WriteFile(file, []byte(row.text), 0o644); err != nil {
			t.Fatal(err)
		}
		code, out, errs := call(t, "inspect", tiny, "--labels", file, "--json")
		if row.err != "" {
			if code != exitUsage || !strings.Contains(errs, row.err) {
				t.Errorf("%s: exit %d, %q, want %q", row.name, code, errs, row.err)
			}
			continue
		}
		var o inspectOutput
		if decode(t, out, &o); code != exitYes || o.Labels[0] != "a" || o.Labels[9] != "the last one" {
			t.Errorf("%s: exit %d, labels %q", row.name, code, o.Labels)
		}
	}
	code, out, _ := call(t, "classify", cat, "--model", "random:xxs")
	if code != exitYes || strings.Count(out, "class ") != 3 {
		t.Errorf("untrained weights: exit %d\n%s", code, out)
	}
}

func TestProfile(t *testing.T) {
	code, out, errs := call(t, "profile", "demo", "--runs", "3", "--json")
	if code != exitYes {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var o bench.Profile
	decode(t, out, &o)
	var macs int64
	share := 0.0
	for _, step := range o.Steps {
		macs += step.MACs
		share += step.Share
	}
	if macs != 19_879_296 || math.Abs(share-1) > 1e-6 || o.Peak.OneCore <= 0 || o.Peak.Cores != 1 || o.Runs != 3 || !strings.HasSuffix(o.Provider, " kernels") {
		t.Errorf("%d MACs in all, shares sum to %v, peak %+v, %d runs of %q", macs, share, o.Peak, o.Runs, o.Provider)
	}
	if code, out, _ := call(t, "profile", "demo", "--runs", "1"); code != exitYes || !strings.Contains(out, "blocks1.0.LocalAgg: pos_embed pos_embed_add") {
		t.Errorf("exit %d, table:\n%s", code, out)
	}
}

func TestShortNames(t *testing.T) {
	for want, nodes := range map[string][]string{
		"pool":                          {"pool"},
		"norm head":                     {"norm", "head"},
		"patch_embed1: proj norm":       {"patch_embed1.proj", "patch_embed1.norm"},
		"b.A: x y":                      {"b.A.x", "b.A.y"},
		"b: A.x A":                      {"b.A.x", "b.A"},
		"b: AB.x A.y":                   {"b.AB.x", "b.A.y"},
		"(the rest of the step before)": nil,
	} {
		if got := shortNames(nodes); got != want {
			t.Errorf("%v is %q, want %q", nodes, got, want)
		}
	}
}

func TestPreprocess(t *testing.T) {
	dir := t.TempDir()
	code, out, errs := call(t, "preprocess", cat, "--size", "32", "--out", dir, "--json")
	if code != exitYes {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var o preprocessOutput
	decode(t, out, &o)
	f, err := os.Open(o.Results[0].File)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, err := npy.Read(f)
	if err != nil || len(a.Bytes) != 32*32*3 || filepath.Base(f.Name()) != "cat.jpg.npy" {
		t.Errorf("%s holds %d bytes, %v", f.Name(), len(a.Bytes), err)
	}
}

func TestModelsFolder(t *testing.T) {
	dir, tiny := golden(t, "tiny/official.pth", "tiny/input.npy", "tiny/logits.npy")
	var o classifyOutput
	code, out, errs := call(t, "classify", cat, "--models", dir, "--json")
	if code != exitYes {
		t.Fatalf("the only model of a folder: exit %d: %s", code, errs)
	}
	if decode(t, out, &o); o.Model != "official" {
		t.Errorf("the only model of a folder is %q", o.Model)
	}
	if err := os.Link(tiny, filepath.Join(dir, "Second One.pth")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := call(t, "classify", cat, "--models", dir); code != exitUsage || !strings.Contains(errs, "second-one, official") && !strings.Contains(errs, "official, second-one") {
		t.Errorf("two models and none chosen: exit %d: %s", code, errs)
	}
	code, out, _ = call(t, "classify", cat, "--models", dir, "--model", "second-one", "--json")
	if decode(t, out, &o); code != exitYes || o.Model != "second-one" {
		t.Errorf("exit %d, model %q", code, o.Model)
	}
}

// TestServe starts the service as a user would and asks it about a cat; then
// from a file and the environment.
func TestServe(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("serve:\n  log-format: json\n  threads: 1\n  listen: 256.0.0.1:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("EDGEVIT_LISTEN", "127.0.0.1:0")
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	address, stop := startService(t, "--config", config)
	url := address + "/classify"
	photo, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: 20 * time.Second}
	answer, err := client.Post(url, "application/x-www-form-urlencoded", bytes.NewReader(photo))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(body), `"label":"cat"`) {
		t.Errorf("status %d, %v: %s", answer.StatusCode, err, body)
	}
	if code := run(t.Context(), []string{"healthy", "--listen", strings.TrimPrefix(address, "http://")}, std{io.Discard, os.Stderr}); code != exitYes {
		t.Errorf("healthy exits %d", code)
	}
	if code, log := stop(); code != exitYes || !strings.Contains(log, `"threads":1`) {
		t.Errorf("exit %d, log:\n%s", code, log)
	}
}

// startService runs serve and returns its address as its greeting says it; stop
// ends it and returns the exit code and the log.
func startService(t *testing.T, flags ...string) (address string, stop func() (code int, log string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, append([]string{"serve"}, flags...), std{in, &errs})
		in.Close()
		ended <- code
	}()
	t.Cleanup(cancel)
	var greeting [512]byte
	n, err := out.Read(greeting[:])
	if err != nil {
		t.Fatalf("no greeting: %v, exit %d\n%s", err, <-ended, &errs)
	}
	_, rest, ok := strings.Cut(string(greeting[:n]), "curl --data-binary @photo.jpg ")
	if !ok {
		t.Fatalf("the greeting has no curl line:\n%s", greeting[:n])
	}
	return strings.TrimSuffix(strings.Fields(rest)[0], "/classify"), func() (int, string) {
		cancel()
		select {
		case code := <-ended:
			return code, errs.String()
		case <-time.After(time.Minute):
			t.Fatal("the service did not end")
			return 0, ""
		}
	}
}

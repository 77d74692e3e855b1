package bench

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"edgevit/jobs"
)

func example() *Bundle {
	return synthetic([]string{"a", "b"}, 6, 30, lognormal(rand.New(rand.NewPCG(1, 1)), 0, 0.01))
}

// pack gzips a text.
func pack(t testing.TB, text string) []byte {
	t.Helper()
	var w bytes.Buffer
	z := gzip.NewWriter(&w)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func TestBundle(t *testing.T) {
	b := example()
	joules := 0.25
	b.Subjects[0].Slices[0].EnergyJ = &joules
	b.Subjects[0].Description = &TargetFacts{Threads: 1, Provider: "none"}
	b.Subjects[1].OpenMS = []float64{12, 3}
	b.Summary = Summarise(b)
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		t.Fatal(err)
	}
	got, err := ReadBundle(&file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(b, got) {
		t.Errorf("wrote %+v\nread  %+v", b, got)
	}
}

// browsers is what a browser measures: targets that no backend of this program
// has, each with threads of its own, and nothing probed.
func browsers() *Bundle {
	targets := []string{"ort-web:threads", "ort-web", "ort-web:webgpu", "tflite-web:webnn-gpu"}
	b := synthetic(targets, 20, 20, lognormal(rand.New(rand.NewPCG(4, 4)), 0, 0.01))
	b.Origin, b.Probes = OriginBrowser, []Probe{}
	b.Environment = Environment{
		OS: "Linux", Cores: 8, Browser: "Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0",
		Others: missing("a browser does not tell"), Stolen: missing("a browser does not tell"), PeakResident: missing("a browser does not tell"),
	}
	for i := range b.Subjects {
		b.Subjects[i].Description = &TargetFacts{Threads: 4 * i, Library: "onnxruntime-web"}
		b.Subjects[i].OpenMS = []float64{300, 200, 210, 220, 190, 200, 205}
	}
	return b
}

func TestBrowsersBundle(t *testing.T) {
	sent := browsers()
	sent.Subjects[3].Error, sent.Subjects[3].Slices = "no WebNN", nil
	sent.Subjects[1].Label = `ort-web & "others"`
	sent.Probes = []Probe{{Precision: "fp32", OneCore: 1, Cores: 1, AllCores: 1}} // not this program's: no figure may be made of it
	var file bytes.Buffer
	if err := sent.Write(&file); err != nil {
		t.Fatal(err)
	}
	b, err := ReadBundle(&file)
	if err != nil {
		t.Fatal(err)
	}
	if b.Environment.Browser != sent.Environment.Browser || b.Subjects[1].Label != sent.Subjects[1].Label || len(b.Subjects[0].OpenMS) != 7 {
		t.Errorf("read %+v", b)
	}
	if !b.Summary.Valid || !has(b.Summary.Findings, "browser") || !has(b.Summary.Findings, "error") {
		t.Errorf("findings %+v, want that a browser measured it, and the error", b.Summary.Findings)
	}
	for i, s := range b.Summary.Subjects[:3] {
		if s.Share != 0 || s.GFLOPS <= 0 || s.Rank == 0 || !s.P90.Bounded() || s.Open.Value != 205 || !s.Open.Bounded() {
			t.Errorf("subject %d: %+v; want figures and a rank, but no share of a peak", i, s)
		}
	}
	folder := t.TempDir()
	store := openStore(t, folder)
	if err := store.Import(b); err != nil {
		t.Fatal(err)
	}
	if err := store.Import(b); !errors.Is(err, jobs.ErrExists) {
		t.Errorf("the same id again: %v, want ErrExists", err)
	}
	list, err := store.List(t.Context(), 10)
	if err != nil || len(list) != 1 || list[0].Origin != OriginBrowser || !reflect.DeepEqual(list[0].Summary, &b.Summary) {
		t.Errorf("listed %+v, %v", list, err)
	}
}

func TestPrecisionOf(t *testing.T) {
	for target, want := range map[string]string{
		"purego": "fp32", "purego:int8": "int8", "purego:bf16": "bf16", "ort-web:threads": "fp32", "tflite:plain": "fp32",
		"onnx:webgpu": "", "ort-web:webgpu:fp16": "", "onnx:cuda": "", "onnx:cuda:int8": "", "tflite:gpu": "", "tflite-web:webnn-gpu": "",
	} {
		if got := precisionOf(target); got != want {
			t.Errorf("%s computes in %q, want %q", target, got, want)
		}
	}
}

// TestForgedSummary reads a bundle whose summary was changed: it is made anew.
func TestForgedSummary(t *testing.T) {
	b := example()
	b.Summary.Subjects[1].P50.Value = 0.001
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		t.Fatal(err)
	}
	got, err := ReadBundle(&file)
	if err != nil || got.Summary.Subjects[1].P50.Value < 0.9 {
		t.Errorf("p50 %v, %v; want that of the samples, about 1", got.Summary.Subjects[1].P50, err)
	}
}

func TestHostileBundles(t *testing.T) {
	text, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	whole := pack(t, string(text))
	// edited is the example with one piece of its text replaced.
	edited := func(old, new string) []byte {
		t.Helper()
		if !strings.Contains(string(text), old) {
			t.Fatalf("the example has no %s", old)
		}
		return pack(t, strings.Replace(string(text), old, new, 1))
	}
	first := string(text[bytes.Index(text, []byte(`"samples_ms":[`))+len(`"samples_ms":[`):])
	first, _, _ = strings.Cut(first, ",")
	for _, row := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "not a gzip file"},
		{"no gzip", text, "not a gzip file"},
		{"truncated gzip", whole[:len(whole)/2], "damaged: unexpected EOF"},
		{"damaged gzip", append(bytes.Clone(whole[:len(whole)-8]), make([]byte, 8)...), "damaged"},
		{"gzip bomb", pack(t, strings.Repeat(" ", 40<<20)), "unpacks to more than"},
		{"too long a file", make([]byte, MaxBundleBytes+1), "longer than"},
		{"no JSON", pack(t, "hello"), "invalid character"},
		{"another JSON", pack(t, `{"a": 1}`), "version 0"},
		{"an array", pack(t, `[1]`), "cannot unmarshal"},
		{"a newer version", edited(`"schema":2`, `"schema":3`), "version 3; this program reads 2"},
		{"an unknown field", edited(`"origin":`, `"colour":"red","origin":`), "colour"},
		{"NaN", edited(first, "NaN"), "invalid character"},
		{"an infinite time", edited(first, "1e999"), "1e999"},
		{"a negative time", edited(first, "-1"), "a time in ms is -1"},
		{"a time of a year", edited(first, "3e10"), "a time in ms is 3e+10"},
		{"10⁷ samples", edited(first, strings.Repeat("1,", 1e7)+"1"), "more than 1000000 samples"},
		{"no samples", edited(`"samples_ms":[`, `"samples_ms":[],"unanswered":0},{"block":0,"position":1,"start_ms":0,"duration_ms":1,"samples_ms":[`), "has 7 slices of 6 blocks"},
		{"negative duration", edited(`"start_ms":0,"duration_ms":`, `"start_ms":0,"duration_ms":-`), "duration in ms is -"},
		{"a script as id", edited(`"id":"20260301`, `"id":"<script>`), "id"},
		{"control characters in a label", edited(`"label":"a"`, `"label":"\u001b[2J"`), "no printable text"},
		{"a long name of a CPU", edited(`"cpu":""`, `"cpu":"`+strings.Repeat("x", 5000)+`"`), "at most 4096 bytes"},
		{"another origin", edited(`"origin":"api"`, `"origin":"moon"`), "origin"},
		{"no hash", edited(strings.Repeat("0", 64), "abc"), "hash"},
		{"a plan of another size", edited(`"targets":["a","b"]`, `"targets":["a"]`), "2 subjects, the plan has 1"},
		{"a plan that cannot be", edited(`"blocks":6`, `"blocks":-6`), "blocks is -6"},
		{"a subject of another target", edited(`"target":"b"`, `"target":"c"`), "subject 1"},
		{"an error with a load above all", edited(`"others":{"value":0.01`, `"others":{"value":1.5`), "load of others"},
		{"null", edited(first, "null"), "a sample is null"},
		{"a target of a browser", edited(`"targets":["a","b"]`, `"targets":["a","ort-web:threads"]`), "not of the origin api"},
		{"markup as a label", edited(`"label":"a"`, `"label":"<img src=x>"`), "< and > are not for names"},
		{"markup as a model", edited(`"models":["m"]`, `"models":["<b>"]`), "< and > are not for names"},
		{"more time than there was", edited(first, "1e6"), "its queries took"},
		{"a negative opening", edited(`"sessions":7`, `"sessions":7,"open_ms":[1,-1]`), "an opening in ms is -1"},
		{"an opening of a year", edited(`"sessions":7`, `"sessions":7,"open_ms":[3e10]`), "an opening in ms is 3e+10"},
		{"NaN of an opening", edited(`"sessions":7`, `"sessions":7,"open_ms":[NaN]`), "invalid character"},
		{"more openings than blocks can be", edited(`"sessions":7`, `"sessions":7,"open_ms":[1`+strings.Repeat(",1", maxBlocks+1)+`]`), "opened 1002 times"},
		{"10⁷ openings", edited(`"sessions":7`, `"sessions":7,"open_ms":[1`+strings.Repeat(",1", 1e7)+`]`), "more than 1000000 samples"},
		{"control characters in a browser's name", edited(`"version":`, `"browser":"\u0007","version":`), "no printable text"},
		{"a long name of a browser", edited(`"version":`, `"browser":"`+strings.Repeat("x", 5000)+`","version":`), "at most 4096 bytes"},
		{"finished before", edited(`"finished":"2026`, `"finished":"2025`), "finished before"},
	} {
		b, err := ReadBundle(bytes.NewReader(row.file))
		if !errors.Is(err, ErrBundle) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: read %v, %.300v; want ErrBundle with %q", row.name, b != nil, err, row.want)
		}
	}
	if _, err := ReadBundle(bytes.NewReader(whole)); err != nil {
		t.Errorf("the example itself: %v", err)
	}
}

func FuzzReadBundle(f *testing.F) {
	text, err := json.Marshal(synthetic([]string{"a"}, 2, 2, func(int, int) float64 { return 1 }))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(strings.Replace(string(text), `"scenario":"single-stream"`, `"scenario":"server","rate":1,"bound_ms":1`, 1))
	f.Add(`{"schema":2,"subjects":[{"slices":[{"samples_ms":[1,2]}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ReadBundle(bytes.NewReader(pack(t, text)))
		if err != nil {
			return
		}
		var file bytes.Buffer
		if err := b.Write(&file); err != nil {
			t.Fatalf("cannot be written: %v", err)
		}
		again, err := ReadBundle(&file)
		if err != nil {
			t.Fatalf("cannot be read again: %v", err)
		}
		Changes(b, again)
	})
}

func TestChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	before := synthetic([]string{"a", "b", "c"}, 20, 20, func(int, int) float64 { return 2 * (1 + 0.01*rng.NormFloat64()) })
	after := synthetic([]string{"a", "b", "c"}, 20, 20, func(s, _ int) float64 { return (2 + float64(s)) * (1 + 0.01*rng.NormFloat64()) })
	after.Subjects[2].Error, after.Subjects[2].Slices = "lost", nil
	got := Changes(before, after)
	if len(got) != 2 || got[0].Label != "a" || got[1].Label != "b" {
		t.Fatalf("changes %+v, want those of a and b", got)
	}
	for i, want := range []float64{1, 1.5} {
		if r := got[i].Ratio; r.Low > want || r.High < want || r.High-r.Low > 0.02 {
			t.Errorf("%s: %+v, want %v within a narrow interval", got[i].Label, r, want)
		}
	}
	other := synthetic([]string{"a"}, 6, 20, func(int, int) float64 { return 1 })
	other.Models[0].Hash = strings.Repeat("1", 64)
	if got := Changes(before, other); len(got) != 0 {
		t.Errorf("changes between two models: %+v", got)
	}
}

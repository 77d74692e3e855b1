package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgevit/bench"
	"edgevit/jobs"
)

// short are flags of a run that takes no time and is not valid.
const short = " --threads 1 --min-duration 6ms --min-count 36 --blocks 6"

func TestBench(t *testing.T) {
	_, model := golden(t, "tiny/official.pth", "tiny/input.npy", "tiny/logits.npy")
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "run.json.gz")
	code, out, errs := call(t, strings.Fields("bench --models "+model+" --targets purego,purego --seed 5 --json --out "+file+" --data "+data+short)...)
	if code != exitYes {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var first benchOutput
	decode(t, out, &first)
	if open := first.Summary.Subjects[0].Open; open.Value <= 0 || !open.Bounded() {
		t.Errorf("opening takes %+v", open)
	}
	if n := len(first.Summary.Subjects); n != 2 || first.Summary.Subjects[1].Label != "purego #2" || first.Summary.Subjects[1].Samples < 36 || first.Plan.Seed != 5 || first.Models[0].Hash == "" {
		t.Errorf("%d targets: %+v", n, first)
	}
	if strings.Contains(errs, "/12)") {
		t.Errorf("a bar is drawn where there is no terminal:\n%s", errs)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := bench.ReadBundle(f); err != nil || b.ID != first.ID {
		t.Errorf("the bundle: %v", err)
	}

	code, out, errs = call(t, strings.Fields("bench --json --replay "+file+" --data "+data)...)
	if code != exitYes {
		t.Fatalf("replay: exit %d: %s", code, errs)
	}
	var again benchOutput
	decode(t, out, &again)
	if again.Plan.Seed != 5 || again.Plan.Blocks != 6 || again.Replay == nil || again.Replay.ID != first.ID || len(again.Replay.Changes) != 2 || !again.Replay.Changes[1].Ratio.Bounded() {
		t.Errorf("replay: plan %+v, %+v", again.Plan, again.Replay)
	}

	code, out, errs = call(t, strings.Fields("bench --models "+model+" --targets purego --scenario offline --batch 2 --csv --data "+data+short)...)
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if code != exitYes || err != nil || len(rows) != 2 || rows[1][3] != "purego" || rows[1][6] != "2" || rows[0][28] != "open_ms" || rows[1][28] == "" {
		t.Errorf("CSV: exit %d, %v, %v\n%s", code, err, rows, errs)
	}

	code, out, errs = call(t, strings.Fields("bench --models "+model+" --targets purego --scenario server --rate 5000 --bound 50 --data "+data+short)...)
	for _, want := range []string{"p99 <= 50 ms", "of peak", "open ms", "peak of fp32 by probe", "GOMAXPROCS", "purego"} {
		if code != exitYes || !strings.Contains(out, want) {
			t.Errorf("table: exit %d, no %q in\n%s%s", code, want, out, errs)
		}
	}

	store, err := bench.OpenStore(data)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	runs, err := store.List(t.Context(), 100)
	if err != nil || len(runs) != 4 || runs[3].ID != first.ID || runs[0].State != jobs.Done {
		t.Errorf("kept %+v, %v", runs, err)
	}
	job, err := store.Begin(first.Plan)
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errs := call(t, strings.Fields("bench --models "+model+" --data "+data+short)...); code != exitUsage || !strings.Contains(errs, "another benchmark or evaluation is running") {
		t.Errorf("beside another run: exit %d: %s", code, errs)
	}
	if err := job.End(nil, os.ErrDeadlineExceeded); err != nil {
		t.Error(err)
	}
}

func TestBenchUsage(t *testing.T) {
	_, model := golden(t, "tiny/official.pth", "tiny/input.npy", "tiny/logits.npy")
	_, other := golden(t, "tiny/easycv.pth", "tiny/input.npy", "tiny/easycv_logits.npy")
	file := filepath.Join(t.TempDir(), "run.json.gz")
	if code, _, errs := call(t, strings.Fields("bench --models "+model+" --targets purego --out "+file+short)...); code != exitYes {
		t.Fatalf("exit %d: %s", code, errs)
	}
	changed, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(model, changed, 0o644); err != nil {
		t.Fatal(err)
	}
	measured, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer measured.Close()
	b, err := bench.ReadBundle(measured)
	if err != nil {
		t.Fatal(err)
	}
	b.Origin, b.Plan.Targets = bench.OriginBrowser, slices.Clone(b.Plan.Targets)
	for i, name := range b.Plan.Targets {
		b.Plan.Targets[i] = name + "-web"
	}
	for i := range b.Subjects {
		b.Subjects[i].Target += "-web"
	}
	browsers := filepath.Join(t.TempDir(), "browser.json.gz")
	if err := writeBundle(browsers, b); err != nil {
		t.Fatal(err)
	}
	for _, row := range [][3]string{
		{"unknown model", "--models resnet", `no model "resnet"`},
		{"unknown target", "--models demo --targets abacus", `unknown target "abacus"`},
		{"unknown scenario", "--scenario multi-stream", "must be one of"},
		{"server without a rate", "--scenario server", "rate is 0"},
		{"batches one by one", "--batch 4", "batch is for the offline scenario"},
		{"no blocks", "--blocks=-1", "blocks is -1"},
		{"two forms", "--json --csv", "can't be used together"},
		{"replay of nothing", "--replay nowhere.gz", "nowhere.gz"},
		{"replay of no bundle", "--replay " + cat, "not a gzip file"},
		{"replay of a browser's run", "--replay " + browsers, "a browser measured this run"},
		{"replay with another model", "--replay " + file, "the run was of"},
	} {
		code, _, errs := call(t, strings.Fields("bench "+row[1])...)
		if code != exitUsage || !strings.Contains(errs, row[2]) {
			t.Errorf("%s: exit %d, want %d and %q on standard error:\n%s", row[0], code, exitUsage, row[2], errs)
		}
	}
}

// TestBenchPeers takes the demo model as another program's file. Without ONNX
// Runtime its row has the reason; with it, a file that is no model's is refused.
func TestBenchPeers(t *testing.T) {
	_, model := golden(t, "tiny/official.pth", "tiny/input.npy", "tiny/logits.npy")
	dir := t.TempDir()
	file, junk := filepath.Join(dir, "peer.onnx"), filepath.Join(dir, "junk.onnx")
	if code, _, errs := call(t, "export", "demo", "--format", "onnx", "--out", file); code != exitYes {
		t.Fatalf("export: exit %d: %s", code, errs)
	}
	if err := os.WriteFile(junk, []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, errs := call(t, strings.Fields("bench --models "+model+" --targets purego --peer "+file+" --json --data "+dir+short)...)
	if code == exitUsage {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var o benchOutput
	decode(t, out, &o)
	all := o.Summary.Subjects
	if len(all) != 2 || all[1].Model != "peer.onnx" || all[1].Label != "onnx" || (all[1].Error == "") != (code == exitYes) || len(o.Peers) != 1 || len(o.Peers[0].Hash) != 64 {
		t.Fatalf("%+v, %+v", o.Peers, all)
	}
	if p := all[1]; p.Error == "" && (p.Samples < 36 || p.GFLOPS != 0 || o.Peers[0].Width != 64 || o.Peers[0].Classes != 10) {
		t.Errorf("%+v, %+v", o.Peers[0], p)
	}
	code, out, errs = call(t, strings.Fields("bench --models "+model+" --targets purego --peer "+file+","+junk+" --data "+dir+short)...)
	if all[1].Error == "" {
		if code != exitUsage || out != "" || !strings.Contains(errs, "peer "+junk+": ") {
			t.Errorf("a file that is no model's: exit %d\n%s%s", code, out, errs)
		}
	} else if code != exitNo || !strings.Contains(out, "junk.onnx onnx") || !strings.Contains(out, "could not run") {
		t.Errorf("without the runtime: exit %d\n%s", code, out)
	}
	for _, row := range [][2]string{
		{"--peer nowhere.onnx", "nowhere.onnx"},
		{"--targets purego --peer " + junk + "," + junk, "two models are named junk.onnx"},
	} {
		if code, _, errs := call(t, strings.Fields("bench "+row[0])...); code != exitUsage || !strings.Contains(errs, row[1]) {
			t.Errorf("%s: exit %d: %s", row[0], code, errs)
		}
	}
}

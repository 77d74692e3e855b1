package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgevit/eval"
)

func TestEval(t *testing.T) {
	data, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("set/cat/1.jpg", string(data))
	put("set/cat/2.jpg", string(data))
	put("set/dog/1.jpg", string(data))
	page, journal := filepath.Join(dir, "report.html"), filepath.Join(dir, "eval.jsonl")
	line := "eval --data " + filepath.Join(dir, "set") + " --targets purego,purego:int8 --preprocess nearest,center-squash --threads 1 --resume " + journal
	code, out, errs := call(t, strings.Fields(line+" --json --html "+page)...)
	if code != exitYes {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var r eval.Report
	decode(t, out, &r)
	if top1 := r.Preprocess[0].Targets[0].Top1; r.Form != eval.Form || r.Model != "demo" || len(r.ModelHash) != 64 || r.Evaluated != 3 || len(r.Preprocess) != 3 || top1.Count != 2 || top1.Of != 3 || r.Misclassified[0].Path != "dog/1.jpg" {
		t.Errorf("%+v", r)
	}
	for _, row := range []struct{ flags, want string }{
		{"", "interrupted after 0 of 3 images, and nothing is kept; with --resume FILE"},
		{" --resume " + journal, "interrupted after 3 of 3 images; they are in " + journal},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var out, errs bytes.Buffer
		line := strings.TrimSuffix(line, " --resume "+journal) + row.flags
		if code := run(ctx, strings.Fields(line), std{&out, &errs}); code != exitUsage || !strings.Contains(errs.String(), row.want) {
			t.Errorf("interrupted%s: exit %d\n%s\nwant %q", row.flags, code, &errs, row.want)
		}
	}
	if strings.Contains(errs, "/3)") {
		t.Errorf("a bar is drawn where there is no terminal:\n%s", errs)
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "66.67 %") {
		t.Errorf("the page: %v\n%s", err, html)
	}

	code, out, errs = call(t, strings.Fields(line)...)
	for _, want := range []string{"top-1 (95 %)", "66.67 %", "no benchmark", "center-squash gives the same inputs", "worst SNR dB", "named by purego"} {
		if code != exitYes || !strings.Contains(out, want) {
			t.Errorf("resumed: exit %d, no %q in\n%s%s", code, want, out, errs)
		}
	}
	if strings.Contains(errs, "/3)") {
		t.Errorf("images were run again:\n%s", errs)
	}

	put("set/cat/3.jpg", "no image")
	code, out, errs = call(t, strings.Fields(line)...)
	if code != exitNo || !strings.Contains(errs, "cat/3.jpg") || !strings.Contains(out, "1 more could not be decoded") {
		t.Errorf("with a damaged image: exit %d\n%s%s", code, out, errs)
	}
	if code, out, _ := call(t, strings.Fields("eval --targets purego --limit 1 --data "+filepath.Join(dir, "set"))...); code != exitYes || !strings.Contains(out, "1 images") {
		t.Errorf("one of them: exit %d\n%s", code, out)
	}
	put("set/lion/1.jpg", "")
	put("list.csv", "set/cat/1.jpg,cat\n")
	for _, row := range [][3]string{
		{"no data", "eval", "--data"},
		{"no data, a hint", "eval", "try: api eval --help"},
		{"a page in no folder", "eval --targets purego --data " + filepath.Join(dir, "list.csv") + " --html " + filepath.Join(dir, "nowhere", "page.html"), "page.html cannot be written"},
		{"a page that is a folder", "eval --targets purego --data " + filepath.Join(dir, "list.csv") + " --html " + dir, "is a folder"},
		{"nowhere", "eval --data nowhere", "nowhere"},
		{"unknown class", "eval --data " + filepath.Join(dir, "set"), "folder lion"},
		{"unknown preprocessing", "eval --preprocess box --targets purego --data " + filepath.Join(dir, "list.csv"), "no preprocessing"},
		{"negative limit", "eval --limit=-1 --data " + dir, "--limit is -1"},
	} {
		code, _, errs := call(t, strings.Fields(row[1])...)
		if code != exitUsage || !strings.Contains(errs, row[2]) {
			t.Errorf("%s: exit %d, want %d and %q on standard error:\n%s", row[0], code, exitUsage, row[2], errs)
		}
	}
}

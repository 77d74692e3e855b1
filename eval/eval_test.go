package eval

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"edgevit/backend"
	_ "edgevit/backend/purego"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/demo"
	"edgevit/preprocess"
)

func demoModel(t *testing.T) *model.Model {
	t.Helper()
	m, err := demo.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// write makes files, with the folders that they are in.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// picture is a PNG of coarse noise, the same for the same seed.
func picture(t *testing.T, side, seed int) string {
	t.Helper()
	im := image.NewRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			v := uint8((x/3*37 + y/5*91 + seed*53) * 41)
			im.Set(x, y, color.RGBA{v, v * 3, v ^ uint8(seed), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestOpen(t *testing.T) {
	m := demoModel(t) // airplane automobile bird cat deer dog frog horse ship truck
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"folders/cat/b.png": "", "folders/cat/a.JPEG": "", "folders/Dog/deep/c.webp": "", "folders/0/d.png": "", "folders/cat/notes.txt": "", "folders/.x/e.png": "", "folders/readme": "",
		"unknown/cat/a.png": "", "unknown/lion/a.png": "", "unknown/10/a.png": "",
		"empty/cat/notes.txt": "",
		"set.csv":             "path,label\nfolders/cat/b.png,cat\nfolders/0/d.png,7\n", "bad.csv": "a.png\nb.png,cat,5\n", "twice.csv": "a.png,cat\na.png,dog\n",
		"flat/2.png": "", "flat/1.png": "", "truth.txt": "3\ndog\n", "short.txt": "3\n", "from1.txt": "3\n10\n", "named.txt": "2.png 8\n1.png frog\n",
	})
	type image struct {
		path  string
		class int
	}
	for _, row := range []struct {
		name, data, truth string
		want              []image
		err               string
	}{
		{"folders", "folders", "", []image{{"0/d.png", 0}, {"Dog/deep/c.webp", 5}, {"cat/a.JPEG", 3}, {"cat/b.png", 3}}, ""},
		{"unknown classes", "unknown", "", nil, "index 10 is not in 0..9"},
		{"no image", "empty", "", nil, "no image"},
		{"nowhere", "nowhere", "", nil, "nowhere"},
		{"csv", "set.csv", "", []image{{"folders/cat/b.png", 3}, {"folders/0/d.png", 7}}, ""},
		{"csv without classes", "bad.csv", "", nil, "line 1: 1 fields, want path,label: 2"},
		{"csv with more", "bad.csv", "", nil, "line 2: 3 fields"},
		{"images in no folder", "flat", "", nil, "its 2 images are in no class's folder, so that nothing tells their classes: give them in a file, --truth"},
		{"truth of classes' folders", "folders", "truth.txt", nil, "is not needed: leave out --truth"},
		{"csv with an image twice", "twice.csv", "", nil, "twice"},
		{"another file", "truth.txt", "", nil, "neither a folder nor a .csv"},
		{"truth", "flat", "truth.txt", []image{{"1.png", 3}, {"2.png", 5}}, ""},
		{"truth with names", "flat", "named.txt", []image{{"2.png", 8}, {"1.png", 6}}, ""},
		{"truth too short", "flat", "short.txt", nil, "1 lines"},
		{"truth from 1", "flat", "from1.txt", nil, "from 0"},
		{"truth of a csv", "set.csv", "truth.txt", nil, "goes with a folder"},
	} {
		truth := row.truth
		if truth != "" {
			truth = filepath.Join(dir, truth)
		}
		set, err := Open(filepath.Join(dir, row.data), truth, m)
		if row.err != "" {
			if err == nil || !strings.Contains(err.Error(), row.err) || !errors.Is(err, ErrSet) {
				t.Errorf("%s: %v, want %q", row.name, err, row.err)
			}
			continue
		}
		var got []image
		for _, im := range set.Images {
			got = append(got, image{im.Path, im.Class})
			if _, err := os.Stat(im.File); err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
		}
		if err != nil || !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, %v, want %v", row.name, got, err, row.want)
		}
		if row.name == "folders" && set.Ignored != 2 {
			t.Errorf("%d files ignored, want 2", set.Ignored)
		}
	}
}

func TestSurvey(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"set/cat/b.png": "", "set/cat/deep/a.JPEG": "", "set/lion/c.webp": "", "set/empty/notes.txt": "", "set/readme": "",
		"set.csv": "path,label\nset/cat/b.png,cat\nset/lion/c.webp,lion\nset/cat/deep/a.JPEG,cat\n", "bad.csv": "a.png\n", "none/cat/notes.txt": "",
	})
	for _, row := range []struct {
		data string
		want Facts
		err  string
	}{
		{"set", Facts{3, 2, 2}, ""},
		{"set.csv", Facts{3, 2, 0}, ""},
		{"bad.csv", Facts{}, "want path,label"},
		{"none", Facts{}, "no image"},
		{"nowhere", Facts{}, "nowhere"},
	} {
		got, err := Survey(filepath.Join(dir, row.data))
		if got != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %+v, %v; want %+v, %q", row.data, got, err, row.want, row.err)
		}
	}
}

func TestReadImage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"set/cat/a.png": "picture", "set.csv": "", "secret.png": "secret"})
	for link, to := range map[string]string{"set/cat/out.png": "../../secret.png", "set/cat/in.png": "a.png", "set/folder": "../"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skipf("no links here: %v", err)
		}
	}
	for _, row := range []struct{ data, path, want string }{
		{"set", "cat/a.png", "picture"},
		{"set", "cat/in.png", "picture"},
		{"set.csv", "set/cat/a.png", "picture"},
		{"set", "cat/out.png", ""},
		{"set", "folder/secret.png", ""},
		{"set", "../secret.png", ""},
		{"set", "cat/../../secret.png", ""},
		{"set", filepath.Join(dir, "secret.png"), ""},
		{"set", "cat", ""},
		{"set", "cat/gone.png", ""},
		{"set", "", ""},
		{"nowhere", "cat/a.png", ""},
	} {
		got, err := ReadImage(filepath.Join(dir, row.data), row.path, 7)
		if string(got) != row.want || (err == nil) != (row.want != "") || err != nil && strings.Contains(err.Error(), dir) {
			t.Errorf("%s of %s: %q, %v, want %q", row.path, row.data, got, err, row.want)
		}
	}
	if _, err := ReadImage(filepath.Join(dir, "set"), "cat/a.png", 6); !errors.Is(err, preprocess.ErrTooLarge) {
		t.Errorf("7 bytes where 6 may be: %v", err)
	}
}

// TestIrregular: what is no regular file is an error, and nothing is waited for.
func TestIrregular(t *testing.T) {
	if data, err := read(t.TempDir(), 10); !errors.Is(err, errIrregular) {
		t.Errorf("a folder: %q, %v, want %v", data, err, errIrregular)
	}
	if data, err := read(os.DevNull, 10); !errors.Is(err, errIrregular) {
		t.Errorf("a device: %q, %v, want %v", data, err, errIrregular)
	}
}

func TestClassNames(t *testing.T) {
	m := &model.Model{Config: model.Config{Classes: 5}, Labels: []string{"crane", "crane", "3", "Fan", "fan"}}
	for name, want := range map[string]int{"3": 2, "4": 4, "Fan": 3, "fan": 4, " fan ": 4} {
		if got, err := namesOf(m).class(name); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"crane", "FAN", "5", "-1", ""} {
		if got, err := namesOf(m).class(name); err == nil {
			t.Errorf("%q is class %d", name, got)
		}
	}
}

// TestImageNetNames: WordNet ids stand for the classes of ImageNet where its order
// is known to be the model's, and for labels that hold them.
func TestImageNetNames(t *testing.T) {
	imageNet := &model.Model{Config: model.Config{Classes: 1000}, Labels: model.ImageNet()}
	random, err := model.Random("xxs")
	if err != nil {
		t.Fatal(err)
	}
	other := model.ImageNet()
	other[3], other[4] = other[4], other[3]
	words := &model.Model{Config: model.Config{Classes: 3}, Labels: []string{"n02123045 tabby, tabby cat", "n01440764\ttench", "n00000001 none"}}
	for _, row := range []struct {
		m    *model.Model
		name string
		want int
		err  string
	}{
		{imageNet, "n01440764", 0, ""},
		{imageNet, "n02123045", 281, ""},
		{imageNet, "tabby", 281, ""},
		{imageNet, "n15075141", 999, ""},
		{imageNet, "n00000000", 0, "a WordNet id that the model's labels do not tell"},
		{random, "n02123045", 281, ""},
		{&model.Model{Config: model.Config{Classes: 1000}, Labels: other}, "n02123045", 0, "--labels FILE"},
		{&model.Model{Config: model.Config{Classes: 1000}}, "n02123045", 0, "--labels FILE"},
		{words, "n01440764", 1, ""},
		{words, "tabby, tabby cat", 0, ""},
		{words, "n02123045 tabby, tabby cat", 0, ""},
		{words, "Tench", 1, ""},
	} {
		got, err := namesOf(row.m).class(row.name)
		if got != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %d, %v; want %d, %q", row.name, got, err, row.want, row.err)
		}
	}
}

// TestIndicesFrom1: indices in another order or count than the model's give no
// score.
func TestIndicesFrom1(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{}
	for i := range 600 {
		files[fmt.Sprintf("few/%03d.png", i)] = ""
	}
	lines := func(form string, class func(i int) int) string {
		var b strings.Builder
		for i := range 600 {
			fmt.Fprintf(&b, form, i, class(i))
		}
		return b.String()
	}
	from := func(first, n int) func(int) int { return func(i int) int { return first + i%n } }
	const kit = "ILSVRC2012_validation_ground_truth.txt"
	files["from0.txt"] = lines("%[2]d\n", from(0, 10))
	files["from1.txt"] = lines("%[2]d\n", from(1, 9))
	files["named1.txt"] = lines("%03[1]d.png %[2]d\n", from(1, 9))
	files["over.txt"] = lines("%[2]d\n", from(1, 10))
	files[kit] = lines("%[2]d\n", from(0, 10))
	files["named/"+kit] = lines("%03[1]d.png %[2]d\n", from(0, 10))
	files["words/"+kit] = strings.Repeat("cat\n", 600)
	write(t, dir, files)
	for truth, want := range map[string]string{
		"from0.txt": "", "words/" + kit: "",
		"from1.txt": "no 0 among the 600 indices", "named1.txt": "no 0 among", "over.txt": "index 10 is not in 0..9",
		kit: "the development kit's own order", "named/" + kit: "meta.mat",
	} {
		set, err := Open(filepath.Join(dir, "few"), filepath.Join(dir, filepath.FromSlash(truth)), demoModel(t))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || err == nil && len(set.Images) != 600 {
			t.Errorf("%s: %d images, %v; want %q", truth, len(set.Images), err, want)
		}
	}
}

func TestSpread(t *testing.T) {
	s := Set{Images: make([]Image, 10)}
	for i := range s.Images {
		s.Images[i].Class = i
	}
	var got []int
	for _, im := range s.Spread(4).Images {
		got = append(got, im.Class)
	}
	if !slices.Equal(got, []int{0, 2, 5, 7}) || len(s.Spread(20).Images) != 10 {
		t.Errorf("4 of 10: %v", got)
	}
}

func TestVariants(t *testing.T) {
	own := demoModel(t).Preprocess
	all, err := Variants([]string{"no-antialias", "reference", "nearest", "center-squash", "nearest"}, own)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range all {
		names = append(names, v.Name)
	}
	if !slices.Equal(names, []string{"reference", "no-antialias", "nearest", "center-squash"}) || all[0].Preprocess != own || !all[0].Antialias || all[1].Antialias || all[2].Filter != "nearest" || all[3].Resize != "squash" {
		t.Errorf("%+v", all)
	}
	if _, err := Variants([]string{"box"}, own); err == nil || !strings.Contains(err.Error(), "no-antialias") {
		t.Errorf("box: %v", err)
	}
}

// photographs are a set of the cat, two pictures smaller and larger than the
// demo's input, and a damaged file.
func photographs(t *testing.T, m *model.Model) Set {
	t.Helper()
	cat, err := os.ReadFile("../docs/cat.jpg")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"cat/cat.jpg": string(cat), "cat/<b>small.png": picture(t, 20, 1), "dog/large.png": picture(t, 150, 2), "dog/damaged.png": "\x89PNG\r\n\x1a\nno more",
	})
	set, err := Open(dir, "", m)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestRun(t *testing.T) {
	m := demoModel(t)
	set := photographs(t, m)
	last := 0
	var held, released atomic.Int64
	r, err := Run(t.Context(), m, set, Options{
		Targets: []string{"purego", "purego:int8"}, Preprocess: []string{"no-antialias", "center-squash"}, Threads: 1,
		Progress: func(done, total int) { last = done },
		Hold: func(_ context.Context, threads int) (func(), error) {
			held.Add(int64(threads))
			return func() { released.Add(int64(threads)) }, nil
		},
		Disturbances: func() int64 { return 7 + held.Load() },
	})
	if err != nil {
		t.Fatal(err)
	}
	// One for each of 4 files, one for each of 2 targets on 3 + 2 inputs.
	if held.Load() != 14 || released.Load() != 14 || r.Disturbances != 14 {
		t.Errorf("held %d times, released %d, %d disturbances; want 14 of each", held.Load(), released.Load(), r.Disturbances)
	}
	for _, w := range r.Misclassified {
		if len(w.SHA256) != 64 || w.Probability <= 0 || w.Probability > 1 {
			t.Errorf("misclassified %+v", w)
		}
	}
	if r.Images != 4 || r.Evaluated != 3 || last != 4 || len(r.Failures) != 1 || r.Failures[0].Path != "dog/damaged.png" || r.Complete() {
		t.Errorf("%d of %d images, failures %v, progress %d", r.Evaluated, r.Images, r.Failures, last)
	}
	reference := r.Preprocess[0]
	if top1 := reference.Targets[0].Top1; top1.Count != 3-len(r.Misclassified) || top1.Of != 3 || top1.Low >= top1.Share && top1.Share > 0 || reference.Targets[0].Difference != nil || reference.Targets[0].MedianMS <= 0 {
		t.Errorf("top-1 %+v, %d misclassified", top1, len(r.Misclassified))
	}
	if reference.EqualInputs != r.Evaluated {
		t.Errorf("%d inputs of the reference equal its own, want all %d", reference.EqualInputs, r.Evaluated)
	}
	// A picture that grows, and the demo's whole square ones, stay as they are.
	if p := r.Preprocess[1]; p.Name != "no-antialias" || p.EqualInputs != 1 || p.Targets[0].Difference == nil {
		t.Errorf("no-antialias: %d inputs equal the reference's, want that of the small picture", p.EqualInputs)
	}
	if p := r.Preprocess[2]; p.EqualInputs != 3 || p.Targets[0].Top1 != reference.Targets[0].Top1 {
		t.Errorf("center-squash: %d inputs equal, %+v", p.EqualInputs, p.Targets[0])
	}
	if g := reference.Pairs[0]; len(reference.Pairs) != 1 || g.A != "purego" || g.B != "purego:int8" || g.WorstImage == "" || g.WorstSNR < 10 || g.WorstSNR > 60 || g.Top1Equal.Count != 3-len(reference.Differing) {
		t.Errorf("pairs %+v, differing %v", reference.Pairs, reference.Differing)
	}

	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	if html := b.String(); strings.Contains(html, "<b>small") || strings.Contains(html, "<script") || !strings.Contains(html, "dog/damaged.png") || !strings.HasSuffix(html, "</html>\n") {
		t.Errorf("the page:\n%s", html)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// TestConfusions: a list that is cut says of how many it is.
func TestConfusions(t *testing.T) {
	r := &Report{Preprocess: []PreprocessReport{{Targets: []TargetReport{{Target: "purego"}}}}, Confusions: []Confusion{{"cat", "dog", 2}}}
	r.Misclassified = []Misclassified{{Class: "cat", Named: "dog"}, {Class: "cat", Named: "dog"}, {Class: "dog", Named: "cat"}, {Class: "dog"}}
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil || r.ConfusionKinds() != 2 || !strings.Contains(b.String(), "The 1 most frequent of 2 confusions") {
		t.Errorf("%d kinds, %v\n%s", r.ConfusionKinds(), err, &b)
	}
}

// faulty gives NaN for every image but the first two.
type faulty struct{ runs *int }

func (faulty) Name() string { return "faulty" }
func (faulty) Targets() []backend.Target {
	return []backend.Target{{Backend: "faulty", Device: "cpu", Precision: "fp32"}, {Backend: "faulty", Device: "gpu", Precision: "fp32"}}
}
func (faulty) Probe(context.Context) []backend.TargetStatus { return nil }
func (f faulty) Open(_ context.Context, _ *graph.Graph, o backend.Options) (backend.Session, error) {
	if o.Device == "gpu" {
		return nil, backend.ErrUnavailable
	}
	return f, nil
}
func (f faulty) Run(_ context.Context, in, out []float32) error {
	clear(out)
	out[3] = 1
	if *f.runs++; *f.runs > 2 {
		out[0] = float32(math.NaN())
	}
	return nil
}
func (faulty) Close() error { return nil }

func TestFaults(t *testing.T) {
	m := demoModel(t)
	set := photographs(t, m)
	var registry backend.Registry
	registry.Register(faulty{new(int)})
	r, err := Run(t.Context(), m, set, Options{Registry: &registry, Targets: []string{"faulty", "faulty:gpu"}})
	if err != nil {
		t.Fatal(err)
	}
	one := r.Preprocess[0].Targets
	if r.Targets[1].Error == "" || len(one) != 1 || len(one[0].Failures) != 1 || !strings.Contains(one[0].Failures[0].Error, "NaN") || one[0].Top1.Count != 2 || one[0].Top1.Of != 3 {
		t.Errorf("%+v, %+v", r.Targets, one)
	}
	if w := r.Misclassified; len(w) != 1 || w[0] != (Misclassified{"dog/large.png", Sum([]byte(picture(t, 150, 2))), "dog", "", 0, false}) || len(r.Confusions) != 0 {
		t.Errorf("misclassified %+v, confusions %+v", w, r.Confusions)
	}
	if _, err := Run(t.Context(), m, set, Options{Registry: &registry, Targets: []string{"faulty:gpu"}}); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("without a target: %v", err)
	}
	if _, err := Run(t.Context(), m, set, Options{Registry: &registry, Targets: []string{"faulty", "faulty:cpu"}}); err == nil {
		t.Error("a target twice is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, m, set, Options{Registry: &registry, Targets: []string{"faulty"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestJournal(t *testing.T) {
	m := demoModel(t)
	set := photographs(t, m)
	file := filepath.Join(t.TempDir(), "eval.jsonl")
	var registry backend.Registry
	runs := 0
	registry.Register(faulty{&runs})
	o := Options{Registry: &registry, Targets: []string{"faulty"}, Preprocess: []string{"center-squash"}, Threads: 1, Journal: file}
	half := set
	half.Images = set.Images[:2]
	if _, err := Run(t.Context(), m, half, o); err != nil {
		t.Fatal(err)
	}
	// What was cut short is done again.
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(`{"image":"dog/large.png","cl`)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	first, err := Run(t.Context(), m, set, o)
	if err != nil {
		t.Fatal(err)
	}
	if runs != 3 || first.Evaluated != 3 {
		t.Errorf("%d runs of the target for 3 images", runs)
	}
	var calls [][2]int
	o.Progress = func(done, total int) { calls = append(calls, [2]int{done, total}) }
	again, err := Run(t.Context(), m, set, o)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(first)
	b, _ := json.Marshal(again)
	if runs != 3 || !bytes.Equal(a, b) || !slices.Equal(calls, [][2]int{{3, 4}, {4, 4}}) { // the damaged one is tried again
		t.Errorf("%d runs, progress %v, the report\n%s\nis not\n%s", runs, calls, b, a)
	}

	if n, err := Journaled(file); n != 3 || err != nil {
		t.Errorf("%d images in the journal, %v; want 3", n, err)
	}
	full := o
	full.Journal, full.JournalBytes = filepath.Join(t.TempDir(), "full"), 1
	if _, err := Run(t.Context(), m, set, full); err != nil {
		t.Errorf("with a journal that is full: %v", err)
	}
	if text, err := os.ReadFile(full.Journal); err != nil || bytes.Count(text, []byte("\n")) != 1 {
		t.Errorf("a journal of at most a byte has more than its head: %s, %v", text, err)
	}

	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		text string
		want string
	}{
		{"another model", strings.Replace(string(good), m.Hash, strings.Repeat("a", 64), 1), "its model is aaaaaaaaaaaa"},
		{"another target", strings.Replace(string(good), `"targets":["faulty"]`, `"targets":["purego"]`, 1), "list of targets is [purego]"},
		{"another preprocessing", strings.Replace(string(good), `"size":64`, `"size":32`, 1), "preprocessing"},
		{"other threads", strings.Replace(string(good), `"threads":1`, `"threads":2`, 1), "threads"},
		{"other data", strings.Replace(string(good), `"data":"`, `"data":"/other`, 1), "data"},
		{"another form", strings.Replace(string(good), `"journal":2`, `"journal":1`, 1), "form"},
		{"another file", "photographs\n", "not a journal"},
		{"another file of one line", "photographs", "not a journal"},
		{"a class that is not there", strings.Replace(string(good), `"top":[3`, `"top":[30`, 1), "class 30 of 10"},
		{"a line that is no JSON", strings.Replace(string(good), `{"image"`, `"image"`, 1), "line 2"},
		{"a probability above 1", strings.Replace(string(good), `"probability":0`, `"probability":7`, 1), "probability"},
		{"too few targets", strings.Replace(string(good), `"targets":[{`, `"targets":[],"x":[{`, 1), "0 targets"},
	} {
		if err := os.WriteFile(file, []byte(row.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(t.Context(), m, set, o); !errors.Is(err, ErrJournal) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if after, err := os.ReadFile(file); err != nil || string(after) != row.text {
			t.Errorf("%s: the file was changed", row.name)
		}
	}
}

func TestTexts(t *testing.T) {
	if got := proportion(8332, 10000).String(); got != "83.32 % (82.58..84.04)" {
		t.Error(got)
	}
	if got := difference(3, 5, 100).String(); got != "-2.00 (-7.71..+3.79)" {
		t.Error(got)
	}
	if got := difference(0, 0, 100).String(); got != "+0.00 (-1.92..+1.92)" {
		t.Error(got)
	}
}

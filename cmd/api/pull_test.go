package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"edgevit/model/modeltest"
	"edgevit/pull"
)

func sumHex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// publish serves what content holds, with ranges.
func publish(t *testing.T, content *atomic.Pointer[[]byte]) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data := *content.Load()
		w.Header().Set("ETag", `"`+sumHex(data)+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// inFolder lists a folder's files, hidden ones too.
func inFolder(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestPullFirstUse goes the way of a checkpoint that is published without a
// checksum.
func TestPullFirstUse(t *testing.T) {
	first, second := modeltest.Bytes(t, "tiny/easycv.pth"), modeltest.Bytes(t, "tiny/official.pth")
	var content atomic.Pointer[[]byte]
	content.Store(&first)
	data := t.TempDir()
	models := filepath.Join(data, "models")
	from := publish(t, &content) + "/folder/Best%20Net.pth?version=1"
	pull := func(args ...string) (int, pullOutput, string) {
		t.Helper()
		code, out, errs := call(t, append([]string{"pull", "--url", from, "--data", data, "--json"}, args...)...)
		var o pullOutput
		if out != "" {
			decode(t, out, &o)
		}
		return code, o, errs
	}

	if code, _, errs := pull(); code != exitUsage || !strings.Contains(errs, "best-net is unverified: it has no published checksum and comes over plain http") || inFolder(t, models) != nil {
		t.Errorf("without a word of trust: exit %d, %s", code, errs)
	}
	code, o, errs := pull("--trust-first-use")
	want := filepath.Join(models, "best-net.safetensors")
	if code != exitYes || o.State != "pulled" || o.File != want || o.Name != "best-net" || o.Verified != "first_use" || o.SHA256 != sumHex(first) || o.Bytes != int64(len(first)) || len(o.Hash) != 64 {
		t.Fatalf("at the first use: exit %d, %+v, %s", code, o, errs)
	}
	if names := inFolder(t, models); !slices.Equal(names, []string{"best-net.safetensors"}) {
		t.Errorf("the folder holds %q", names)
	}
	var c classifyOutput
	_, out, _ := call(t, "classify", cat, "--models", models, "--json")
	if decode(t, out, &c); c.Model != "best-net" || c.ModelHash != o.Hash {
		t.Errorf("served as %+v", c)
	}

	if code, o, _ := pull(); code != exitYes || o.State != "present" || o.File != want {
		t.Errorf("a second time: exit %d, %+v", code, o)
	}
	if code, o, errs := pull("--force"); code != exitYes || o.State != "pulled" || o.Verified != "recorded" {
		t.Errorf("by force: exit %d, %+v, %s", code, o, errs)
	}

	content.Store(&second)
	before, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--force"}, {"--force", "--trust-first-use"}} {
		code, _, errs := pull(args...)
		after, err := os.ReadFile(want)
		if code != exitNo || !strings.Contains(errs, "wrong checksum") || !strings.Contains(errs, "another file than at its first use") || err != nil || !bytes.Equal(before, after) {
			t.Errorf("%v, another file: exit %d, %s", args, code, errs)
		}
	}
	if code, o, errs := pull("--force", "--sha256", strings.ToUpper(sumHex(second))); code != exitYes || o.Verified != "given" || o.SHA256 != sumHex(second) {
		t.Errorf("another file, as is meant: exit %d, %+v, %s", code, o, errs)
	}
	if names := inFolder(t, models); !slices.Equal(names, []string{"best-net.safetensors"}) {
		t.Errorf("the folder holds %q", names)
	}
}

// TestPullPublished pulls from a catalogue, cut and listed on the way.
func TestPullPublished(t *testing.T) {
	bird, other := modeltest.Bytes(t, "tiny-birder/checkpoint.pt"), modeltest.Bytes(t, "tiny/official.pth")
	var content atomic.Pointer[[]byte]
	content.Store(&other)
	url := publish(t, &content)
	data := t.TempDir()
	models := filepath.Join(data, "models")
	command := func(name string) *pullCmd {
		return &pullCmd{Known: name, Data: data, Deadline: time.Minute, JSON: true, known: []pull.Source{
			{Name: "bird", Title: "A small bird", URL: url + "/a.pt", SHA256: sumHex(bird)}, {Name: "open", Title: "Unverified", URL: url + "/b.pt"},
		}}
	}
	list := func() []pullListItem {
		t.Helper()
		var out bytes.Buffer
		if err := command("").Run(t.Context(), std{&out, io.Discard}); err != nil {
			t.Fatal(err)
		}
		var l pullList
		if decode(t, out.String(), &l); l.Folder != models {
			t.Errorf("folder %s", l.Folder)
		}
		return l.Checkpoints
	}

	var errs bytes.Buffer
	if err := command("bird").Run(t.Context(), std{io.Discard, &errs}); err != errNo || !strings.Contains(errs.String(), "wrong checksum") || len(inFolder(t, models)) != 0 {
		t.Errorf("another file than is published: %v, %s, left %q", err, &errs, inFolder(t, models))
	}
	if l := list(); len(l) != 2 || l[0].State != "absent" || l[0].Verified != "published" || l[1].Verified != "no" || l[1].SHA256 != "" {
		t.Errorf("listed as %+v", l)
	}

	content.Store(&bird)
	ctx, cancel := context.WithCancel(t.Context())
	c := command("bird")
	c.options.Transport = cancelling{cancel}
	err := c.Run(ctx, std{io.Discard, io.Discard})
	l := list()
	if err == nil || !strings.Contains(err.Error(), "interrupted") || !strings.Contains(err.Error(), "are kept: pull it again to go on") || l[0].State != "partial" || l[0].Partial <= 0 || l[0].Partial >= int64(len(bird)) {
		t.Fatalf("interrupted: %v, listed as %+v", err, l)
	}
	var out bytes.Buffer
	if err := command("bird").Run(t.Context(), std{&out, io.Discard}); err != nil {
		t.Fatal(err)
	}
	var o pullOutput
	if decode(t, out.String(), &o); o.Resumed != l[0].Partial || o.Verified != "published" {
		t.Errorf("resumed: %+v, after %+v", o, l[0])
	}
	if l := list(); l[0].State != "present" || l[0].File != o.File || l[0].Partial != 0 {
		t.Errorf("listed as %+v", l)
	}
	if names := inFolder(t, models); !slices.Equal(names, []string{"bird.safetensors"}) {
		t.Errorf("the folder holds %q", names)
	}
	var i inspectOutput
	_, text, _ := call(t, "inspect", o.File, "--json")
	if decode(t, text, &i); i.Title != "A small bird" || len(i.Labels) != 10 || i.Preprocess.Resize != "squash" || i.Config.Layout != "birder" || i.Hash != o.Hash {
		t.Errorf("inspected as %+v", i)
	}

	c = command("bird")
	c.JSON, out = false, bytes.Buffer{}
	if err := c.Run(t.Context(), std{&out, io.Discard}); err != nil || !strings.Contains(out.String(), "bird is here already: ") {
		t.Errorf("%v, %s", err, &out)
	}
}

// cancelling ends the caller once half of an answer has been read.
type cancelling struct{ cancel context.CancelFunc }

func (c cancelling) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		resp.Body = &half{resp.Body, resp.ContentLength / 2, c.cancel}
	}
	return resp, err
}

type half struct {
	io.ReadCloser
	left   int64
	cancel context.CancelFunc
}

func (h *half) Read(p []byte) (int, error) {
	if h.left == 0 {
		h.cancel()
		return 0, context.Canceled
	}
	n, err := h.ReadCloser.Read(p[:min(int64(len(p)), h.left)])
	h.left -= int64(n)
	return n, err
}

// TestPullFile pulls from this machine, with labels of the user's.
func TestPullFile(t *testing.T) {
	dir, tiny := golden(t, "tiny/official.pth", "tiny/input.npy", "tiny/logits.npy")
	labels, models := filepath.Join(dir, "labels"), filepath.Join(dir, "models")
	if err := os.WriteFile(labels, []byte("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sumHex(modeltest.Bytes(t, "tiny/official.pth"))
	args := []string{"pull", "--url", tiny, "--sha256", sum, "--name", "letters", "--models", models, "--labels", labels}
	code, out, errs := call(t, args...)
	file := filepath.Join(models, "letters.safetensors")
	if code != exitYes || !strings.Contains(out, file+": model ") || !strings.Contains(out, sum+", as given") {
		t.Fatalf("exit %d, %s%s", code, out, errs)
	}
	var i inspectOutput
	_, text, _ := call(t, "inspect", file, "--json")
	if decode(t, text, &i); len(i.Labels) != 10 || i.Labels[9] != "j" || i.Name != "letters" {
		t.Errorf("inspected as %+v", i)
	}

	// A file that the user put there by hand is not replaced.
	if err := os.Rename(file, filepath.Join(models, "Letters.pth")); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := call(t, args...); code != exitYes || !strings.Contains(out, "Letters.pth") {
		t.Errorf("exit %d, %s", code, out)
	}
	if code, _, errs := call(t, append(args, "--force")...); code != exitUsage || !strings.Contains(errs, "has the name letters: remove it") {
		t.Errorf("by force: exit %d, %s", code, errs)
	}
	if names := inFolder(t, models); !slices.Equal(names, []string{"Letters.pth"}) {
		t.Errorf("the folder holds %q", names)
	}
}

// TestPullSidecar reads what tensors cannot tell from beside the checkpoint, or
// from where the user says.
func TestPullSidecar(t *testing.T) {
	dir, tiny := golden(t, "tiny/official.pth", "tiny/input.npy", "tiny/logits.npy")
	beside := strings.TrimSuffix(tiny, ".pth") + ".json"
	names := func(last string) []byte {
		return []byte(`{"name":"Letters","labels":["a","b","c","d","e","f","g","h","i","` + last + `"],"preprocess":{"crop_ratio":0.5}}`)
	}
	sum := sumHex(modeltest.Bytes(t, "tiny/official.pth"))
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/large.json" {
			w.Write(bytes.Repeat([]byte(" "), 5<<20))
			return
		}
		w.Write(names("from afar"))
	}))
	t.Cleanup(site.Close)
	run := func(name string, args ...string) (code int, o pullOutput, m inspectOutput, errs string) {
		t.Helper()
		models := filepath.Join(dir, "models")
		code, out, errs := call(t, append([]string{"pull", "--url", tiny, "--sha256", sum, "--name", name, "--models", models, "--json"}, args...)...)
		if code == exitYes {
			decode(t, out, &o)
			_, out, _ = call(t, "inspect", o.File, "--json")
			decode(t, out, &m)
		}
		return code, o, m, errs
	}

	_, o, _, _ := run("bare")
	if notes := strings.Join(o.Notes, "\n"); !strings.Contains(notes, "nothing names its 10 classes") || !strings.Contains(notes, "nothing says its input size") {
		t.Errorf("without any: notes %q", o.Notes)
	}
	if err := os.WriteFile(beside, names("beside"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, o, m, _ := run("beside")
	if len(m.Labels) != 10 || m.Labels[9] != "beside" || m.Title != "Letters" || m.Preprocess.CropRatio != 0.5 || strings.Contains(strings.Join(o.Notes, ""), "classes") {
		t.Errorf("beside it: %+v, notes %q", m, o.Notes)
	}
	if _, _, m, _ := run("flags", "--crop-ratio", "0.75"); m.Labels[9] != "beside" || m.Preprocess.CropRatio != 0.75 {
		t.Errorf("with a flag over it: %+v", m)
	}
	if _, o, m, _ := run("afar", "--sidecar", site.URL+"/a.json", "--input-size", "64"); m.Labels[9] != "from afar" || len(o.Notes) != 0 {
		t.Errorf("from a URL: %+v, notes %q", m, o.Notes)
	}
	for want, from := range map[string]string{"file too large": site.URL + "/large.json", "no such file": filepath.Join(dir, "nowhere.json"), "sidecar": tiny} {
		if code, _, _, errs := run("refused", "--sidecar", from); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, %s", from, code, errs)
		}
	}

	named := filepath.Join(dir, "Demo.pth")
	if err := os.Rename(tiny, named); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := call(t, "pull", "--url", named, "--sha256", sum, "--data", dir); code != exitUsage || !strings.Contains(errs, "embedded model; choose one by --name") {
		t.Errorf("a file named demo: exit %d, %s", code, errs)
	}
}

func TestPullRefused(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"web page", "<!doctype html><p>Please log in", "the answer is a web page, not a checkpoint"},
		{"Git LFS pointer", "version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"},
		{"another network", "", "not a usable EdgeViT checkpoint"},
	} {
		data := []byte(row.text)
		if row.text == "" {
			data = []byte(`{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`)
			data = append([]byte{byte(len(data)), 0, 0, 0, 0, 0, 0, 0}, append(data, 0, 0, 0, 0)...)
		}
		var content atomic.Pointer[[]byte]
		content.Store(&data)
		dir := t.TempDir()
		code, out, errs := call(t, "pull", "--url", publish(t, &content)+"/net.pth", "--trust-first-use", "--data", dir)
		if code != exitNo || out != "" || !strings.Contains(errs, row.want) || len(inFolder(t, filepath.Join(dir, "models"))) != 0 || len(inFolder(t, filepath.Join(dir, "pulled"))) != 0 {
			t.Errorf("%s: exit %d, %s%s", row.name, code, out, errs)
		}
	}
}

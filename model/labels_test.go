package model_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"edgevit/checkpoint"
	"edgevit/model"
)

func TestImageNet(t *testing.T) {
	names := model.ImageNet()
	if len(names) != 1000 {
		t.Fatalf("%d names, want 1000", len(names))
	}
	for i, want := range map[int]string{
		0: "tench", 134: "crane bird", 207: "golden retriever", 281: "tabby", 517: "crane", 638: "maillot", 639: "maillot tank suit", 999: "toilet tissue",
	} {
		if names[i] != want {
			t.Errorf("class %d is %q, want %q", i, names[i], want)
		}
	}
	seen := map[string]int{}
	for i, n := range names {
		if other, twice := seen[n]; twice || n == "" || n != strings.TrimSpace(n) {
			t.Errorf("class %d is %q, as is %d", i, n, other)
		}
		seen[n] = i
	}
	ids := model.ImageNetIDs()
	for i, want := range map[int]string{0: "n01440764", 134: "n02012849", 517: "n03126707", 638: "n03710637", 639: "n03710721", 999: "n15075141"} {
		if ids[i] != want {
			t.Errorf("class %d is %s, want %s", i, ids[i], want)
		}
	}
	if len(ids) != 1000 || !slices.IsSorted(ids) || len(slices.Compact(ids)) != 1000 {
		t.Errorf("%d ids, which are not sorted or not all different", len(ids))
	}
	names[0] = "changed"
	if model.ImageNet()[0] != "tench" {
		t.Error("a caller's change of the names is seen by the next")
	}
}

// classes gives the tiny checkpoint that many classes.
func classes(n int) func(map[string]checkpoint.NamedTensor) {
	return func(e map[string]checkpoint.NamedTensor) {
		e["head.weight"] = checkpoint.NamedTensor{Shape: []int{n, 48}, Data: make([]float32, n*48)}
		e["head.bias"] = checkpoint.NamedTensor{Shape: []int{n}, Data: make([]float32, n)}
	}
}

// TestImageNetLabels: only a trained model of 1,000 classes that names none gets
// the names of ImageNet.
func TestImageNetLabels(t *testing.T) {
	m, err := edited(t, "tiny/official.pth", classes(1000))
	if err != nil {
		t.Fatal(err)
	}
	noted := func(m *model.Model) bool {
		return slices.ContainsFunc(m.Notes, func(n string) bool { return strings.Contains(n, "ImageNet-1k") })
	}
	if m.Label(281) != "tabby" || !noted(m) {
		t.Errorf("class 281 is %q, notes %q", m.Label(281), m.Notes)
	}
	if p := m.Top(make([]float32, 1000), 1); p[0].Label != "tench" {
		t.Errorf("predicts %+v", p[0])
	}
	again := reopen(t, m, model.Sidecar{})
	if again.Label(281) != "tabby" || again.Hash != m.Hash || noted(again) {
		t.Errorf("written and read again, class 281 is %q, notes %q", again.Label(281), again.Notes)
	}
	own := make([]string, 1000)
	for i := range own {
		own[i] = "mine"
	}
	if named := reopen(t, m, model.Sidecar{Labels: own}); named.Label(281) != "mine" || noted(named) {
		t.Errorf("with labels given, class 281 is %q, notes %q", named.Label(281), named.Notes)
	}
	if m, err := edited(t, "tiny/official.pth", classes(999)); err != nil || m.Labels != nil {
		t.Errorf("999 classes: %d labels, %v", len(m.Labels), err)
	}

	var tensors []checkpoint.NamedTensor
	for _, n := range m.Graph.Nodes {
		for _, p := range n.Params() {
			tensors = append(tensors, checkpoint.NamedTensor{Name: n.Name + "." + p.Name, Shape: p.Shape, Data: n.Weight(p.Name)})
		}
	}
	var b bytes.Buffer
	if err := checkpoint.WriteSafetensors(&b, tensors, map[string]string{"class_to_idx": `{"ant": 0, "bee": 1}`}); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Read(bytes.NewReader(b.Bytes()), int64(b.Len()), 0)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := model.New(f, model.Sidecar{}); err != nil || m.Labels != nil || noted(m) {
		t.Errorf("a file with 2 labels for 1000 classes: %d labels, %v", len(m.Labels), err)
	}
}

// TestUntrained: random weights have no labels and stay marked in a file.
func TestUntrained(t *testing.T) {
	m, err := model.Random("xxs")
	if err != nil {
		t.Fatal(err)
	}
	again := reopen(t, m, model.Sidecar{})
	for name, m := range map[string]*model.Model{"made": m, "read again": again} {
		if m.Labels != nil || !m.Untrained || m.Label(0) != "class 0" {
			t.Errorf("%s: untrained %v, class 0 is %q", name, m.Untrained, m.Label(0))
		}
	}
	if again.Hash != m.Hash {
		t.Errorf("hash %s, want %s", again.Hash, m.Hash)
	}
}

// reopen is the model of the file that m writes.
func reopen(t *testing.T, m *model.Model, o model.Sidecar) *model.Model {
	t.Helper()
	var b bytes.Buffer
	if err := m.WriteSafetensors(&b); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Read(bytes.NewReader(b.Bytes()), int64(b.Len()), 0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := model.New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

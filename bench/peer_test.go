package bench

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"edgevit/backend"
	"edgevit/graph"
	"edgevit/model"
)

func TestPeers(t *testing.T) {
	m := tiny(t)
	var registry backend.Registry
	registry.Register(&fake{name: "ours"})
	b, x := graph.NewBuilder(graph.Shape{H: 5, W: 7, C: 3})
	b.Add("head", graph.Conv{Out: 4, Kernel: 1, Stride: 1, Groups: 1}, b.Add("pool", graph.MeanPool{}, x))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	threads := 0
	peers := []Peer{
		{Name: "good.onnx", Hash: strings.Repeat("a", 64), Graph: g, Open: func(ctx context.Context, n int) (*backend.Classifier, error) {
			threads = n
			var r backend.Registry
			r.Register(&fake{name: "onnx"})
			return r.Open(ctx, "onnx", g, backend.Options{Threads: n})
		}},
		{Name: "bad.onnx", Hash: strings.Repeat("b", 64), Err: errors.New("two outputs")},
	}
	plan := Plan{Targets: []string{"ours", "ours"}, Threads: 1, MinDurationMS: 6, MinCount: 36, Blocks: 6, Seed: 5}
	r, err := Run(t.Context(), plan, []*model.Model{m}, Options{Registry: &registry, Peers: peers})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Plan.Peers, []string{"good.onnx", "bad.onnx"}) || r.Peers[0] != (PeerFacts{"good.onnx", strings.Repeat("a", 64), 5, 7, 4}) || r.Peers[1].Classes != 0 || threads != 1 {
		t.Errorf("plan %+v, peers %+v", r.Plan, r.Peers)
	}
	good, bad := r.Summary.Subjects[2], r.Summary.Subjects[3]
	if good.Model != "good.onnx" || good.Label != "onnx" || good.Samples < 36 || good.GFLOPS != 0 || good.Share != 0 || good.Ratio.Value <= 0 || bad.Error != "two outputs" {
		t.Errorf("the peers: %+v, %+v", good, bad)
	}
	if r.Summary.Subjects[0].GFLOPS == 0 {
		t.Error("the model has no GFLOP/s")
	}

	var file bytes.Buffer
	if err := r.Write(&file); err != nil {
		t.Fatal(err)
	}
	again, err := ReadBundle(&file)
	if err != nil || !reflect.DeepEqual(again.Subjects, r.Subjects) {
		t.Fatalf("read again: %v", err)
	}
	if c := Changes(again, r); len(c) != 3 || c[2].Model != "good.onnx" || c[2].Ratio.Value != 1 {
		t.Errorf("changes %+v", c)
	}
	if err := r.CheckModels([]*model.Model{m}, peers); err != nil {
		t.Error(err)
	}
	if err := r.CheckModels([]*model.Model{m}, nil); err == nil || !strings.Contains(err.Error(), "0 peers") {
		t.Errorf("without the peers: %v", err)
	}
	other := slices.Clone(peers)
	other[0].Hash = strings.Repeat("c", 64)
	if err := r.CheckModels([]*model.Model{m}, other); err == nil || !strings.Contains(err.Error(), "good.onnx") {
		t.Errorf("another peer: %v", err)
	}
	for name, edit := range map[string]func(b *Bundle){
		"a peer less":     func(b *Bundle) { b.Peers = b.Peers[:1] },
		"another name":    func(b *Bundle) { b.Peers[0].Name = "x" },
		"no hash":         func(b *Bundle) { b.Peers[0].Hash = "x" },
		"another target":  func(b *Bundle) { b.Subjects[2].Target = "ours" },
		"a subject less":  func(b *Bundle) { b.Subjects = b.Subjects[:3] },
		"the same twice":  func(b *Bundle) { b.Plan.Peers[1], b.Peers[1].Name = "good.onnx", "good.onnx" },
		"a negative size": func(b *Bundle) { b.Peers[0].Width = -1 },
	} {
		var file bytes.Buffer
		if err := r.Write(&file); err != nil {
			t.Fatal(err)
		}
		b, err := ReadBundle(&file)
		if err != nil {
			t.Fatal(err)
		}
		edit(b)
		file.Reset()
		if err := b.Write(&file); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadBundle(&file); !errors.Is(err, ErrBundle) && !errors.Is(err, ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Run(t.Context(), Plan{Peers: []string{"x"}, Targets: []string{"ours"}}, []*model.Model{m}, Options{Registry: &registry}); !errors.Is(err, ErrPlan) {
		t.Errorf("a peer that is only named: %v", err)
	}
}

// TestPeersRank ranks a peer among the models.
func TestPeersRank(t *testing.T) {
	b := synthetic([]string{"a", "b"}, 6, 60, func(subject, _ int) float64 { return float64(subject + 1) })
	b.Plan.Peers = []string{"p.onnx"}
	b.Peers = []PeerFacts{{Name: "p.onnx", Hash: strings.Repeat("a", 64)}}
	fast := b.Subjects[0]
	fast.Model, fast.Target, fast.Label, fast.Slices = "p.onnx", "onnx", "onnx", slices.Clone(fast.Slices)
	for i := range fast.Slices {
		fast.Slices[i].SamplesMS = slices.Repeat([]float64{0.5}, 60)
	}
	b.Subjects = append(b.Subjects, fast)
	b.Summary = Summarise(b)
	var ranks []int
	for _, s := range b.Summary.Subjects {
		ranks = append(ranks, s.Rank)
	}
	if !slices.Equal(ranks, []int{2, 3, 1}) || b.Summary.Subjects[2].Ratio.Value != 0.5 {
		t.Errorf("ranks %v, %+v", ranks, b.Summary.Subjects[2])
	}
}

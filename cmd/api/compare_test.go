package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgevit/compare"
)

func TestCompare(t *testing.T) {
	code, out, errs := call(t, "compare", cat, "--targets", "purego", "--layers", "--repeat", "3", "--json")
	if code != exitYes {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var o compareOutput
	decode(t, out, &o)
	r := o.Results[0]
	if o.Model != "demo" || len(o.ModelHash) != 64 || len(r.Targets) != 1 || r.Targets[0].Target != "purego" || r.Targets[0].Predictions[0].Label != "cat" {
		t.Errorf("answer %+v", o)
	}
	if q := r.Targets[0].Repeat; q == nil || q.Runs != 3 || len(q.SamplesMS) != 3 || q.Ratio != 1 {
		t.Errorf("timed %+v", q)
	}
	if r.Layers == nil || r.Layers.Reference != "purego" || len(r.Layers.Targets) != 0 {
		t.Errorf("layers %+v", r.Layers)
	}

	code, out, _ = call(t, "compare", cat, "nowhere.jpg", "--targets", "purego", "--json")
	if decode(t, out, &o); code != exitNo || len(o.Results) != 2 || o.Results[1].Error == "" {
		t.Errorf("a missing image: exit %d, %+v", code, o.Results)
	}
}

// TestCompareTables prints a comparison that no targets of this machine may
// give.
func TestCompareTables(t *testing.T) {
	var out strings.Builder
	o := compareOutput{Model: "demo", ModelHash: strings.Repeat("ab", 32), Results: []compareResult{{
		File: "cat.jpg",
		Targets: []compareTarget{
			{Target: "purego", InferenceMS: 1.5, Repeat: &repeatTiming{Runs: 5, MedianMS: 1.4, MedianLowMS: 1.3, MedianHighMS: 1.6, Ratio: 1, RatioLow: 1, RatioHigh: 1}},
			{Target: "onnx", InferenceMS: 3},
			{Target: "tflite", Error: "library not found"},
		},
		Pairs: []comparePair{{A: "purego", B: "onnx"}},
		Layers: &compareLayers{Reference: "purego", ThresholdDB: 60, Targets: []targetLayers{{
			Target: "onnx", FirstDiverging: "norm", Nodes: []layerNode{
				{Node: "conv", Kind: "Conv", Shape: [3]int{8, 8, 3}, Folded: []string{"onnx"}},
				{Node: "norm", Kind: "BatchNorm", Shape: [3]int{8, 8, 3}, Agreement: &compare.Agreement{MaxAbs: 1, Scale: 2, SNR: 6}},
			},
		}}},
	}}}
	if err := o.print(std{&out, &out}, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"cat.jpg, model demo (abababababab)", "1.40 (1.30..1.60)", "library not found", "purego / onnx  DIFFERS",
		"onnx against purego, threshold 60 dB: first node to diverge: norm", "folded by onnx", "[8 8 3]", "<- diverges",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if o.Results[0].agrees() {
		t.Error("it is said to agree")
	}
}

func TestExport(t *testing.T) {
	_, file := golden(t, "tiny-birder/checkpoint.pt", "tiny-birder/input.npy", "tiny-birder/logits.npy")
	to := filepath.Join(t.TempDir(), "bird.safetensors")
	code, out, errs := call(t, "export", file, "--format", "safetensors", "--out", to, "--json")
	if code != exitYes {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var e exportOutput
	decode(t, out, &e)
	var i inspectOutput
	_, out, _ = call(t, "inspect", to, "--json")
	decode(t, out, &i)
	info, err := os.Stat(to)
	if err != nil || e.Hash != i.Hash || e.Bytes != info.Size() || e.Format != "safetensors" {
		t.Errorf("exported as %+v, read as %s, %v", e, i.Hash, err)
	}
}

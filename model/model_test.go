package model_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"edgevit/checkpoint"
	"edgevit/compare"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/demo"
	"edgevit/model/modeltest"
)

// TestPresets holds the networks to the authors' parameter counts and the
// paper's multiply-adds (its table 1).
func TestPresets(t *testing.T) {
	for _, row := range []struct {
		name       string
		parameters int
		heads      [4]int
		total      int64
	}{
		{"xxs", 4_067_704, [4]int{1, 2, 4, 8}, 551},
		{"xs", 6_770_056, [4]int{1, 2, 5, 8}, 1128},
		{"s", 13_108_168, [4]int{1, 2, 5, 8}, 1911},
	} {
		m, err := model.Random(row.name)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Parameters(); got != row.parameters {
			t.Errorf("%s has %d parameters, want %d", row.name, got, row.parameters)
		}
		if got := int64(math.Round(float64(m.MACs()) / 1e6)); got != row.total {
			t.Errorf("%s has %d M MACs, want %d", row.name, got, row.total)
		}
		if m.Config.Heads != row.heads {
			t.Errorf("%s has heads %v, want %v", row.name, m.Config.Heads, row.heads)
		}
		if !m.Untrained {
			t.Errorf("%s does not say that it is untrained", row.name)
		}
		again, err := model.Random(row.name)
		if err != nil || again.Hash != m.Hash {
			t.Errorf("%s: the same seed gives another model, %v", row.name, err)
		}
	}
	if _, err := model.Random("xxl"); !errors.Is(err, model.ErrUnknownPreset) {
		t.Errorf("random:xxl gives %v, want ErrUnknownPreset", err)
	}
}

// TestGoldenLogits holds the graph's meaning to what each layout's own PyTorch
// code computes.
func TestGoldenLogits(t *testing.T) {
	for _, g := range modeltest.Goldens(t) {
		t.Run(g.Name, func(t *testing.T) {
			size, classes := g.Model.Graph.Input().Len(), g.Model.Config.Classes
			for i := range len(g.Input) / size {
				values, err := graph.Eval(g.Model.Graph, g.Input[i*size:][:size])
				if err != nil {
					t.Fatal(err)
				}
				var got []float32
				for _, v := range values[len(values)-1] {
					got = append(got, float32(v))
				}
				if a := compare.Values(g.Logits[i*classes:][:classes], got); !a.Within(1e-5) {
					t.Errorf("image %d: max |Δ| %g of max |logit| %g", i, a.MaxAbs, a.Scale)
				}
			}
		})
	}
}

func TestRecognition(t *testing.T) {
	for i, want := range []struct {
		layout string
		heads  [4]int
		eps    float64
		labels int
		size   int
		mean   float64
		resize string
	}{
		{"official", [4]int{1, 2, 3, 4}, 1e-6, 0, 224, 0.485, "shorter_side"},
		{"official", [4]int{1, 2, 3, 4}, 1e-6, 0, 224, 0.485, "shorter_side"},
		{"official", [4]int{1, 2, 3, 4}, 1e-6, 0, 224, 0.485, "shorter_side"},
		{"easycv", [4]int{1, 2, 3, 4}, 1e-8, 0, 224, 0.485, "shorter_side"},
		{"birder", [4]int{1, 2, 3, 4}, 1e-6, 10, 64, 0.5248, "squash"},
		{"1hunters", [4]int{1, 2, 3, 4}, 1e-6, 0, 224, 0.485, "shorter_side"},
		{"1hunters", [4]int{1, 2, 3, 4}, 1e-6, 0, 224, 0.485, "shorter_side"},
	} {
		path := []string{
			"tiny/official.pth", "tiny/official_legacy.pth", "tiny/training_run.pth", "tiny/easycv.pth",
			"tiny-birder/checkpoint.pt", "tiny-1hunters/checkpoint.pt", "tiny-1hunters-distilled/checkpoint.pt",
		}[i]
		m, err := model.New(modeltest.Checkpoint(t, path), model.Sidecar{})
		if err != nil {
			t.Fatal(err)
		}
		c := m.Config
		if c.Layout != want.layout || c.Heads != want.heads || c.BlockLayerNormEps != want.eps || len(m.Labels) != want.labels {
			t.Errorf("%s: layout %s, heads %v, eps %g, %d labels, want %+v", path, c.Layout, c.Heads, c.BlockLayerNormEps, len(m.Labels), want)
		}
		if p := m.Preprocess; p.Size != want.size || p.Mean[0] != want.mean || p.Resize != want.resize || c.InputSize != p.Size {
			t.Errorf("%s: preprocess %+v, want %+v", path, p, want)
		}
		if c.Depths != [4]int{1, 1, 2, 1} || c.Dims != [4]int{12, 24, 36, 48} || c.SampleRates != [4]int{4, 2, 2, 1} || c.PatchSizes != [4]int{4, 2, 2, 2} {
			t.Errorf("%s: configuration %+v", path, c)
		}
	}
}

// edited opens the official tiny checkpoint, or another one, with its tensors
// changed by edit.
func edited(t *testing.T, path string, edit func(map[string]checkpoint.NamedTensor)) (*model.Model, error) {
	t.Helper()
	tensors := map[string]checkpoint.NamedTensor{}
	for _, tensor := range modeltest.Checkpoint(t, path).Tensors {
		data, err := tensor.Float32()
		if err != nil {
			t.Fatal(err)
		}
		tensors[tensor.Name] = checkpoint.NamedTensor{Name: tensor.Name, Shape: tensor.Shape, Data: data}
	}
	edit(tensors)
	var list []checkpoint.NamedTensor
	for name, tensor := range tensors {
		tensor.Name = name
		list = append(list, tensor)
	}
	var b bytes.Buffer
	if err := checkpoint.WriteSafetensors(&b, list, nil); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Read(bytes.NewReader(b.Bytes()), int64(b.Len()), 0)
	if err != nil {
		t.Fatal(err)
	}
	size := 64
	return model.New(f, model.Sidecar{Preprocess: model.PreprocessSettings{Size: &size}})
}

func TestFindings(t *testing.T) {
	type edits = map[string]checkpoint.NamedTensor
	reshape := func(name string, shape ...int) func(edits) {
		return func(e edits) {
			n := 1
			for _, d := range shape {
				n *= d
			}
			e[name] = checkpoint.NamedTensor{Shape: shape, Data: make([]float32, n)}
		}
	}
	remove := func(names ...string) func(edits) {
		return func(e edits) {
			for _, n := range names {
				if _, ok := e[n]; !ok {
					panic("no tensor " + n)
				}
				delete(e, n)
			}
		}
	}
	for _, row := range []struct {
		name, path string
		edit       func(edits)
		want       []string
	}{
		{"several at once", "tiny/official.pth", func(e edits) {
			remove("norm.running_var", "blocks3.1.SelfAttn.attn.qkv.weight")(e)
			reshape("blocks1.0.LocalAgg.conv1.weight", 12, 13, 1, 1)(e)
			reshape("blocks2.0.LocalAgg.extra", 3)(e)
		}, []string{
			"misshapen blocks1.0.LocalAgg.conv1.weight: [12 13 1 1], want [12 12 1 1]",
			"missing blocks3.1.SelfAttn.attn.qkv.weight [108 36]",
			"missing norm.running_var [48]",
			"unexpected blocks2.0.LocalAgg.extra [3]",
		}},
		{"a head without bias", "tiny/official.pth", remove("head.bias"), []string{"missing head.bias [10]"}},
		{"one LocalProp", "tiny/official.pth", remove("blocks1.0.SelfAttn.attn.LocalProp.weight"), []string{"missing blocks1.0.SelfAttn.attn.LocalProp.weight [12 1 4 4]"}},
		{"a patch embedding", "tiny/official.pth", remove("patch_embed2.proj.weight"), []string{"missing patch_embed2.proj.weight [24 12 2 2]"}},
		{"wrong width of a projection", "tiny/official.pth", reshape("patch_embed3.proj.weight", 37, 24, 2, 2), []string{"misshapen patch_embed3.proj.weight: [37 24 2 2], want [36 24 2 2]"}},
		{"a scalar in place of a matrix", "tiny/official.pth", reshape("head.weight", 1), []string{"misshapen head.weight: [1], want [10 48]"}},
		{"easycv names", "tiny/easycv.pth", remove("head.fc_cls.bias", "backbone.norm.bias"), []string{"missing backbone.norm.bias [48]", "missing head.fc_cls.bias [10]"}},
		{"birder names", "tiny-birder/checkpoint.pt", remove("features.0.bias", "body.stage1.blocks.0.self_attn.attn.local_prop.bias"), []string{
			"missing body.stage1.blocks.0.self_attn.attn.local_prop.bias [12]", "missing features.0.bias [48]"}},
		{"1hunters names", "tiny-1hunters/checkpoint.pt", remove("main_body.12.module.qkv.weight", "main_body.14.downsampling_norm.bias"), []string{
			"missing main_body.12.module.qkv.weight [72 24]", "missing main_body.14.downsampling_norm.bias [36]"}},
		{"half a distilled head", "tiny-1hunters-distilled/checkpoint.pt", remove("dist_classifier.bias"), []string{"missing dist_classifier.bias [10]"}},
		{"another network", "tiny/official.pth", func(e edits) {
			clear(e)
			reshape("layer1.0.conv1.weight", 4, 3, 1, 1)(e)
		}, []string{"its 1 tensors (layer1.0.conv1.weight) follow none of the known layouts: official, easycv, 1hunters, birder"}},
		{"a block of another network", "tiny/official.pth", reshape("blocks1.999.SelfAttn.norm1.weight", 12), []string{"unexpected blocks1.999.SelfAttn.norm1.weight [12]"}},
		{"negative variance", "tiny/official.pth", func(e edits) {
			e["norm.running_var"].Data[0] = -1
		}, []string{"norm.running_var has the value -1 at 0"}},
		{"not a number", "tiny/official.pth", func(e edits) {
			e["norm.bias"].Data[3] = float32(math.NaN())
		}, []string{"norm.bias has the value NaN at 3"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := edited(t, row.path, row.edit)
			var invalid *model.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error %v, want an InvalidError", err)
			}
			if !slices.Equal(invalid.Findings, row.want) {
				t.Errorf("findings\n  %s\nwant\n  %s", strings.Join(invalid.Findings, "\n  "), strings.Join(row.want, "\n  "))
			}
		})
	}
}

func TestUnusedBackboneHead(t *testing.T) {
	_, err := edited(t, "tiny/easycv.pth", func(e map[string]checkpoint.NamedTensor) {
		e["backbone.head.weight"] = checkpoint.NamedTensor{Shape: []int{1000, 48}, Data: make([]float32, 48000)}
		for _, name := range []string{"weight", "bias"} { // as EasyCV's Classification names it
			e["head_0.fc_cls."+name] = e["head.fc_cls."+name]
			delete(e, "head.fc_cls."+name)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// TestHeads: 1hunters has 1, 2, 4, 8 heads where its widths are a preset's.
func TestHeads(t *testing.T) {
	for _, row := range []struct {
		dims, want [4]int
	}{
		{[4]int{36, 72, 144, 288}, [4]int{1, 2, 4, 8}},
		{[4]int{48, 96, 240, 384}, [4]int{1, 2, 4, 8}}, // dim / dims[0] is 5 in stage 3
		{[4]int{24, 48, 120, 192}, [4]int{1, 2, 5, 8}},
	} {
		c := model.Config{
			Layout: "1hunters", InputSize: 64, Classes: 2, Depths: [4]int{1, 1, 1, 1}, Dims: row.dims, Heads: [4]int{1, 1, 1, 1},
			SampleRates: [4]int{4, 2, 2, 1}, PatchSizes: [4]int{4, 2, 2, 2}, MLPHidden: [4]int{8, 8, 8, 8},
			BlockLayerNormEps: 1e-6, LayerNormEps: 1e-5, BatchNormEps: 1e-5,
			Variation: model.Variation{HeadBias: true, LocalAggKernel: 3, LocalAggMidNorm: true, EveryStage: true, GroupNorm: true, NoPreNorm: true, UnscaledAttention: true},
		}
		m, err := model.New(hunters(t, c), model.Sidecar{})
		if err != nil {
			t.Fatal(err)
		}
		if m.Config.Heads != row.want {
			t.Errorf("dims %v: heads %v, want %v", row.dims, m.Config.Heads, row.want)
		}
		m, err = model.New(hunters(t, c), model.Sidecar{Config: model.ConfigSettings{Heads: []int{2, 2, 2, 2}}})
		if err != nil || m.Config.Heads != [4]int{2, 2, 2, 2} {
			t.Errorf("dims %v with heads set to 2: %v, %v", row.dims, m.Config.Heads, err)
		}
	}
}

// hunters writes random weights of c under the names of 1hunters/EdgeViT.
func hunters(t *testing.T, c model.Config) *checkpoint.File {
	t.Helper()
	m, err := model.NewRandom("hunters", c, 1)
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string][2]string{
		"LocalAgg.pos_embed": {"1", "conditional_ositional_encoding"},
		"LocalAgg.norm1":     {"2", "pointwise_prenorm_0"}, "LocalAgg.conv1": {"2", "pointwise_conv_0"}, "LocalAgg.attn": {"2", "depthwise_conv"},
		"LocalAgg.mid_norm": {"2", "pointwise_prenorm_1"}, "LocalAgg.conv2": {"2", "pointwise_conv_1"},
		"LocalAgg.mlp.fc1": {"3", "mlp_layer_0"}, "LocalAgg.mlp.fc2": {"3", "mlp_layer_1"},
		"SelfAttn.pos_embed": {"4", "conditional_ositional_encoding"},
		"SelfAttn.attn.qkv":  {"5", "qkv"}, "SelfAttn.attn.LocalProp": {"5", "local_prop"}, "SelfAttn.attn.norm": {"5", "norm"}, "SelfAttn.attn.proj": {"5", "proj"},
		"SelfAttn.mlp.fc1": {"6", "mlp_layer_0"}, "SelfAttn.mlp.fc2": {"6", "mlp_layer_1"},
	}
	var list []checkpoint.NamedTensor
	for _, n := range m.Graph.Nodes {
		for _, p := range n.Params() {
			var stage, offset int
			var name string
			switch {
			case n.Name == "head":
				name = "classifier." + p.Name
			case strings.HasPrefix(n.Name, "patch_embed"):
				fmt.Sscanf(n.Name, "patch_embed%d", &stage)
				kind := map[bool]string{true: "conv", false: "norm"}[strings.HasSuffix(n.Name, "proj")]
				name = fmt.Sprintf("main_body.%d.downsampling_%s.%s", (stage-1)*7, kind, p.Name)
			default:
				fmt.Sscanf(n.Name, "blocks%d", &stage)
				place, ok := modules[n.Name[len("blocks1.0."):]]
				if !ok {
					t.Fatalf("no name for %s", n.Name)
				}
				fmt.Sscan(place[0], &offset)
				name = fmt.Sprintf("main_body.%d.module.%s.%s", (stage-1)*7+offset, place[1], p.Name)
			}
			shape := p.Shape
			if len(shape) == 2 && n.Name != "head" {
				shape = append(slices.Clone(shape), 1, 1)
			}
			list = append(list, checkpoint.NamedTensor{Name: name, Shape: shape, Data: n.Weight(p.Name)})
		}
	}
	var b bytes.Buffer
	if err := checkpoint.WriteSafetensors(&b, list, nil); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Read(bytes.NewReader(b.Bytes()), int64(b.Len()), 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestSafetensorsRoundTrip: every layout, written and read again, is the same
// model.
func TestSafetensorsRoundTrip(t *testing.T) {
	for _, g := range modeltest.Goldens(t) {
		var b bytes.Buffer
		if err := g.Model.WriteSafetensors(&b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "Again (1).safetensors")
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := model.Open(path, model.Sidecar{})
		if err != nil {
			t.Fatalf("%s: %v", g.Name, err)
		}
		if m.Hash != g.Model.Hash || m.Config != g.Model.Config || m.Preprocess != g.Model.Preprocess || !slices.Equal(m.Labels, g.Model.Labels) {
			t.Errorf("%s: read again it is %s %+v %+v, want %s %+v %+v", g.Name, m.Hash, m.Config, m.Preprocess, g.Model.Hash, g.Model.Config, g.Model.Preprocess)
		}
		if m.Name != "again--1-" {
			t.Errorf("served as %q, want again--1-", m.Name)
		}
	}
}

// TestHash: the names in the file do not matter, a weight and a setting do.
func TestHash(t *testing.T) {
	g := modeltest.Goldens(t)
	if g[0].Model.Hash != g[1].Model.Hash || g[0].Model.Hash != g[2].Model.Hash {
		t.Error("the same weights in three files have different hashes")
	}
	if g[0].Model.Hash == g[3].Model.Hash { // another epsilon
		t.Error("two epsilons have one hash")
	}
	nudged, err := edited(t, "tiny/official.pth", func(e map[string]checkpoint.NamedTensor) { e["head.bias"].Data[0] += 1e-6 })
	if err != nil || nudged.Hash == g[0].Model.Hash {
		t.Errorf("a changed weight has the same hash, %v", err)
	}
}

func writeFiles(t *testing.T, sidecar string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "net.pth")
	if err := os.WriteFile(path, modeltest.Bytes(t, "tiny/official.pth"), 0o644); err != nil {
		t.Fatal(err)
	}
	if sidecar != "" {
		if err := os.WriteFile(strings.TrimSuffix(path, ".pth")+".json", []byte(sidecar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestSidecar(t *testing.T) {
	labels := `["a","b","c","d","e","f","g","h","i","j"]`
	for _, row := range []struct{ name, sidecar, finding, note string }{
		{"none", "", "", ""},
		{"all", `{"name":"n","labels":` + labels + `,"preprocess":{"size":64,"crop_ratio":1,"filter":"bilinear","mean":[0,0,0],"std":[1,1,1]},"config":{"heads":[1,2,3,4],"block_layer_norm_eps":1e-8,"layer_norm_eps":1e-4,"batch_norm_eps":1e-3},"note":"x"}`, "", ""},
		{"unknown field", `{"preproces":{"size":64}}`, "", `unknown field "preproces"`},
		{"not JSON", `{"labels":`, "unexpected end of JSON", ""},
		{"too few labels", `{"labels":["a"]}`, "1 labels for 10 classes", ""},
		{"size that does not fit", `{"preprocess":{"size":100}}`, "input size 100: stage 1 would sample every 4 of a side of 25", ""},
		{"size of nothing", `{"preprocess":{"size":0}}`, "input size 0 is outside", ""},
		{"huge size", `{"preprocess":{"size":1000000}}`, "input size 1000000 is outside", ""},
		{"filter", `{"preprocess":{"filter":"nicest"}}`, "nicest", ""},
		{"std of zero", `{"preprocess":{"std":[1,0,1]}}`, "positive std", ""},
		{"crop ratio", `{"preprocess":{"crop_ratio":-1}}`, "crop_ratio", ""},
		{"heads that do not divide", `{"config":{"heads":[1,2,3,5]}}`, "5 heads do not divide the 48 channels of stage 4", ""},
		{"three heads", `{"config":{"heads":[1,2,3]}}`, "3 values", ""},
		{"negative eps", `{"config":{"layer_norm_eps":-1}}`, "layer_norm_eps", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			m, err := model.Open(writeFiles(t, row.sidecar), model.Sidecar{})
			if row.finding != "" {
				var invalid *model.InvalidError
				if !errors.As(err, &invalid) || !strings.Contains(err.Error(), row.finding) {
					t.Errorf("error %v, want an InvalidError that says %q", err, row.finding)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(m.Notes, "\n"); row.note != "" && !strings.Contains(got, row.note) || row.note == "" && got != "" {
				t.Errorf("notes %q, want %q", got, row.note)
			}
			if row.name != "all" {
				return
			}
			if m.Name != "net" || m.Title != "n" || m.Label(9) != "j" || m.Config.BlockLayerNormEps != 1e-8 || m.Config.LayerNormEps != 1e-4 || m.Config.BatchNormEps != 1e-3 {
				t.Errorf("the sidecar's settings became %q %q %+v", m.Name, m.Title, m.Config)
			}
			want := model.Preprocess{Size: 64, Resize: "shorter_side", CropRatio: 1, Filter: "bilinear", Std: [3]float64{1, 1, 1}}
			if m.Preprocess != want {
				t.Errorf("preprocess %+v, want %+v", m.Preprocess, want)
			}
		})
	}
}

// TestHostileMetadata: a configuration in a file is checked like any other.
func TestHostileMetadata(t *testing.T) {
	good := `{"version":1,"config":{"layout":"official","input_size":64,"classes":10,"depths":[1,1,2,1],"dims":[12,24,36,48],"heads":[1,2,3,4],"sample_rates":[4,2,2,1],"patch_sizes":[4,2,2,2],"mlp_hidden":[48,96,144,192],"block_layer_norm_eps":1e-6,"layer_norm_eps":1e-5,"batch_norm_eps":1e-5,"head_bias":true,"qkv_bias":true,"conv_bias":true,"local_agg_kernel":5},"preprocess":{"size":64,"resize":"squash","crop_ratio":1,"filter":"bicubic","mean":[0,0,0],"std":[1,1,1]}}`
	var tensors []checkpoint.NamedTensor
	for _, tensor := range modeltest.Checkpoint(t, "tiny/official.pth").Tensors {
		data, err := tensor.Float32()
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, checkpoint.NamedTensor{Name: tensor.Name, Shape: tensor.Shape, Data: data})
	}
	for _, row := range []struct{ name, from, to, finding string }{
		{"nothing", "", "", ""},
		{"not JSON", `"version":1`, `"version":`, "metadata edgevit"},
		{"another version", `"version":1`, `"version":2`, "version 2"},
		{"absurd depths", `[1,1,2,1]`, `[1000,1000,1000,1000]`, "more blocks than the file has tensors"},
		{"no depth", `[1,1,2,1]`, `[0,1,2,1]`, "config.depths is 0"},
		{"negative eps", `"layer_norm_eps":1e-5`, `"layer_norm_eps":-5`, "config.layer_norm_eps is -5"},
		{"unknown layout", `"official"`, `"nosuch"`, `config.layout is "nosuch"`},
		{"huge mean", `[0,0,0]`, `[1e308,0,0]`, "preprocess.mean"},
		{"huge kernel", `"local_agg_kernel":5`, `"local_agg_kernel":4000`, "config.local_agg_kernel"},
		{"wrong widths", `[12,24,36,48]`, `[12,24,36,52]`, "misshapen"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var b bytes.Buffer
			text := strings.Replace(good, row.from, row.to, 1)
			if err := checkpoint.WriteSafetensors(&b, tensors, map[string]string{"edgevit": text}); err != nil {
				t.Fatal(err)
			}
			f, err := checkpoint.Read(bytes.NewReader(b.Bytes()), int64(b.Len()), 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = model.New(f, model.Sidecar{})
			if row.finding == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			var invalid *model.InvalidError
			if row.finding != "" && (!errors.As(err, &invalid) || !strings.Contains(err.Error(), row.finding)) {
				t.Errorf("error %v, want an InvalidError that says %q", err, row.finding)
			}
		})
	}
}

func TestSettingsWinOverSidecar(t *testing.T) {
	size := 128
	m, err := model.Open(writeFiles(t, `{"preprocess":{"size":64,"crop_ratio":1}}`), model.Sidecar{Preprocess: model.PreprocessSettings{Size: &size}})
	if err != nil {
		t.Fatal(err)
	}
	if m.Preprocess.Size != 128 || m.Preprocess.CropRatio != 1 || m.Graph.Input() != (graph.Shape{H: 128, W: 128, C: 3}) {
		t.Errorf("preprocess %+v, input %v", m.Preprocess, m.Graph.Input())
	}
}

func TestTop(t *testing.T) {
	m := &model.Model{Labels: []string{"a", "b"}}
	got := m.Top([]float32{1, 3, 3}, 2)
	if len(got) != 2 || got[0].Index != 1 || got[0].Label != "b" || got[1].Index != 2 || got[1].Label != "class 2" {
		t.Errorf("top two of 1, 3, 3 are %+v", got)
	}
	if want := 1 / (2 + math.Exp(-2)); math.Abs(got[0].Probability-want) > 1e-12 || got[0].Logit != 3 {
		t.Errorf("the first has probability %v, want %v", got[0].Probability, want)
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"B.pth", "a.safetensors", "notes.txt", "c.PT"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := model.List(dir)
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	if err != nil || strings.Join(names, " ") != "b a c" {
		t.Errorf("listed %v, %v", names, err)
	}
	if files, err := model.List(filepath.Join(dir, "nowhere")); files != nil || err != nil {
		t.Errorf("a missing folder lists %v, %v, want nothing", files, err)
	}
}

func TestDemo(t *testing.T) {
	m, err := demo.Model()
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "demo" || len(m.Labels) != 10 || m.Parameters() != 1_694_506 || m.Preprocess.Size != 64 {
		t.Errorf("the demo model is %s with %d labels, %d parameters, %d pixels", m.Name, len(m.Labels), m.Parameters(), m.Preprocess.Size)
	}
}

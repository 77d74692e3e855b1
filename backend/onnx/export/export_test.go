package export_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"edgevit/backend/onnx/export"
	"edgevit/backend/onnx/export/internal/onnxpb"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

func write(t *testing.T, g *graph.Graph, o export.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := export.Write(&b, g, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func parse(t *testing.T, file []byte) *onnxpb.ModelProto {
	t.Helper()
	var m onnxpb.ModelProto
	if err := proto.Unmarshal(file, &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

// The operations of the fastest formulation. A change here is one of speed:
// measure it, and change Version.
func TestFormulation(t *testing.T) {
	m, err := model.Random("xxs")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, n := range parse(t, write(t, m.Graph, export.Options{Batch: 1})).Graph.Node {
		got[n.GetOpType()]++
	}
	want := map[string]int{
		// 12 depthwise 3x3 and 5 depthwise 5x5 (LocalAgg), the 5 x 4 products of
		// LocalAgg, the first patch embedding.
		"Conv": 12 + 5 + 5*4 + 1,
		// The other patch embeddings, the head, 4 products per attention block,
		// 2 in each attention.
		"MatMul": 3 + 1 + 7*4 + 7*2,
		// A bias per product with a weight, 2 residuals per attention block and
		// LocalAgg, the bias of a LocalProp.
		"Add":                32 + 7*2 + 5*2 + 5,
		"LayerNormalization": 4 + 7*2 + 5,
		"Gelu":               12,
		"Softmax":            7,
		"Split":              7,
		"Slice":              5,
		"Mul":                5,
		"ReduceMean":         1,
		// Channels first for 5 LocalAgg and 2 blocks without one, last for what
		// follows them and the first patch embedding; 4 per attention; 1 per other
		// patch embedding.
		"Transpose": 5 + 2 + 7 + 1 + 7*4 + 3,
		"Reshape":   7*4 + 5*2 + 3*2 + 1,
	}
	for _, kind := range union(got, want) {
		if got[kind] != want[kind] {
			t.Errorf("%d %s, want %d", got[kind], kind, want[kind])
		}
	}
}

func union(a, b map[string]int) []string {
	var keys []string
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func TestFileDescribesItself(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	in := g.Input()
	for _, row := range []struct {
		name    string
		options export.Options
		input   string
		outputs int
	}{
		{"any batch", export.Options{}, fmt.Sprintf("input[batch %d %d %d]", in.C, in.H, in.W), 1},
		{"batch of 4", export.Options{Batch: 4}, fmt.Sprintf("input[4 %d %d %d]", in.C, in.H, in.W), 1},
		{"all outputs", export.Options{AllOutputs: true}, fmt.Sprintf("input[batch %d %d %d]", in.C, in.H, in.W), len(g.Nodes)},
		{"metadata", export.Options{Metadata: map[string]string{"model_hash": "abc", "labels": "[\"ant\",\"bee\"]"}}, fmt.Sprintf("input[batch %d %d %d]", in.C, in.H, in.W), 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := write(t, g, row.options)
			if !bytes.Equal(file, write(t, g, row.options)) {
				t.Error("two exports differ")
			}
			m := parse(t, file)
			if got := signature(m.Graph.Input[0]); len(m.Graph.Input) != 1 || got != row.input {
				t.Errorf("the input is %s, want %s", got, row.input)
			}
			if len(m.Graph.Output) != row.outputs || m.Graph.Output[0].GetName() != export.OutputName {
				t.Errorf("%d outputs, the first %s, want %d and %s", len(m.Graph.Output), m.Graph.Output[0].GetName(), row.outputs, export.OutputName)
			}
			got := map[string]string{}
			for _, p := range m.MetadataProps {
				got[p.GetKey()] = p.GetValue()
			}
			if fmt.Sprint(got) != fmt.Sprint(row.options.Metadata) {
				t.Errorf("the metadata is %v, want %v", got, row.options.Metadata)
			}
		})
	}
}

func signature(v *onnxpb.ValueInfoProto) string {
	var dims []string
	for _, d := range v.GetType().GetTensorType().GetShape().GetDim() {
		if name := d.GetDimParam(); name != "" {
			dims = append(dims, name)
			continue
		}
		dims = append(dims, fmt.Sprint(d.GetDimValue()))
	}
	return v.GetName() + "[" + strings.Join(dims, " ") + "]"
}

// Every value and weight is named after a node of the graph, once.
func TestNames(t *testing.T) {
	for _, golden := range modeltest.Goldens(t) {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/all=%v", golden.Name, all), func(t *testing.T) {
				g := golden.Model.Graph
				m := parse(t, write(t, g, export.Options{AllOutputs: all}))
				seen := map[string]bool{export.InputName: true}
				check := func(value string) {
					if seen[value] {
						t.Errorf("two values are named %s", value)
					}
					seen[value] = true
					if value == export.OutputName || strings.HasPrefix(value, "constant[") {
						return
					}
					node, _, _ := strings.Cut(value, "/")
					if g.Find(node) == nil && g.Find(node[:strings.LastIndexByte(node, '.')]) == nil {
						t.Errorf("the value %s is named after no node", value)
					}
				}
				for _, w := range m.Graph.Initializer {
					check(w.GetName())
				}
				for _, n := range m.Graph.Node {
					for _, in := range n.Input {
						if !seen[in] {
							t.Errorf("%s reads %s before it is made", n.GetName(), in)
						}
					}
					for _, out := range n.Output {
						check(out)
					}
				}
				for _, n := range g.Nodes[1:] {
					if all && !slices.ContainsFunc(m.Graph.Output, func(v *onnxpb.ValueInfoProto) bool { return v.GetName() == export.ValueName(n) }) {
						t.Errorf("%s is not an output", n.Name)
					}
				}
			})
		}
	}
}

// Writing leaves the graph as it was, whatever is folded.
func TestTheGraphIsNotChanged(t *testing.T) {
	g, same := modeltest.Tiny(t).Model.Graph, modeltest.Tiny(t).Model.Graph
	write(t, g, export.Options{})
	for i, n := range g.Nodes {
		for name, w := range n.Weights {
			if !slices.Equal(w.Data, same.Nodes[i].Weights[name].Data) {
				t.Errorf("%s.%s has changed", n.Name, name)
			}
		}
	}
}

func TestMissingWeight(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	delete(g.Find("blocks2.0.LocalAgg.conv1").Weights, "bias")
	err := export.Write(&bytes.Buffer{}, g, export.Options{})
	if !errors.Is(err, graph.ErrInvalid) || !strings.Contains(err.Error(), "blocks2.0.LocalAgg.conv1.bias") {
		t.Errorf("Write returns %v, want ErrInvalid and the tensor's name", err)
	}
}

// TestByOthers has the ONNX project's checker and ONNX Runtime's Python module
// judge the files. EDGEVIT_PYTHON names a Python with testdata/requirements.txt
// installed.
func TestByOthers(t *testing.T) {
	python := os.Getenv("EDGEVIT_PYTHON")
	if python == "" {
		t.Skip("EDGEVIT_PYTHON names no Python with testdata/requirements.txt installed")
	}
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import onnx, onnxruntime").CombinedOutput(); err != nil {
		t.Fatalf("%s lacks testdata/requirements.txt: %v\n%s", python, err, out)
	}
	type testCase struct {
		File   string `json:"file"`
		Input  string `json:"input"`
		Logits string `json:"logits"`
		Shape  [4]int `json:"shape"`
		Batch  int    `json:"batch"`
	}
	dir := t.TempDir()
	save := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var cases []testCase
	for i, golden := range modeltest.Goldens(t) {
		g := golden.Model.Graph
		in, n := g.Input(), len(golden.Input)/g.Input().Len()
		planes := make([]float32, len(golden.Input))
		for image := range n {
			for j := range in.Len() {
				planes[image*in.Len()+j%in.C*in.H*in.W+j/in.C] = golden.Input[image*in.Len()+j]
			}
		}
		name := fmt.Sprintf("%d-%s", i, strings.ReplaceAll(golden.Name, "/", "-"))
		save(name+".input", raw(t, planes))
		save(name+".logits", raw(t, golden.Logits))
		for kind, o := range map[string]export.Options{"": {}, "-single": {Batch: 1}, "-trace": {AllOutputs: true}} {
			save(name+kind+".onnx", write(t, g, o))
			cases = append(cases, testCase{name + kind + ".onnx", name + ".input", name + ".logits", [4]int{n, in.C, in.H, in.W}, o.Batch})
		}
	}
	list, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	save("cases.json", list)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "testdata/check.py", dir).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

func raw(t *testing.T, data []float32) []byte {
	t.Helper()
	b, err := binary.Append(nil, binary.LittleEndian, data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

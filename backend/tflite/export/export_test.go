package export

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"edgevit/backend/tflite/export/internal/schema"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

func write(t *testing.T, g *graph.Graph, o Options) *schema.Model {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, g, o); err != nil {
		t.Fatal(err)
	}
	if !schema.ModelBufferHasIdentifier(b.Bytes()) {
		t.Fatalf("the file starts with %q", b.Bytes()[:8])
	}
	return schema.GetRootAsModel(b.Bytes(), 0)
}

func subgraph(t *testing.T, m *schema.Model) *schema.SubGraph {
	t.Helper()
	var g schema.SubGraph
	if m.Version() != 3 || m.SubgraphsLength() != 1 || !m.Subgraphs(&g, 0) {
		t.Fatalf("version %d, %d subgraphs, want version 3, one", m.Version(), m.SubgraphsLength())
	}
	return &g
}

func tensorAt(t *testing.T, g *schema.SubGraph, i int32) (name string, shape []int) {
	t.Helper()
	var x schema.Tensor
	if !g.Tensors(&x, int(i)) {
		t.Fatalf("no tensor %d", i)
	}
	for j := range x.ShapeLength() {
		shape = append(shape, int(x.Shape(j)))
	}
	return string(x.Name()), shape
}

func TestInterface(t *testing.T) {
	m, err := model.Random("xxs")
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range []int{1, 5} {
		g := subgraph(t, write(t, m.Graph, Options{Batch: batch}))
		if g.InputsLength() != 1 || g.OutputsLength() != 1 {
			t.Fatalf("%d inputs, %d outputs, want one each", g.InputsLength(), g.OutputsLength())
		}
		name, shape := tensorAt(t, g, g.Inputs(0))
		if name != InputName || !slices.Equal(shape, []int{batch, 224, 224, 3}) {
			t.Errorf("the input is %s %v", name, shape)
		}
		name, shape = tensorAt(t, g, g.Outputs(0))
		if name != OutputName || !slices.Equal(shape, []int{batch, 1000}) {
			t.Errorf("the output is %s %v", name, shape)
		}
	}
}

// TestWellFormed walks every file as a reader would: no tensor has more than
// four axes, each is computed once and before its use, buffers hold what the shape
// says, at multiples of 16 bytes.
func TestWellFormed(t *testing.T) {
	for _, golden := range modeltest.Goldens(t) {
		for _, o := range []Options{{Batch: 1}, {Batch: 3}, {Batch: 1, AllOutputs: true}} {
			var b bytes.Buffer
			if err := Write(&b, golden.Model.Graph, o); err != nil {
				t.Fatal(err)
			}
			data := b.Bytes()
			m := schema.GetRootAsModel(data, 0)
			g := subgraph(t, m)
			known := make([]bool, g.TensorsLength())
			for i := range known {
				var x schema.Tensor
				g.Tensors(&x, i)
				if x.ShapeLength() > 4 {
					t.Errorf("%s %+v: %s has %d axes", golden.Name, o, x.Name(), x.ShapeLength())
				}
				size := 4
				for j := range x.ShapeLength() {
					size *= int(x.Shape(j))
				}
				var buffer schema.Buffer
				m.Buffers(&buffer, int(x.Buffer()))
				content := buffer.DataBytes()
				if x.Buffer() == 0 {
					if len(content) != 0 {
						t.Fatalf("%s: buffer 0 has content", golden.Name)
					}
					continue
				}
				known[i] = true
				if len(content) != size {
					t.Errorf("%s: %s has %d bytes, want %d", golden.Name, x.Name(), len(content), size)
				}
				if at := cap(data) - cap(content); at%alignment != 0 {
					t.Errorf("%s: %s is at %d", golden.Name, x.Name(), at)
				}
			}
			known[g.Inputs(0)] = true
			for i := range g.OperatorsLength() {
				var op schema.Operator
				g.Operators(&op, i)
				for j := range op.InputsLength() {
					if !known[op.Inputs(j)] {
						name, _ := tensorAt(t, g, op.Inputs(j))
						t.Errorf("%s: operator %d reads %s, which is not yet computed", golden.Name, i, name)
					}
				}
				if known[op.Outputs(0)] {
					t.Errorf("%s: operator %d computes a tensor again", golden.Name, i)
				}
				known[op.Outputs(0)] = true
			}
			for i, k := range known {
				if !k {
					name, _ := tensorAt(t, g, int32(i))
					t.Errorf("%s: nothing computes %s", golden.Name, name)
				}
			}
		}
	}
}

func TestAllOutputs(t *testing.T) {
	source := modeltest.Tiny(t).Model.Graph
	g := subgraph(t, write(t, source, Options{Batch: 2, AllOutputs: true}))
	if g.OutputsLength() != len(source.Nodes)-1 {
		t.Fatalf("%d outputs, want %d", g.OutputsLength(), len(source.Nodes)-1)
	}
	for i, n := range source.Nodes[1:] {
		name, shape := tensorAt(t, g, g.Outputs(i))
		if want := []int{2, n.Shape.H, n.Shape.W, n.Shape.C}; name != n.Name || !slices.Equal(shape, want) {
			t.Errorf("output %d is %s %v, want %s %v", i, name, shape, n.Name, want)
		}
	}
}

func TestMetadata(t *testing.T) {
	want := map[string]string{"model": "0123", "labels": "cat\ndog", "empty": ""}
	m := write(t, modeltest.Tiny(t).Model.Graph, Options{Batch: 1, Metadata: want})
	got := map[string]string{}
	for i := range m.MetadataLength() {
		var entry schema.Metadata
		var buffer schema.Buffer
		m.Metadata(&entry, i)
		m.Buffers(&buffer, int(entry.Buffer()))
		got[string(entry.Name())] = string(buffer.DataBytes())
	}
	if len(got) != len(want) {
		t.Errorf("metadata %v", got)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("metadata %s is %q, want %q", k, got[k], v)
		}
	}
}

func TestSameBytesTwice(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	o := Options{Batch: 1, Metadata: map[string]string{"a": "1", "b": "2", "c": "3"}}
	var first, second bytes.Buffer
	if err := errors.Join(Write(&first, g, o), Write(&second, g, o)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two files of one graph differ")
	}
}

// TestGraphStaysAsItIs: folding works on copies.
func TestGraphStaysAsItIs(t *testing.T) {
	g := modeltest.Tiny(t).Model.Graph
	before := map[string][]float32{}
	for _, n := range g.Nodes {
		for name, w := range n.Weights {
			before[n.Name+"."+name] = slices.Clone(w.Data)
		}
	}
	write(t, g, Options{Batch: 1})
	for _, n := range g.Nodes {
		for name, w := range n.Weights {
			if !slices.Equal(before[n.Name+"."+name], w.Data) {
				t.Errorf("Write changed %s.%s", n.Name, name)
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	image := graph.Shape{H: 4, W: 4, C: 3}
	build := func(add func(graph.Builder, *graph.Node)) *graph.Graph {
		b, x := graph.NewBuilder(image)
		add(b, x)
		g, err := b.Graph()
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	pool := build(func(b graph.Builder, x *graph.Node) { b.Add("pool", graph.MeanPool{}, x) })
	for _, row := range []struct {
		name  string
		graph *graph.Graph
		batch int
		err   string
	}{
		{"no images", pool, 0, "batch of 0"},
		{"negative batch", pool, -1, "batch of -1"},
		{"no logits", build(func(b graph.Builder, x *graph.Node) { b.Add("gelu", graph.GELU{}, x) }), 1, "one pixel of logits"},
		{"no operation", build(func(graph.Builder, *graph.Node) {}), 1, "one pixel of logits"},
		{"no weights", build(func(b graph.Builder, x *graph.Node) {
			b.Add("head", graph.Conv{Out: 2, Kernel: 4, Stride: 1, Groups: 1}, x)
		}), 1, "head.weight"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var b bytes.Buffer
			err := Write(&b, row.graph, Options{Batch: row.batch})
			if err == nil || !strings.Contains(err.Error(), row.err) || b.Len() > 0 {
				t.Errorf("error %v after %d bytes, want one that says %q", err, b.Len(), row.err)
			}
		})
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteFails(t *testing.T) {
	if err := Write(failing{}, modeltest.Tiny(t).Model.Graph, Options{Batch: 1}); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("error %v, want the writer's", err)
	}
}

// TestFolds counts the operators of XXS: what is folded has none.
func TestFolds(t *testing.T) {
	m, err := model.Random("xxs")
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, m.Graph, Options{Batch: 1})
	g := subgraph(t, file)
	got := map[schema.BuiltinOperator]int{}
	for i := range g.OperatorsLength() {
		var op schema.Operator
		var code schema.OperatorCode
		g.Operators(&op, i)
		file.OperatorCodes(&code, int(op.OpcodeIndex()))
		got[code.BuiltinCode()]++
	}
	// XXS has 7 blocks, 5 of them with sampling, LocalAgg and LocalProp.
	for code, want := range map[schema.BuiltinOperator]int{
		schema.BuiltinOperatorCONV_2D:           4,                      // patches
		schema.BuiltinOperatorDEPTHWISE_CONV_2D: 5*2 + 7,                // residuals are in the kernels
		schema.BuiltinOperatorFULLY_CONNECTED:   5*4 + 7*3 + 7*3 + 1,    // LocalAgg; qkv; proj and MLP; head
		schema.BuiltinOperatorCONCATENATION:     5,                      // LocalProp
		schema.BuiltinOperatorRSQRT:             4 + 7*2 + 5,            // norms
		schema.BuiltinOperatorSUB:               7*2 + 5,                // patch norms are centred
		schema.BuiltinOperatorMEAN:              4 + 2*(7*2+5) + 1,      // norms, pool
		schema.BuiltinOperatorADD:               5*2 + 7*2 + 23 + 4 + 5, // residuals, eps, patch norms, LocalProp
	} {
		if got[code] != want {
			t.Errorf("%d %v, want %d", got[code], code, want)
		}
	}
}

// FuzzWrite writes single convolutions of any configuration: an error or a
// file, never a panic.
func FuzzWrite(f *testing.F) {
	f.Add(uint8(7), uint8(6), uint8(4), uint8(3), uint8(1), uint8(1), uint8(1))
	f.Add(uint8(8), uint8(4), uint8(8), uint8(5), uint8(1), uint8(2), uint8(4))
	f.Add(uint8(9), uint8(4), uint8(8), uint8(3), uint8(2), uint8(1), uint8(2))
	f.Fuzz(func(t *testing.T, side, in, out, kernel, stride, pad, groups uint8) {
		b, x := graph.NewBuilder(graph.Shape{H: int(side % 32), W: int(side % 32), C: int(in % 32)})
		x = b.Add("conv", graph.Conv{Out: int(out % 32), Kernel: int(kernel % 8), Stride: int(stride % 8), Pad: int(pad % 8), Groups: int(groups % 32)}, x)
		b.Add("pool", graph.MeanPool{}, x)
		g, err := b.Graph()
		if err != nil {
			return
		}
		rng := rand.New(rand.NewPCG(1, 2))
		for _, n := range g.Nodes {
			n.Weights = map[string]graph.Tensor{}
			for _, p := range n.Params() {
				size := 1
				for _, d := range p.Shape {
					size *= d
				}
				data := make([]float32, size)
				for i := range data {
					data[i] = rng.Float32()
				}
				n.Weights[p.Name] = graph.Tensor{Shape: p.Shape, Data: data}
			}
		}
		if err := Write(&bytes.Buffer{}, g, Options{Batch: 1}); err != nil {
			t.Errorf("a graph that could be built: %v", err)
		}
	})
}

package backendtest

import (
	"math/rand/v2"
	"testing"

	"edgevit/graph"
)

// opCase is one operation between a convolution and a head.
type opCase struct {
	name string
	side int
	in   int // channels that the operation reads
	op   graph.Op
}

var opCases = []opCase{
	{"Conv 1x1", 7, 5, graph.Conv{Out: 9, Kernel: 1, Stride: 1, Groups: 1, Bias: true}},
	{"Conv 1x1 without bias", 7, 5, graph.Conv{Out: 9, Kernel: 1, Stride: 1, Groups: 1, Linear: true}},
	{"Conv patches of 4", 12, 6, graph.Conv{Out: 8, Kernel: 4, Stride: 4, Groups: 1, Bias: true}},
	{"Conv 3x3 with padding", 6, 4, graph.Conv{Out: 5, Kernel: 3, Stride: 1, Pad: 1, Groups: 1, Bias: true}},
	{"Conv depthwise 3x3", 9, 10, graph.Conv{Out: 10, Kernel: 3, Stride: 1, Pad: 1, Groups: 10, Bias: true}},
	{"Conv depthwise 5x5", 8, 36, graph.Conv{Out: 36, Kernel: 5, Stride: 1, Pad: 2, Groups: 36, Bias: true}},
	{"Conv depthwise larger than the map", 2, 3, graph.Conv{Out: 3, Kernel: 5, Stride: 1, Pad: 2, Groups: 3}},
	{"Deconv 4", 3, 12, graph.Deconv{Kernel: 4}},
	{"Deconv 1", 3, 12, graph.Deconv{Kernel: 1}},
	{"Subsample 3", 9, 4, graph.Subsample{Stride: 3}},
	{"BatchNorm", 5, 7, graph.BatchNorm{Eps: 1e-5}},
	{"LayerNorm", 5, 17, graph.LayerNorm{Eps: 1e-6}},
	{"LayerNorm with a large eps", 5, 17, graph.LayerNorm{Eps: 0.5}},
	{"GroupNorm", 5, 6, graph.GroupNorm{Eps: 1e-5}},
	{"GELU", 6, 16, graph.GELU{}},
	{"Attention of one head", 4, 24, graph.Attention{Heads: 1, Scale: 0.35}},
	{"Attention of three heads", 5, 45, graph.Attention{Heads: 3, Scale: 1}},
	{"Add", 6, 8, graph.Add{}},
	{"MeanPool", 7, 5, graph.MeanPool{}},
}

// graph builds input → 1x1 convolution → operation → pool → head. The
// operation's input is used twice where it has two inputs.
func (c opCase) graph(t *testing.T) *graph.Graph {
	t.Helper()
	b, x := graph.NewBuilder(graph.Shape{H: c.side, W: c.side, C: 3})
	x = b.Add("before", graph.Conv{Out: c.in, Kernel: 1, Stride: 1, Groups: 1, Bias: true}, x)
	switch c.op.(type) {
	case graph.Add:
		x = b.Add("op", c.op, x, b.Add("other", graph.GELU{}, x))
	default:
		x = b.Add("op", c.op, x)
	}
	if x.Shape.H*x.Shape.W > 1 {
		x = b.Add("pool", graph.MeanPool{}, x)
	}
	b.Add("head", graph.Conv{Out: 6, Kernel: 1, Stride: 1, Groups: 1, Bias: true, Linear: true}, x)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(11, uint64(c.in)))
	for _, n := range g.Nodes {
		n.Weights = map[string]graph.Tensor{}
		for _, p := range n.Params() {
			size := 1
			for _, d := range p.Shape {
				size *= d
			}
			data := make([]float32, size)
			for i := range data {
				if data[i] = float32(rng.NormFloat64()); p.Name == "running_var" {
					data[i] = data[i]*data[i] + 0.1
				}
			}
			n.Weights[p.Name] = graph.Tensor{Shape: p.Shape, Data: data}
		}
	}
	return g
}

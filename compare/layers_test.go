package compare

import (
	"math"
	"strings"
	"testing"

	"edgevit/backend"
	"edgevit/graph"
)

// chain is a graph of four nodes: image, a, b, c.
func chain(t *testing.T) *graph.Graph {
	t.Helper()
	b, x := graph.NewBuilder(graph.Shape{H: 1, W: 2, C: 3})
	for _, name := range []string{"a", "b", "c"} {
		x = b.Add(name, graph.GELU{}, x)
	}
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// trace gives every node of g the values 1..6, changed by edit.
func trace(g *graph.Graph, edit func(node string, n *backend.NodeTrace)) []backend.NodeTrace {
	var all []backend.NodeTrace
	for _, node := range g.Nodes {
		n := backend.NodeTrace{Node: node.Name, Output: []float32{1, 2, 3, 4, 5, 6}}
		if edit != nil {
			edit(node.Name, &n)
		}
		all = append(all, n)
	}
	return all
}

func TestLayers(t *testing.T) {
	g := chain(t)
	scale := func(nodes string, factor float32) func(string, *backend.NodeTrace) {
		return func(node string, n *backend.NodeTrace) {
			for i := range n.Output {
				if strings.Contains(nodes, node) {
					n.Output[i] *= factor
				}
			}
		}
	}
	fold := func(nodes string) func(string, *backend.NodeTrace) {
		return func(node string, n *backend.NodeTrace) {
			if strings.Contains(nodes, node) {
				n.Output, n.Folded = nil, true
			}
		}
	}
	for _, row := range []struct {
		name      string
		a, b      func(string, *backend.NodeTrace)
		threshold float64
		first     string
	}{
		{"equal", nil, nil, DefaultThreshold, ""},
		{"b and c off by a hundredth, 40 dB", nil, scale("bc", 1.01), DefaultThreshold, "b"},
		{"40 dB under a threshold of 30", nil, scale("bc", 1.01), 30, ""},
		{"only the last", nil, scale("c", 1.01), DefaultThreshold, "c"},
		{"not a number", nil, scale("a", float32(math.NaN())), DefaultThreshold, "a"},
		{"folded where it is off", nil, func(node string, n *backend.NodeTrace) { scale("bc", 1.01)(node, n); fold("b")(node, n) }, DefaultThreshold, "c"},
		{"folded on the other side", fold("bc"), scale("bc", 1.01), DefaultThreshold, ""},
		{"all but zero in both", scale("b", 1e-9), scale("b", 3e-9), DefaultThreshold, ""},
		{"all zero in one alone", scale("b", 0), nil, DefaultThreshold, "b"},
		{"small but not negligible", scale("b", 1e-3), scale("b", 2e-3), DefaultThreshold, "b"},
	} {
		layers, first, err := Layers(g, trace(g, row.a), trace(g, row.b), row.threshold)
		if err != nil || first != row.first || len(layers) != 4 {
			t.Errorf("%s: first %q of %d, %v; want %q of 4", row.name, first, len(layers), err, row.first)
		}
	}

	layers, _, err := Layers(g, trace(g, fold("a")), trace(g, fold("b"))[:3], DefaultThreshold)
	if err != nil || layers[0].FoldedA || !layers[1].FoldedA || layers[1].FoldedB || !layers[2].FoldedB || !layers[3].FoldedB || layers[3].FoldedA {
		t.Errorf("folded nodes: %+v, %v", layers, err)
	}
	if layers[0].Agreement.SNR != MaxSNR || layers[1].Agreement != (Agreement{}) {
		t.Errorf("agreements %+v, %+v; want the highest, none", layers[0].Agreement, layers[1].Agreement)
	}
	short := trace(g, func(node string, n *backend.NodeTrace) { n.Output = n.Output[:5] })
	if _, _, err := Layers(g, trace(g, nil), short, DefaultThreshold); err == nil || !strings.Contains(err.Error(), "5 values, want 6") {
		t.Errorf("a trace that is too short: %v", err)
	}
}

func TestAgree(t *testing.T) {
	fp32, spelt, int8 := backend.Target{Backend: "a"}, backend.Target{Backend: "b", Precision: "fp32"}, backend.Target{Backend: "a", Precision: "int8"}
	for _, row := range []struct {
		name string
		b    []float32
		to   backend.Target
		want bool
	}{
		{"equal", []float32{1, 2, 9}, spelt, true},
		{"off by 2e-5 of the largest", []float32{1, 2, 9.0002}, spelt, true},
		{"within tolerance, but 61 dB", []float32{1, 2, 9.008}, spelt, false},
		{"another class", []float32{9, 2, 1}, spelt, false},
		{"int8 and the same class", []float32{1, 3, 8}, int8, true},
		{"int8 and another class", []float32{9, 2, 1}, int8, false},
	} {
		if got := OfLogits([]float32{1, 2, 9}, row.b).Agree(fp32, row.to); got != row.want {
			t.Errorf("%s: agrees is %v, want %v", row.name, got, row.want)
		}
	}
}

package compare

import (
	"fmt"
	"time"

	"edgevit/backend"
	"edgevit/graph"
)

// DefaultThreshold is the SNR in dB under which a node diverges where no other
// is given. fp32 runtimes stay above 80 from node to node.
const DefaultThreshold = 80

// negligible is the share of the largest value in the whole trace under which
// a node is all but zero: about the rounding of float32 at that size, so that
// its SNR says nothing.
const negligible = 1e-6

// Layer is one node of two traces.
type Layer struct {
	Node *graph.Node
	// FoldedA and FoldedB say that the runtime merged the node into another
	// one, so that there is no output to compare.
	FoldedA, FoldedB bool
	// Agreement is that of b's output with a's; zero where one is folded.
	Agreement Agreement
	// TimeA and TimeB are how long the node ran, 0 where the runtime does not
	// tell.
	TimeA, TimeB time.Duration
}

// Layers compares two traces of g node by node, in the order of execution. A
// node that a trace does not have counts as folded. first is the name of the
// first node whose SNR is under the threshold in dB, empty where there is none;
// nodes that are all but zero in both traces do not count. The error says which
// output has not the node's shape.
func Layers(g *graph.Graph, a, b []backend.NodeTrace, threshold float64) (layers []Layer, first string, err error) {
	byName := [2]map[string]backend.NodeTrace{}
	for i, trace := range [][]backend.NodeTrace{a, b} {
		byName[i] = map[string]backend.NodeTrace{}
		for _, n := range trace {
			byName[i][n.Node] = n
		}
	}
	largest := 0.0
	for _, n := range g.Nodes {
		inA, inB := byName[0][n.Name], byName[1][n.Name]
		l := Layer{Node: n, FoldedA: inA.Output == nil, FoldedB: inB.Output == nil, TimeA: inA.Time, TimeB: inB.Time}
		if !l.FoldedA && !l.FoldedB {
			for _, out := range [][]float32{inA.Output, inB.Output} {
				if len(out) != n.Shape.Len() {
					return nil, "", fmt.Errorf("trace of %s has %d values, want %d", n.Name, len(out), n.Shape.Len())
				}
			}
			l.Agreement = Values(inA.Output, inB.Output)
			largest = max(largest, l.Agreement.Scale)
		}
		layers = append(layers, l)
	}
	for _, l := range layers {
		g := l.Agreement
		if !l.FoldedA && !l.FoldedB && g.SNR < threshold && max(g.Scale, g.MaxAbs) > negligible*largest {
			return layers, l.Node.Name, nil
		}
	}
	return layers, "", nil
}

package export

import (
	"maps"
	"math"
	"slices"

	"edgevit/graph"
)

// node is a graph node with what was folded into it. Folding works on copies:
// the graph and its weights stay as they are.
type node struct {
	name    string
	op      graph.Op
	in      []*node
	users   int
	shape   graph.Shape
	weights map[string][]float32
	// owner is the name of the graph node that the weights are of.
	owner string

	// The names of the output with channels last and with channels first, empty
	// until they are made.
	nhwc, nchw string
}

func (n *node) replace(weight string, data []float32) {
	n.weights = maps.Clone(n.weights)
	n.weights[weight] = data
}

// bias is the node's bias, zeros where it has none.
func (n *node) bias(size int) []float32 {
	if b := n.weights["bias"]; b != nil {
		return b
	}
	return make([]float32, size)
}

// copyNodes copies g into nodes in execution order.
func copyNodes(g *graph.Graph) ([]*node, error) {
	g, err := g.Full()
	if err != nil {
		return nil, err
	}
	nodes := make([]*node, len(g.Nodes))
	for i, n := range g.Nodes {
		if err := n.CheckWeights(); err != nil {
			return nil, err
		}
		c := &node{name: n.Name, owner: n.Name, op: n.Op, shape: n.Shape, weights: map[string][]float32{}}
		for _, p := range n.Params() {
			c.weights[p.Name] = n.Weight(p.Name)
		}
		for _, in := range n.In {
			c.in = append(c.in, nodes[in.Index])
			nodes[in.Index].users++
		}
		nodes[i] = c
	}
	return nodes, nil
}

// fold folds nodes into their neighbours and returns those that remain, in
// execution order. A node is folded only where nothing else reads it.
func fold(nodes []*node) []*node {
	for _, n := range nodes {
		switch op := n.op.(type) {
		case graph.Conv:
			if pointwise(op) {
				foldBatchNorm(n)
			}
		case graph.Subsample:
			swapLayerNorm(n)
		case graph.Attention:
			foldScale(n, op)
		case graph.Add:
			foldResidual(n)
		}
	}
	alive := map[*node]bool{}
	var mark func(*node)
	mark = func(n *node) {
		if alive[n] {
			return
		}
		alive[n] = true
		for _, in := range n.in {
			mark(in)
		}
	}
	mark(nodes[len(nodes)-1])
	return slices.DeleteFunc(nodes, func(n *node) bool { return !alive[n] })
}

// pointwise says whether c is a 1x1 convolution: a matrix product per pixel.
func pointwise(c graph.Conv) bool {
	return c.Kernel == 1 && c.Stride == 1 && c.Pad == 0 && c.Groups == 1
}

// foldBatchNorm moves the BatchNorm before a 1x1 convolution into it, past a
// sampling or a mean, with which it commutes: W(s·x + t) + b =
// (W·s)x + (Wt + b).
func foldBatchNorm(n *node) {
	reader, norm := n, n.in[0]
	switch norm.op.(type) {
	case graph.Subsample, graph.MeanPool:
		reader, norm = norm, norm.in[0]
	}
	op, ok := norm.op.(graph.BatchNorm)
	if !ok || norm.users != 1 || reader.users != 1 && reader != n {
		return
	}
	gamma, beta, mean, variance := norm.weights["weight"], norm.weights["bias"], norm.weights["running_mean"], norm.weights["running_var"]
	weight, out, in := n.weights["weight"], n.shape.C, len(gamma)
	folded, bias := make([]float32, len(weight)), make([]float32, out)
	for o, b := range n.bias(out) {
		sum := float64(b)
		for i := range in {
			w := float64(weight[o*in+i])
			scale := float64(gamma[i]) / math.Sqrt(float64(variance[i])+op.Eps)
			folded[o*in+i] = float32(w * scale)
			sum += w * (float64(beta[i]) - scale*float64(mean[i]))
		}
		bias[o] = float32(sum)
	}
	n.replace("weight", folded)
	n.replace("bias", bias)
	reader.in = norm.in
}

// swapLayerNorm lets the sampling come before the LayerNorm that it reads, so
// that only the sampled pixels are normalised.
func swapLayerNorm(n *node) {
	norm := n.in[0]
	if _, ok := norm.op.(graph.LayerNorm); !ok || norm.users != 1 {
		return
	}
	// x → norm → sample becomes x → sample → norm: n keeps its name and output.
	norm.op, n.op = n.op, norm.op
	norm.weights, n.weights = n.weights, norm.weights
	norm.owner, n.owner = n.owner, norm.owner
	norm.name, norm.shape = n.name+"/pixels", n.shape
}

// foldScale moves an attention's scale into the rows of its queries.
func foldScale(n *node, op graph.Attention) {
	qkv := n.in[0]
	if c, ok := qkv.op.(graph.Conv); !ok || !pointwise(c) || qkv.users != 1 {
		return
	}
	rows, width := n.shape.C, qkv.in[0].shape.C
	weight, bias := slices.Clone(qkv.weights["weight"]), slices.Clone(qkv.weights["bias"])
	for i := range weight[:rows*width] {
		weight[i] = float32(float64(weight[i]) * op.Scale)
	}
	qkv.replace("weight", weight)
	if bias != nil {
		for i := range bias[:rows] {
			bias[i] = float32(float64(bias[i]) * op.Scale)
		}
		qkv.replace("bias", bias)
	}
	op.Scale = 1
	n.op = op
}

// foldResidual turns x plus a depthwise convolution of x itself into the
// convolution with 1 more at its centre.
func foldResidual(n *node) {
	for i, c := range n.in {
		x := n.in[1-i]
		op, ok := c.op.(graph.Conv)
		if !ok || c == x || c.users != 1 || c.in[0] != x || op.Groups != op.Out || op.Out != x.shape.C ||
			op.Stride != 1 || op.Kernel%2 == 0 || op.Pad != op.Kernel/2 {
			continue
		}
		n.op, n.in, n.weights, n.owner = c.op, c.in, c.weights, c.owner
		weight := slices.Clone(c.weights["weight"])
		area := op.Kernel * op.Kernel
		for ch := range op.Out {
			weight[ch*area+area/2]++
		}
		n.replace("weight", weight)
		x.users--
		return
	}
}

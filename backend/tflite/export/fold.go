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

	// plain: a norm without affine weights, which went into the convolution
	// after it.
	plain bool
	// centred: the mean over a LayerNorm's channels is 0 already.
	centred bool
}

// lower copies g's nodes. It reports graph.ErrInvalid if a weight is missing.
func lower(g *graph.Graph) ([]*node, error) {
	g, err := g.Full()
	if err != nil {
		return nil, err
	}
	nodes := make([]*node, len(g.Nodes))
	for i, n := range g.Nodes {
		if err := n.CheckWeights(); err != nil {
			return nil, err
		}
		nodes[i] = &node{name: n.Name, op: n.Op, shape: n.Shape, weights: map[string][]float32{}}
		for _, p := range n.Params() {
			nodes[i].weights[p.Name] = n.Weight(p.Name)
		}
		for _, in := range n.In {
			nodes[i].in = append(nodes[i].in, nodes[in.Index])
			nodes[in.Index].users++
		}
	}
	return nodes, nil
}

func (n *node) replace(weight string, data []float32) {
	n.weights = maps.Clone(n.weights)
	n.weights[weight] = data
}

// bias is the node's bias, zeros where it has none.
func (n *node) bias() []float32 {
	if b := n.weights["bias"]; b != nil {
		return b
	}
	return make([]float32, n.shape.C)
}

// fuse folds nodes into their neighbours and returns those that remain, in
// execution order. A node is folded only where nothing else reads it.
func fuse(nodes []*node) []*node {
	for _, n := range nodes {
		switch op := n.op.(type) {
		case graph.Conv:
			if pointwise(n) {
				foldNorm(n)
			}
		case graph.Attention:
			foldScale(n, op)
		case graph.Add:
			foldAdd(n)
		}
	}
	for _, n := range nodes {
		if _, ok := n.op.(graph.LayerNorm); ok {
			foldMean(n)
		}
	}
	nodes = splitProjections(nodes)
	// What the last node does not need any more has been folded.
	needed := map[*node]bool{}
	var mark func(*node)
	mark = func(n *node) {
		if !needed[n] {
			needed[n] = true
			for _, in := range n.in {
				mark(in)
			}
		}
	}
	mark(nodes[0])
	mark(nodes[len(nodes)-1])
	return slices.DeleteFunc(nodes, func(n *node) bool { return !needed[n] })
}

// pointwise says whether n is a 1x1 convolution of all channels.
func pointwise(n *node) bool {
	c, ok := n.op.(graph.Conv)
	return ok && c.Kernel == 1 && c.Stride == 1 && c.Pad == 0 && c.Groups == 1
}

// foldNorm moves the affine part of the norm before a 1x1 convolution into it,
// past a sampling or a mean, with which it commutes: W(s·x + t) + b =
// (W·s)x + (Wt + b). A BatchNorm vanishes; a LayerNorm or GroupNorm becomes
// plain, and a LayerNorm moves behind the sampling, to the fewer pixels.
func foldNorm(n *node) {
	norm, between := n.in[0], (*node)(nil)
	switch norm.op.(type) {
	case graph.Subsample, graph.MeanPool:
		norm, between = norm.in[0], norm
	}
	if norm.users != 1 || between != nil && between.users != 1 || norm.plain {
		return
	}
	var scale, shift []float64
	_, batch := norm.op.(graph.BatchNorm)
	switch op := norm.op.(type) {
	case graph.BatchNorm:
		scale, shift = batchNormAffine(norm, op)
	case graph.LayerNorm, graph.GroupNorm:
		for i, w := range norm.weights["weight"] {
			scale = append(scale, float64(w))
			shift = append(shift, float64(norm.weights["bias"][i]))
		}
	default:
		return
	}
	foldAffine(n, scale, shift)
	switch {
	case batch && between == nil:
		n.in = norm.in
	case batch:
		between.in = norm.in
	default:
		norm.plain = true
		_, layer := norm.op.(graph.LayerNorm)
		_, sampled := n.in[0].op.(graph.Subsample)
		if layer && sampled {
			// x → norm → sample becomes x → sample → norm, each in the
			// other's place.
			norm.op, between.op = between.op, norm.op
			norm.weights, between.weights = between.weights, norm.weights
			norm.plain, between.plain = false, true
			norm.shape = between.shape
		}
	}
}

// foldAffine makes the 1x1 convolution n read x instead of scale·x + shift.
func foldAffine(n *node, scale, shift []float64) {
	weight, in := n.weights["weight"], len(scale)
	folded, bias := make([]float32, len(weight)), slices.Clone(n.bias())
	for o := range bias {
		sum := float64(bias[o])
		for i := range in {
			w := float64(weight[o*in+i])
			folded[o*in+i] = float32(w * scale[i])
			sum += w * shift[i]
		}
		bias[o] = float32(sum)
	}
	n.replace("weight", folded)
	n.replace("bias", bias)
}

// batchNormAffine is the scale and shift of each channel.
func batchNormAffine(n *node, op graph.BatchNorm) (scale, shift []float64) {
	weight, bias, mean, variance := n.weights["weight"], n.weights["bias"], n.weights["running_mean"], n.weights["running_var"]
	for i, w := range weight {
		s := float64(w) / math.Sqrt(float64(variance[i])+op.Eps)
		scale = append(scale, s)
		shift = append(shift, float64(bias[i])-s*float64(mean[i]))
	}
	return scale, shift
}

// foldScale moves an attention's scale into the rows of its queries.
func foldScale(n *node, op graph.Attention) {
	qkv := n.in[0]
	if !pointwise(qkv) || qkv.users != 1 || op.Scale == 1 {
		return
	}
	weight, bias := slices.Clone(qkv.weights["weight"]), slices.Clone(qkv.bias())
	queries := n.shape.C
	for _, values := range [][]float32{weight[:queries*qkv.in[0].shape.C], bias[:queries]} {
		for i, v := range values {
			values[i] = float32(float64(v) * op.Scale)
		}
	}
	qkv.replace("weight", weight)
	qkv.replace("bias", bias)
	op.Scale = 1
	n.op = op
}

// splitProjections gives every attention its queries, keys and values by three
// convolutions in place of one whose value would have to be cut.
func splitProjections(nodes []*node) []*node {
	var all []*node
	for _, n := range nodes {
		if _, ok := n.op.(graph.Attention); ok && pointwise(n.in[0]) && n.in[0].users == 1 {
			qkv := n.in[0]
			n.in = nil
			for i, part := range []string{"/q", "/k", "/v"} {
				op := qkv.op.(graph.Conv)
				op.Out = n.shape.C
				weight := qkv.weights["weight"]
				rows := len(weight) / 3
				n.in = append(n.in, &node{name: qkv.name + part, op: op, in: qkv.in, users: 1, shape: n.shape, weights: map[string][]float32{
					"weight": weight[i*rows:][:rows], "bias": qkv.bias()[i*op.Out:][:op.Out],
				}})
			}
			all = append(all, n.in...)
		}
		all = append(all, n)
	}
	return all
}

// foldAdd turns x plus a depthwise convolution of x into one convolution, with
// 1 more at the centre of its kernel.
func foldAdd(n *node) {
	for i, c := range n.in {
		x := n.in[1-i]
		op, ok := c.op.(graph.Conv)
		if !ok || c.users != 1 || c.in[0] != x || op.Groups != op.Out || op.Out != x.shape.C || op.Stride != 1 || op.Kernel != 2*op.Pad+1 {
			continue
		}
		weight := slices.Clone(c.weights["weight"])
		area := op.Kernel * op.Kernel
		for ch := range op.Out {
			weight[ch*area+area/2]++
		}
		n.op, n.in, n.weights = op, c.in, maps.Clone(c.weights)
		n.weights["weight"] = weight
		return
	}
}

// foldMean takes the mean over its outputs off the convolution before a
// LayerNorm, so that the norm does not need to.
func foldMean(n *node) {
	conv := n.in[0]
	if op, ok := conv.op.(graph.Conv); !ok || op.Groups != 1 || conv.users != 1 {
		return
	}
	n.centred = true
	out := conv.shape.C
	for name, values := range map[string][]float32{"weight": conv.weights["weight"], "bias": conv.bias()} {
		centred := make([]float32, len(values))
		row := len(values) / out
		for i := range row {
			mean := 0.0
			for o := range out {
				mean += float64(values[o*row+i])
			}
			mean /= float64(out)
			for o := range out {
				centred[o*row+i] = float32(float64(values[o*row+i]) - mean)
			}
		}
		conv.replace(name, centred)
	}
}

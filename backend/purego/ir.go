package purego

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"edgevit/backend"
	"edgevit/graph"
)

// irNode is a graph node with what was folded into it. Folding works on copies:
// the graph and its weights stay as they are.
type irNode struct {
	index int   // of the graph node whose output this is
	nodes []int // all graph nodes that it computes, itself among them
	name  string
	op    graph.Op
	in    []*irNode
	users int
	shape graph.Shape
	// weights are those of the graph node, or folded copies of them.
	weights map[string][]float32

	fold     fold    // into the weights, when they are packed
	plain    bool    // a norm without affine weights: they went into the next convolution
	gelu     bool    // GELU follows the bias
	residual *irNode // is added last
}

// fold is what the weights of a 1x1 convolution take on: first of the norm
// before it, then of the attention behind it.
type fold struct {
	scale, shift []float64 // by input channel; nil: none
	rows         int       // as many output channels, the first ones, are
	factor       float64   // multiplied by factor
}

func (n *irNode) replace(weight string, data []float32) {
	n.weights = maps.Clone(n.weights)
	n.weights[weight] = data
}

// bias is the node's bias, zeros where it has none.
func (n *irNode) bias(size int) []float32 {
	if b := n.weights["bias"]; b != nil {
		return b
	}
	return make([]float32, size)
}

// lower copies g into nodes in execution order.
func lower(g *graph.Graph) ([]*irNode, error) {
	g, err := g.Full()
	if err != nil {
		return nil, err
	}
	nodes := make([]*irNode, len(g.Nodes))
	for i, n := range g.Nodes {
		if err := n.CheckWeights(); err != nil {
			return nil, err
		}
		switch op := n.Op.(type) {
		case graph.Input, graph.Deconv, graph.Subsample, graph.BatchNorm, graph.LayerNorm, graph.GroupNorm,
			graph.GELU, graph.Attention, graph.Add, graph.MeanPool:
		case graph.Conv:
			dense := op.Groups == 1
			depthwise := op.Groups == op.Out && op.Out == n.In[0].Shape.C && op.Stride == 1 && op.Pad == op.Kernel/2 && op.Kernel%2 == 1
			if !dense && !depthwise {
				return nil, fmt.Errorf("%w: %s: a convolution of %d groups that is not depthwise with stride 1 and same padding", backend.ErrUnsupported, n.Name, op.Groups)
			}
		default:
			return nil, fmt.Errorf("%w: %s: %T", backend.ErrUnsupported, n.Name, n.Op)
		}
		ir := &irNode{index: i, nodes: []int{i}, name: n.Name, op: n.Op, shape: n.Shape, weights: map[string][]float32{}}
		for _, p := range n.Params() {
			ir.weights[p.Name] = n.Weight(p.Name)
		}
		for _, in := range n.In {
			ir.in = append(ir.in, nodes[in.Index])
			nodes[in.Index].users++
		}
		nodes[i] = ir
	}
	return nodes, nil
}

// fuse folds nodes into their neighbours and returns those that remain, in
// execution order. A node is folded only where nothing else reads it.
func fuse(nodes []*irNode) []*irNode {
	for _, n := range nodes {
		if pointwise(n) {
			foldNorm(n)
		}
		if a, ok := n.op.(graph.Attention); ok {
			foldScale(n, a)
		}
	}
	for _, n := range nodes {
		switch n.op.(type) {
		case graph.GELU:
			if c := n.in[0]; pointwise(c) && c.users == 1 && !c.gelu && c.residual == nil {
				n.become(c)
				n.gelu = true
			}
		case graph.Add:
			foldAdd(n)
		}
	}
	// What no remaining node reads has been folded.
	last := nodes[len(nodes)-1]
	alive := map[*irNode]bool{}
	var mark func(*irNode)
	mark = func(n *irNode) {
		if alive[n] {
			return
		}
		alive[n] = true
		for _, in := range n.inputs() {
			mark(in)
		}
	}
	mark(last)
	return slices.DeleteFunc(nodes, func(n *irNode) bool { return !alive[n] })
}

// inputs are all values that n reads.
func (n *irNode) inputs() []*irNode {
	if n.residual != nil {
		return append(slices.Clone(n.in), n.residual)
	}
	return n.in
}

// become turns n into c's operation with n's own output.
func (n *irNode) become(c *irNode) {
	n.nodes = append(slices.Clone(c.nodes), n.nodes...)
	n.op, n.in, n.weights = c.op, c.in, c.weights
	n.fold, n.plain, n.gelu, n.residual = c.fold, c.plain, c.gelu, c.residual
}

// pointwise says whether n is a 1x1 convolution, alone in its row of output.
func pointwise(n *irNode) bool {
	c, ok := n.op.(graph.Conv)
	return ok && c.Kernel == 1 && c.Stride == 1 && c.Pad == 0 && c.Groups == 1
}

// foldNorm moves the affine part of the norm before a 1x1 convolution into it,
// past a sampling or a mean, with which it commutes: W(s·x + t) + b =
// (W·s)x + (Wt + b). A BatchNorm vanishes; a LayerNorm or GroupNorm becomes
// plain, and a LayerNorm moves behind the sampling, to the fewer pixels.
func foldNorm(n *irNode) {
	norm, between := n.in[0], (*irNode)(nil)
	switch norm.op.(type) {
	case graph.Subsample, graph.MeanPool:
		norm, between = norm.in[0], norm
	}
	if norm.users != 1 || between != nil && between.users != 1 {
		return
	}
	var scale, shift []float64
	switch op := norm.op.(type) {
	case graph.BatchNorm:
		scale, shift = batchNormAffine(norm, op)
	case graph.LayerNorm, graph.GroupNorm:
		if _, pooled := n.in[0].op.(graph.MeanPool); pooled {
			return // the affine part commutes with a mean, plain norms are not worth a case
		}
		for i, w := range norm.weights["weight"] {
			scale = append(scale, float64(w))
			shift = append(shift, float64(norm.weights["bias"][i]))
		}
	default:
		return
	}
	n.fold.scale, n.fold.shift = scale, shift

	_, batch := norm.op.(graph.BatchNorm)
	if batch {
		n.nodes = append(slices.Clone(norm.nodes), n.nodes...)
	}
	switch {
	case batch && between == nil:
		n.in = norm.in
	case batch:
		between.in = norm.in
	default:
		norm.plain = true
		if _, layer := norm.op.(graph.LayerNorm); layer && between != nil {
			// x → norm → sample becomes x → sample → norm, each with the
			// output of the other's place.
			norm.op, between.op = between.op, norm.op
			norm.weights, between.weights = between.weights, norm.weights
			norm.plain, between.plain = false, true
			norm.nodes, between.nodes = between.nodes, norm.nodes
			norm.shape = between.shape
		}
	}
}

// batchNormAffine is the scale and shift of each channel.
func batchNormAffine(n *irNode, op graph.BatchNorm) (scale, shift []float64) {
	weight, bias, mean, variance := n.weights["weight"], n.weights["bias"], n.weights["running_mean"], n.weights["running_var"]
	for i, w := range weight {
		s := float64(w) / math.Sqrt(float64(variance[i])+op.Eps)
		scale = append(scale, s)
		shift = append(shift, float64(bias[i])-s*float64(mean[i]))
	}
	return scale, shift
}

// foldScale moves an attention's scale into the rows of its queries.
func foldScale(n *irNode, op graph.Attention) {
	qkv := n.in[0]
	if !pointwise(qkv) || qkv.users != 1 || op.Scale == 1 {
		return
	}
	qkv.fold.rows, qkv.fold.factor = n.shape.C, op.Scale
	op.Scale = 1
	n.op = op
}

// matrix turns the weight of a dense convolution, [out in kernel kernel], into
// the matrix [kernel·kernel·in out] that multiplies a gathered patch, and returns
// the bias. What is folded goes in. m has as many values as the weight.
func (n *irNode) matrix(m []float32, in, kernel int) (bias []float32) {
	w, out, taps := n.weights["weight"], n.shape.C, kernel*kernel
	bias = slices.Clone(n.bias(out))
	// A block of columns is a cache line of every row of m.
	const block = 16
	var sums [block]float64
	for first := 0; first < out; first += block {
		cols := min(block, out-first)
		w := w[first*in*taps:][:cols*in*taps]
		for o := range cols {
			sums[o] = float64(bias[first+o])
		}
		for i := range in {
			for t := range taps {
				line := m[(t*in+i)*out+first:][:cols]
				at := i*taps + t
				if n.fold.scale == nil {
					for o := range line {
						line[o] = w[at]
						at += in * taps
					}
				} else {
					scale, shift := n.fold.scale[i], n.fold.shift[i]
					for o := range line {
						v := float64(w[at])
						at += in * taps
						line[o] = float32(v * scale)
						sums[o] += v * shift
					}
				}
				for o := range line[:max(0, min(cols, n.fold.rows-first))] {
					line[o] = float32(float64(line[o]) * n.fold.factor)
				}
			}
		}
		for o := range cols {
			bias[first+o] = float32(sums[o])
			if first+o < n.fold.rows {
				bias[first+o] = float32(float64(bias[first+o]) * n.fold.factor)
			}
		}
	}
	return bias
}

// foldAdd makes an Add the last part of the convolution before it. x plus a
// depthwise convolution of x itself is the convolution with 1 more at its
// centre.
func foldAdd(n *irNode) {
	for i, c := range n.in {
		other := n.in[1-i]
		op, ok := c.op.(graph.Conv)
		if !ok || c.users != 1 || c.residual != nil || c == other {
			continue
		}
		switch {
		case pointwise(c):
			n.become(c)
			n.residual = other
			return
		case op.Groups == op.Out && op.Groups > 1 && c.in[0] == other:
			weight := slices.Clone(c.weights["weight"])
			center := op.Kernel * op.Kernel / 2
			for ch := range op.Out {
				weight[ch*op.Kernel*op.Kernel+center]++
			}
			n.become(c)
			n.replace("weight", weight)
			return
		}
	}
}

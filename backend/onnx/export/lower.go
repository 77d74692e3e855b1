package export

import (
	"fmt"

	"edgevit/backend"
	"edgevit/graph"
)

// A node's output exists with channels last (nhwc), channels first (nchw), or
// both: an operation that works in either takes what is there, so that a
// Transpose stands only between a convolution over neighbours, which ONNX has
// for channels first, and an operation over a pixel's channels.

// nhwc is n's output, [N H W C].
func (e *emitter) nhwc(n *node) string {
	if n.nhwc == "" {
		n.nhwc = e.transpose(valueName(n.name), n.nchw, 0, 2, 3, 1)
	}
	return n.nhwc
}

// nchw is n's output, [N C H W].
func (e *emitter) nchw(n *node) string {
	if n.nchw == "" {
		n.nchw = e.transpose(n.name+"/nchw", n.nhwc, 0, 3, 1, 2)
	}
	return n.nchw
}

// lower appends what n becomes and gives n the name of its output.
func (e *emitter) lower(n *node) error {
	name := valueName(n.name)
	switch op := n.op.(type) {
	case graph.Input:
		n.nchw = InputName
	case graph.Conv:
		e.conv(n, op)
	case graph.Deconv:
		n.nhwc = e.deconv(n, op)
	case graph.Subsample:
		s := n.in[0].shape
		n.nhwc = e.add("Slice", name, []string{e.nhwc(n.in[0]), e.ints(0, 0), e.ints(s.H, s.W), e.ints(1, 2), e.ints(op.Stride, op.Stride)})
	case graph.BatchNorm:
		n.nchw = e.add("BatchNormalization", n.name+"/nchw", []string{
			e.nchw(n.in[0]), e.weight(n, "weight"), e.weight(n, "bias"), e.weight(n, "running_mean"), e.weight(n, "running_var"),
		}, float("epsilon", op.Eps))
	case graph.LayerNorm:
		n.nhwc = e.add("LayerNormalization", name, []string{e.nhwc(n.in[0]), e.weight(n, "weight"), e.weight(n, "bias")},
			integer("axis", -1), float("epsilon", op.Eps))
	case graph.GroupNorm:
		n.nhwc = e.groupNorm(n, op)
	case graph.GELU:
		if x := n.in[0]; x.nhwc != "" {
			n.nhwc = e.add("Gelu", name, []string{x.nhwc})
		} else {
			n.nchw = e.add("Gelu", n.name+"/nchw", []string{x.nchw})
		}
	case graph.Attention:
		n.nhwc = e.attention(n, op)
	case graph.Add:
		if a, b := n.in[0], n.in[1]; a.nchw != "" && b.nchw != "" {
			n.nchw = e.add("Add", n.name+"/nchw", []string{a.nchw, b.nchw})
		} else {
			n.nhwc = e.add("Add", name, []string{e.nhwc(a), e.nhwc(b)})
		}
	case graph.MeanPool:
		n.nhwc = e.add("ReduceMean", name, []string{e.nhwc(n.in[0]), e.ints(1, 2)}, integer("keepdims", 1))
	default:
		return fmt.Errorf("%w: %s: %T", backend.ErrUnsupported, n.name, n.op)
	}
	return nil
}

// weight adds one of n's tensors that has a value per channel.
func (e *emitter) weight(n *node, name string) string {
	return e.floats(n.owner+"."+name, n.weights[name], len(n.weights[name]))
}

// conv is a Conv on channels first; on channels last a 1x1 convolution is a
// matrix product, and so is one over patches once their pixels lie side by side.
func (e *emitter) conv(n *node, op graph.Conv) {
	x := n.in[0]
	k, c := op.Kernel, x.shape.C
	patches := k == op.Stride && op.Pad == 0 && op.Groups == 1
	switch {
	case patches && k == 1 && x.nhwc != "":
		n.nhwc = e.linear(n, x.nhwc, n.weights["weight"], c)
	case patches && x.nhwc != "":
		v := e.reshape(n.name+"/rows", x.nhwc, -1, k, n.shape.W, k*c)
		v = e.transpose(n.name+"/patches", v, 0, 2, 1, 3)
		v = e.reshape(n.name+"/columns", v, -1, n.shape.H, n.shape.W, k*k*c)
		n.nhwc = e.linear(n, v, channelsLast(n.weights["weight"], op.Out, c, k*k), k*k*c)
	default:
		in := []string{e.nchw(x), e.floats(n.owner+".weight", n.weights["weight"], op.Out, c/op.Groups, k, k)}
		if n.weights["bias"] != nil {
			in = append(in, e.weight(n, "bias"))
		}
		n.nchw = e.add("Conv", n.name+"/nchw", in, ints("kernel_shape", k, k), ints("strides", op.Stride, op.Stride),
			ints("pads", op.Pad, op.Pad, op.Pad, op.Pad), integer("group", op.Groups))
	}
}

// linear multiplies the last axis of value, of the given width, by weight,
// [out width], and adds n's bias.
func (e *emitter) linear(n *node, value string, weight []float32, width int) string {
	name, out := valueName(n.name), n.shape.C
	w := e.floats(n.owner+".weight", channelsLast(weight, 1, out, width), width, out)
	if n.weights["bias"] == nil {
		return e.add("MatMul", name, []string{value, w})
	}
	v := e.add("MatMul", n.name+"/product", []string{value, w})
	return e.add("Add", name, []string{v, e.weight(n, "bias")})
}

// channelsLast swaps the last two axes of data, [n c rest].
func channelsLast(data []float32, n, c, rest int) []float32 {
	out := make([]float32, len(data))
	for i := range n {
		for j := range c {
			for k := range rest {
				out[(i*rest+k)*c+j] = data[(i*c+j)*rest+k]
			}
		}
	}
	return out
}

// deconv multiplies each pixel, [N·H 1 W 1 C], by its window of weights,
// [k 1 k C]: the product, [N·H k W k C], is the output as it lies in memory.
func (e *emitter) deconv(n *node, op graph.Deconv) string {
	s, k := n.in[0].shape, op.Kernel
	v := e.reshape(n.name+"/pixels", e.nhwc(n.in[0]), -1, 1, s.W, 1, s.C)
	v = e.add("Mul", n.name+"/windows", []string{v, e.floats(n.owner+".weight", channelsLast(n.weights["weight"], 1, s.C, k*k), k, 1, k, s.C)})
	v = e.add("Add", n.name+"/biased", []string{v, e.weight(n, "bias")})
	return e.reshape(valueName(n.name), v, -1, n.shape.H, n.shape.W, n.shape.C)
}

// groupNorm is InstanceNormalization of the whole map as one channel, then the
// affine part. (GroupNormalization has other parameters in each opset.)
func (e *emitter) groupNorm(n *node, op graph.GroupNorm) string {
	v := e.reshape(n.name+"/flat", e.nhwc(n.in[0]), -1, 1, n.shape.Len())
	v = e.add("InstanceNormalization", n.name+"/plain", []string{
		v, e.floats(n.name+"/one", []float32{1}, 1), e.floats(n.name+"/zero", []float32{0}, 1),
	}, float("epsilon", op.Eps))
	v = e.reshape(n.name+"/map", v, -1, n.shape.H, n.shape.W, n.shape.C)
	v = e.add("Mul", n.name+"/scaled", []string{v, e.weight(n, "weight")})
	return e.add("Add", valueName(n.name), []string{v, e.weight(n, "bias")})
}

// attention splits q, k, v into [N heads tokens d], or [N heads d tokens] for
// k, and merges the heads again.
func (e *emitter) attention(n *node, op graph.Attention) string {
	tokens, d := n.shape.H*n.shape.W, n.shape.C/op.Heads
	e.addMany("Split", n.name+"/split", []string{e.nhwc(n.in[0])}, []string{n.name + "/q", n.name + "/k", n.name + "/v"},
		integer("axis", -1), integer("num_outputs", 3))
	heads := func(part string, perm ...int) string {
		v := e.reshape(n.name+part+"/heads", n.name+part, -1, tokens, op.Heads, d)
		return e.transpose(n.name+part+"/head", v, perm...)
	}
	q, k, v := heads("/q", 0, 2, 1, 3), heads("/k", 0, 2, 3, 1), heads("/v", 0, 2, 1, 3)
	scores := e.add("MatMul", n.name+"/scores", []string{q, k})
	if op.Scale != 1 {
		scores = e.add("Mul", n.name+"/scaled", []string{scores, e.floats(n.name+"/scale", []float32{float32(op.Scale)})})
	}
	p := e.add("Softmax", n.name+"/softmax", []string{scores}, integer("axis", -1))
	mixed := e.add("MatMul", n.name+"/mixed", []string{p, v})
	merged := e.transpose(n.name+"/merged", mixed, 0, 2, 1, 3)
	return e.reshape(valueName(n.name), merged, -1, n.shape.H, n.shape.W, n.shape.C)
}

package export

import (
	"fmt"
	"slices"

	flatbuffers "github.com/google/flatbuffers/go"

	"edgevit/backend"
	"edgevit/backend/tflite/export/internal/schema"
	"edgevit/graph"
)

// lowering turns nodes into operators. Every value is [batch H W C] unless its
// comment says otherwise.
type lowering struct {
	*emitter
	batch  int
	values map[*node]int
}

// shape is that of n's value.
func (l *lowering) shape(s graph.Shape) []int { return []int{l.batch, s.H, s.W, s.C} }

// node lowers n, whose inputs have their values already.
func (l *lowering) node(n *node) error {
	in := make([]int, len(n.in))
	for i, p := range n.in {
		in[i] = l.values[p]
	}
	out := 0
	switch op := n.op.(type) {
	case graph.Input:
		out = l.value(n.name, l.shape(n.shape)...)
	case graph.Conv:
		out = l.conv(n, op, in[0])
	case graph.Deconv:
		out = l.deconv(n, op, in[0])
	case graph.Subsample:
		out = l.subsample(n, op, in[0])
	case graph.BatchNorm:
		scale, shift := batchNormAffine(n, op)
		out = l.affine(n, in[0], narrow(scale), narrow(shift))
	case graph.LayerNorm:
		out = l.norm(n, in[0], op.Eps, n.shape)
	case graph.GroupNorm:
		// One pixel of all values: a GroupNorm is its LayerNorm.
		out = l.norm(n, in[0], op.Eps, graph.Shape{H: 1, W: 1, C: n.shape.Len()})
	case graph.GELU:
		out = l.add(schema.BuiltinOperatorGELU, options{}, n.name, l.shape(n.shape), in[0])
	case graph.Attention:
		out = l.attention(n, op, in)
	case graph.Add:
		out = l.add(schema.BuiltinOperatorADD, options{}, n.name, l.shape(n.shape), in...)
	case graph.MeanPool:
		out = l.mean(n.name, in[0], l.shape(n.shape), 1, 2)
	default:
		return fmt.Errorf("%w: %s: %T", backend.ErrUnsupported, n.name, n.op)
	}
	l.values[n] = out
	return nil
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

func (l *lowering) binary(code schema.BuiltinOperator, name string, shape []int, a, b int) int {
	return l.add(code, options{}, name, shape, a, b)
}

func (l *lowering) reshape(name string, x int, shape ...int) int {
	return l.add(schema.BuiltinOperatorRESHAPE, options{}, name, shape, x, l.integers(shape, len(shape)))
}

// transpose of a 4-D value whose shape is given before the permutation.
func (l *lowering) transpose(name string, x int, shape []int, perm ...int) int {
	out := make([]int, len(perm))
	for i, p := range perm {
		out[i] = shape[p]
	}
	return l.add(schema.BuiltinOperatorTRANSPOSE, options{}, name, out, x, l.integers(perm, len(perm)))
}

// slice takes size values from begin on along each axis.
func (l *lowering) slice(name string, x int, begin, size []int) int {
	return l.add(schema.BuiltinOperatorSLICE, options{}, name, size, x, l.integers(begin, len(begin)), l.integers(size, len(size)))
}

// mean over axes, which keep the length 1.
func (l *lowering) mean(name string, x int, shape []int, axes ...int) int {
	keep := options{schema.BuiltinOptionsReducerOptions, func(b *flatbuffers.Builder) flatbuffers.UOffsetT {
		schema.ReducerOptionsStart(b)
		schema.ReducerOptionsAddKeepDims(b, true)
		return schema.ReducerOptionsEnd(b)
	}}
	return l.add(schema.BuiltinOperatorMEAN, keep, name, shape, x, l.integers(axes, len(axes)))
}

// affine is x·scale + shift per channel.
func (l *lowering) affine(n *node, x int, scale, shift []float32) int {
	c := n.shape.C
	x = l.binary(schema.BuiltinOperatorMUL, n.name+"/scaled", l.shape(n.shape), x, l.floats(n.name+".scale", scale, c))
	return l.binary(schema.BuiltinOperatorADD, n.name, l.shape(n.shape), x, l.floats(n.name+".shift", shift, c))
}

// norm is the normalisation of each pixel of x, seen as an image of shape s.
func (l *lowering) norm(n *node, x int, eps float64, s graph.Shape) int {
	full, one := l.shape(s), []int{l.batch, s.H, s.W, 1}
	name := n.name
	whole := s != n.shape
	if whole {
		x = l.reshape(name+"/flat", x, full...)
	}
	if !n.centred {
		mean := l.mean(name+"/mean", x, one, 3)
		x = l.binary(schema.BuiltinOperatorSUB, name+"/centred", full, x, mean)
	}
	v := l.binary(schema.BuiltinOperatorMUL, name+"/squares", full, x, x)
	v = l.mean(name+"/variance", v, one, 3)
	v = l.binary(schema.BuiltinOperatorADD, name+"/variance_eps", one, v, l.scalar(float32(eps)))
	v = l.add(schema.BuiltinOperatorRSQRT, options{}, name+"/reciprocal", one, v)
	x = l.binary(schema.BuiltinOperatorMUL, name+"/normalised", full, x, v)
	if whole {
		x = l.reshape(name+"/image", x, l.shape(n.shape)...)
	}
	if n.plain {
		return x
	}
	return l.affine(n, x, n.weights["weight"], n.weights["bias"])
}

func (l *lowering) conv(n *node, op graph.Conv, x int) int {
	in := n.in[0].shape
	perGroup := in.C / op.Groups
	if pointwise(n) {
		return l.fullyConnected(n, x)
	}
	if patches(op) {
		return l.patches(n, op, x)
	}
	padding, ok := padding(op, in, n.shape)
	if !ok {
		p := op.Pad
		in.H, in.W = in.H+2*p, in.W+2*p
		x = l.add(schema.BuiltinOperatorPAD, options{}, n.name+"/padded", l.shape(in), x, l.integers([]int{0, 0, p, p, p, p, 0, 0}, 4, 2))
	}
	bias := l.floats(n.name+".bias", n.bias(), op.Out)
	stride, area := int32(op.Stride), op.Kernel*op.Kernel
	weight := make([]float32, len(n.weights["weight"]))
	if op.Groups == in.C && op.Groups > 1 {
		for o := range op.Out {
			for k := range area {
				weight[k*op.Out+o] = n.weights["weight"][o*area+k]
			}
		}
		w := l.floats(n.name+".weight", weight, 1, op.Kernel, op.Kernel, op.Out)
		return l.add(schema.BuiltinOperatorDEPTHWISE_CONV_2D, options{schema.BuiltinOptionsDepthwiseConv2DOptions, func(b *flatbuffers.Builder) flatbuffers.UOffsetT {
			schema.DepthwiseConv2DOptionsStart(b)
			schema.DepthwiseConv2DOptionsAddPadding(b, padding)
			schema.DepthwiseConv2DOptionsAddStrideW(b, stride)
			schema.DepthwiseConv2DOptionsAddStrideH(b, stride)
			schema.DepthwiseConv2DOptionsAddDepthMultiplier(b, int32(op.Out/op.Groups))
			return schema.DepthwiseConv2DOptionsEnd(b)
		}}, n.name, l.shape(n.shape), x, w, bias)
	}
	for o := range op.Out {
		for i := range perGroup {
			for k := range area {
				weight[(o*area+k)*perGroup+i] = n.weights["weight"][(o*perGroup+i)*area+k]
			}
		}
	}
	w := l.floats(n.name+".weight", weight, op.Out, op.Kernel, op.Kernel, perGroup)
	return l.add(schema.BuiltinOperatorCONV_2D, convOptions(padding, op.Stride), n.name, l.shape(n.shape), x, w, bias)
}

// patches says whether op's windows are dense and lie side by side.
func patches(op graph.Conv) bool {
	return op.Groups == 1 && op.Pad == 0 && op.Kernel == op.Stride && op.Kernel > 1
}

// patches is a convolution of such windows: a window's row of pixels becomes one
// pixel, so that the runtime's inner loop is as long as a row.
func (l *lowering) patches(n *node, op graph.Conv, x int) int {
	in, out, k := n.in[0].shape, n.shape, op.Kernel
	weight := make([]float32, len(n.weights["weight"]))
	for o := range op.Out {
		for i := range in.C {
			for at := range k * k {
				weight[(o*k*k+at)*in.C+i] = n.weights["weight"][(o*in.C+i)*k*k+at]
			}
		}
	}
	x = l.reshape(n.name+"/rows", x, l.batch*out.H, k, out.W, k*in.C)
	x = l.add(schema.BuiltinOperatorCONV_2D, convOptions(schema.PaddingVALID, 1), n.name+"/patches", []int{l.batch * out.H, 1, out.W, out.C},
		x, l.floats(n.name+".weight", weight, op.Out, k, 1, k*in.C), l.floats(n.name+".bias", n.bias(), op.Out))
	return l.reshape(n.name, x, l.shape(out)...)
}

func convOptions(padding schema.Padding, stride int) options {
	return options{schema.BuiltinOptionsConv2DOptions, func(b *flatbuffers.Builder) flatbuffers.UOffsetT {
		schema.Conv2DOptionsStart(b)
		schema.Conv2DOptionsAddPadding(b, padding)
		schema.Conv2DOptionsAddStrideW(b, int32(stride))
		schema.Conv2DOptionsAddStrideH(b, int32(stride))
		return schema.Conv2DOptionsEnd(b)
	}}
}

// padding is the runtime's word for a convolution's padding; not ok means that
// there is none and the input must be padded before.
func padding(op graph.Conv, in, out graph.Shape) (p schema.Padding, ok bool) {
	if op.Pad == 0 {
		return schema.PaddingVALID, true
	}
	same := func(in, out int) bool {
		return out == (in+op.Stride-1)/op.Stride && (out-1)*op.Stride+op.Kernel-in == 2*op.Pad
	}
	if same(in.H, out.H) && same(in.W, out.W) {
		return schema.PaddingSAME, true
	}
	return schema.PaddingVALID, false
}

// fullyConnected is a 1x1 convolution.
func (l *lowering) fullyConnected(n *node, x int) int {
	w := l.floats(n.name+".weight", n.weights["weight"], n.shape.C, n.in[0].shape.C)
	b := l.floats(n.name+".bias", n.bias(), n.shape.C)
	return l.add(schema.BuiltinOperatorFULLY_CONNECTED, options{schema.BuiltinOptionsFullyConnectedOptions, func(b *flatbuffers.Builder) flatbuffers.UOffsetT {
		schema.FullyConnectedOptionsStart(b)
		schema.FullyConnectedOptionsAddKeepNumDims(b, true)
		return schema.FullyConnectedOptionsEnd(b)
	}}, n.name, l.shape(n.shape), x, w, b)
}

// subsample keeps the first pixel of every window: the first channels of the
// first row, once a window's row is an axis and its pixels are channels.
func (l *lowering) subsample(n *node, op graph.Subsample, x int) int {
	s, r := n.shape, op.Stride
	x = l.reshape(n.name+"/windows", x, l.batch*s.H, r, s.W, r*s.C)
	x = l.slice(n.name+"/first", x, []int{0, 0, 0, 0}, []int{l.batch * s.H, 1, s.W, s.C})
	return l.reshape(n.name, x, l.shape(s)...)
}

// deconv fills each pixel's window: the pixel r times side by side, times the
// kernel of r rows of r pixels. Window rows are an axis, a window's pixels of
// one row are channels, so that four axes are enough.
func (l *lowering) deconv(n *node, op graph.Deconv, x int) int {
	s, r := n.in[0].shape, op.Kernel
	weight := make([]float32, len(n.weights["weight"]))
	for c := range s.C {
		for k := range r * r {
			weight[k*s.C+c] = n.weights["weight"][c*r*r+k]
		}
	}
	x = l.reshape(n.name+"/pixels", x, l.batch*s.H, 1, s.W, s.C)
	x = l.repeat(n.name+"/repeated", x, r, l.batch*s.H, 1, s.W, s.C)
	full := []int{l.batch * s.H, r, s.W, r * s.C}
	x = l.binary(schema.BuiltinOperatorMUL, n.name+"/windows", full, x, l.floats(n.name+".weight", weight, 1, r, 1, r*s.C))
	// The bias in rows of the image: longer inner loops than pixels have.
	bias := repeated(n.weights["bias"], n.shape.W)
	image := []int{l.batch * n.shape.H, len(bias)}
	x = l.reshape(n.name+"/rows", x, image...)
	x = l.binary(schema.BuiltinOperatorADD, n.name+"/biased", image, x, l.floats(n.name+".bias", bias, len(bias)))
	return l.reshape(n.name, x, l.shape(n.shape)...)
}

func repeated(x []float32, times int) []float32 {
	var y []float32
	for range times {
		y = append(y, x...)
	}
	return y
}

// maxParts is how many values XNNPACK concatenates at once, at least.
const maxParts = 4

// repeat is times copies of x, of the given shape, side by side in its channels.
func (l *lowering) repeat(name string, x, times int, shape ...int) int {
	if times == 1 {
		return x
	}
	parts := []int{}
	for left := times; left > 0; {
		n := 1
		if times > maxParts {
			n = min(left, (times+maxParts-1)/maxParts)
		}
		parts = append(parts, l.repeat(name, x, n, shape...))
		left -= n
	}
	last := len(shape) - 1
	out := append(slices.Clone(shape[:last]), times*shape[last])
	return l.add(schema.BuiltinOperatorCONCATENATION, options{schema.BuiltinOptionsConcatenationOptions, func(b *flatbuffers.Builder) flatbuffers.UOffsetT {
		schema.ConcatenationOptionsStart(b)
		schema.ConcatenationOptionsAddAxis(b, int32(last))
		return schema.ConcatenationOptionsEnd(b)
	}}, name, out, parts...)
}

// attention is softmax(q kᵀ) v of every head. in holds q, k and v, or one value
// with all three.
func (l *lowering) attention(n *node, op graph.Attention, in []int) int {
	s, h := n.shape, op.Heads
	tokens, d := s.H*s.W, s.C/h
	head := []int{l.batch, h, tokens, d}
	var qkv [3]int
	if len(in) == 1 {
		x := l.reshape(n.name+"/heads", in[0], l.batch, tokens, 3*h, d)
		x = l.transpose(n.name+"/by_head", x, []int{l.batch, tokens, 3 * h, d}, 0, 2, 1, 3)
		for i, part := range []string{"/q", "/k", "/v"} {
			qkv[i] = l.slice(n.name+part, x, []int{0, i * h, 0, 0}, head)
		}
	} else {
		for i, x := range in {
			qkv[i] = l.byHead(n.in[i].name, x, tokens, h, d)
		}
	}
	if op.Scale != 1 {
		qkv[0] = l.binary(schema.BuiltinOperatorMUL, n.name+"/q_scaled", head, qkv[0], l.scalar(float32(op.Scale)))
	}
	p := l.matmul(n.name+"/scores", qkv[0], qkv[1], true, l.batch, h, tokens, tokens)
	p = l.add(schema.BuiltinOperatorSOFTMAX, options{schema.BuiltinOptionsSoftmaxOptions, func(b *flatbuffers.Builder) flatbuffers.UOffsetT {
		schema.SoftmaxOptionsStart(b)
		schema.SoftmaxOptionsAddBeta(b, 1)
		return schema.SoftmaxOptionsEnd(b)
	}}, n.name+"/weights", []int{l.batch, h, tokens, tokens}, p)
	x := l.matmul(n.name+"/mixed", p, qkv[2], false, head...)
	if h > 1 {
		x = l.transpose(n.name+"/by_token", x, head, 0, 2, 1, 3)
	}
	return l.reshape(n.name, x, l.shape(s)...)
}

// byHead turns [batch H W C] into [batch heads tokens C/heads].
func (l *lowering) byHead(name string, x, tokens, heads, d int) int {
	if heads == 1 {
		return l.reshape(name+"/head", x, l.batch, 1, tokens, d)
	}
	x = l.reshape(name+"/heads", x, l.batch, tokens, heads, d)
	return l.transpose(name+"/by_head", x, []int{l.batch, tokens, heads, d}, 0, 2, 1, 3)
}

// matmul is a times b, or its transpose, for every head.
func (l *lowering) matmul(name string, a, b int, transposed bool, shape ...int) int {
	return l.add(schema.BuiltinOperatorBATCH_MATMUL, options{schema.BuiltinOptionsBatchMatMulOptions, func(b *flatbuffers.Builder) flatbuffers.UOffsetT {
		schema.BatchMatMulOptionsStart(b)
		schema.BatchMatMulOptionsAddAdjY(b, transposed)
		return schema.BatchMatMulOptionsEnd(b)
	}}, name, shape, a, b)
}

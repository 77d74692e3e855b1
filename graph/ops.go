package graph

import (
	"errors"
	"fmt"
)

// Op is one operation. The set is sealed: a backend lowers every type that Ops
// lists. Its fields have JSON names, under which it goes to a worker process.
type Op interface {
	// Kind is the operation's name in tables and JSON.
	Kind() string
	// params lists the tensors that the operation needs, given its input's
	// channels.
	params(inC int) []Param
}

// Param is the name and PyTorch shape of one of an operation's tensors.
type Param struct {
	Name  string
	Shape []int
}

// Len is the number of values.
func (p Param) Len() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// Input is the image, normalised.
type Input struct{}

// Conv is a convolution with a square kernel: out[y,x,o] = bias[o] + sum over
// the window of in * weight[o,i,ky,kx]. Kernel 1 is a Linear layer on tokens.
type Conv struct {
	Out    int  `json:"out"`
	Kernel int  `json:"kernel"`
	Stride int  `json:"stride"`
	Pad    int  `json:"pad"`
	Groups int  `json:"groups"`
	Bias   bool `json:"bias"`
	// Linear says that the authors' module is a Linear: its weight has the
	// shape [Out In] instead of [Out In 1 1].
	Linear bool `json:"linear"`
}

// Deconv is a depthwise transposed convolution whose kernel equals its stride
// (the paper's LocalProp): each input pixel fills its own Kernel x Kernel
// window of the output, weighted by weight[c,0,ky,kx], plus bias.
type Deconv struct {
	Kernel int `json:"kernel"`
}

// Subsample keeps the pixels whose row and column are multiples of Stride (the
// paper's sparse sampler: one token per window, its top left one).
type Subsample struct {
	Stride int `json:"stride"`
}

// BatchNorm normalises each channel by its running mean and variance.
type BatchNorm struct {
	Eps float64 `json:"eps"`
}

// LayerNorm normalises each pixel over its channels.
type LayerNorm struct {
	Eps float64 `json:"eps"`
}

// GroupNorm normalises the whole feature map over height, width and channels,
// as torch.nn.GroupNorm with one group.
type GroupNorm struct {
	Eps float64 `json:"eps"`
}

// GELU is x * (1 + erf(x / sqrt 2)) / 2.
type GELU struct{}

// Attention is multi-head self-attention over all pixels. Its input holds
// queries, keys and values side by side, [H W 3C], each with its heads in
// order; its output is softmax(q kᵀ Scale) v, [H W C].
type Attention struct {
	Heads int     `json:"heads"`
	Scale float64 `json:"scale"`
}

// Add is the sum of two feature maps of one shape.
type Add struct{}

// MeanPool is the mean over height and width, [1 1 C].
type MeanPool struct{}

// Ops returns one value of every kind of operation.
func Ops() []Op {
	return []Op{Input{}, Conv{}, Deconv{}, Subsample{}, BatchNorm{}, LayerNorm{}, GroupNorm{}, GELU{}, Attention{}, Add{}, MeanPool{}}
}

func (Input) Kind() string     { return "Input" }
func (Conv) Kind() string      { return "Conv" }
func (Deconv) Kind() string    { return "Deconv" }
func (Subsample) Kind() string { return "Subsample" }
func (BatchNorm) Kind() string { return "BatchNorm" }
func (LayerNorm) Kind() string { return "LayerNorm" }
func (GroupNorm) Kind() string { return "GroupNorm" }
func (GELU) Kind() string      { return "GELU" }
func (Attention) Kind() string { return "Attention" }
func (Add) Kind() string       { return "Add" }
func (MeanPool) Kind() string  { return "MeanPool" }

func (Input) params(int) []Param     { return nil }
func (Subsample) params(int) []Param { return nil }
func (GELU) params(int) []Param      { return nil }
func (Attention) params(int) []Param { return nil }
func (Add) params(int) []Param       { return nil }
func (MeanPool) params(int) []Param  { return nil }

func (c Conv) params(inC int) []Param {
	shape := []int{c.Out, inC / c.Groups, c.Kernel, c.Kernel}
	if c.Linear {
		shape = shape[:2]
	}
	p := []Param{{"weight", shape}}
	if c.Bias {
		p = append(p, Param{"bias", []int{c.Out}})
	}
	return p
}

func (d Deconv) params(inC int) []Param {
	return []Param{{"weight", []int{inC, 1, d.Kernel, d.Kernel}}, {"bias", []int{inC}}}
}

func (BatchNorm) params(inC int) []Param {
	return append(affine(inC), Param{"running_mean", []int{inC}}, Param{"running_var", []int{inC}})
}
func (LayerNorm) params(inC int) []Param { return affine(inC) }
func (GroupNorm) params(inC int) []Param { return affine(inC) }

func affine(c int) []Param { return []Param{{"weight", []int{c}}, {"bias", []int{c}}} }

// Params lists the tensors that n needs.
func (n *Node) Params() []Param {
	if len(n.In) == 0 {
		return nil
	}
	return n.Op.params(n.In[0].Shape.C)
}

// MACs counts the multiply-adds of one image's convolutions and attention
// products; elementwise work is not counted, as in the paper.
func (n *Node) MACs() int64 {
	switch op := n.Op.(type) {
	case Conv:
		return int64(n.Shape.Len()) * int64(op.Kernel*op.Kernel*n.In[0].Shape.C/op.Groups)
	case Deconv:
		return int64(n.Shape.Len())
	case Attention:
		tokens := int64(n.Shape.H * n.Shape.W)
		return 2 * tokens * tokens * int64(n.Shape.C)
	}
	return 0
}

func inferShape(op Op, in []*Node) (Shape, error) {
	want := 1
	if _, ok := op.(Add); ok {
		want = 2
	}
	if len(in) != want {
		return Shape{}, fmt.Errorf("%s has %d inputs, want %d", op.Kind(), len(in), want)
	}
	s := in[0].Shape
	switch op := op.(type) {
	case Conv:
		if op.Groups < 1 || op.Kernel < 1 || op.Stride < 1 || op.Pad < 0 || s.C%op.Groups != 0 || op.Out%op.Groups != 0 {
			return Shape{}, fmt.Errorf("convolution %+v does not fit %v", op, s)
		}
		if op.Stride > 1 && ((s.H+2*op.Pad-op.Kernel)%op.Stride != 0 || (s.W+2*op.Pad-op.Kernel)%op.Stride != 0) {
			return Shape{}, fmt.Errorf("side %d is not a multiple of the stride %d", s.H, op.Stride)
		}
		h, w := (s.H+2*op.Pad-op.Kernel)/op.Stride+1, (s.W+2*op.Pad-op.Kernel)/op.Stride+1
		if h < 1 || w < 1 {
			return Shape{}, fmt.Errorf("kernel %d is larger than %v", op.Kernel, s)
		}
		return Shape{h, w, op.Out}, nil
	case Deconv:
		return Shape{s.H * op.Kernel, s.W * op.Kernel, s.C}, nil
	case Subsample:
		if op.Stride < 1 || s.H%op.Stride != 0 || s.W%op.Stride != 0 {
			return Shape{}, fmt.Errorf("side %d is not a multiple of the sampling ratio %d", s.H, op.Stride)
		}
		return Shape{s.H / op.Stride, s.W / op.Stride, s.C}, nil
	case Attention:
		if op.Heads < 1 || s.C%(3*op.Heads) != 0 {
			return Shape{}, fmt.Errorf("%d channels do not split into q, k, v of %d heads", s.C, op.Heads)
		}
		return Shape{s.H, s.W, s.C / 3}, nil
	case Add:
		if in[1].Shape != s {
			return Shape{}, fmt.Errorf("adds %v and %v", s, in[1].Shape)
		}
		return s, nil
	case MeanPool:
		return Shape{1, 1, s.C}, nil
	case BatchNorm, LayerNorm, GroupNorm, GELU:
		return s, nil
	}
	return Shape{}, errors.New("an input stands only at the start")
}

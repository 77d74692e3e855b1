package model

import (
	"fmt"
	"math"

	"edgevit/graph"
)

// Config is everything about a network but its weights. The official layout is
// the authors' code (github.com/saic-fi/edgevit); what other layouts vary are
// the fields of Variation.
type Config struct {
	// Layout is whose tensor names the checkpoint followed.
	Layout    string `json:"layout"`
	InputSize int    `json:"input_size"` // side in pixels
	Classes   int    `json:"classes"`

	// One value per stage.
	Depths      [4]int `json:"depths"`       // LGL blocks
	Dims        [4]int `json:"dims"`         // channels
	Heads       [4]int `json:"heads"`        // attention heads
	SampleRates [4]int `json:"sample_rates"` // r: one token per r x r window attends
	PatchSizes  [4]int `json:"patch_sizes"`  // side of a patch, in pixels of the stage before
	MLPHidden   [4]int `json:"mlp_hidden"`   // channels inside the MLP

	BlockLayerNormEps float64 `json:"block_layer_norm_eps"` // norms before attention and MLP
	LayerNormEps      float64 `json:"layer_norm_eps"`       // PatchEmbed and LocalProp
	BatchNormEps      float64 `json:"batch_norm_eps"`

	Variation
}

// Variation holds the ways in which published implementations differ from the
// authors' code. The zero value but for HeadBias, QKVBias, ConvBias and
// LocalAggKernel 5 is the authors' code.
type Variation struct {
	HeadBias bool `json:"head_bias"`
	QKVBias  bool `json:"qkv_bias"`
	// ConvBias: all other convolutions and Linear layers have a bias.
	ConvBias bool `json:"conv_bias"`
	// LocalAggKernel is the side of LocalAgg's depthwise kernel.
	LocalAggKernel int `json:"local_agg_kernel"`
	// LocalAggMidNorm: a second BatchNorm stands before LocalAgg's conv2.
	LocalAggMidNorm bool `json:"local_agg_mid_norm"`
	// EveryStage: LocalAgg and LocalProp also where the sampling ratio is 1.
	EveryStage bool `json:"every_stage"`
	// GroupNorm: GroupNorm(1) stands for LayerNorm.
	GroupNorm bool `json:"group_norm"`
	// NoPreNorm: no norm before attention, the MLPs and pooling.
	NoPreNorm bool `json:"no_pre_norm"`
	// UnscaledAttention: no 1/√d before the softmax.
	UnscaledAttention bool `json:"unscaled_attention"`
}

var officialVariation = Variation{HeadBias: true, QKVBias: true, ConvBias: true, LocalAggKernel: 5}

// presets are the paper's networks (its table 1).
var presets = map[string]Config{
	"xxs": preset([4]int{1, 1, 3, 2}, [4]int{36, 72, 144, 288}),
	"xs":  preset([4]int{1, 1, 3, 1}, [4]int{48, 96, 240, 384}),
	"s":   preset([4]int{1, 2, 5, 3}, [4]int{48, 96, 240, 384}),
}

func preset(depths, dims [4]int) Config {
	c := Config{
		Layout: "official", InputSize: 224, Classes: 1000,
		Depths: depths, Dims: dims,
		SampleRates: [4]int{4, 2, 2, 1}, PatchSizes: [4]int{4, 2, 2, 2},
		BlockLayerNormEps: 1e-6, LayerNormEps: 1e-5, BatchNormEps: 1e-5,
		Variation: officialVariation,
	}
	for i, dim := range dims {
		c.Heads[i] = dim / dims[0]
		c.MLPHidden[i] = 4 * dim
	}
	return c
}

// stage is what the modules of one stage are built from.
type stage struct {
	Config
	dim, heads, rate, patch, hidden int
}

// build describes the network, without weights. The error is
// graph.ErrInvalid.
func build(c Config) (*graph.Graph, error) {
	b, x := graph.NewBuilder(graph.Shape{H: c.InputSize, W: c.InputSize, C: 3})
	for i, depth := range c.Depths {
		s := stage{c, c.Dims[i], c.Heads[i], c.SampleRates[i], c.PatchSizes[i], c.MLPHidden[i]}
		x = patchEmbed(b.In(fmt.Sprintf("patch_embed%d", i+1)), x, s)
		for j := range depth {
			x = lglBlock(b.In(fmt.Sprintf("blocks%d.%d", i+1, j)), x, s)
		}
	}
	if !c.NoPreNorm {
		x = b.Add("norm", graph.BatchNorm{Eps: c.BatchNormEps}, x)
	}
	x = b.Add("pool", graph.MeanPool{}, x)
	x = b.Add("head", graph.Conv{Out: c.Classes, Kernel: 1, Stride: 1, Groups: 1, Bias: c.HeadBias, Linear: true}, x)
	b.In("logits").Output(x)
	return b.Graph()
}

// patchEmbed cuts x into patches and projects each to the stage's channels.
// [H W C] → [H/patch W/patch dim].
func patchEmbed(b graph.Builder, x *graph.Node, s stage) *graph.Node {
	x = b.Add("proj", graph.Conv{Out: s.dim, Kernel: s.patch, Stride: s.patch, Groups: 1, Bias: s.ConvBias}, x)
	return b.Output(b.Add("norm", s.norm(s.LayerNormEps), x))
}

// lglBlock is the paper's local-global-local bottleneck (section 3.1): LocalAgg
// gathers from a neighbourhood, GlobalSparseAttn exchanges between windows,
// LocalProp hands the result back to the neighbourhood. [H W dim] throughout.
func lglBlock(b graph.Builder, x *graph.Node, s stage) *graph.Node {
	if s.rate > 1 || s.EveryStage {
		x = localAgg(b.In("LocalAgg"), x, s)
	} else {
		b.In("LocalAgg").Output(x) // the identity, in the authors' code
	}
	return b.Output(selfAttn(b.In("SelfAttn"), x, s))
}

// localAgg mixes each pixel with its neighbourhood by depthwise convolutions.
func localAgg(b graph.Builder, x *graph.Node, s stage) *graph.Node {
	x = b.Add("pos_embed_add", graph.Add{}, x, b.Add("pos_embed", s.depthwise(3), x))
	y := b.Add("norm1", graph.BatchNorm{Eps: s.BatchNormEps}, x)
	y = b.Add("conv1", s.pointwise(s.dim, false), y)
	y = b.Add("attn", s.depthwise(s.LocalAggKernel), y)
	if s.LocalAggMidNorm {
		y = b.Add("mid_norm", graph.BatchNorm{Eps: s.BatchNormEps}, y)
	}
	y = b.Add("conv2", s.pointwise(s.dim, false), y)
	x = b.Add("conv_add", graph.Add{}, x, y)
	y = x
	if !s.NoPreNorm {
		y = b.Add("norm2", graph.BatchNorm{Eps: s.BatchNormEps}, y)
	}
	return b.Add("", graph.Add{}, x, mlp(b.In("mlp"), y, s, false))
}

// selfAttn is the transformer half of a block: GlobalSparseAttn, then an MLP.
func selfAttn(b graph.Builder, x *graph.Node, s stage) *graph.Node {
	x = b.Add("pos_embed_add", graph.Add{}, x, b.Add("pos_embed", s.depthwise(3), x))
	y := x
	if !s.NoPreNorm {
		y = b.Add("norm1", graph.LayerNorm{Eps: s.BlockLayerNormEps}, y)
	}
	x = b.Add("attn_add", graph.Add{}, x, globalSparseAttn(b.In("attn"), y, s))
	y = x
	if !s.NoPreNorm {
		y = b.Add("norm2", graph.LayerNorm{Eps: s.BlockLayerNormEps}, y)
	}
	return b.Add("", graph.Add{}, x, mlp(b.In("mlp"), y, s, true))
}

// globalSparseAttn lets one token of every r x r window attend to those of all
// other windows; localProp spreads each over its own window.
func globalSparseAttn(b graph.Builder, x *graph.Node, s stage) *graph.Node {
	if s.rate > 1 {
		x = b.Add("sampler", graph.Subsample{Stride: s.rate}, x)
	}
	scale := 1.0
	if !s.UnscaledAttention {
		scale = 1 / math.Sqrt(float64(s.dim/max(s.heads, 1)))
	}
	x = b.Add("qkv", graph.Conv{Out: 3 * s.dim, Kernel: 1, Stride: 1, Groups: 1, Bias: s.QKVBias, Linear: true}, x)
	x = b.Add("attention", graph.Attention{Heads: s.heads, Scale: scale}, x)
	if s.rate > 1 || s.EveryStage {
		x = localProp(b, x, s)
	}
	return b.Output(b.Add("proj", s.pointwise(s.dim, true), x))
}

// localProp propagates a token to its window by a depthwise transposed
// convolution. [H/r W/r dim] → [H W dim].
func localProp(b graph.Builder, x *graph.Node, s stage) *graph.Node {
	x = b.Add("LocalProp", graph.Deconv{Kernel: s.rate}, x)
	return b.Add("norm", s.norm(s.LayerNormEps), x)
}

func mlp(b graph.Builder, x *graph.Node, s stage, linear bool) *graph.Node {
	x = b.Add("fc1", s.pointwise(s.hidden, linear), x)
	x = b.Add("act", graph.GELU{}, x)
	return b.Output(b.Add("fc2", s.pointwise(s.dim, linear), x))
}

func (s stage) pointwise(out int, linear bool) graph.Conv {
	return graph.Conv{Out: out, Kernel: 1, Stride: 1, Groups: 1, Bias: s.ConvBias, Linear: linear}
}

func (s stage) depthwise(kernel int) graph.Conv {
	return graph.Conv{Out: s.dim, Kernel: kernel, Stride: 1, Pad: kernel / 2, Groups: s.dim, Bias: s.ConvBias}
}

func (s stage) norm(eps float64) graph.Op {
	if s.GroupNorm {
		return graph.GroupNorm{Eps: eps}
	}
	return graph.LayerNorm{Eps: eps}
}

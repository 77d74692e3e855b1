package graph

import (
	"fmt"
	"math"
)

// Eval is the meaning of a graph: a plain float64 evaluation of one image,
// [H W 3], that every backend is measured against. It returns each node's
// feature map, [H W C], by Node.Index. It is slow and clear.
func Eval(g *Graph, image []float32) ([][]float64, error) {
	if len(image) != g.Input().Len() {
		return nil, fmt.Errorf("input has %d values, want %d", len(image), g.Input().Len())
	}
	g, err := g.Full()
	if err != nil {
		return nil, err
	}
	values := make([][]float64, len(g.Nodes))
	for _, n := range g.Nodes {
		if err := n.CheckWeights(); err != nil {
			return nil, err
		}
		in := make([][]float64, len(n.In))
		for i, p := range n.In {
			in[i] = values[p.Index]
		}
		values[n.Index] = evalNode(n, in, image)
	}
	return values, nil
}

// CheckWeights reports the first tensor of n that is absent or has the wrong
// number of values.
func (n *Node) CheckWeights() error {
	for _, p := range n.Params() {
		if got, want := len(n.Weight(p.Name)), p.Len(); got != want {
			return fmt.Errorf("%w: %s.%s has %d values, want %d %v", ErrInvalid, n.Name, p.Name, got, want, p.Shape)
		}
	}
	return nil
}

func evalNode(n *Node, in [][]float64, image []float32) []float64 {
	out := make([]float64, n.Shape.Len())
	switch op := n.Op.(type) {
	case Input:
		for i, v := range image {
			out[i] = float64(v)
		}
	case Conv:
		evalConv(n, op, in[0], out)
	case Deconv:
		evalDeconv(n, op, in[0], out)
	case Subsample:
		s := n.In[0].Shape
		for y := range n.Shape.H {
			for x := range n.Shape.W {
				copy(out[(y*n.Shape.W+x)*s.C:][:s.C], in[0][(y*op.Stride*s.W+x*op.Stride)*s.C:])
			}
		}
	case BatchNorm:
		weight, bias, mean, variance := n.Weight("weight"), n.Weight("bias"), n.Weight("running_mean"), n.Weight("running_var")
		for i, v := range in[0] {
			c := i % n.Shape.C
			out[i] = (v-float64(mean[c]))/math.Sqrt(float64(variance[c])+op.Eps)*float64(weight[c]) + float64(bias[c])
		}
	case LayerNorm:
		for i := 0; i < len(out); i += n.Shape.C {
			normalize(out[i:i+n.Shape.C], in[0][i:i+n.Shape.C], n, op.Eps)
		}
	case GroupNorm:
		normalize(out, in[0], n, op.Eps)
	case GELU:
		for i, v := range in[0] {
			out[i] = v * 0.5 * (1 + math.Erf(v/math.Sqrt2))
		}
	case Attention:
		evalAttention(n, op, in[0], out)
	case Add:
		for i := range out {
			out[i] = in[0][i] + in[1][i]
		}
	case MeanPool:
		for i, v := range in[0] {
			out[i%n.Shape.C] += v
		}
		for c := range out {
			out[c] /= float64(len(in[0]) / n.Shape.C)
		}
	}
	return out
}

// normalize scales x to mean 0 and variance 1 and applies the affine weights
// of n, channels being the last axis.
func normalize(out, x []float64, n *Node, eps float64) {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	for _, v := range x {
		variance += (v - mean) * (v - mean)
	}
	variance /= float64(len(x))
	weight, bias := n.Weight("weight"), n.Weight("bias")
	for i, v := range x {
		c := i % n.Shape.C
		out[i] = (v-mean)/math.Sqrt(variance+eps)*float64(weight[c]) + float64(bias[c])
	}
}

func evalConv(n *Node, op Conv, in, out []float64) {
	s := n.In[0].Shape
	weight, bias := n.Weight("weight"), n.Weight("bias")
	perGroup, outPerGroup := s.C/op.Groups, op.Out/op.Groups
	for y := range n.Shape.H {
		for x := range n.Shape.W {
			for o := range op.Out {
				sum := 0.0
				if op.Bias {
					sum = float64(bias[o])
				}
				for ky := range op.Kernel {
					iy := y*op.Stride + ky - op.Pad
					if iy < 0 || iy >= s.H {
						continue
					}
					for kx := range op.Kernel {
						ix := x*op.Stride + kx - op.Pad
						if ix < 0 || ix >= s.W {
							continue
						}
						pixel := in[(iy*s.W+ix)*s.C+o/outPerGroup*perGroup:]
						for i := range perGroup {
							sum += pixel[i] * float64(weight[((o*perGroup+i)*op.Kernel+ky)*op.Kernel+kx])
						}
					}
				}
				out[(y*n.Shape.W+x)*op.Out+o] = sum
			}
		}
	}
}

func evalDeconv(n *Node, op Deconv, in, out []float64) {
	s := n.In[0].Shape
	weight, bias := n.Weight("weight"), n.Weight("bias")
	for y := range n.Shape.H {
		for x := range n.Shape.W {
			for c := range s.C {
				v := in[((y/op.Kernel)*s.W+x/op.Kernel)*s.C+c]
				w := weight[(c*op.Kernel+y%op.Kernel)*op.Kernel+x%op.Kernel]
				out[(y*n.Shape.W+x)*s.C+c] = v*float64(w) + float64(bias[c])
			}
		}
	}
}

func evalAttention(n *Node, op Attention, in, out []float64) {
	c := n.Shape.C
	tokens, d := n.Shape.H*n.Shape.W, c/op.Heads
	p := make([]float64, tokens)
	for h := range op.Heads {
		for i := range tokens {
			q := in[i*3*c+h*d:][:d]
			highest := math.Inf(-1)
			for j := range tokens {
				k := in[j*3*c+c+h*d:][:d]
				dot := 0.0
				for e := range d {
					dot += q[e] * k[e]
				}
				p[j] = dot * op.Scale
				highest = math.Max(highest, p[j])
			}
			sum := 0.0
			for j := range p {
				p[j] = math.Exp(p[j] - highest)
				sum += p[j]
			}
			for j := range p {
				v := in[j*3*c+2*c+h*d:][:d]
				for e := range d {
					out[i*c+h*d+e] += p[j] / sum * v[e]
				}
			}
		}
	}
}

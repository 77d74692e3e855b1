package graph

import (
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func TestShapes(t *testing.T) {
	for _, row := range []struct {
		name  string
		input Shape
		op    Op
		want  Shape
		err   string
	}{
		{"pointwise", Shape{7, 7, 4}, Conv{Out: 9, Kernel: 1, Stride: 1, Groups: 1}, Shape{7, 7, 9}, ""},
		{"patches", Shape{8, 12, 3}, Conv{Out: 5, Kernel: 4, Stride: 4, Groups: 1}, Shape{2, 3, 5}, ""},
		{"patches do not fit", Shape{9, 9, 3}, Conv{Out: 5, Kernel: 4, Stride: 4, Groups: 1}, Shape{}, "multiple of the stride 4"},
		{"depthwise", Shape{6, 6, 8}, Conv{Out: 8, Kernel: 5, Stride: 1, Pad: 2, Groups: 8}, Shape{6, 6, 8}, ""},
		{"groups do not divide", Shape{6, 6, 7}, Conv{Out: 8, Kernel: 1, Stride: 1, Groups: 2}, Shape{}, "does not fit"},
		{"kernel too large", Shape{2, 2, 3}, Conv{Out: 1, Kernel: 5, Stride: 1, Groups: 1}, Shape{}, "larger than"},
		{"zero stride", Shape{2, 2, 3}, Conv{Out: 1, Kernel: 1, Groups: 1}, Shape{}, "does not fit"},
		{"deconv", Shape{3, 2, 4}, Deconv{Kernel: 4}, Shape{12, 8, 4}, ""},
		{"sampling", Shape{8, 4, 4}, Subsample{Stride: 4}, Shape{2, 1, 4}, ""},
		{"sampling does not fit", Shape{6, 6, 4}, Subsample{Stride: 4}, Shape{}, "multiple of the sampling ratio 4"},
		{"attention", Shape{4, 4, 36}, Attention{Heads: 3}, Shape{4, 4, 12}, ""},
		{"attention heads", Shape{4, 4, 36}, Attention{Heads: 5}, Shape{}, "5 heads"},
		{"pool", Shape{4, 4, 6}, MeanPool{}, Shape{1, 1, 6}, ""},
		{"add of one", Shape{4, 4, 6}, Add{}, Shape{}, "1 inputs, want 2"},
		{"input in the middle", Shape{4, 4, 6}, Input{}, Shape{}, "start"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b, x := NewBuilder(row.input)
			n := b.In("block").Add("op", row.op, x)
			_, err := b.Graph()
			if row.err != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), row.err) || !strings.Contains(err.Error(), "block.op") {
					t.Errorf("error %v, want ErrInvalid that names block.op and says %q", err, row.err)
				}
				return
			}
			if err != nil || n.Shape != row.want {
				t.Errorf("shape %v, %v, want %v", n.Shape, err, row.want)
			}
		})
	}
}

func TestNamesAreUnique(t *testing.T) {
	b, x := NewBuilder(Shape{4, 4, 3})
	b.Add("twice", GELU{}, b.Add("twice", GELU{}, x))
	if _, err := b.Graph(); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
}

func TestModules(t *testing.T) {
	b, x := NewBuilder(Shape{4, 4, 3})
	embed := b.In("embed")
	y := embed.Output(embed.Add("norm", LayerNorm{}, x))
	b.In("same").Output(y)
	last := b.In("block").Add("", GELU{}, y)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]*Node{"embed": y, "embed.norm": y, "same": y, "block": last, "nowhere": nil} {
		if got := g.Find(name); got != want {
			t.Errorf("Find(%q) is %v, want %v", name, got, want)
		}
	}
	if got := strings.Join(g.Module(y), " "); got != "embed same" {
		t.Errorf("modules of embed.norm: %q", got)
	}
}

func TestBatch(t *testing.T) {
	b, _ := NewBuilder(Shape{2, 2, 3})
	g, _ := b.Graph()
	for n, want := range map[int]int{12: 1, 36: 3, 0: 0, 11: 0, 13: 0} {
		got, err := g.Batch(make([]float32, n))
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%d values hold %d images, %v, want %d", n, got, err, want)
		}
	}
}

// TestEvalByHand holds Eval to values small enough to check on paper; the
// model package holds it to PyTorch's.
func TestEvalByHand(t *testing.T) {
	f := func(v ...float32) Tensor { return Tensor{Data: v} }
	one := Shape{1, 1, 2}
	for _, row := range []struct {
		name    string
		input   Shape
		op      Op
		weights map[string]Tensor
		in      []float32
		want    []float64
	}{
		{"conv", one, Conv{Out: 1, Kernel: 1, Stride: 1, Groups: 1, Bias: true}, map[string]Tensor{"weight": f(2, 3), "bias": f(1)}, []float32{5, 7}, []float64{32}},
		{"conv with padding", Shape{1, 2, 1}, Conv{Out: 1, Kernel: 3, Stride: 1, Pad: 1, Groups: 1}, map[string]Tensor{"weight": f(9, 9, 9, 1, 10, 100, 9, 9, 9)}, []float32{1, 2}, []float64{210, 21}},
		{"deconv", Shape{1, 1, 1}, Deconv{Kernel: 2}, map[string]Tensor{"weight": f(1, 2, 3, 4), "bias": f(0.5)}, []float32{10}, []float64{10.5, 20.5, 30.5, 40.5}},
		{"sampling", Shape{2, 2, 1}, Subsample{Stride: 2}, nil, []float32{1, 2, 3, 4}, []float64{1}},
		{"batch norm", one, BatchNorm{Eps: 3}, map[string]Tensor{"weight": f(2, 1), "bias": f(1, 0), "running_mean": f(4, 0), "running_var": f(1, 6)}, []float32{6, 9}, []float64{3, 3}},
		{"layer norm", one, LayerNorm{Eps: 3}, map[string]Tensor{"weight": f(1, 2), "bias": f(0, 1)}, []float32{4, 2}, []float64{0.5, 0}},
		{"group norm", Shape{2, 1, 1}, GroupNorm{Eps: 3}, map[string]Tensor{"weight": f(2), "bias": f(1)}, []float32{4, 2}, []float64{2, 0}},
		{"gelu", one, GELU{}, nil, []float32{0, 1}, []float64{0, 0.8413447460685429}},
		{"attention", Shape{2, 1, 3}, Attention{Heads: 1, Scale: 1}, nil, []float32{0, 1, 10, 0, 5, 20}, []float64{15, 15}},
		{"mean", Shape{1, 2, 1}, MeanPool{}, nil, []float32{1, 2}, []float64{1.5}},
	} {
		t.Run(row.name, func(t *testing.T) {
			b, x := NewBuilder(row.input)
			b.Add("op", row.op, x).Weights = row.weights
			g, err := b.Graph()
			if err != nil {
				t.Fatal(err)
			}
			got, err := Eval(g, row.in)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range row.want {
				if math.Abs(got[1][i]-want) > 1e-12 {
					t.Errorf("got %v, want %v", got[1], row.want)
					break
				}
			}
		})
	}
}

func TestEvalNeedsWeights(t *testing.T) {
	b, x := NewBuilder(Shape{1, 1, 3})
	b.Add("fc", Conv{Out: 2, Kernel: 1, Stride: 1, Groups: 1}, x)
	g, _ := b.Graph()
	if _, err := Eval(g, make([]float32, 3)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "fc.weight") {
		t.Errorf("error %v, want ErrInvalid that names fc.weight", err)
	}
}

// TestLean: a lean graph is the same network without weights, which it reads
// where nobody holds them any more.
func TestLean(t *testing.T) {
	reads := 0
	build := func() *Graph {
		reads++
		b, x := NewBuilder(Shape{4, 4, 3})
		block := b.In("block")
		n := block.Add("op", Conv{Out: 2, Kernel: 1, Stride: 1, Groups: 1, Linear: true}, x)
		n.Weights = map[string]Tensor{"weight": {[]int{2, 3}, []float32{1, 2, 3, 4, 5, 6}}}
		block.Output(block.Add("act", GELU{}, n))
		g, err := b.Graph()
		if err != nil {
			t.Fatal(err)
		}
		g.ID = "id"
		return g
	}
	full := build()
	failure := errors.New("no such file")
	var err error
	lean := full.Lean(func() (*Graph, error) { return build(), err })
	if n := lean.Find("block"); n == nil || n.Name != "block.act" || n.In[0] != lean.Nodes[1] || n.Shape != full.Find("block").Shape || lean.ID != "id" {
		t.Errorf("the lean graph has the block %+v", n)
	}
	if lean.Nodes[1].CheckWeights() == nil {
		t.Error("the lean graph has weights")
	}
	if got, err := lean.Full(); got != full || err != nil {
		t.Errorf("Full gives %p, %v, not the graph that is there", got, err)
	}
	if got, err := full.Full(); got != full || err != nil {
		t.Errorf("Full of a graph with weights gives %p, %v", got, err)
	}
	image := make([]float32, 48)
	for i := range image {
		image[i] = float32(i)
	}
	want, _ := Eval(full, image)
	runtime.KeepAlive(full)
	full = nil
	runtime.GC()
	got, _ := Eval(lean, image)
	if reads != 2 || !reflect.DeepEqual(got, want) {
		t.Errorf("after %d reads the graph gives %v, want %v after 2", reads, got, want)
	}
	err = failure
	runtime.GC()
	if _, got := Eval(lean, image); !errors.Is(got, failure) {
		t.Errorf("error %v, want that of reading", got)
	}
}

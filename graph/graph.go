// Package graph is the one description of an EdgeViT network (arXiv
// 2205.03436): typed nodes in execution order, named after the modules of the
// authors' code, with their weights. The model package builds a graph; every
// backend consumes it; Eval defines what it means.
//
// A value is a feature map [H W C] without a memory layout: tokens are its
// pixels, a Linear layer is a 1x1 Conv, and PyTorch's reshapes vanish. Read
// ops.go first for the operations, then eval.go for their exact meaning.
package graph

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"weak"
)

// ErrInvalid marks a graph that cannot be built: an operation that does not
// fit its input's shape.
var ErrInvalid = errors.New("invalid graph")

// Shape is the height, width and channels of one image's feature map.
type Shape struct{ H, W, C int }

// Len is the number of elements.
func (s Shape) Len() int { return s.H * s.W * s.C }

func (s Shape) String() string { return fmt.Sprintf("[%d %d %d]", s.H, s.W, s.C) }

// Tensor is a weight: row-major float32 values in PyTorch's order of axes.
type Tensor struct {
	Shape []int
	Data  []float32
}

// Node is one operation and the feature map it makes.
type Node struct {
	// Name is the path of the module in the authors' code, such as
	// blocks1.0.LocalAgg.conv1. Weights, traces and errors share it.
	Name string
	Op   Op
	In   []*Node
	// Shape is that of the output.
	Shape Shape
	// Weights are the node's tensors by their last name: weight, bias,
	// running_mean, running_var. Empty until the graph is given weights, and in
	// one that is Lean.
	Weights map[string]Tensor
	// Index is the node's place in Graph.Nodes.
	Index int
}

// Weight returns the data of the named tensor, nil where the node has none.
func (n *Node) Weight(name string) []float32 { return n.Weights[name].Data }

// Graph is a network: nodes in an order in which every input comes before its
// use. The first node is the Input, the last one gives the logits. A graph is
// not changed once it is built and may be shared.
type Graph struct {
	Nodes []*Node
	// ID identifies operations and weights, for caches of what is made of
	// them: the model's hash. Empty where nobody has computed one.
	ID string
	// modules maps the name of a composite module (blocks1.0.LocalAgg) to the
	// node whose output is that module's output.
	modules map[string]*Node
	// weights is nil unless the graph is Lean.
	weights *weights
}

// weights are those of a lean graph: in memory as long as somebody else holds
// them.
type weights struct {
	mu   sync.Mutex
	last weak.Pointer[Graph]
	read func() (*Graph, error)
}

// Lean returns a copy of g whose nodes hold no weights. Full reads them again
// by read, which must give a graph that equals g.
func (g *Graph) Lean(read func() (*Graph, error)) *Graph {
	lean := &Graph{ID: g.ID, modules: map[string]*Node{}, weights: &weights{last: weak.Make(g), read: read}}
	for _, n := range g.Nodes {
		c := &Node{Name: n.Name, Op: n.Op, Shape: n.Shape, Index: n.Index}
		for _, in := range n.In {
			c.In = append(c.In, lean.Nodes[in.Index])
		}
		lean.Nodes = append(lean.Nodes, c)
	}
	for name, n := range g.modules {
		lean.modules[name] = lean.Nodes[n.Index]
	}
	return lean
}

// Full returns the graph with its weights: g itself, or if it is Lean the graph
// that it was made of, read again where that is gone. Whoever needs weights asks
// for it and lets go of it soon. The error is that of reading.
func (g *Graph) Full() (*Graph, error) {
	w := g.weights
	if w == nil {
		return g, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if full := w.last.Value(); full != nil {
		return full, nil
	}
	full, err := w.read()
	if err != nil {
		return nil, err
	}
	w.last = weak.Make(full)
	return full, nil
}

// Input is the shape of one input image.
func (g *Graph) Input() Shape { return g.Nodes[0].Shape }

// Output is the node whose output is the logits.
func (g *Graph) Output() *Node { return g.Nodes[len(g.Nodes)-1] }

// Classes is the number of logits.
func (g *Graph) Classes() int { return g.Output().Shape.C }

// Batch returns how many images in holds. The error says what would fit.
func (g *Graph) Batch(in []float32) (int, error) {
	n := g.Input().Len()
	if len(in) == 0 || len(in)%n != 0 {
		return 0, fmt.Errorf("input has %d values, want a multiple of %d (%v)", len(in), n, g.Input())
	}
	return len(in) / n, nil
}

// Find returns the node of that name, or the node whose output is the output
// of the composite module of that name; nil if there is neither.
func (g *Graph) Find(name string) *Node {
	for _, n := range g.Nodes {
		if n.Name == name {
			return n
		}
	}
	return g.modules[name]
}

// Module returns the names of the composite modules whose output n is.
func (g *Graph) Module(n *Node) []string {
	var names []string
	for name, node := range g.modules {
		if node == n {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Users returns, by node index, the nodes that read each node's output.
func (g *Graph) Users() [][]*Node {
	users := make([][]*Node, len(g.Nodes))
	for _, n := range g.Nodes {
		for _, in := range n.In {
			users[in.Index] = append(users[in.Index], n)
		}
	}
	return users
}

// Builder adds nodes to a graph under a path of module names.
type Builder struct {
	state *builderState
	path  string
}

type builderState struct {
	graph Graph
	err   error
}

// NewBuilder starts a graph whose input is images of the given shape.
func NewBuilder(input Shape) (Builder, *Node) {
	b := Builder{state: &builderState{graph: Graph{modules: map[string]*Node{}}}}
	n := &Node{Name: "input", Op: Input{}, Shape: input}
	b.state.graph.Nodes = []*Node{n}
	return b, n
}

// In returns a builder that adds nodes inside the named module.
func (b Builder) In(module string) Builder {
	return Builder{state: b.state, path: b.join(module)}
}

func (b Builder) join(name string) string {
	if b.path == "" {
		return name
	}
	if name == "" {
		return b.path
	}
	return b.path + "." + name
}

// Add appends a node that applies op to in. An empty name gives the node the
// name of the module itself. The first operation that does not fit is kept and
// reported by Graph.
func (b Builder) Add(name string, op Op, in ...*Node) *Node {
	n := &Node{Name: b.join(name), Op: op, In: in, Index: len(b.state.graph.Nodes)}
	shape, err := inferShape(op, in)
	if err != nil && b.state.err == nil {
		b.state.err = fmt.Errorf("%w: %s: %w", ErrInvalid, n.Name, err)
	}
	n.Shape = shape
	b.state.graph.Nodes = append(b.state.graph.Nodes, n)
	return n
}

// Output names n as the output of the builder's module and returns it.
func (b Builder) Output(n *Node) *Node {
	if b.path != n.Name {
		b.state.graph.modules[b.path] = n
	}
	return n
}

// Graph returns the finished graph. The last node added is its output.
func (b Builder) Graph() (*Graph, error) {
	if b.state.err != nil {
		return nil, b.state.err
	}
	names := map[string]bool{}
	for _, n := range b.state.graph.Nodes {
		if names[n.Name] {
			return nil, fmt.Errorf("%w: two nodes are named %s", ErrInvalid, n.Name)
		}
		names[n.Name] = true
	}
	return &b.state.graph, nil
}

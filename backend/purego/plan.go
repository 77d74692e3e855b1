package purego

import (
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"edgevit/backend/purego/kernel"
	"edgevit/graph"
)

// plan is a compiled graph: steps, one after the other, and where every value
// lives.
type plan struct {
	steps   []step
	threads int
	kernels *kernel.Table
	// arena and scratch (per worker) are sizes in float32 values.
	arena, scratch int
	// lines is the most that the padded lines of a depthwise kernel take, and
	// kernel the side of the largest one.
	lines, kernel int
	// bytes, scales and halves are the most that a tile of quantized or
	// rounded rows takes.
	bytes, scales, halves int
	weightBytes           int64

	// nodes are the graph nodes of each step, by Node.Index; a GroupNorm is with
	// its sums, one step earlier.
	nodes [][]int
	// places, of a plan that is not fused, is where each node's output lives.
	places []place
}

// settings are how a session was opened.
type settings struct {
	threads int
	kernels *kernel.Table
	// precision of the products: fp32, bf16 or int8.
	precision string
}

// planner makes a plan.
type planner struct {
	plan
	fused     bool
	precision string
	nodes     []*irNode
	// values says where each node's output lives.
	values  map[*irNode]place
	buffers []*buffer
	// packing arranges weights, each call its own, and returns their bytes; it is
	// done by all cores at the end, each with a scratch that grows as needed.
	packing []func(scratch *[]float32) int64
}

// buffer is a value in the arena, live from the step that writes it to the last
// that reads it.
type buffer struct {
	node        *irNode
	size        int
	first, last int
	offset      int
}

// newPlan compiles g. A plan that is not fused keeps the output of every node.
func newPlan(g *graph.Graph, o settings, fused bool) (*plan, error) {
	nodes, err := lower(g)
	if err != nil {
		return nil, err
	}
	if fused {
		nodes = fuse(nodes)
	}
	p := &planner{plan: plan{threads: o.threads, kernels: o.kernels}, fused: fused, precision: o.precision, nodes: nodes, values: map[*irNode]place{}}
	groups := p.groups()
	p.place(groups)
	for _, group := range groups {
		p.emit(group)
	}
	p.pack()
	p.places = make([]place, len(g.Nodes))
	for n, at := range p.values {
		p.places[n.index] = at
	}
	made := p.plan // alone: the planner holds copies of the weights
	return &made, nil
}

// pack does the packing.
func (p *planner) pack() {
	var next, bytes atomic.Int64
	var work sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		work.Go(func() {
			var scratch []float32
			for {
				i := int(next.Add(1)) - 1
				if i >= len(p.packing) {
					return
				}
				bytes.Add(p.packing[i](&scratch))
			}
		})
	}
	work.Wait()
	p.weightBytes += bytes.Load()
}

// rowWise says whether each output pixel of n depends on its own pixel of the
// inputs alone. heads says whether n may only begin a group, since it reads
// pixels of another resolution or all of them.
func rowWise(n *irNode) (ok, heads bool) {
	switch op := n.op.(type) {
	case graph.Conv:
		return op.Groups == 1, !pointwise(n)
	case graph.Subsample, graph.Deconv, graph.GroupNorm:
		return true, true
	case graph.LayerNorm, graph.BatchNorm, graph.GELU, graph.Add:
		return true, false
	}
	return false, false
}

// groups splits the nodes into steps: a run of row-wise nodes of one
// resolution is one step, in which a tile of rows goes through all of them.
func (p *planner) groups() [][]*irNode {
	var groups [][]*irNode
	open := false
	for _, n := range p.nodes {
		if _, ok := n.op.(graph.Input); ok {
			continue
		}
		rows, heads := rowWise(n)
		if last := len(groups) - 1; p.fused && open && rows && !heads &&
			groups[last][0].shape.H == n.shape.H && groups[last][0].shape.W == n.shape.W {
			groups[last] = append(groups[last], n)
			continue
		}
		groups = append(groups, []*irNode{n})
		open = rows
	}
	return groups
}

// place decides where every value lives: the image and the logits outside, what
// a step keeps to itself in scratch, the rest in the arena, where buffers that
// are never live at once may share memory.
func (p *planner) place(groups [][]*irNode) {
	where := map[*irNode]int{}
	for i, group := range groups {
		for _, n := range group {
			where[n] = i
		}
	}
	last := map[*irNode]int{}
	for i, group := range groups {
		for _, n := range group {
			for _, in := range n.inputs() {
				last[in] = i
			}
		}
	}
	output := p.nodes[len(p.nodes)-1]
	for _, n := range p.nodes {
		_, input := n.op.(graph.Input)
		switch {
		case input:
			p.values[n] = place{kind: inInput}
		case n == output:
			p.values[n] = place{kind: inOutput}
		case last[n] > where[n]:
			p.buffers = append(p.buffers, &buffer{node: n, size: n.shape.Len(), first: where[n], last: last[n]})
		}
	}
	p.layout()
}

// layout gives every buffer the lowest offset at which no buffer that is live
// at the same time lies, the largest first. A plan that is not fused keeps
// every value.
func (p *planner) layout() {
	const align = 16 // one cache line
	ordered := slices.Clone(p.buffers)
	slices.SortStableFunc(ordered, func(a, b *buffer) int { return b.size - a.size })
	var placed []*buffer
	for _, b := range ordered {
		for _, other := range placed { // sorted by offset
			live := !p.fused || other.first <= b.last && b.first <= other.last
			if live && other.offset < b.offset+b.size && b.offset < other.offset+other.size {
				b.offset = (other.offset + other.size + align - 1) / align * align
			}
		}
		placed = append(placed, b)
		slices.SortFunc(placed, func(a, b *buffer) int { return a.offset - b.offset })
		p.arena = max(p.arena, b.offset+b.size)
		p.values[b.node] = place{kind: inArena, offset: b.offset}
	}
}

// emit appends the steps of one group.
func (p *planner) emit(group []*irNode) {
	n := group[0]
	switch op := n.op.(type) {
	case graph.Attention:
		p.add(group, p.attention(n, op))
	case graph.MeanPool:
		p.add(group, &meanPool{src: p.values[n.in[0]], dst: p.values[n], pixels: n.in[0].shape.H * n.in[0].shape.W, c: n.shape.C})
	case graph.Conv:
		if op.Groups > 1 {
			p.add(group, p.depthwise(n, op))
			return
		}
		p.add(group, p.rows(group))
	case graph.GroupNorm:
		p.add(group[:1], &groupStats{src: p.values[n.in[0]], size: n.shape.Len()})
		p.add(group[1:], p.rows(group))
	default:
		p.add(group, p.rows(group))
	}
}

func (p *planner) add(group []*irNode, s step) {
	var nodes []int
	for _, n := range group {
		nodes = append(nodes, n.nodes...)
	}
	p.steps = append(p.steps, s)
	p.plan.nodes = append(p.plan.nodes, nodes)
}

// A tile is at most maxTile rows: enough to use a weight often once it is in
// cache, few enough that a tile stays there.
const maxTile = 49

// cut chooses the tiles of total rows: at most maxTile rows each, such that the
// busiest thread has least to do, gemm taking p.kernels.Rows rows at a time.
func (p *planner) cut(total, align int) tiling {
	best, least := tiling{}, math.Inf(1)
	for tile := align; tile <= max(maxTile, align); tile += align {
		t := tiling{total: total, align: align, parts: p.threads, tile: tile}
		work := 0.0
		for i := range t.parts {
			from, to := t.part(1, i)
			part := float64((to-from)/tile)*p.cost(tile) + p.cost((to-from)%tile)
			work = max(work, part)
		}
		if work <= least {
			best, least = t, work
		}
	}
	return best
}

// cost of a tile: its rows, rounded up in part, and something itself.
func (p *planner) cost(rows int) float64 {
	rest := rows % p.kernels.Rows
	cost := float64(rows - rest)
	if rest > 0 {
		cost += (float64(rest) + float64(p.kernels.Rows)) / 2
	}
	if rows > 0 {
		cost += 0.5
	}
	return cost
}

// rows makes the step of a group of row-wise nodes.
func (p *planner) rows(group []*irNode) step {
	total, align := group[0].shape.H*group[0].shape.W, 1
	switch op := group[0].op.(type) {
	case graph.Deconv:
		align = op.Kernel // so that a tile begins and ends with a window
	case graph.Conv:
		if cutsPatches(op, group[0].in[0].shape) && !p.narrows(group[0], op) {
			align = group[0].shape.W // whole rows of patches
		}
	}
	s := &rowStep{tiling: p.cut(total, align)}
	used := 0
	scratch := func(width int) place {
		at := place{kind: inScratch, offset: used}
		used += (s.tile*width + 15) / 16 * 16
		return at
	}
	for _, n := range group {
		if _, placed := p.values[n]; !placed {
			p.values[n] = scratch(n.shape.C)
		}
		s.ops = append(s.ops, p.lowerRow(n, s.tile, scratch)...)
	}
	p.scratch = max(p.scratch, used)
	return s
}

// lowerRow lowers one row-wise node.
func (p *planner) lowerRow(n *irNode, tile int, scratch func(width int) place) []rowOp {
	src, dst, c := p.values[n.in[0]], p.values[n], n.shape.C
	from := n.in[0].shape
	switch op := n.op.(type) {
	case graph.Conv:
		k := op.Kernel * op.Kernel * from.C
		matrix := func(scratch *[]float32) (m, bias []float32) {
			m = slices.Grow((*scratch)[:0], k*c)[:k*c]
			*scratch = m
			return m, n.matrix(m, from.C, op.Kernel)
		}
		if cutsPatches(op, from) && !p.narrows(n, op) {
			o := &patches{src: src, dst: dst, from: from, kernel: op.Kernel}
			p.packing = append(p.packing, func(scratch *[]float32) int64 {
				m, bias := matrix(scratch)
				o.weight = p.kernels.Pack(m, bias, k, c)
				return o.weight.Bytes()
			})
			return []rowOp{o}
		}
		var ops []rowOp
		if !pointwise(n) {
			windows := scratch(k)
			ops = append(ops, &gather{src: src, dst: windows, from: from, to: n.shape, kernel: op.Kernel, stride: op.Stride, pad: op.Pad})
			src = windows
		}
		end := epilogue{dst: dst, gelu: n.gelu}
		if n.residual != nil {
			end.residual, end.adds = p.values[n.residual], true
		}
		switch {
		case !p.narrows(n, op):
		case p.precision == "int8":
			p.bytes = max(p.bytes, tile*kernel.QuantizedLine(k))
			p.scales = max(p.scales, tile)
			o := &gemmInt8{src: src, epilogue: end}
			p.packing = append(p.packing, func(scratch *[]float32) int64 {
				m, bias := matrix(scratch)
				o.weight = p.kernels.PackInt8(m, bias, k, c)
				return o.weight.Bytes()
			})
			return append(ops, o)
		default:
			p.halves = max(p.halves, tile*kernel.RoundedLine(k))
			o := &gemmBFloat16{src: src, epilogue: end}
			p.packing = append(p.packing, func(scratch *[]float32) int64 {
				m, bias := matrix(scratch)
				o.weight = p.kernels.BFloat16.Pack(m, bias, k, c)
				return o.weight.Bytes()
			})
			return append(ops, o)
		}
		o := &gemm{src: src, epilogue: end}
		p.packing = append(p.packing, func(scratch *[]float32) int64 {
			m, bias := matrix(scratch)
			o.weight = p.kernels.Pack(m, bias, k, c)
			return o.weight.Bytes()
		})
		return append(ops, o)
	case graph.Subsample:
		return []rowOp{&gather{src: src, dst: dst, from: from, to: n.shape, kernel: 1, stride: op.Stride}}
	case graph.Deconv:
		return []rowOp{&deconv{src: src, dst: dst, from: from, kernel: op.Kernel, weight: tapsFirst(n.weights["weight"], c, op.Kernel), bias: n.bias(c)}}
	case graph.LayerNorm:
		return []rowOp{&norm{src: src, dst: dst, c: c, eps: float32(op.Eps), affine: n.affine()}}
	case graph.GroupNorm:
		return []rowOp{&groupNorm{src: src, dst: dst, c: c, size: n.shape.Len(), eps: op.Eps, affine: n.affine()}}
	case graph.BatchNorm:
		scale, shift := batchNormAffine(n, op)
		return []rowOp{&scaleShift{src: src, dst: dst, c: c, affine: affine{narrow(scale), narrow(shift)}}}
	case graph.GELU:
		return []rowOp{&gelu{src: src, dst: dst, c: c}}
	default: // Add
		return []rowOp{&add{src: src, other: p.values[n.in[1]], dst: dst, c: c}}
	}
}

// narrows says whether a convolution is computed at the lower precision: all but
// the first one, whose input is the image, and the head, on whose output the
// answer depends directly.
func (p *planner) narrows(n *irNode, op graph.Conv) bool {
	_, first := n.in[0].op.(graph.Input)
	return p.precision != "fp32" && op.Groups == 1 && !first && n != p.nodes[len(p.nodes)-1]
}

// cutsPatches says whether a convolution cuts its input into patches that cover
// it whole and do not overlap.
func cutsPatches(op graph.Conv, in graph.Shape) bool {
	return op.Kernel > 1 && op.Stride == op.Kernel && op.Pad == 0 && op.Groups == 1 && in.W%op.Kernel == 0
}

// affine is the norm's scale and shift of each channel, empty if plain.
func (n *irNode) affine() affine {
	if n.plain {
		return affine{}
	}
	return affine{n.weights["weight"], n.weights["bias"]}
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

// tapsFirst turns a depthwise weight [c 1 kernel kernel] into [kernel kernel c].
func tapsFirst(w []float32, c, kernel int) []float32 {
	t := make([]float32, len(w))
	taps := kernel * kernel
	for ch := range c {
		for i := range taps {
			t[i*c+ch] = w[ch*taps+i]
		}
	}
	return t
}

func (p *planner) depthwise(n *irNode, op graph.Conv) step {
	c := n.shape.C
	line := (n.shape.W+op.Kernel-1)*c + kernel.LineSlack
	p.lines = max(p.lines, (op.Kernel+1)*line)
	p.kernel = max(p.kernel, op.Kernel)
	f := p.kernels.PackFilter(tapsFirst(n.weights["weight"], c, op.Kernel), n.bias(c), op.Kernel, c)
	p.weightBytes += f.Bytes()
	bands := 1
	if p.threads > 1 {
		bands = min(n.shape.H, 2*p.threads) // each copies a kernel's lines again
	}
	return &depthwise{src: p.values[n.in[0]], dst: p.values[n], shape: n.shape, line: line, bands: bands, filter: f}
}

func (p *planner) attention(n *irNode, op graph.Attention) step {
	tokens := n.shape.H * n.shape.W
	s := &attention{
		src: p.values[n.in[0]], dst: p.values[n], heads: op.Heads, scale: float32(op.Scale),
		tokens: tokens, c: n.shape.C,
		// A head's queries are split only where there are too few heads.
		parts: min(tokens, (p.threads+op.Heads-1)/op.Heads),
	}
	p.scratch = max(p.scratch, p.kernels.AttentionScratch((tokens+s.parts-1)/s.parts, tokens, s.c/s.heads))
	return s
}

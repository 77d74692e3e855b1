package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"edgevit/checkpoint"
	"edgevit/graph"
)

// InvalidError says everything that keeps a checkpoint from being used as an
// EdgeViT.
type InvalidError struct {
	// Findings are one sentence each: a missing, unexpected or misshapen
	// tensor, a label list of the wrong length, a bad setting.
	Findings []string
}

func (e *InvalidError) Error() string {
	if len(e.Findings) == 1 {
		return "not a usable EdgeViT checkpoint: " + e.Findings[0]
	}
	return fmt.Sprintf("not a usable EdgeViT checkpoint, %d findings:\n  %s", len(e.Findings), strings.Join(e.Findings, "\n  "))
}

// maxFindings bounds a list of findings; an S has 616 nodes.
const maxFindings = 2000

// limit ends a long list with the number of findings left out.
func limit(findings []string) []string {
	if n := len(findings) - maxFindings; n > 0 {
		return append(findings[:maxFindings:maxFindings], fmt.Sprintf("and %d more", n))
	}
	return findings
}

func invalid(format string, args ...any) error {
	return &InvalidError{[]string{fmt.Sprintf(format, args...)}}
}

// Open reads a checkpoint (.pth, .pt, .safetensors) and the sidecar
// <stem>.json beside it, if there is one. What o sets wins over the sidecar,
// and the sidecar over what the checkpoint says of itself. The error is an
// *InvalidError, or one of checkpoint's.
func Open(path string, o Sidecar) (*Model, error) {
	beside, notes, err := readSidecar(strings.TrimSuffix(path, filepath.Ext(path)) + ".json")
	if err != nil {
		return nil, err
	}
	f, err := checkpoint.Open(path, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := New(f, beside.Merge(o))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m.Name = ServedName(path)
	m.Notes = append(notes, m.Notes...)
	return m, nil
}

// New makes a model of an open checkpoint. Nothing of f is needed afterwards.
func New(f *checkpoint.File, o Sidecar) (*Model, error) {
	found, err := metadata(f.Metadata)
	if err != nil {
		return nil, err
	}
	w, err := collect(f, found.config)
	if err != nil {
		return nil, err
	}
	m := &Model{Config: w.config, Format: f.Format, Untrained: found.untrained}
	n := len(found.Labels)
	if found.config == nil && n > 0 && n != w.config.Classes {
		m.Notes = append(m.Notes, fmt.Sprintf("the file lists %d labels for %d classes; they are not used", n, w.config.Classes))
		found.Labels = nil
	}
	settings := found.Sidecar.Merge(o)
	if err := m.apply(settings); err != nil {
		return nil, err
	}
	m.SizeAssumed = settings.Preprocess.Size == nil
	if m.Labels == nil && n == 0 && !m.Untrained && m.Config.Classes == len(imageNet()) {
		m.Labels = ImageNet()
		m.Notes = append(m.Notes, imageNetNote)
	}
	m.Graph, err = build(m.Config)
	if err != nil {
		return nil, invalid("%v", err)
	}
	id := newIdentity(m.Config, len(m.Graph.Nodes))
	err = w.fill(m.Graph, id.add)
	m.Hash = id.end()
	m.Graph.ID = m.Hash
	if err != nil {
		return nil, err
	}
	return m, nil
}

// weights are a checkpoint's tensors under canonical names.
type weights struct {
	config Config
	layout layout
	byName map[string]checkpoint.Tensor
	// distilled is the second head of a distilled model, averaged into the
	// first.
	distilled map[string]checkpoint.Tensor
	// saved says that the configuration was written by this package, with
	// canonical names and order of rows.
	saved bool
}

// collect renames the tensors of f and infers the configuration, unless saved
// gives it.
func collect(f *checkpoint.File, saved *Config) (*weights, error) {
	var names []string
	for _, t := range f.Tensors {
		if !strings.HasSuffix(t.Name, "num_batches_tracked") {
			names = append(names, t.Name)
		}
	}
	prefix := unwrap(names)
	for i := range names {
		names[i] = names[i][len(prefix):]
	}
	w := &weights{byName: map[string]checkpoint.Tensor{}, distilled: map[string]checkpoint.Tensor{}}
	if saved != nil {
		blocks := 0
		for _, d := range saved.Depths {
			blocks += d
		}
		if blocks > len(names) {
			return nil, invalid("config.depths %v: that is more blocks than the file has tensors, %d", saved.Depths, len(names))
		}
		w.config, w.saved = *saved, true
		w.layout = layouts[len(layouts)-1]
	} else {
		l, ok := recognise(names)
		if !ok {
			return nil, invalid("its %d tensors (%s) follow none of the known layouts: official, easycv, 1hunters, birder", len(names), sample(names))
		}
		w.layout = l
	}
	rename := w.layout.renamer(names)
	t := tensors{}
	var twice []string
	for _, tensor := range f.Tensors {
		if strings.HasSuffix(tensor.Name, "num_batches_tracked") {
			continue
		}
		name := rename(tensor.Name[len(prefix):])
		if rest, ok := strings.CutPrefix(name, "dist_classifier."); ok && w.layout.name == "1hunters" {
			w.distilled["head."+rest] = tensor
			continue
		}
		if name == "" {
			continue
		}
		if _, dup := w.byName[name]; dup {
			twice = append(twice, fmt.Sprintf("%s is there twice, the second time as %s", name, tensor.Name))
		}
		w.byName[name] = tensor
		t[name] = tensor.Shape
	}
	if len(twice) > 0 {
		return nil, &InvalidError{twice}
	}
	if !w.saved {
		w.config = inferConfig(t, w.layout)
	}
	return w, nil
}

func sample(names []string) string {
	slices.Sort(names)
	if len(names) > 3 {
		return strings.Join(names[:3], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// fill checks every tensor against g and reads it, and hands each node on.
// Shapes must be those that the configuration gives; one error lists all that
// differ.
func (w *weights) fill(g *graph.Graph, done func(*graph.Node)) error {
	var findings []string
	needed := map[string]bool{}
	for _, n := range g.Nodes {
		for _, p := range n.Params() {
			name := n.Name + "." + p.Name
			needed[name] = true
			t, ok := w.byName[name]
			switch {
			case !ok:
				findings = append(findings, fmt.Sprintf("missing %s %v", w.layout.original(name, w.config), p.Shape))
			case !sameTensor(t.Shape, p.Shape):
				findings = append(findings, fmt.Sprintf("misshapen %s: %v, want %v", t.Name, t.Shape, p.Shape))
			}
			if d, ok := w.distilled[name]; ok && !sameTensor(d.Shape, p.Shape) {
				findings = append(findings, fmt.Sprintf("misshapen %s: %v, want %v", d.Name, d.Shape, p.Shape))
			}
			if _, ok := w.distilled[name]; !ok && len(w.distilled) > 0 && n.Name == "head" {
				findings = append(findings, fmt.Sprintf("missing dist_classifier.%s %v", p.Name, p.Shape))
			}
		}
	}
	var unexpected []string
	for name, t := range w.byName {
		if !needed[name] {
			unexpected = append(unexpected, fmt.Sprintf("unexpected %s %v", t.Name, t.Shape))
		}
	}
	slices.Sort(unexpected)
	if findings = append(findings, unexpected...); len(findings) > 0 {
		return &InvalidError{limit(findings)}
	}
	for _, n := range g.Nodes {
		for _, p := range n.Params() {
			data, err := w.read(n, n.Name+"."+p.Name)
			if err != nil {
				return err
			}
			if n.Weights == nil {
				n.Weights = map[string]graph.Tensor{}
			}
			n.Weights[p.Name] = graph.Tensor{Shape: p.Shape, Data: data}
		}
		done(n)
	}
	return nil
}

// read returns the values of a canonical tensor: a distilled model's two heads
// averaged, 1hunters' qkv rows in the authors' order.
func (w *weights) read(n *graph.Node, name string) ([]float32, error) {
	data, err := w.byName[name].Float32()
	if err != nil {
		return nil, err
	}
	variance := strings.HasSuffix(name, ".running_var")
	if variance || !finite(data) {
		for i, v := range data {
			if v-v != 0 || variance && v < 0 { // v-v is no number where v is not finite
				return nil, invalid("%s has the value %v at %d", w.byName[name].Name, v, i)
			}
		}
	}
	if d, ok := w.distilled[name]; ok {
		other, err := d.Float32()
		if err != nil {
			return nil, err
		}
		for i, v := range other {
			data[i] = (data[i] + v) / 2
		}
	}
	if w.layout.name == "1hunters" && strings.HasSuffix(n.Name, ".qkv") {
		stage := int(n.Name[len("blocks")] - '1')
		data = regroupQKV(data, w.config.Heads[stage], n.Shape.C)
	}
	return data, nil
}

// finite says whether all values are finite: none has an exponent of ones only.
func finite(values []float32) bool {
	const ones, one = 0x7f800000, 0x00800000
	over := uint32(0) // its sign is that of such a value
	for _, v := range values {
		over |= math.Float32bits(v)&ones + one
	}
	return over>>31 == 0
}

// regroupQKV turns rows grouped by head (q, k, v of head 0, then of head 1, …)
// into all q, all k, all v, each by head.
func regroupQKV(data []float32, heads, rows int) []float32 {
	width, d := len(data)/rows, rows/(3*heads)
	out := make([]float32, 0, len(data))
	for part := range 3 {
		for h := range heads {
			from := (h*3 + part) * d * width
			out = append(out, data[from:from+d*width]...)
		}
	}
	return out
}

// apply settles configuration, labels and preprocessing by s.
func (m *Model) apply(s Sidecar) error {
	c := &m.Config
	var findings []string
	wrong := func(format string, args ...any) { findings = append(findings, fmt.Sprintf(format, args...)) }

	if s.Config.Heads != nil {
		if len(s.Config.Heads) != 4 {
			wrong("config.heads has %d values, want one for each of 4 stages", len(s.Config.Heads))
		} else {
			copy(c.Heads[:], s.Config.Heads)
		}
	}
	for i, h := range c.Heads {
		if h < 1 || c.Dims[i]%h != 0 {
			wrong("%d heads do not divide the %d channels of stage %d; set config.heads", h, c.Dims[i], i+1)
		}
	}
	for _, e := range []struct {
		name string
		set  *float64
		to   *float64
	}{
		{"block_layer_norm_eps", s.Config.BlockLayerNormEps, &c.BlockLayerNormEps},
		{"layer_norm_eps", s.Config.LayerNormEps, &c.LayerNormEps},
		{"batch_norm_eps", s.Config.BatchNormEps, &c.BatchNormEps},
	} {
		if e.set == nil {
			continue
		}
		if !validEps(*e.set) {
			wrong("config.%s is %v, want 0 or a small positive number", e.name, *e.set)
		}
		*e.to = *e.set
	}

	m.Preprocess = defaultPreprocess(c.Layout, c.InputSize)
	s.Preprocess.applyTo(&m.Preprocess, c.Layout)
	c.InputSize = m.Preprocess.Size
	findings = append(findings, m.Preprocess.check()...)
	if findings == nil {
		findings = checkSide(*c)
	}

	m.Title = s.Name
	if s.Labels != nil {
		m.Labels = s.Labels
	}
	if m.Labels != nil && len(m.Labels) != c.Classes {
		wrong("%d labels for %d classes", len(m.Labels), c.Classes)
	}
	if findings != nil {
		return &InvalidError{findings}
	}
	return nil
}

// maxSide bounds the input, and so the memory of a session.
const maxSide = 2048

// checkSide says what keeps the network from an input of c.InputSize.
func checkSide(c Config) []string {
	side := c.InputSize
	if side < 1 || side > maxSide {
		return []string{fmt.Sprintf("input size %d is outside 1..%d", side, maxSide)}
	}
	for i, p := range c.PatchSizes {
		if p < 1 || side%p != 0 {
			return []string{fmt.Sprintf("input size %d: stage %d would cut a side of %d into patches of %d", c.InputSize, i+1, side, p)}
		}
		side /= p
		if r := c.SampleRates[i]; r < 1 || side%r != 0 {
			return []string{fmt.Sprintf("input size %d: stage %d would sample every %d of a side of %d", c.InputSize, i+1, r, side)}
		}
	}
	return nil
}

// identity is the hash of a model in the making: the sha256 of the configuration
// and the canonical weights. Whose names a file uses does not matter. It runs
// beside the reading of the weights.
type identity struct {
	nodes chan *graph.Node
	sum   chan string
}

func newIdentity(c Config, nodes int) identity {
	i := identity{make(chan *graph.Node, nodes), make(chan string, 1)}
	c.Layout = ""
	config, err := json.Marshal(c)
	if err != nil {
		panic(err) // numbers and strings only
	}
	go func() {
		h := sha256.New()
		h.Write(config)
		for n := range i.nodes {
			for _, p := range n.Params() {
				fmt.Fprintf(h, "\n%s.%s %v\n", n.Name, p.Name, p.Shape)
				if err := checkpoint.WriteFloats(h, n.Weight(p.Name)); err != nil {
					panic(err) // a hash takes everything
				}
			}
		}
		i.sum <- hex.EncodeToString(h.Sum(nil))
	}()
	return i
}

// add takes the next node, in order of execution, which has its weights.
func (i identity) add(n *graph.Node) { i.nodes <- n }

// end returns the hash.
func (i identity) end() string {
	close(i.nodes)
	return <-i.sum
}

// Parameters counts the trainable parameters: running statistics are not.
func (m *Model) Parameters() int {
	sum := 0
	for _, n := range m.Graph.Nodes {
		for _, p := range n.Params() {
			if !strings.HasPrefix(p.Name, "running_") {
				sum += p.Len()
			}
		}
	}
	return sum
}

// WeightBytes is the size of the weights as float32.
func (m *Model) WeightBytes() int64 {
	var sum int64
	for _, n := range m.Graph.Nodes {
		for _, p := range n.Params() {
			sum += 4 * int64(p.Len())
		}
	}
	return sum
}

// StageMACs counts the multiply-adds of one image by stage: four stages, then
// the head.
func (m *Model) StageMACs() [5]int64 {
	var sums [5]int64
	for _, n := range m.Graph.Nodes {
		stage := 4
		if i := strings.IndexAny(n.Name, "1234"); i > 0 && (strings.HasPrefix(n.Name, "blocks") || strings.HasPrefix(n.Name, "patch_embed")) {
			stage = int(n.Name[i] - '1')
		}
		sums[stage] += n.MACs()
	}
	return sums
}

// MACs counts the multiply-adds of one image.
func (m *Model) MACs() int64 {
	var sum int64
	for _, s := range m.StageMACs() {
		sum += s
	}
	return sum
}

var notServed = regexp.MustCompile(`[^a-z0-9._-]`)

// ServedName is the name under which the model in a file is served: the file's
// stem in lower case, other characters replaced by '-', at most 64, without dots
// at its ends; empty where that leaves nothing.
func ServedName(path string) string {
	stem := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	name := notServed.ReplaceAllString(strings.ToLower(stem), "-")
	return strings.Trim(name[:min(len(name), 64)], ".")
}

// File is a checkpoint in a folder of models.
type File struct{ Name, Path string }

// List returns the checkpoints of a folder under the names they are served by,
// sorted by path; none where there is no such folder. Two files may have one
// name: that is for the caller to judge.
func List(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	var files []File
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); IsCheckpoint(path) && !e.IsDir() {
			files = append(files, File{ServedName(path), path})
		}
	}
	return files, nil
}

// IsPath says whether name stands for a file: it has a separator or the
// extension of a checkpoint.
func IsPath(name string) bool { return strings.ContainsAny(name, `/\`) || IsCheckpoint(name) }

// IsCheckpoint says whether a path has the extension of a checkpoint.
func IsCheckpoint(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".pth", ".pt", ".safetensors":
		return true
	}
	return false
}

// ErrUnknownPreset is that of a random model that is none of xxs, xs and s.
var ErrUnknownPreset = errors.New("unknown preset")

// IsRandom says whether name stands for untrained weights, random:PRESET.
func IsRandom(name string) (preset string, ok bool) {
	return strings.CutPrefix(name, "random:")
}

// Random returns a network of the paper, xxs, xs or s, with untrained weights
// from a fixed seed. It is for timing.
func Random(preset string) (*Model, error) {
	c, ok := presets[preset]
	if !ok {
		return nil, fmt.Errorf("%w %q, want xxs, xs or s", ErrUnknownPreset, preset)
	}
	return NewRandom("random:"+preset, c, 1)
}

// NewRandom returns a network of that configuration with untrained weights,
// which keep the activations' scale from layer to layer.
func NewRandom(name string, c Config, seed uint64) (*Model, error) {
	m := &Model{Name: name, Config: c, Format: "random", Untrained: true}
	if err := m.apply(Sidecar{}); err != nil {
		return nil, err
	}
	g, err := build(c)
	if err != nil {
		return nil, invalid("%v", err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	id := newIdentity(c, len(g.Nodes))
	for _, n := range g.Nodes {
		for _, p := range n.Params() {
			if n.Weights == nil {
				n.Weights = map[string]graph.Tensor{}
			}
			n.Weights[p.Name] = graph.Tensor{Shape: p.Shape, Data: randomTensor(rng, n, p)}
		}
		id.add(n)
	}
	m.Graph, m.Hash = g, id.end()
	g.ID = m.Hash
	return m, nil
}

func randomTensor(rng *rand.Rand, n *graph.Node, p graph.Param) []float32 {
	size := p.Len()
	center, spread := 0.0, 0.1
	switch {
	case p.Name == "running_var", p.Name == "weight" && len(p.Shape) == 1:
		center = 1
	case p.Name == "weight":
		fanIn := size / p.Shape[0]
		if _, ok := n.Op.(graph.Deconv); ok {
			fanIn = 1
		}
		spread = 1 / math.Sqrt(float64(fanIn))
	}
	data := make([]float32, size)
	for i := range data {
		data[i] = float32(center + spread*(2*rng.Float64()-1)*math.Sqrt(3)/2)
	}
	return data
}

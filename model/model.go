// Package model turns a checkpoint into a model ready for any backend: the
// graph with its weights, class labels and preprocessing. edgevit.go is the
// network, to be read beside the paper; layout.go recognises whose tensor
// names a checkpoint follows and infers the configuration from names and
// shapes.
//
//	m, err := model.Open("demo.pth", model.Sidecar{})
package model

import (
	"fmt"
	"math"
	"sort"

	"edgevit/graph"
)

// Model is a network with weights, labels and preprocessing. It is not changed
// after it is made and may be shared.
type Model struct {
	// Name is the name under which it is served: lower case, [a-z0-9._-]{1,64}.
	Name string
	// Title is what its makers call it; empty if they do not say.
	Title  string
	Config Config
	Graph  *graph.Graph
	// Labels are the names of the classes; nil if they are not known. See
	// ImageNet.
	Labels     []string
	Preprocess Preprocess
	// Hash identifies the model: the sha256 of its canonical weights and
	// configuration, in hex.
	Hash string
	// Format is the file format it was read from: torch, torch-legacy,
	// safetensors, or random.
	Format string
	// Untrained marks random weights, which are for timing only.
	Untrained bool
	// SizeAssumed says that nothing told the side of the input, and
	// Preprocess.Size is the layout's default.
	SizeAssumed bool
	// Notes are findings that do not stop the model from being used.
	Notes []string
}

// Preprocess says how a photograph becomes the model's input. It is plain data
// that converts to preprocess.Spec.
type Preprocess struct {
	// Size is the side of the square input in pixels.
	Size int `json:"size"`
	// Resize is "shorter_side": the shorter side to int(Size/CropRatio), then
	// a centre crop; or "squash": both sides to Size.
	Resize    string  `json:"resize"`
	CropRatio float64 `json:"crop_ratio"`
	// Filter is bicubic, bilinear, lanczos or nearest.
	Filter string `json:"filter"`
	// Mean and Std normalise red, green and blue in 0..1.
	Mean [3]float64 `json:"mean"`
	Std  [3]float64 `json:"std"`
}

// Label is the name of class i, "class i" where the model has no labels.
func (m *Model) Label(i int) string {
	if i < len(m.Labels) {
		return m.Labels[i]
	}
	return fmt.Sprintf("class %d", i)
}

// Prediction is one class with its score.
type Prediction struct {
	Index       int     `json:"index"`
	Label       string  `json:"label"`
	Probability float64 `json:"probability"`
	Logit       float64 `json:"logit"`
}

// Top returns the k most probable classes of one image's logits, best first;
// equal logits in the order of their index.
func (m *Model) Top(logits []float32, k int) []Prediction {
	probabilities := Softmax(logits)
	all := make([]Prediction, len(logits))
	for i, l := range logits {
		all[i] = Prediction{Index: i, Probability: probabilities[i], Logit: float64(l)}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Logit > all[j].Logit })
	all = all[:min(k, len(all))]
	for i := range all {
		all[i].Label = m.Label(all[i].Index)
	}
	return all
}

// Softmax returns the probabilities that one image's logits stand for.
func Softmax(logits []float32) []float64 {
	highest := math.Inf(-1)
	for _, l := range logits {
		highest = math.Max(highest, float64(l))
	}
	sum := 0.0
	p := make([]float64, len(logits))
	for i, l := range logits {
		p[i] = math.Exp(float64(l) - highest)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

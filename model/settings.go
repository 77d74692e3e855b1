package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sidecar holds what tensors cannot tell. It is the form of the JSON file
// <stem>.json beside a checkpoint, of the metadata in a .safetensors file that
// this package writes, and of the flags of the command line. Zero fields leave
// things as they are.
type Sidecar struct {
	Name       string             `json:"name,omitempty"`
	Labels     []string           `json:"labels,omitempty"`
	Preprocess PreprocessSettings `json:"preprocess,omitzero"`
	Config     ConfigSettings     `json:"config,omitzero"`
	Note       string             `json:"note,omitempty"`
}

// PreprocessSettings are the fields of Preprocess that are set.
type PreprocessSettings struct {
	Size      *int        `json:"size,omitempty"`
	Resize    *string     `json:"resize,omitempty"`
	CropRatio *float64    `json:"crop_ratio,omitempty"`
	Filter    *string     `json:"filter,omitempty"`
	Mean      *[3]float64 `json:"mean,omitempty"`
	Std       *[3]float64 `json:"std,omitempty"`
}

// ConfigSettings are the fields of Config that tensors cannot tell.
type ConfigSettings struct {
	Heads             []int    `json:"heads,omitempty"`
	BlockLayerNormEps *float64 `json:"block_layer_norm_eps,omitempty"`
	LayerNormEps      *float64 `json:"layer_norm_eps,omitempty"`
	BatchNormEps      *float64 `json:"batch_norm_eps,omitempty"`
}

func pick[T any](a, b *T) *T {
	if b != nil {
		return b
	}
	return a
}

// Merge returns s with everything that over sets.
func (s Sidecar) Merge(over Sidecar) Sidecar {
	if over.Name != "" {
		s.Name = over.Name
	}
	if over.Labels != nil {
		s.Labels = over.Labels
	}
	p, o := &s.Preprocess, over.Preprocess
	p.Size, p.Resize, p.CropRatio = pick(p.Size, o.Size), pick(p.Resize, o.Resize), pick(p.CropRatio, o.CropRatio)
	p.Filter, p.Mean, p.Std = pick(p.Filter, o.Filter), pick(p.Mean, o.Mean), pick(p.Std, o.Std)
	c := &s.Config
	if over.Config.Heads != nil {
		c.Heads = over.Config.Heads
	}
	c.BlockLayerNormEps = pick(c.BlockLayerNormEps, over.Config.BlockLayerNormEps)
	c.LayerNormEps = pick(c.LayerNormEps, over.Config.LayerNormEps)
	c.BatchNormEps = pick(c.BatchNormEps, over.Config.BatchNormEps)
	return s
}

// MaxSidecar bounds a sidecar file in bytes: some thousands of labels.
const MaxSidecar = 4 << 20

// readSidecar is ParseSidecar of the file, an empty Sidecar if it is not there.
func readSidecar(path string) (Sidecar, []string, error) {
	var s Sidecar
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil, nil
	}
	if err == nil && info.Size() > MaxSidecar {
		return s, nil, invalid("sidecar %s has %d bytes, the limit is %d", filepath.Base(path), info.Size(), MaxSidecar)
	}
	if err == nil && !info.Mode().IsRegular() {
		return s, nil, invalid("sidecar %s is not a regular file", filepath.Base(path))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return s, nil, invalid("sidecar: %v", err)
	}
	return ParseSidecar(data, filepath.Base(path))
}

// ParseSidecar reads the content of the sidecar that messages call name. Fields
// that it does not know are told in the notes, since other tools may have
// written the file. The error is an *InvalidError.
func ParseSidecar(data []byte, name string) (Sidecar, []string, error) {
	var s Sidecar
	if err := json.Unmarshal(data, &s); err != nil {
		return s, nil, invalid("sidecar %s: %v", name, err)
	}
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if err := strict.Decode(new(Sidecar)); err != nil {
		return s, []string{fmt.Sprintf("sidecar %s: %s; it is not used", name, strings.TrimPrefix(err.Error(), "json: "))}, nil
	}
	return s, nil, nil
}

var (
	imageNetMean = [3]float64{0.485, 0.456, 0.406}
	imageNetStd  = [3]float64{0.229, 0.224, 0.225}
)

// defaultPreprocess is how the layout's own code prepares an image.
func defaultPreprocess(layout string, size int) Preprocess {
	p := Preprocess{Size: size, Resize: "shorter_side", CropRatio: 0.875, Filter: "bicubic", Mean: imageNetMean, Std: imageNetStd}
	if layout == "birder" {
		p.Resize, p.CropRatio = "squash", 1
	}
	return p
}

func (s PreprocessSettings) applyTo(p *Preprocess, layout string) {
	if s.Size != nil {
		p.Size = *s.Size
	}
	if layout == "easycv" && p.Size >= 384 {
		p.CropRatio = 1
	}
	if s.Resize != nil {
		p.Resize = *s.Resize
	}
	if s.CropRatio != nil {
		p.CropRatio = *s.CropRatio
	}
	if s.Filter != nil {
		p.Filter = *s.Filter
	}
	if s.Mean != nil {
		p.Mean = *s.Mean
	}
	if s.Std != nil {
		p.Std = *s.Std
	}
}

// check lists what is wrong with p.
func (p Preprocess) check() []string {
	var findings []string
	if !slices.Contains([]string{"shorter_side", "squash"}, p.Resize) {
		findings = append(findings, fmt.Sprintf("preprocess.resize is %q, want shorter_side or squash", p.Resize))
	}
	if !slices.Contains([]string{"bicubic", "bilinear", "lanczos", "nearest"}, p.Filter) {
		findings = append(findings, fmt.Sprintf("preprocess.filter is %q, want bicubic, bilinear, lanczos or nearest", p.Filter))
	}
	if !(p.CropRatio > 0.1 && p.CropRatio <= 1) {
		findings = append(findings, fmt.Sprintf("preprocess.crop_ratio is %v, want more than 0.1 and at most 1", p.CropRatio))
	}
	for i := range 3 {
		if !(math.Abs(p.Mean[i]) <= 1e3) || !(p.Std[i] >= 1e-6 && p.Std[i] <= 1e6) {
			findings = append(findings, fmt.Sprintf("preprocess.mean and std of channel %d are %v and %v, want small numbers and a positive std", i, p.Mean[i], p.Std[i]))
		}
	}
	return findings
}

// embedded is what metadata says: settings, and the whole configuration where
// this package wrote it.
type embedded struct {
	Sidecar
	config    *Config
	untrained bool
}

// metadataKey is the key of a .safetensors file under which this package
// writes a model's settings.
const metadataKey = "edgevit"

// saved is the form of what stands under metadataKey.
type saved struct {
	Version    int        `json:"version"`
	Name       string     `json:"name,omitempty"`
	Config     Config     `json:"config"`
	Preprocess Preprocess `json:"preprocess"`
	Labels     []string   `json:"labels,omitempty"`
	Untrained  bool       `json:"untrained,omitempty"`
}

// metadata reads settings from what stands beside the tensors: our own, or the
// forms that training code writes (birder's class_to_idx, rgb_stats and
// signature; labels, mean, std and sizes under their usual names).
func metadata(m map[string]any) (embedded, error) {
	if text, ok := m[metadataKey].(string); ok {
		return readSaved(text)
	}
	// birder's .safetensors hold the same values as JSON in strings.
	m = maps.Clone(m)
	for key, v := range m {
		if text, ok := v.(string); ok && strings.HasPrefix(text, "{") {
			m[key] = parseJSON(text)
		}
	}
	var e embedded
	for _, d := range []map[string]any{m, dict(m["meta"]), dict(m["args"]), dict(m["config"])} {
		e.Sidecar = readLoose(d).Merge(e.Sidecar)
	}
	return e, nil
}

func readSaved(text string) (embedded, error) {
	var s saved
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return embedded{}, invalid("metadata %s: %v", metadataKey, err)
	}
	if s.Version != 1 {
		return embedded{}, invalid("metadata %s has version %d, this build reads 1", metadataKey, s.Version)
	}
	if findings := s.Config.check(); findings != nil {
		return embedded{}, &InvalidError{findings}
	}
	p := s.Preprocess
	return embedded{
		Sidecar: Sidecar{
			Name: s.Name, Labels: s.Labels,
			Preprocess: PreprocessSettings{&p.Size, &p.Resize, &p.CropRatio, &p.Filter, &p.Mean, &p.Std},
		},
		config: &s.Config, untrained: s.Untrained,
	}, nil
}

// check bounds a configuration that was read from a file, so that a graph of it
// can be built.
func (c Config) check() []string {
	var findings []string
	bound := func(name string, v, most int) {
		if v < 1 || v > most {
			findings = append(findings, fmt.Sprintf("config.%s is %d, want 1..%d", name, v, most))
		}
	}
	for i := range 4 {
		bound("depths", c.Depths[i], 1000)
		bound("dims", c.Dims[i], 1<<14)
		bound("heads", c.Heads[i], 1<<14)
		bound("sample_rates", c.SampleRates[i], 64)
		bound("patch_sizes", c.PatchSizes[i], 64)
		bound("mlp_hidden", c.MLPHidden[i], 1<<18)
	}
	for name, eps := range map[string]float64{"block_layer_norm_eps": c.BlockLayerNormEps, "layer_norm_eps": c.LayerNormEps, "batch_norm_eps": c.BatchNormEps} {
		if !validEps(eps) {
			findings = append(findings, fmt.Sprintf("config.%s is %v, want 0 or a small positive number", name, eps))
		}
	}
	if !slices.ContainsFunc(layouts, func(l layout) bool { return l.name == c.Layout }) {
		findings = append(findings, fmt.Sprintf("config.layout is %.40q", c.Layout))
	}
	bound("classes", c.Classes, 1<<20)
	bound("local_agg_kernel", c.LocalAggKernel, 31)
	return findings
}

// parseJSON reads text as checkpoint's plain data: whole numbers as int64. What
// is not JSON stays a string.
func parseJSON(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return text
	}
	return numbers(v)
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	}
	return v
}

func validEps(eps float64) bool { return eps >= 0 && eps < 1 }

func dict(v any) map[string]any {
	d, _ := v.(map[string]any)
	return d
}

// readLoose reads the usual names of settings from one dictionary; what does
// not have the expected form is not a setting.
func readLoose(d map[string]any) Sidecar {
	var s Sidecar
	for _, key := range []string{"labels", "classes", "class_names", "CLASSES"} {
		if labels := stringList(d[key]); labels != nil {
			s.Labels = labels
		}
	}
	if labels := indexed(dict(d["class_to_idx"])); labels != nil {
		s.Labels = labels
	}
	stats := d
	if rgb := dict(d["rgb_stats"]); rgb != nil {
		stats = rgb
	}
	if mean, std := triple(stats["mean"]), triple(stats["std"]); mean != nil && std != nil {
		s.Preprocess.Mean, s.Preprocess.Std = mean, std
	}
	for _, key := range []string{"input_size", "img_size", "image_size"} {
		if size, ok := d[key].(int64); ok && size > 0 && size <= maxSide {
			s.Preprocess.Size = new(int(size))
		}
	}
	if inputs, ok := dict(d["signature"])["inputs"].([]any); ok && len(inputs) > 0 {
		if shape, ok := dict(inputs[0])["data_shape"].([]any); ok && len(shape) == 4 {
			if size, ok := shape[3].(int64); ok && size > 0 {
				s.Preprocess.Size = new(int(size))
			}
		}
	}
	return s
}

func stringList(v any) []string {
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil
	}
	labels := make([]string, len(list))
	for i, item := range list {
		if labels[i], ok = item.(string); !ok {
			return nil
		}
	}
	return labels
}

// indexed turns label → index into a list, nil unless the indices are 0..n-1.
func indexed(d map[string]any) []string {
	labels := make([]string, len(d))
	for label, v := range d {
		i, ok := v.(int64)
		if !ok || i < 0 || int(i) >= len(labels) || labels[i] != "" {
			return nil
		}
		labels[i] = label
	}
	if len(labels) == 0 {
		return nil
	}
	return labels
}

func triple(v any) *[3]float64 {
	list, ok := v.([]any)
	if !ok || len(list) != 3 {
		return nil
	}
	var t [3]float64
	for i, item := range list {
		switch v := item.(type) {
		case float64:
			t[i] = v
		case int64:
			t[i] = float64(v)
		default:
			return nil
		}
	}
	return &t
}

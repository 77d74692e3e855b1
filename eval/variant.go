package eval

import (
	"fmt"
	"slices"
	"strings"

	"edgevit/model"
	"edgevit/preprocess"
)

// Variant is a way to prepare images, under its name.
type Variant struct {
	Name string `json:"name"`
	model.Preprocess
	// Antialias says that the filter is widened when an image shrinks.
	Antialias bool `json:"antialias"`
}

// reference is the name of the model's own preprocessing.
const reference = "reference"

// changes are what each variant changes in the model's own preprocessing.
var changes = []struct {
	name   string
	change func(v *Variant)
}{
	{reference, func(*Variant) {}},
	{"bicubic", func(v *Variant) { v.Filter = "bicubic" }},
	{"bilinear", func(v *Variant) { v.Filter = "bilinear" }},
	{"lanczos", func(v *Variant) { v.Filter = "lanczos" }},
	{"nearest", func(v *Variant) { v.Filter = "nearest" }},
	{"no-antialias", func(v *Variant) { v.Antialias = false }},
	{"center-squash", func(v *Variant) { v.Resize = "squash" }},
}

// VariantNames are those that Variants knows.
func VariantNames() []string {
	var all []string
	for _, c := range changes {
		all = append(all, c.name)
	}
	return all
}

// Variants are the preprocessings of those names, made of the model's own,
// which is always the first:
//
//   - reference: the model's own;
//   - bicubic, bilinear, lanczos, nearest: with that filter;
//   - no-antialias: with the filter not widened when an image shrinks, as
//     OpenCV and TensorFlow resize by default; the same where an image grows;
//   - center-squash: both sides resized to the input's, without a crop.
func Variants(names []string, own model.Preprocess) ([]Variant, error) {
	all := []Variant{{reference, own, true}}
	for _, name := range names {
		i := slices.Index(VariantNames(), name)
		if i < 0 {
			return nil, fmt.Errorf("no preprocessing %q; there are %s", name, strings.Join(VariantNames(), ", "))
		}
		v := Variant{name, own, true}
		changes[i].change(&v)
		if err := preprocess.Spec(v.Preprocess).Validate(); err != nil {
			return nil, err
		}
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all, nil
}

// tensor writes the input that v makes of an image, [Size Size 3].
func (v Variant) tensor(im *preprocess.Image, dst []float32) error {
	if v.Antialias {
		return im.Tensor(preprocess.Spec(v.Preprocess), dst)
	}
	return im.TensorNoAntialias(preprocess.Spec(v.Preprocess), dst)
}

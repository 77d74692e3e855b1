package bench

import (
	"fmt"

	"edgevit/model"
)

// Change is how a subject did in one run against the same in an earlier one.
type Change struct {
	Model string `json:"model"`
	Label string `json:"label"`
	// BeforeMS and AfterMS are the medians, Ratio is after over before.
	BeforeMS float64  `json:"before_ms"`
	AfterMS  float64  `json:"after_ms"`
	Ratio    Interval `json:"ratio"`
}

// CheckModels reports the first model that is not the one that the bundle was
// measured with, to be asked before its plan is carried out again.
func (b *Bundle) CheckModels(models []*model.Model) error {
	if len(models) != len(b.Models) {
		return fmt.Errorf("replay %s: %d models, the run has %d", b.ID, len(models), len(b.Models))
	}
	for i, m := range models {
		if m.Hash != b.Models[i].Hash {
			return fmt.Errorf("replay %s: model %s is %.12s here, the run was of %.12s", b.ID, b.Models[i].Name, m.Hash, b.Models[i].Hash)
		}
	}
	return nil
}

// Changes relates the subjects of a later run to those of an earlier one, by
// model hash and label. What could not run in both is left out. The runs were
// not interleaved, so that a change may also be the machine's.
func Changes(before, after *Bundle) []Change {
	type key struct{ hash, label string }
	subjects := func(b *Bundle) map[key]*Subject {
		m := map[key]*Subject{}
		for i := range b.Subjects {
			if s := &b.Subjects[i]; s.Error == "" {
				m[key{b.Models[i/len(b.Plan.Targets)].Hash, s.Label}] = s
			}
		}
		return m
	}
	old := subjects(before)
	changes := []Change{}
	for i := range after.Subjects {
		s := &after.Subjects[i]
		was, ok := old[key{after.Models[i/len(after.Plan.Targets)].Hash, s.Label}]
		if !ok || s.Error != "" {
			continue
		}
		a, b := samples(s), samples(was)
		r := ratioOfMedians(a, b, after.Plan.seed(forIntervals, 3))
		one := []float64{0.5}
		changes = append(changes, Change{s.Model, s.Label, percentiles(b, one, 0)[0].Value, percentiles(a, one, 0)[0].Value, r})
	}
	return changes
}

func samples(s *Subject) [][]float64 {
	var blocks [][]float64
	for _, l := range s.Slices {
		blocks = append(blocks, l.SamplesMS)
	}
	return blocks
}

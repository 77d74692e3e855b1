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

// CheckModels reports the first model or peer that is not the one that the
// bundle was measured with, to be asked before its plan is carried out again.
func (b *Bundle) CheckModels(models []*model.Model, peers []Peer) error {
	if len(models) != len(b.Models) || len(peers) != len(b.Peers) {
		return fmt.Errorf("replay %s: %d models and %d peers, the run has %d and %d", b.ID, len(models), len(peers), len(b.Models), len(b.Peers))
	}
	for i, p := range peers {
		if p.Hash != b.Peers[i].Hash {
			return fmt.Errorf("replay %s: peer %s is %.12s here, the run was of %.12s", b.ID, b.Peers[i].Name, p.Hash, b.Peers[i].Hash)
		}
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
	hash := func(b *Bundle, i int) string {
		if peer := i - len(b.Models)*len(b.Plan.Targets); peer >= 0 {
			return b.Peers[peer].Hash
		}
		return b.Models[i/len(b.Plan.Targets)].Hash
	}
	subjects := func(b *Bundle) map[key]*Subject {
		m := map[key]*Subject{}
		for i := range b.Subjects {
			if s := &b.Subjects[i]; s.Error == "" {
				m[key{hash(b, i), s.Label}] = s
			}
		}
		return m
	}
	old := subjects(before)
	changes := []Change{}
	for i := range after.Subjects {
		s := &after.Subjects[i]
		was, ok := old[key{hash(after, i), s.Label}]
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

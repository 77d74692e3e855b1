package eval

import (
	"cmp"
	"slices"

	"edgevit/compare"
	"edgevit/model"
)

// Form is the version of the form of a report.
const Form = 1

// Report is what an evaluation says. Its JSON is of a form that stays.
type Report struct {
	Form      int    `json:"form"`
	Model     string `json:"model"`
	ModelHash string `json:"model_hash"`
	Untrained bool   `json:"untrained,omitempty"`
	Data      string `json:"data"`
	Classes   int    `json:"classes"`
	Threads   int    `json:"threads"`
	// Disturbances is the number of requests that the program served meanwhile,
	// beside which the times were taken.
	Disturbances int64 `json:"disturbances,omitempty"`
	// Images is the size of the set, Evaluated how many of them could be
	// decoded. Every share is one of Evaluated.
	Images    int `json:"images"`
	Evaluated int `json:"evaluated"`
	// Ignored is the number of files that are no images by their names.
	Ignored int `json:"ignored_files"`
	// Failures are the images that could not be decoded.
	Failures []Failure      `json:"failures"`
	Targets  []TargetStatus `json:"targets"`
	// Preprocess has the model's own preprocessing first.
	Preprocess []PreprocessReport `json:"preprocess"`
	// Misclassified and Confusions are those of the first target with the
	// model's own preprocessing, in order of the set and of frequency.
	Misclassified []Misclassified `json:"misclassified"`
	Confusions    []Confusion     `json:"confusions"`
}

// Failure is an image with the reason why there is no result.
type Failure struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

// TargetStatus is a target, and why it could not be opened.
type TargetStatus struct {
	Target string `json:"target"`
	Error  string `json:"error,omitempty"`
}

// Proportion is a share with its 95 % interval after Wilson.
type Proportion struct {
	Count int     `json:"count"`
	Of    int     `json:"of"`
	Share float64 `json:"share"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

func proportion(k, n int) Proportion {
	i := compare.Wilson(k, n)
	return Proportion{k, n, i.Value, i.Low, i.High}
}

// Difference is by how much a top-1 accuracy is above another one's on the same
// images, with the 95 % interval of paired differences after Agresti and Min.
type Difference struct {
	// Gained images are right here and wrong there, Lost ones the reverse.
	Gained int     `json:"gained"`
	Lost   int     `json:"lost"`
	Value  float64 `json:"value"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func difference(gained, lost, n int) Difference {
	i := compare.PairedDifference(gained, lost, n)
	return Difference{gained, lost, i.Value, i.Low, i.High}
}

// PreprocessReport is what one preprocessing gives.
type PreprocessReport struct {
	Variant
	// EqualInputs is the number of images whose input is the reference's, value
	// for value; their results are taken over. Of the reference it is all of them.
	EqualInputs int            `json:"equal_inputs"`
	Targets     []TargetReport `json:"results"`
	Pairs       []PairReport   `json:"pairs"`
	// Differing are the images on which not all targets name the same class.
	Differing []Differing `json:"differing"`
}

// TargetReport is what one target gives with one preprocessing.
type TargetReport struct {
	Target string     `json:"target"`
	Top1   Proportion `json:"top1"`
	// Top5 is that of the best min(5, classes) classes.
	Top5 Proportion `json:"top5"`
	// Difference is that of top-1 to the model's own preprocessing, nil there.
	Difference *Difference `json:"difference_to_reference,omitempty"`
	// MedianMS is the median time of an inference, beside the decoding of other
	// images: no benchmark.
	MedianMS float64 `json:"median_inference_ms"`
	// Failures are images that the target gave no finite logits for; they count
	// as wrong.
	Failures []Failure `json:"failures,omitempty"`
}

// PairReport is how two targets agree with one preprocessing.
type PairReport struct {
	A string `json:"a"`
	B string `json:"b"`
	// Top1Equal are the images on which both name the same class.
	Top1Equal Proportion `json:"top1_equal"`
	// Agreeing is the number of images on which compare.Logits.Agree holds.
	Agreeing int `json:"agreeing"`
	// WorstSNR is the lowest in dB, of the logits of WorstImage, which is empty
	// where there is no image.
	WorstSNR   float64 `json:"worst_snr_db"`
	WorstImage string  `json:"worst_image"`
	// Difference is that of B's top-1 accuracy to A's.
	Difference Difference `json:"difference"`
}

// Differing is an image with what each target names, in their order; empty
// where a target failed.
type Differing struct {
	Path    string   `json:"path"`
	Class   string   `json:"class"`
	Targets []string `json:"named"`
}

// Misclassified is an image with its class and the one that was named, empty
// where the target failed.
type Misclassified struct {
	Path string `json:"path"`
	// SHA256 is the Sum of its file.
	SHA256 string `json:"sha256"`
	Class  string `json:"class"`
	Named  string `json:"named"`
	// Probability is that of Named.
	Probability float64 `json:"probability"`
	// Top5 says that its class is among the best five.
	Top5 bool `json:"in_top5"`
}

// Confusion is how many images of a class were taken for another.
type Confusion struct {
	Class string `json:"class"`
	Named string `json:"named"`
	Count int    `json:"count"`
}

// maxConfusions is how many confusions are listed.
const maxConfusions = 20

// ConfusionKinds is how many different confusions there are, of which
// Confusions lists the most frequent.
func (r *Report) ConfusionKinds() int {
	kinds := map[Confusion]bool{}
	for _, m := range r.Misclassified {
		if m.Named != "" {
			kinds[Confusion{Class: m.Class, Named: m.Named}] = true
		}
	}
	return len(kinds)
}

// Complete says that every target was opened, every image decoded, and every
// output finite.
func (r *Report) Complete() bool {
	ok := len(r.Failures) == 0
	for _, t := range r.Targets {
		ok = ok && t.Error == ""
	}
	for _, p := range r.Preprocess {
		for _, t := range p.Targets {
			ok = ok && len(t.Failures) == 0
		}
	}
	return ok
}

// report sums up what was done of the set.
func (e *evaluation) report(set Set, targets []TargetStatus, done map[string]record) *Report {
	m := e.model
	r := &Report{
		Form: Form, Model: m.Name, ModelHash: m.Hash, Untrained: m.Untrained, Data: set.Data, Classes: m.Config.Classes, Threads: e.options.Threads,
		Images: len(set.Images), Ignored: set.Ignored, Failures: []Failure{}, Targets: targets, Misclassified: []Misclassified{}, Confusions: []Confusion{},
	}
	var all []record // those that were decoded, in order of the set
	for _, im := range set.Images {
		one := done[im.Path]
		if one.Error != "" {
			r.Failures = append(r.Failures, Failure{im.Path, one.Error})
			continue
		}
		all = append(all, one)
	}
	r.Evaluated = len(all)
	for v := range e.variants {
		r.Preprocess = append(r.Preprocess, e.variant(v, all))
	}
	counts := map[Confusion]int{}
	for _, one := range all {
		o := one.Runs[0].Targets[0]
		if o.best() == one.Class {
			continue
		}
		w := Misclassified{one.Image, one.SHA256, m.Label(one.Class), label(m, o), o.Probability, slices.Contains(o.Top, one.Class)}
		r.Misclassified = append(r.Misclassified, w)
		if w.Named != "" {
			counts[Confusion{Class: w.Class, Named: w.Named}]++
		}
	}
	for c, n := range counts {
		c.Count = n
		r.Confusions = append(r.Confusions, c)
	}
	slices.SortFunc(r.Confusions, func(a, b Confusion) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.Class, b.Class), cmp.Compare(a.Named, b.Named))
	})
	r.Confusions = r.Confusions[:min(len(r.Confusions), maxConfusions)]
	return r
}

// label is the class that a target named, empty where it failed.
func label(m *model.Model, o outcome) string {
	if o.best() < 0 {
		return ""
	}
	return m.Label(o.best())
}

// variant sums up the records of one preprocessing.
func (e *evaluation) variant(v int, all []record) PreprocessReport {
	p := PreprocessReport{Variant: e.variants[v], Pairs: []PairReport{}, Differing: []Differing{}}
	for i, c := range e.open {
		t := TargetReport{Target: c.target.String()}
		var times []float64
		top1, top5, gained, lost := 0, 0, 0, 0
		for _, r := range all {
			o := r.Runs[v].Targets[i]
			right, before := o.best() == r.Class, r.Runs[0].Targets[i].best() == r.Class
			top1 += one(right)
			top5 += one(slices.Contains(o.Top, r.Class))
			gained += one(right && !before)
			lost += one(before && !right)
			if o.Error != "" {
				t.Failures = append(t.Failures, Failure{r.Image, o.Error})
				continue
			}
			times = append(times, o.MS)
		}
		t.Top1, t.Top5, t.MedianMS = proportion(top1, len(all)), proportion(top5, len(all)), compare.Median(times)
		if v > 0 {
			d := difference(gained, lost, len(all))
			t.Difference = &d
		}
		p.Targets = append(p.Targets, t)
	}
	pair := 0
	for i, a := range e.open {
		for k := i + 1; k < len(e.open); k++ {
			g := PairReport{A: a.target.String(), B: e.open[k].target.String()}
			equal, gained, lost := 0, 0, 0
			for _, r := range all {
				oa, ob := r.Runs[v].Targets[i], r.Runs[v].Targets[k]
				equal += one(oa.best() == ob.best() && oa.best() >= 0)
				gained += one(ob.best() == r.Class && oa.best() != r.Class)
				lost += one(oa.best() == r.Class && ob.best() != r.Class)
				s := r.Runs[v].Pairs[pair]
				if s == nil {
					continue
				}
				g.Agreeing += one(s.Agrees)
				if g.WorstImage == "" || s.SNR < g.WorstSNR {
					g.WorstSNR, g.WorstImage = s.SNR, r.Image
				}
			}
			g.Top1Equal, g.Difference = proportion(equal, len(all)), difference(gained, lost, len(all))
			p.Pairs = append(p.Pairs, g)
			pair++
		}
	}
	for _, r := range all {
		run := r.Runs[v]
		if v == 0 || run.Equal {
			p.EqualInputs++
		}
		d := Differing{Path: r.Image, Class: e.model.Label(r.Class)}
		same := true
		for _, o := range run.Targets {
			same = same && o.best() == run.Targets[0].best()
			d.Targets = append(d.Targets, label(e.model, o))
		}
		if !same {
			p.Differing = append(p.Differing, d)
		}
	}
	return p
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

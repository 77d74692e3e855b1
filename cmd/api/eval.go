package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"edgevit/backend"
	"edgevit/bench"
	"edgevit/eval"
)

type evalCmd struct {
	Data       string   `required:"" help:"Images with their classes: a folder with a folder for each class, a .csv of path and label, or with --truth a folder of images." placeholder:"DIR" type:"path"`
	Truth      string   `help:"Classes of the images in --data: one a line in the sorted order of the images' names, or an image's name and its class a line." placeholder:"FILE" type:"existingfile"`
	Targets    []string `help:"Targets, the one whose mistakes are listed first. Default: every one that is available here." placeholder:"A,B"`
	Preprocess []string `help:"Preprocessings to compare with the model's own: reference, bicubic, bilinear, lanczos, nearest, no-antialias, center-squash." placeholder:"P,Q"`
	Threads    int      `help:"CPU threads of an inference; 0: min(cores, 4)." placeholder:"N"`
	Limit      int      `help:"Evaluate N images only, spread evenly over the set." placeholder:"N"`
	Resume     string   `help:"Keep results in this journal as they come, and go on where it ends." placeholder:"FILE" type:"path"`
	HTML       string   `name:"html" help:"Write the report as a page too." placeholder:"FILE" type:"path"`
	JSON       bool     `name:"json" help:"Print JSON."`
	modelFlags
}

// listed is how many images a list in the table names; JSON and page have all.
const listed = 10

func (c *evalCmd) Run(ctx context.Context, s std, registry *backend.Registry) error {
	if c.Limit < 0 || c.Threads < 0 {
		return fmt.Errorf("--limit is %d and --threads %d, want 0 or more", c.Limit, c.Threads)
	}
	m, err := c.load()
	if err != nil {
		return err
	}
	set, err := eval.Open(c.Data, c.Truth, m)
	if err != nil {
		return err
	}
	if c.Limit > 0 {
		set = set.Spread(c.Limit)
	}
	targets, err := bench.ResolveTargets(ctx, registry, c.Targets)
	if err != nil {
		return err
	}
	if c.HTML != "" {
		if err := checkWhole(c.HTML); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	bar, done := newProgress(s.err), 0
	r, err := eval.Run(ctx, m, set, eval.Options{
		Registry: registry,
		Targets:  targets, Preprocess: c.Preprocess, Threads: c.Threads, Journal: c.Resume,
		Progress: func(n, total int) {
			done = n
			bar.set(n, total)
		},
	})
	bar.end()
	switch {
	case errors.Is(err, context.Canceled) && c.Resume != "":
		return fmt.Errorf("interrupted after %d of %d images; they are in %s: the same command goes on from there", done, len(set.Images), c.Resume)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted after %d of %d images, and nothing is kept; with --resume FILE it is, and the same command then goes on", done, len(set.Images))
	case err != nil:
		return err
	}
	for _, f := range r.Failures {
		fmt.Fprintf(s.err, "api: %s: %s\n", f.Path, f.Error)
	}
	if c.JSON {
		err = writeJSON(s.out, r)
	} else {
		err = printEval(s, r)
	}
	if c.HTML != "" { // last, since it may fail yet and the figures took long
		_, pageErr := writeWhole(c.HTML, r.WriteHTML)
		err = errors.Join(err, pageErr)
	}
	if err == nil && !r.Complete() {
		err = errNo
	}
	return err
}

func printEval(s std, r *eval.Report) error {
	if r.Untrained {
		fmt.Fprintf(s.err, "api: %s has untrained weights; its labels mean nothing\n", r.Model)
	}
	w := s.out
	fmt.Fprintf(w, "%s: %d images, model %s (%.12s), threads %d\n", r.Data, r.Evaluated, r.Model, r.ModelHash, r.Threads)
	if n := len(r.Failures); n > 0 {
		fmt.Fprintf(w, "%d more could not be decoded; they are on standard error and do not count\n", n)
	}
	if r.Ignored > 0 {
		fmt.Fprintf(w, "%d files are no images by their names\n", r.Ignored)
	}
	for _, t := range r.Targets {
		if t.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", t.Target, t.Error)
		}
	}
	fmt.Fprintln(w)
	t := newTable(w)
	t.row("preprocessing", "target", "top-1 (95 %)", "points to reference (95 %)", "top-5 (95 %)", "median ms (no benchmark)", "failed")
	for _, p := range r.Preprocess {
		for _, o := range p.Targets {
			difference := "-"
			if o.Difference != nil {
				difference = o.Difference.String()
			}
			t.row(p.Name, o.Target, o.Top1, difference, o.Top5, fmt.Sprintf("%.2f", o.MedianMS), len(o.Failures))
		}
	}
	err := t.flush()
	for _, p := range r.Preprocess[1:] {
		if p.EqualInputs == r.Evaluated {
			fmt.Fprintf(w, "%s gives the same inputs as reference for every image%s\n", p.Name, becauseEnlarged(p))
		} else if p.EqualInputs > 0 {
			fmt.Fprintf(w, "%s gives the same input as reference for %d images%s\n", p.Name, p.EqualInputs, becauseEnlarged(p))
		}
	}
	for i, p := range r.Preprocess {
		if i == 0 || p.EqualInputs < r.Evaluated {
			err = errors.Join(err, printAgreement(w, p))
		}
	}
	if len(r.Confusions) > 0 {
		fmt.Fprintln(w)
		t.row("class", "named by "+r.Preprocess[0].Targets[0].Target, "images")
		for _, c := range r.Confusions[:min(listed, len(r.Confusions))] {
			t.row(c.Class, c.Named, c.Count)
		}
		err = errors.Join(err, t.flush())
		if n := r.ConfusionKinds(); n > listed {
			fmt.Fprintf(w, "the %d most frequent of %d confusions\n", listed, n)
		}
	}
	return err
}

// becauseEnlarged is why a preprocessing without antialias can change nothing.
func becauseEnlarged(p eval.PreprocessReport) string {
	if p.Antialias {
		return ""
	}
	return ": antialiasing does nothing where an image is not made smaller"
}

func printAgreement(w io.Writer, p eval.PreprocessReport) error {
	if len(p.Pairs) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nagreement, %s\n", p.Name)
	t := newTable(w)
	t.row("targets", "same top-1 (95 %)", "within tolerance", "worst SNR dB", "on", "top-1 points (95 %)")
	for _, g := range p.Pairs {
		t.row(g.A+" / "+g.B, g.Top1Equal, g.Agreeing, fmt.Sprintf("%.1f", g.WorstSNR), g.WorstImage, g.Difference)
	}
	err := t.flush()
	for i, d := range p.Differing {
		if i == listed {
			fmt.Fprintf(w, "and %d more; --json and --html have all\n", len(p.Differing)-listed)
			break
		}
		fmt.Fprintf(w, "differs: %s (%s): %s\n", d.Path, d.Class, strings.Join(d.Targets, ", "))
	}
	return err
}

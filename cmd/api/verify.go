package main

import (
	"context"
	"fmt"
	"os"

	"edgevit/backend"
	"edgevit/compare"
	"edgevit/npy"
)

type verifyCmd struct {
	Checkpoint string   `arg:"" help:"Checkpoint (.pth, .pt, .safetensors)."`
	Input      string   `required:"" help:"Input that PyTorch was given: .npy, float32 [N,3,H,W], normalised." placeholder:"X.npy" type:"existingfile"`
	Expect     string   `required:"" help:"Logits that PyTorch gave: .npy, float32 [N,classes]." placeholder:"Y.npy" type:"existingfile"`
	Targets    []string `help:"Targets to check. Default: every one in float32 that is available here." placeholder:"A,B"`
	Tolerance  float64  `help:"Largest |difference| allowed, as a share of the largest |expected logit|." default:"1e-3"`
	Threads    int      `help:"CPU threads of a run; 0: min(cores, 4)." placeholder:"N"`
	JSON       bool     `name:"json" help:"Print JSON."`
	settingFlags
}

// verifyOutput is the JSON of verify.
type verifyOutput struct {
	Checkpoint string         `json:"checkpoint"`
	ModelHash  string         `json:"model_hash"`
	Layout     string         `json:"layout"`
	Images     int            `json:"images"`
	Tolerance  float64        `json:"tolerance"`
	Agrees     bool           `json:"agrees"`
	Targets    []verifyTarget `json:"targets"`
}

// verifyTarget is how one target did, over all images.
type verifyTarget struct {
	Target string `json:"target"`
	Agrees bool   `json:"agrees"`
	// Error says why the target could not run.
	Error string `json:"error,omitempty"`
	compare.Agreement
	KL          float64 `json:"kl"`           // largest of the images
	Top1Equal   int     `json:"top1_equal"`   // images
	Top5Overlap float64 `json:"top5_overlap"` // mean
}

func (c *verifyCmd) Run(ctx context.Context, s std, registry *backend.Registry) error {
	if !(c.Tolerance >= 0) {
		return fmt.Errorf("--tolerance is %v, want 0 or more", c.Tolerance)
	}
	input, err := readArray(c.Input)
	if err != nil {
		return err
	}
	images, err := input.NHWC()
	if err != nil {
		return fmt.Errorf("%s holds %w", c.Input, err)
	}
	if input.Shape[1] != 3 || input.Shape[2] != input.Shape[3] || input.Shape[0] == 0 {
		return fmt.Errorf("%s has the shape %v, want [N 3 S S]", c.Input, input.Shape)
	}
	if c.InputSize == 0 {
		c.InputSize = input.Shape[2]
	}
	m, err := loadCheckpoint(c.Checkpoint, c.settingFlags)
	if err != nil {
		return err
	}
	expect, err := readArray(c.Expect)
	if err != nil {
		return err
	}
	n, classes := input.Shape[0], m.Config.Classes
	if len(expect.Float) != n*classes || len(expect.Shape) != 2 {
		return fmt.Errorf("%s has the shape %v, want float32 [%d %d]", c.Expect, expect.Shape, n, classes)
	}
	targets := c.Targets
	if len(targets) == 0 {
		// Lower precisions do not keep within a tolerance meant for float32.
		for _, t := range registry.Probe(ctx) {
			if t.Available && t.Target.Precision == "" {
				targets = append(targets, t.Target.String())
			}
		}
	}
	o := verifyOutput{Checkpoint: c.Checkpoint, ModelHash: m.Hash, Layout: m.Config.Layout, Images: n, Tolerance: c.Tolerance, Agrees: true}
	var failed error
	for _, name := range targets {
		v := verifyTarget{Target: name}
		got := make([]float32, n*classes)
		b, err := openTarget(ctx, s, registry, name, m, c.Threads)
		if err == nil {
			v.Target = b.Target().String()
			err = b.Run(ctx, images, got)
			b.Close()
		}
		if err != nil {
			v.Error = err.Error()
			failed = fmt.Errorf("verify: %w", err)
		} else {
			v.measure(expect.Float, got, classes, c.Tolerance)
		}
		o.Agrees = o.Agrees && v.Agrees
		o.Targets = append(o.Targets, v)
	}
	if err := o.print(s, c.JSON); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	if !o.Agrees {
		return errNo
	}
	return nil
}

func (v *verifyTarget) measure(want, got []float32, classes int, tolerance float64) {
	v.Agreement = compare.Values(want, got)
	v.Agrees = v.Within(tolerance)
	n := len(want) / classes
	for i := range n {
		l := compare.OfLogits(want[i*classes:][:classes], got[i*classes:][:classes])
		v.KL = max(v.KL, l.KL)
		v.Top5Overlap += l.Top5Overlap / float64(n)
		if l.Top1Equal {
			v.Top1Equal++
		}
	}
}

func (o verifyOutput) print(s std, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, o)
	}
	fmt.Fprintf(s.out, "%s: %s layout, model %.12s, %d images, tolerance %g of max |logit|\n\n", o.Checkpoint, o.Layout, o.ModelHash, o.Images, o.Tolerance)
	t := newTable(s.out)
	t.row("target", "verdict", "max |Δ|", "of max |logit|", "mean |Δ|", "SNR dB", "cosine", "KL", "top-1 equal", "top-5 overlap")
	for _, v := range o.Targets {
		if v.Error != "" {
			t.row(v.Target, "cannot run")
			continue
		}
		verdict := "agrees"
		if !v.Agrees {
			verdict = "DIFFERS"
		}
		t.row(v.Target, verdict, fmt.Sprintf("%.2e", v.MaxAbs), fmt.Sprintf("%.3g", v.Scale), fmt.Sprintf("%.2e", v.MeanAbs), fmt.Sprintf("%.1f", v.SNR),
			fmt.Sprintf("%.9f", v.Cosine), fmt.Sprintf("%.1e", v.KL), fmt.Sprintf("%d of %d", v.Top1Equal, o.Images), fmt.Sprintf("%.3f", v.Top5Overlap))
	}
	return t.flush()
}

func readArray(path string) (*npy.Array, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := npy.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

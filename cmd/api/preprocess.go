package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"edgevit/npy"
	"edgevit/preprocess"
)

type preprocessCmd struct {
	Images    []string `arg:"" help:"Images, folders of images, or glob patterns."`
	Size      int      `required:"" help:"Side of the crop in pixels." placeholder:"S"`
	Out       string   `required:"" help:"Folder for IMAGE.npy files, uint8 [S,S,3]." placeholder:"DIR" type:"path"`
	Resize    string   `help:"shorter_side, then a centre crop, or squash." default:"shorter_side"`
	CropRatio float64  `help:"Size in relation to the resized shorter side." default:"0.875"`
	Filter    string   `help:"bicubic, bilinear, lanczos or nearest." default:"bicubic"`
	JSON      bool     `name:"json" help:"Print JSON."`
}

// preprocessOutput is the JSON of preprocess.
type preprocessOutput struct {
	Results []preprocessResult `json:"results"`
}

// preprocessResult is one image's file, or the error.
type preprocessResult struct {
	Image string      `json:"image"`
	File  string      `json:"file,omitempty"`
	Facts *imageFacts `json:"facts,omitempty"`
	Error string      `json:"error,omitempty"`
}

func (c *preprocessCmd) Run(ctx context.Context, s std) error {
	spec := preprocess.Spec{Size: c.Size, Resize: c.Resize, CropRatio: c.CropRatio, Filter: c.Filter, Std: [3]float64{1, 1, 1}}
	if err := spec.Validate(); err != nil {
		return err
	}
	files, err := expand(c.Images)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return err
	}
	var o preprocessOutput
	written := map[string]string{}
	failed := false
	for _, file := range files {
		r := preprocessResult{Image: file, File: filepath.Join(c.Out, filepath.Base(file)+".npy")}
		if other, taken := written[r.File]; taken {
			return fmt.Errorf("%s and %s would both be written to %s", other, file, r.File)
		}
		written[r.File] = file
		facts, err := writeCrop(ctx, file, r.File, spec)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.Facts = facts; err != nil {
			r.File, r.Error, failed = "", err.Error(), true
			fmt.Fprintf(s.err, "api: %s: %v\n", file, err)
		} else if !c.JSON {
			fmt.Fprintf(s.out, "%s -> %s\n", file, r.File)
		}
		o.Results = append(o.Results, r)
	}
	if c.JSON {
		if err := writeJSON(s.out, o); err != nil {
			return err
		}
	}
	if failed {
		return errNo
	}
	return nil
}

func writeCrop(ctx context.Context, file, out string, spec preprocess.Spec) (*imageFacts, error) {
	data, err := readImage(file)
	if err != nil {
		return nil, err
	}
	im, err := preprocess.Decode(ctx, data, preprocess.DefaultLimits())
	if err != nil {
		return nil, err
	}
	crop, err := im.Crop(spec)
	if err != nil {
		return nil, err
	}
	f, err := os.Create(out)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := npy.WriteBytes(f, []int{spec.Size, spec.Size, 3}, crop); err != nil {
		return nil, fmt.Errorf("write %s: %w", out, err)
	}
	return &imageFacts{im.Format, im.Width, im.Height, im.Orientation, len(data)}, f.Close()
}

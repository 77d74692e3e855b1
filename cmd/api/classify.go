package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgevit/backend"
	"edgevit/model"
	"edgevit/preprocess"
)

type classifyCmd struct {
	Files   []string `arg:"" help:"Images, folders of images, or glob patterns."`
	Target  string   `help:"Where to run: backend[:device][:precision]." default:"purego"`
	TopK    int      `name:"top-k" help:"Classes to print for each image; 0: min(5, classes), 3 in the table." placeholder:"N"`
	Threads int      `help:"CPU threads of a run; 0: min(cores, 4)." placeholder:"N"`
	JSON    bool     `name:"json" help:"Print JSON."`
	modelFlags
}

// classifyOutput is the JSON of classify.
type classifyOutput struct {
	Model     string           `json:"model"`
	ModelHash string           `json:"model_hash"`
	Untrained bool             `json:"untrained,omitempty"`
	Target    string           `json:"target"`
	Results   []classifyResult `json:"results"`
}

// classifyResult is one image's: predictions, or the error.
type classifyResult struct {
	File        string             `json:"file"`
	Error       string             `json:"error,omitempty"`
	Predictions []model.Prediction `json:"predictions,omitempty"`
	Timing      *timing            `json:"timing,omitempty"`
	Image       *imageFacts        `json:"image,omitempty"`
}

type timing struct {
	DecodeMS     float64 `json:"decode_ms"`
	PreprocessMS float64 `json:"preprocess_ms"`
	InferenceMS  float64 `json:"inference_ms"`
	TotalMS      float64 `json:"total_ms"`
}

type imageFacts struct {
	Format      string `json:"format"`
	Width       int    `json:"width"`
	Height      int    `json:"height"`
	Orientation int    `json:"orientation"`
	Bytes       int    `json:"bytes"`
}

// barFrom is the number of files from which a progress bar is shown.
const barFrom = 21

func (c *classifyCmd) Run(ctx context.Context, s std, registry *backend.Registry) error {
	files, err := expand(c.Files)
	if err != nil {
		return err
	}
	m, err := c.load()
	if err != nil {
		return err
	}
	topK := c.TopK
	if topK == 0 {
		topK = min(5, m.Config.Classes)
		if !c.JSON {
			topK = min(3, m.Config.Classes)
		}
	}
	if topK < 1 || topK > m.Config.Classes {
		return fmt.Errorf("--top-k is %d, want 1..%d, the classes of %s", topK, m.Config.Classes, m.Name)
	}
	b, err := openTarget(ctx, s, registry, c.Target, m, c.Threads)
	if err != nil {
		return err
	}
	defer b.Close()

	bar := newProgress(s.err)
	defer bar.end()
	o := classifyOutput{Model: m.Name, ModelHash: m.Hash, Untrained: m.Untrained, Target: b.Target().String()}
	failed := 0
	for i, file := range files {
		r, err := classifyFile(ctx, b, m, file, topK)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed++
			r = classifyResult{File: file, Error: err.Error()}
		}
		o.Results = append(o.Results, r)
		if len(files) >= barFrom {
			bar.set(i+1, len(files))
		}
	}
	if err := o.print(s, c.JSON); err != nil {
		return err
	}
	if failed > 0 {
		fmt.Fprintf(s.err, "api: %d of %d images could not be classified\n", failed, len(files))
		return errNo
	}
	return nil
}

func (o classifyOutput) print(s std, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, o)
	}
	if o.Untrained {
		fmt.Fprintf(s.err, "api: %s has untrained weights; its labels mean nothing\n", o.Model)
	}
	t := newTable(s.out)
	for _, r := range o.Results {
		if r.Error != "" {
			fmt.Fprintf(s.err, "api: %s: %s\n", r.File, r.Error)
			continue
		}
		cells := []any{r.File}
		for _, p := range r.Predictions {
			cells = append(cells, p.Label, fmt.Sprintf("%.1f %%", 100*p.Probability))
		}
		t.row(cells...)
	}
	return t.flush()
}

func classifyFile(ctx context.Context, b *backend.Classifier, m *model.Model, file string, topK int) (classifyResult, error) {
	data, err := readImage(file)
	if err != nil {
		return classifyResult{}, err
	}
	r, err := classifyImage(ctx, b, m, data, topK)
	r.File = file
	return r, err
}

// classifyImage classifies the bytes of an image; the result names no file.
func classifyImage(ctx context.Context, b *backend.Classifier, m *model.Model, data []byte, topK int) (classifyResult, error) {
	begin := time.Now()
	im, err := preprocess.Decode(ctx, data, preprocess.DefaultLimits(), preprocess.Spec(m.Preprocess))
	if err != nil {
		return classifyResult{}, err
	}
	decoded := time.Now()
	tensor := make([]float32, m.Graph.Input().Len())
	if err := im.Tensor(preprocess.Spec(m.Preprocess), tensor); err != nil {
		return classifyResult{}, err
	}
	ready := time.Now()
	logits := make([]float32, m.Config.Classes)
	if err := b.Run(ctx, tensor, logits); err != nil {
		return classifyResult{}, err
	}
	for _, l := range logits {
		if math.IsNaN(float64(l)) || math.IsInf(float64(l), 0) {
			return classifyResult{}, fmt.Errorf("the output of %s on %s holds %v: its weights are broken, or the target's precision is too low", m.Name, b.Target(), l)
		}
	}
	end := time.Now()
	return classifyResult{
		Predictions: m.Top(logits, topK),
		Timing:      &timing{milliseconds(decoded.Sub(begin)), milliseconds(ready.Sub(decoded)), milliseconds(end.Sub(ready)), milliseconds(end.Sub(begin))},
		Image:       &imageFacts{im.Format, im.Width, im.Height, im.Orientation, len(data)},
	}, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// readImage reads a file of at most the size that the service takes.
func readImage(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	limit := preprocess.DefaultLimits().Bytes
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", preprocess.ErrTooLarge, limit)
	}
	return data, nil
}

// expand turns folders and patterns into files. A folder stands for the image
// files in it, in order of name.
func expand(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		paths := []string{arg}
		if _, err := os.Stat(arg); errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(arg, "*?[") {
			if paths, err = filepath.Glob(arg); err != nil {
				return nil, fmt.Errorf("%s: %w", arg, err)
			}
			if len(paths) == 0 {
				return nil, fmt.Errorf("no file matches %s", arg)
			}
		}
		for _, path := range paths {
			info, err := os.Stat(path)
			if err != nil || !info.IsDir() {
				files = append(files, path) // a missing file is reported in its turn
				continue
			}
			entries, err := os.ReadDir(path)
			if err != nil {
				return nil, err
			}
			found := false
			for _, e := range entries {
				if !e.IsDir() && preprocess.ImageName(e.Name()) {
					files = append(files, filepath.Join(path, e.Name()))
					found = true
				}
			}
			if !found {
				return nil, fmt.Errorf("%s holds no image file", path)
			}
		}
	}
	return files, nil
}

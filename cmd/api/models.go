package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode/utf8"

	"edgevit/model"
	"edgevit/model/demo"
)

// modelFlags say which model a command runs and how it differs from what its
// files say.
type modelFlags struct {
	Model  string `help:"Served name, path of a checkpoint, demo, or random:xxs|xs|s. Default: the only model of --models, else demo." placeholder:"M"`
	Models string `help:"Folder of checkpoints. Default: the user's data folder." placeholder:"DIR" env:"EDGEVIT_MODELS" type:"path"`
	settingFlags
}

// settingFlags are what tensors cannot tell, as in a sidecar file.
type settingFlags struct {
	Labels    string   `help:"File of class labels: one a line, or a JSON list." placeholder:"FILE" type:"existingfile"`
	Heads     []int    `help:"Attention heads of the four stages." placeholder:"A,B,C,D"`
	InputSize int      `help:"Side of the input in pixels." placeholder:"S"`
	CropRatio float64  `help:"Size of the crop in relation to the resized shorter side." placeholder:"R"`
	Resize    string   `help:"shorter_side, then a centre crop, or squash." placeholder:"MODE"`
	Filter    string   `help:"bicubic, bilinear, lanczos or nearest." placeholder:"F"`
	NormEps   *float64 `name:"block-layer-norm-eps" help:"Epsilon of the LayerNorms before attention and MLP." placeholder:"E"`
}

func (f settingFlags) sidecar() (model.Sidecar, error) {
	var s model.Sidecar
	if f.Labels != "" {
		labels, err := readLabels(f.Labels)
		if err != nil {
			return s, fmt.Errorf("labels: %w", err)
		}
		s.Labels = labels
	}
	s.Config.Heads = f.Heads
	s.Config.BlockLayerNormEps = f.NormEps
	s.Preprocess = model.PreprocessSettings{Size: set(f.InputSize), Resize: set(f.Resize), CropRatio: set(f.CropRatio), Filter: set(f.Filter)}
	return s, nil
}

// maxLabels bounds a file of labels in bytes: some thousands of them.
const maxLabels = 4 << 20

// readLabels reads a file with one label a line, or with a JSON list of them.
func readLabels(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLabels+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxLabels {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxLabels)
	}
	text = bytes.TrimPrefix(text, []byte("\uFEFF")) // as some editors begin a file
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%s is not UTF-8 text", path)
	}
	var labels []string
	if text = bytes.TrimRight(text, "\r\n"); bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		if err := json.Unmarshal(text, &labels); err != nil {
			return nil, fmt.Errorf("%s begins as a JSON list of strings, but: %w", path, err)
		}
	} else {
		labels = strings.Split(strings.ReplaceAll(string(text), "\r", ""), "\n")
	}
	return labels, nil
}

// set is a pointer to v, nil for the zero value, which a flag has when it is
// not given.
func set[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// load opens the model that the flags name.
func (f modelFlags) load() (*model.Model, error) {
	settings, err := f.sidecar()
	if err != nil {
		return nil, err
	}
	if preset, ok := model.IsRandom(f.Model); ok {
		return model.Random(preset)
	}
	if model.IsPath(f.Model) {
		return model.Open(f.Model, settings)
	}
	dir := f.Models
	if dir == "" {
		dir = filepath.Join(dataFolder(), "models")
	}
	files, err := model.List(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, file := range files {
		if file.Name == f.Model || f.Model == "" && len(files) == 1 {
			return model.Open(file.Path, settings)
		}
		names = append(names, file.Name)
	}
	if f.Model == "demo" || f.Model == "" && len(files) == 0 {
		return demo.Model()
	}
	if f.Model == "" {
		return nil, fmt.Errorf("%s has several models, choose one by --model: %s", dir, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("no model %q in %s; there are: %s", f.Model, dir, strings.Join(append(names, "demo", "random:xxs", "random:xs", "random:s"), ", "))
}

// dataFolder is where models and runs are kept, after the platform's custom.
func dataFolder() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "edgevit")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	switch runtime.GOOS {
	case "darwin":
		return filepath.Join(home, "Library", "Application Support", "edgevit")
	case "windows":
		return filepath.Join(os.Getenv("LocalAppData"), "edgevit")
	}
	return filepath.Join(home, ".local", "share", "edgevit")
}

package main

import (
	"fmt"

	"edgevit/model"
	"edgevit/model/demo"
)

type inspectCmd struct {
	Checkpoint string `arg:"" help:"Checkpoint (.pth, .pt, .safetensors), demo, or random:xxs|xs|s."`
	JSON       bool   `name:"json" help:"Print JSON."`
	settingFlags
}

// inspectOutput is the JSON of inspect.
type inspectOutput struct {
	Name       string           `json:"name"`
	Title      string           `json:"title,omitempty"`
	Hash       string           `json:"hash"`
	Format     string           `json:"format"`
	Config     model.Config     `json:"config"`
	Preprocess model.Preprocess `json:"preprocess"`
	Parameters int              `json:"parameters"`
	MACs       int64            `json:"macs"`
	StageMACs  [4]int64         `json:"stage_macs"`
	HeadMACs   int64            `json:"head_macs"`
	Nodes      int              `json:"nodes"`
	Labels     []string         `json:"labels"`
	Notes      []string         `json:"notes"`
}

func (c *inspectCmd) Run(s std) error {
	m, err := loadCheckpoint(c.Checkpoint, c.settingFlags)
	if err != nil {
		return err
	}
	stages := m.StageMACs()
	o := inspectOutput{
		Name: m.Name, Title: m.Title, Hash: m.Hash, Format: m.Format, Config: m.Config, Preprocess: m.Preprocess,
		Parameters: m.Parameters(), MACs: m.MACs(), StageMACs: [4]int64(stages[:4]), HeadMACs: stages[4],
		Nodes: len(m.Graph.Nodes), Labels: append([]string{}, m.Labels...), Notes: append([]string{}, m.Notes...),
	}
	if c.JSON {
		return writeJSON(s.out, o)
	}
	t := newTable(s.out)
	t.row("file", c.Checkpoint+" ("+o.Format+")")
	if o.Title != "" {
		t.row("title", o.Title)
	}
	t.row("hash", o.Hash)
	t.row("layout", o.Config.Layout)
	t.row("input", fmt.Sprintf("%d x %d", o.Config.InputSize, o.Config.InputSize))
	t.row("classes", fmt.Sprintf("%d, %s", o.Config.Classes, labelsText(m)))
	t.row("parameters", grouped(int64(o.Parameters)))
	t.row("MACs", grouped(o.MACs))
	p := o.Preprocess
	t.row("preprocess", fmt.Sprintf("%s, crop ratio %.4g, %s, mean %.4g, std %.4g", p.Resize, p.CropRatio, p.Filter, p.Mean, p.Std))
	t.row("layer norm eps", fmt.Sprintf("%g in blocks, %g in PatchEmbed and LocalProp; batch norm %g", o.Config.BlockLayerNormEps, o.Config.LayerNormEps, o.Config.BatchNormEps))
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	t = newTable(s.out)
	t.row("stage", "blocks", "channels", "heads", "sampling", "patch", "MLP", "MACs")
	for i := range 4 {
		g := o.Config
		t.row(i+1, g.Depths[i], g.Dims[i], g.Heads[i], g.SampleRates[i], g.PatchSizes[i], g.MLPHidden[i], grouped(o.StageMACs[i]))
	}
	t.row("head", "", o.Config.Classes, "", "", "", "", grouped(o.HeadMACs))
	if err := t.flush(); err != nil {
		return err
	}
	for _, n := range o.Notes {
		fmt.Fprintln(s.out, "note:", n)
	}
	return nil
}

func labelsText(m *model.Model) string {
	if m.Labels == nil {
		return "no labels"
	}
	return fmt.Sprintf("%s … %s", m.Labels[0], m.Labels[len(m.Labels)-1])
}

// grouped writes n with spaces between thousands.
func grouped(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s %03d", grouped(n/1000), n%1000)
}

// loadCheckpoint opens a checkpoint by path, the demo, or a random model.
func loadCheckpoint(path string, flags settingFlags) (*model.Model, error) {
	if preset, ok := model.IsRandom(path); ok {
		return model.Random(preset)
	}
	if path == "demo" {
		return demo.Model()
	}
	settings, err := flags.sidecar()
	if err != nil {
		return nil, err
	}
	return model.Open(path, settings)
}

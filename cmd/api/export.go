package main

import (
	"fmt"
	"io"

	"edgevit/backend"
	"edgevit/export"
)

type exportCmd struct {
	Checkpoint string `arg:"" help:"Checkpoint to read (.pth, .pt, .safetensors), or random:xxs|xs|s."`
	Format     string `required:"" help:"onnx, tflite or safetensors." placeholder:"FORMAT"`
	Out        string `required:"" help:"File to write." placeholder:"FILE" type:"path"`
	JSON       bool   `name:"json" help:"Print JSON."`
	settingFlags
}

// exportOutput is the JSON of export.
type exportOutput struct {
	File   string `json:"file"`
	Format string `json:"format"`
	Bytes  int64  `json:"bytes"`
	Hash   string `json:"hash"` // of the model
}

func (c *exportCmd) Run(s std) error {
	if err := export.Check(&backend.Default, c.Format); err != nil {
		return fmt.Errorf("--format: %w", err)
	}
	m, err := loadCheckpoint(c.Checkpoint, c.settingFlags)
	if err != nil {
		return err
	}
	size, err := writeWhole(c.Out, func(w io.Writer) error { return export.Write(w, &backend.Default, m, c.Format) })
	if err != nil {
		return err
	}
	o := exportOutput{c.Out, c.Format, size, m.Hash}
	if c.JSON {
		return writeJSON(s.out, o)
	}
	_, err = fmt.Fprintf(s.out, "%s: %s, %s bytes, model %s\n", o.File, o.Format, grouped(o.Bytes), o.Hash)
	return err
}

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type convertCmd struct {
	In   string `arg:"" help:"Checkpoint to read."`
	Out  string `arg:"" help:"File to write, .safetensors."`
	JSON bool   `name:"json" help:"Print JSON."`
	settingFlags
}

// convertOutput is the JSON of convert.
type convertOutput struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	Hash  string `json:"hash"`
	// Notes are findings that did not stop it.
	Notes []string `json:"notes,omitempty"`
}

func (c *convertCmd) Run(s std) error {
	if !strings.HasSuffix(strings.ToLower(c.Out), ".safetensors") {
		return fmt.Errorf("%s: the output is a .safetensors file, name it so", c.Out)
	}
	m, err := loadCheckpoint(c.In, c.settingFlags)
	if err != nil {
		return err
	}
	size, err := writeWhole(c.Out, m.WriteSafetensors)
	if err != nil {
		return err
	}
	o := convertOutput{c.Out, size, m.Hash, slices.Concat(m.Notes, unknowns(m))}
	if c.JSON {
		return writeJSON(s.out, o)
	}
	for _, n := range o.Notes {
		fmt.Fprintln(s.err, "note:", n)
	}
	_, err = fmt.Fprintf(s.out, "%s: %s bytes, model %s\n", o.File, grouped(o.Bytes), o.Hash)
	return err
}

// checkWhole says what keeps writeWhole from writing the file.
func checkWhole(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		if inner := new(fs.PathError); errors.As(err, &inner) { // whose path nobody gave
			err = inner.Err
		}
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// writeWhole writes a file beside its final place and renames it there, so that
// it is whole or not there.
func writeWhole(path string, write func(io.Writer) error) (size int64, err error) {
	return writeFile(path, write, os.Rename)
}

// writeFile is writeWhole with os.Rename, or os.Link, which never overwrites.
func writeFile(path string, write func(io.Writer) error, place func(from, to string) error) (size int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	if err := write(f); err != nil {
		return 0, errors.Join(fmt.Errorf("write %s: %w", path, err), f.Close())
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	return info.Size(), place(f.Name(), path)
}

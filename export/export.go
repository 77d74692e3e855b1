// Package export writes a model in the file formats that other programs read.
package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"edgevit/backend"
	"edgevit/model"
)

// ErrFormat: no backend of the program writes the format.
var ErrFormat = errors.New("unknown format")

// safetensors is the one format that no backend writes: it has no network.
const safetensors = "safetensors"

// Formats lists what Write can write with the backends of r, sorted.
func Formats(r *backend.Registry) []string {
	return slices.Sorted(maps.Keys(exporters(r)))
}

// exporters are the backends that write files, by format; nil stands for the
// model itself.
func exporters(r *backend.Registry) map[string]backend.Exporter {
	all := map[string]backend.Exporter{safetensors: nil}
	for _, name := range r.Names() {
		if e, ok := r.Backend(name).(backend.Exporter); ok {
			all[e.Format()] = e
		}
	}
	return all
}

// Check says that the format is known; else the error is ErrFormat and lists
// what there is.
func Check(r *backend.Registry, format string) error {
	all := exporters(r)
	if _, ok := all[format]; !ok {
		return fmt.Errorf("%w %q, want %s", ErrFormat, format, strings.Join(Formats(r), ", "))
	}
	return nil
}

// Write writes m. A network goes with Metadata; safetensors has a form of its
// own for it, which model.Open reads again.
func Write(w io.Writer, r *backend.Registry, m *model.Model, format string) error {
	if err := Check(r, format); err != nil {
		return err
	}
	e := exporters(r)[format]
	if e == nil {
		return m.WriteSafetensors(w)
	}
	metadata, err := Metadata(m)
	if err != nil {
		return err
	}
	if err := e.Export(w, m.Graph, metadata); err != nil {
		return fmt.Errorf("export %s to %s: %w", m.Name, format, err)
	}
	return nil
}

// Metadata is what a file says of the model beside the network: name and hash
// as they are; labels, preprocess and config as JSON, labels only where the
// model has some.
func Metadata(m *model.Model) (map[string]string, error) {
	metadata := map[string]string{"name": m.Name, "hash": m.Hash}
	for key, v := range map[string]any{"labels": m.Labels, "preprocess": m.Preprocess, "config": m.Config} {
		if key == "labels" && m.Labels == nil {
			continue
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("metadata %s: %w", key, err)
		}
		metadata[key] = string(text)
	}
	return metadata, nil
}

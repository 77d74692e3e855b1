package export_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"edgevit/backend"
	"edgevit/export"
	"edgevit/graph"
	"edgevit/model"
	"edgevit/model/modeltest"
)

// writer is a backend whose file is one value of the metadata.
type writer struct{ fails error }

func (writer) Name() string                                 { return "writer" }
func (writer) Targets() []backend.Target                    { return []backend.Target{{Backend: "writer"}} }
func (writer) Probe(context.Context) []backend.TargetStatus { return nil }
func (writer) Open(context.Context, *graph.Graph, backend.Options) (backend.Session, error) {
	return nil, backend.ErrUnavailable
}
func (writer) Format() string { return "hash" }
func (b writer) Export(w io.Writer, _ *graph.Graph, metadata map[string]string) error {
	if b.fails != nil {
		return b.fails
	}
	_, err := io.WriteString(w, metadata["hash"])
	return err
}

func TestWrite(t *testing.T) {
	m := modeltest.Tiny(t).Model
	var r backend.Registry
	r.Register(writer{})
	if got, want := export.Formats(&r), []string{"hash", "safetensors"}; !slices.Equal(got, want) {
		t.Errorf("formats %v, want %v", got, want)
	}
	var b bytes.Buffer
	if err := export.Write(&b, &r, m, "hash"); err != nil || b.String() != m.Hash {
		t.Errorf("by the backend: %q, %v; want %s", b.String(), err, m.Hash)
	}
	var direct bytes.Buffer
	b.Reset()
	if err := errors.Join(export.Write(&b, &r, m, "safetensors"), m.WriteSafetensors(&direct)); err != nil || !bytes.Equal(b.Bytes(), direct.Bytes()) {
		t.Errorf("safetensors: %d bytes, %v; want the model's own %d", b.Len(), err, direct.Len())
	}
	b.Reset()
	if err := export.Write(&b, &r, m, "onnx"); !errors.Is(err, export.ErrFormat) || !strings.Contains(err.Error(), "want hash, safetensors") || b.Len() > 0 {
		t.Errorf("an unknown format: %v, %d bytes", err, b.Len())
	}
	var failing backend.Registry
	failing.Register(writer{backend.ErrUnsupported})
	if err := export.Write(&b, &failing, m, "hash"); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("a backend that cannot: %v", err)
	}
}

func TestMetadata(t *testing.T) {
	m := modeltest.Tiny(t).Model
	for _, row := range []struct {
		name   string
		labels []string
		want   string
	}{{"none", nil, ""}, {"some", []string{"a \"b\"", "ü"}, `["a \"b\"","ü"]`}} {
		changed := model.Model{Name: "x", Hash: m.Hash, Labels: row.labels, Config: m.Config, Preprocess: m.Preprocess}
		got, err := export.Metadata(&changed)
		if err != nil || got["labels"] != row.want || got["name"] != "x" || !strings.Contains(got["preprocess"], `"resize":"shorter_side"`) || !strings.Contains(got["config"], `"layout":"official"`) {
			t.Errorf("%s: %v, %v", row.name, got, err)
		}
	}
}

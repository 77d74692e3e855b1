package model

import (
	"encoding/json"
	"fmt"
	"io"

	"edgevit/checkpoint"
)

// WriteSafetensors writes m as a .safetensors file: float32 tensors under
// canonical names, with configuration, labels and preprocessing in its
// metadata. Open gives the same model again, with the same Hash.
func (m *Model) WriteSafetensors(w io.Writer) error {
	g, err := m.Graph.Full()
	if err != nil {
		return err
	}
	var tensors []checkpoint.NamedTensor
	for _, n := range g.Nodes {
		for _, p := range n.Params() {
			tensors = append(tensors, checkpoint.NamedTensor{Name: n.Name + "." + p.Name, Shape: p.Shape, Data: n.Weight(p.Name)})
		}
	}
	text, err := json.Marshal(saved{Version: 1, Name: m.Title, Config: m.Config, Preprocess: m.Preprocess, Labels: m.Labels, Untrained: m.Untrained})
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	return checkpoint.WriteSafetensors(w, tensors, map[string]string{"format": "pt", metadataKey: string(text)})
}

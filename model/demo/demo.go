// Package demo embeds a small trained model: 1.7 million parameters, ten
// classes of CIFAR-10, 64-pixel input, 85.0 % top-1 on its test split. MODEL_CARD.md says how
// it was made.
package demo

import (
	"bytes"
	_ "embed"
	"fmt"

	"edgevit/checkpoint"
	"edgevit/model"
)

// Name is the name under which the embedded model is served.
const Name = "demo"

//go:embed demo.safetensors
var weights []byte

// Model opens the embedded model.
func Model() (*model.Model, error) {
	f, err := checkpoint.Read(bytes.NewReader(weights), int64(len(weights)), 0)
	if err != nil {
		return nil, fmt.Errorf("embedded demo model: %w", err)
	}
	m, err := model.New(f, model.Sidecar{})
	if err != nil {
		return nil, fmt.Errorf("embedded demo model: %w", err)
	}
	m.Name = Name
	return m, nil
}

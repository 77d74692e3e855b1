// Command library classifies a photograph without a server: go run . photo.jpg
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"edgevit/backend"
	_ "edgevit/backend/purego"
	"edgevit/model/demo"
	"edgevit/preprocess"
)

func main() {
	ctx := context.Background()
	data, err := os.ReadFile(os.Args[1])
	check(err)
	m, err := demo.Model() // or model.Open("edgevit_xxs.pth", model.Sidecar{})
	check(err)
	c, err := backend.Open(ctx, "purego", m.Graph, backend.Options{})
	check(err)
	im, err := preprocess.Decode(ctx, data, preprocess.DefaultLimits())
	check(err)
	image, logits := make([]float32, m.Graph.Input().Len()), make([]float32, m.Config.Classes)
	check(im.Tensor(preprocess.Spec(m.Preprocess), image))
	check(c.Run(ctx, image, logits))
	for _, p := range m.Top(logits, 3) {
		fmt.Printf("%-10s %.1f %%\n", p.Label, 100*p.Probability)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

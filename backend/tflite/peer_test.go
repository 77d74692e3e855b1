//go:build cgo && tflite && (linux || darwin)

package tflite

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	tflite "github.com/mattn/go-tflite"

	"edgevit/backend"
	"edgevit/compare"
	"edgevit/model"
)

// TestPeer compares the time of XXS with that of another exporter's file, on the
// same library with one thread, and reports the ratio ours/peer of one image. The
// order in which the two are opened shifts times by a percent and more, so both
// are opened anew for every round, in random order; rounds are what the interval
// resamples. The file and its library must be trusted.
func TestPeer(t *testing.T) {
	path := os.Getenv("EDGEVIT_TFLITE_PEER")
	if path == "" {
		t.Skip("EDGEVIT_TFLITE_PEER names no .tflite file of EdgeViT-XXS at 224 pixels")
	}
	need(t)
	const rounds, blocks, runs = 40, 5, 4
	m, err := model.Random("xxs")
	if err != nil {
		t.Fatal(err)
	}
	in, out := randomImages(m.Graph, 1), make([]float32, m.Graph.Classes())
	o := backend.Options{Device: deviceXNNPACK, Threads: 1}
	models := []func() *tflite.Model{
		func() *tflite.Model {
			own, _, err := openModel(m.Graph, false)
			if err != nil {
				t.Fatal(err)
			}
			return own
		},
		func() *tflite.Model { return tflite.NewModelFromFile(path) },
	}
	var ratios []float64
	for range rounds {
		var opened [2]*interpreter
		var files [2]*tflite.Model
		for _, i := range rand.Perm(2) {
			if files[i] = models[i](); files[i] == nil {
				t.Fatal("the peer's file cannot be opened")
			}
			if opened[i], err = newInterpreter(files[i], o); err != nil {
				t.Fatal(err)
			}
		}
		var round []float64
		for range blocks {
			var best [2]float64
			for _, i := range rand.Perm(2) {
				best[i] = math.Inf(1)
				for range runs {
					begin := time.Now()
					if err := opened[i].run(in, out); err != nil {
						t.Fatal(err)
					}
					best[i] = min(best[i], time.Since(begin).Seconds())
				}
			}
			round = append(round, best[0]/best[1])
		}
		ratios = append(ratios, compare.Median(round))
		for i, x := range opened {
			x.close()
			files[i].Delete()
		}
	}
	r := compare.BootstrapMedian(ratios, 1)
	t.Logf("ours/peer %.4f, 95 %% interval %.4f to %.4f", r.Value, r.Low, r.High)
}

//go:build cgo

package onnx

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	ort "github.com/yalue/onnxruntime_go"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/onnx/export"
	"edgevit/compare"
	"edgevit/model"
)

// TestPeer compares the time of XXS with that of another exporter's file, on the
// same library with one thread, and reports the ratio ours/peer of one image.
// Both are opened anew for every round, in random order; rounds are what the
// interval resamples.
func TestPeer(t *testing.T) {
	path := os.Getenv("EDGEVIT_ONNX_PEER")
	if path == "" {
		t.Skip("EDGEVIT_ONNX_PEER names no .onnx file of EdgeViT-XXS at 224 pixels")
	}
	cpu, err := findDevice(backend.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := usable(cpu); err != nil {
		backendtest.Skip(t, "onnx", err.Error())
	}
	peer, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	inputs, outputs, err := ort.GetInputOutputInfoWithONNXData(peer)
	if err != nil || len(inputs) != 1 || len(outputs) != 1 {
		t.Fatalf("the peer's inputs %v and outputs %v: %v", inputs, outputs, err)
	}
	m, err := model.Random("xxs")
	if err != nil {
		t.Fatal(err)
	}
	var own bytes.Buffer
	if err := export.Write(&own, m.Graph, export.Options{Batch: 1}); err != nil {
		t.Fatal(err)
	}
	in, err := ort.NewTensor(ort.NewShape(1, 3, 224, 224), randomValues(3*224*224))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Destroy()
	out, err := ort.NewEmptyTensor[float32](ort.NewShape(1, int64(m.Graph.Classes())))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Destroy()
	open := []func() (*ort.DynamicAdvancedSession, error){
		func() (*ort.DynamicAdvancedSession, error) {
			return openPeerFile(own.Bytes(), export.InputName, export.OutputName)
		},
		func() (*ort.DynamicAdvancedSession, error) {
			return openPeerFile(peer, inputs[0].Name, outputs[0].Name)
		},
	}

	const rounds, blocks, runs = 30, 5, 4
	var ratios []float64
	for range rounds {
		var opened [2]*ort.DynamicAdvancedSession
		for _, i := range rand.Perm(2) {
			if opened[i], err = open[i](); err != nil {
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
					if err := opened[i].Run([]ort.Value{in}, []ort.Value{out}); err != nil {
						t.Fatal(err)
					}
					best[i] = min(best[i], time.Since(begin).Seconds())
				}
			}
			round = append(round, best[0]/best[1])
		}
		ratios = append(ratios, compare.Median(round))
		for _, s := range opened {
			s.Destroy()
		}
	}
	r := compare.BootstrapMedian(ratios, 1)
	t.Logf("ours/peer %.4f, 95 %% interval %.4f to %.4f", r.Value, r.Low, r.High)
}

// openPeerFile opens a file with the settings of newSession.
func openPeerFile(file []byte, input, output string) (*ort.DynamicAdvancedSession, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer o.Destroy()
	if err := o.SetIntraOpNumThreads(1); err != nil {
		return nil, err
	}
	if err := o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"); err != nil {
		return nil, err
	}
	return ort.NewDynamicAdvancedSessionWithONNXData(file, []string{input}, []string{output}, o)
}

func randomValues(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rand.NormFloat64())
	}
	return x
}

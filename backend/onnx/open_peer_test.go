//go:build cgo

package onnx_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/onnx"
)

// readPeer reads a file of testdata/peers, or skips the test where there is no
// library.
func readPeer(t *testing.T, name string) (*onnx.Peer, error) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", "peers", name))
	if err != nil {
		t.Fatal(err)
	}
	p, err := onnx.ReadPeer(file)
	if errors.Is(err, backend.ErrUnavailable) {
		backendtest.Skip(t, "onnx", err.Error())
	}
	return p, err
}

func TestPeerLayouts(t *testing.T) {
	const images, h, w = 3, 4, 6
	in := make([]float32, images*h*w*3)
	var mean [images][3]float64
	for i := range in {
		in[i] = float32(i%7) - float32(i%3)*0.5
		mean[i/(h*w*3)][i%3] += float64(in[i]) / (h * w)
	}
	for _, name := range []string{"nchw.onnx", "nhwc.onnx"} {
		for _, threads := range []int{1, 2} {
			p, err := readPeer(t, name)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if s := p.Graph().Input(); s.H != h || s.W != w || s.C != 3 || p.Graph().Classes() != 5 {
				t.Errorf("%s: input %v, %d classes", name, s, p.Graph().Classes())
			}
			c, err := p.Open(t.Context(), threads)
			if err != nil {
				t.Fatal(err)
			}
			out := make([]float32, images*5)
			if err := c.Run(t.Context(), in, out); err != nil {
				t.Fatal(err)
			}
			for i, got := range out {
				m, k := mean[i/5], float64(i%5)
				want := m[0]*(10*k) + m[1]*(1+10*k) + m[2]*(2+10*k)
				if math.Abs(float64(got)-want) > 1e-4 {
					t.Errorf("%s, %d threads: logit %d is %v, want %v", name, threads, i, got, want)
				}
			}
			if c.Target().String() != "onnx" || c.Describe().LibraryVersion == "" {
				t.Errorf("%s runs on %s: %+v", name, c.Target(), c.Describe())
			}
			if _, err := c.Trace(t.Context(), in[:h*w*3]); !errors.Is(err, backend.ErrUnsupported) {
				t.Errorf("%s: a trace: %v", name, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestUnsupportedPeers(t *testing.T) {
	for name, want := range map[string]string{
		"any-size.onnx": "fixed height and width", "grey.onnx": "[1 1 4 6]", "bytes.onnx": "want a tensor of float32",
		"two-outputs.onnx": "2 outputs", "batch-of-2.onnx": "[2 3 4 6]", "make.py": "protobuf",
	} {
		if _, err := readPeer(t, name); !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

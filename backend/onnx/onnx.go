// Package onnx runs a graph in ONNX Runtime, which it loads when it is first
// asked for, and writes graphs as ONNX files.
//
// onnx.go holds what every build has: the targets and the exporter in export/.
// With cgo, library.go finds and loads the library, device.go says which of its
// execution providers work here, session.go runs models. Without cgo, stub.go
// says why nothing runs.
package onnx

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"edgevit/backend"
	"edgevit/backend/onnx/export"
	"edgevit/graph"
)

func init() { backend.Register(Backend{}) }

// Backend is ONNX Runtime, by github.com/yalue/onnxruntime_go.
type Backend struct{}

const (
	name      = "onnx"
	precision = "fp32"
)

// device is an execution provider of ONNX Runtime.
type device struct {
	// name is the device's in a target, provider that in ONNX Runtime.
	name, provider string
	// hint says what the device needs beside the library.
	hint string
	// batch is how many images one call of the runtime takes at most.
	batch int
}

// devices lists the default first.
var devices = []device{
	{"cpu", "CPUExecutionProvider", "", 8},
	{"webgpu", "WebGpuExecutionProvider", "a GPU with a Vulkan, Metal or Direct3D 12 driver", 8},
	{"cuda", "CUDAExecutionProvider", "the libraries of onnxruntime-gpu, CUDA and cuDNN", 8},
	{"tensorrt", "TensorrtExecutionProvider", "the libraries of onnxruntime-gpu, CUDA and TensorRT", 8},
	{"openvino", "OpenVINOExecutionProvider", "the libraries of onnxruntime-openvino", 1},
	{"coreml", "CoreMLExecutionProvider", "macOS and its library", 1},
	{"directml", "DmlExecutionProvider", "Windows and DirectML.dll", 8},
	{"xnnpack", "XnnpackExecutionProvider", "a library built with XNNPACK", 1},
}

// findDevice returns what the options ask for. The error is ErrUnsupported.
func findDevice(o backend.Options) (device, error) {
	i := slices.IndexFunc(devices, func(d device) bool { return d.name == o.Device || o.Device == "" })
	if i < 0 || o.Precision != "" && o.Precision != precision {
		var names []string
		for _, d := range devices {
			names = append(names, d.name)
		}
		return device{}, fmt.Errorf("%w: device %q, precision %q; there are %s in %s",
			backend.ErrUnsupported, o.Device, o.Precision, strings.Join(names, ", "), precision)
	}
	return devices[i], nil
}

// Name is onnx.
func (Backend) Name() string { return name }

// Targets are ONNX Runtime's execution providers in float32, the CPU first.
func (Backend) Targets() []backend.Target {
	var targets []backend.Target
	for _, d := range devices {
		targets = append(targets, backend.Target{Backend: name, Device: d.name, Precision: precision})
	}
	return targets
}

// Format is onnx.
func (Backend) Format() string { return "onnx" }

// Export writes g as an ONNX file of any batch size. The metadata becomes the
// file's metadata_props.
func (Backend) Export(w io.Writer, g *graph.Graph, metadata map[string]string) error {
	return export.Write(w, g, export.Options{Metadata: metadata})
}

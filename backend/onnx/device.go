//go:build cgo

package onnx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"edgevit/backend"
	"edgevit/backend/onnx/export"
	"edgevit/graph"
)

// Probe loads the library and opens a model of one operation on every device.
// Once a library is loaded, what was found stays for the life of the process.
func (b Backend) Probe(context.Context) []backend.TargetStatus {
	var all []backend.TargetStatus
	for i, t := range b.Targets() {
		s := backend.TargetStatus{Target: t, Available: true}
		if _, err := usable(devices[i]); err != nil {
			s.Available, s.Reason = false, strings.TrimPrefix(err.Error(), backend.ErrUnavailable.Error()+": ")
		}
		all = append(all, s)
	}
	return all
}

var (
	trialsMu sync.Mutex
	trials   = map[string]error{}
)

// usable loads the library and says whether d works with it. The error is
// ErrUnavailable with the reason.
func usable(d device) (*library, error) {
	lib, err := loadLibrary()
	if err != nil {
		return lib, err
	}
	trialsMu.Lock()
	defer trialsMu.Unlock()
	err, known := trials[d.name]
	if !known {
		if err = try(d); err != nil {
			err = fmt.Errorf("%w: %s %s cannot use %s, which needs %s: %w", backend.ErrUnavailable, lib.path, lib.version, d.provider, d.hint, err)
		}
		trials[d.name] = err
	}
	return lib, err
}

func (d device) isCPU() bool { return d == devices[0] }

// needsNoPreemption: OpenVINO 2025.4 in a Go 1.26 process ends in segmentation
// faults of the garbage collector within seconds of use, unless Go's preemption
// by signals is off. A service must not die of a device.
func needsNoPreemption(d device) error {
	if d.name == "openvino" && !strings.Contains(os.Getenv("GODEBUG"), "asyncpreemptoff=1") {
		return errors.New("OpenVINO and Go's preemption by signals crash the process; set GODEBUG=asyncpreemptoff=1 to use it")
	}
	return nil
}

// try opens a session of one convolution with d's execution provider. Not
// strictly: a provider may leave the Reshape to the CPU and be of use.
func try(d device) error {
	if err := errors.Join(needsNoPreemption(d), needsVulkan(d)); err != nil {
		return err
	}
	b, x := graph.NewBuilder(graph.Shape{H: 2, W: 2, C: 1})
	n := b.Add("head", graph.Conv{Out: 1, Kernel: 2, Stride: 2, Groups: 1}, x)
	n.Weights = map[string]graph.Tensor{"weight": {Shape: []int{1, 1, 2, 2}, Data: make([]float32, 4)}}
	g, err := b.Graph()
	if err != nil {
		return err
	}
	var file bytes.Buffer
	if err := export.Write(&file, g, export.Options{Batch: 1}); err != nil {
		return err
	}
	s, err := newSession(file.Bytes(), export.InputName, []string{export.OutputName}, d, 1, false)
	if err != nil {
		return err
	}
	return nativeError(s.Destroy())
}

// newSession opens an ONNX file on d.
func newSession(file []byte, input string, outputs []string, d device, threads int, strict bool) (*ort.DynamicAdvancedSession, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, nativeError(err)
	}
	defer o.Destroy()
	for _, set := range []func() error{
		// Errors are returned; they need not be on standard error too.
		func() error { return o.SetLogSeverityLevel(ort.LoggingLevelFatal) },
		func() error { return o.SetIntraOpNumThreads(threads) },
		func() error { return o.SetInterOpNumThreads(1) },
		// Waiting threads must leave the cores to others: docs/decisions/0004.
		func() error { return o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0") },
		func() error { return addProvider(o, d, threads) },
		func() error {
			if !strict || d.isCPU() {
				return nil
			}
			return o.AddSessionConfigEntry("session.disable_cpu_ep_fallback", "1")
		},
	} {
		if err := set(); err != nil {
			return nil, nativeError(err)
		}
	}
	s, err := ort.NewDynamicAdvancedSessionWithONNXData(file, []string{input}, outputs, o)
	return s, nativeError(err)
}

// addProvider puts d's execution provider before the CPU's, at full float32
// precision where the provider has a choice.
func addProvider(o *ort.SessionOptions, d device, threads int) error {
	switch d.name {
	case "webgpu":
		return o.AppendExecutionProvider("WebGPU", nil)
	case "xnnpack":
		return o.AppendExecutionProvider("XNNPACK", map[string]string{"intra_op_num_threads": strconv.Itoa(threads)})
	case "openvino":
		return o.AppendExecutionProviderOpenVINO(map[string]string{
			"device_type": "CPU", "precision": "FP32", "num_of_threads": strconv.Itoa(threads),
		})
	case "coreml":
		return o.AppendExecutionProviderCoreMLV2(map[string]string{"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU"})
	case "directml":
		return o.AppendExecutionProviderDirectML(0)
	case "cuda":
		p, err := ort.NewCUDAProviderOptions()
		if err != nil {
			return err
		}
		defer p.Destroy()
		if err := p.Update(map[string]string{"use_tf32": "0"}); err != nil {
			return err
		}
		return o.AppendExecutionProviderCUDA(p)
	case "tensorrt":
		p, err := ort.NewTensorRTProviderOptions()
		if err != nil {
			return err
		}
		defer p.Destroy()
		return o.AppendExecutionProviderTensorRT(p)
	}
	return nil
}

//go:build cgo && !linux

package onnx

// needsVulkan: elsewhere WebGPU has the system's own graphics interface.
func needsVulkan(device) error { return nil }

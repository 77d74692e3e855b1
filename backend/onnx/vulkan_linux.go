//go:build cgo

package onnx

// #include <dlfcn.h>
// #include <stdlib.h>
import "C"

import (
	"errors"
	"unsafe"
)

// needsVulkan: WebGPU runs on Vulkan here. Without its loader the provider
// fails too, but writes to standard error first.
func needsVulkan(d device) error {
	if d.name != "webgpu" {
		return nil
	}
	name := C.CString("libvulkan.so.1")
	defer C.free(unsafe.Pointer(name))
	if C.dlopen(name, C.RTLD_NOW|C.RTLD_LOCAL) == nil {
		return errors.New("the system's loader finds no libvulkan.so.1")
	}
	return nil
}

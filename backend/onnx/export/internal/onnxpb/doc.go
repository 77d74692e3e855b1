// Package onnxpb is the ONNX file format's protocol buffers. onnx.proto is that
// of the PyPI package onnx 1.23.2, unchanged; generate.sh says what it needs.
package onnxpb

//go:generate ./generate.sh

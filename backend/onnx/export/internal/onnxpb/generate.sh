#!/bin/sh
# Writes onnx.pb.go from onnx.proto, which is the file of that name in the PyPI
# package onnx 1.23.2. protoc comes from the PyPI package grpcio-tools 1.85.1,
# installed in the Python that PYTHON names; the plugin from go.mod's protobuf.
set -eu
cd "$(dirname "$0")"
plugin=$(mktemp -d)
trap 'rm -rf "$plugin"' EXIT
go build -o "$plugin/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go
"${PYTHON:-python3}" -m grpc_tools.protoc -I. --plugin="$plugin/protoc-gen-go" --go_out=. \
	--go_opt=paths=source_relative --go_opt=Monnx.proto=edgevit/backend/onnx/export/internal/onnxpb onnx.proto

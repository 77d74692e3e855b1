// Package api is the HTTP contract: openapi.yaml is written by hand and is
// what clients read; api.gen.go holds the Go types and the server interface
// made from it.
package api

import _ "embed"

//go:generate sh -c "cd .. && go tool -modfile=tools/go.mod oapi-codegen -config api/oapi-codegen.yaml api/openapi.yaml"

// YAML is openapi.yaml, as written.
//
//go:embed openapi.yaml
var YAML []byte

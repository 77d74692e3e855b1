package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"edgevit/backend"
	"edgevit/backend/purego"
	"edgevit/graph"
	"edgevit/model/demo"
)

// renamed is purego as onnx, which examples name and which may not be here.
type renamed struct{}

func (renamed) Name() string { return "onnx" }
func (renamed) Targets() []backend.Target {
	return []backend.Target{{Backend: "onnx", Device: "cpu", Precision: "fp32"}}
}
func (r renamed) Probe(context.Context) []backend.TargetStatus {
	return []backend.TargetStatus{{Target: r.Targets()[0], Available: true}}
}
func (renamed) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	return purego.Backend{}.Open(ctx, g, o)
}

// examplesOf are the examples of a parameter as they are sent.
func examplesOf(t *testing.T, p *openapi3.Parameter) []string {
	var values []any
	if p.Example != nil {
		values = append(values, p.Example)
	}
	for _, e := range p.Examples {
		values = append(values, e.Value.Value)
	}
	var sent []string
	for _, v := range values {
		if list, ok := v.([]any); ok {
			v = strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
		}
		sent = append(sent, fmt.Sprint(v))
	}
	if len(sent) == 0 {
		t.Errorf("parameter %s has no example", p.Name)
	}
	return sent
}

// TestExamples sends the contract's examples of requests to a server: each
// operation with all its parameters, and again for each further example of one.
// What changes something or names a run has tests of its own.
func TestExamples(t *testing.T) {
	spec, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	photo, err := os.ReadFile("../docs/cat.jpg")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, nil, &fake{}, func(c *Config) {
		var registry backend.Registry
		registry.Register(purego.Backend{})
		registry.Register(renamed{})
		c.Registry, c.DefaultTarget, c.Demo, c.Data = &registry, "purego", demo.Model, t.TempDir()
	})
	images := map[string]bool{"classify": true, "compare": true, "preprocess": true}
	sent := 0
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Security != nil || method != http.MethodGet && !images[op.OperationID] || strings.HasPrefix(path, "/benchmarks/") || strings.HasPrefix(path, "/evaluations/") {
				continue
			}
			type choice struct {
				p      *openapi3.Parameter
				values []string
			}
			var choices []choice
			for _, p := range op.Parameters {
				// Whether a deadline is met depends on what else the machine does.
				if p.Value.In != openapi3.ParameterInHeader && p.Value.Name != "deadline_ms" {
					choices = append(choices, choice{p.Value, examplesOf(t, p.Value)})
				}
			}
			send := func(varied, with int) {
				address, query := path, url.Values{}
				for i, c := range choices {
					value := c.values[0]
					if i == varied {
						value = c.values[with]
					}
					if c.p.In == openapi3.ParameterInPath {
						address = strings.ReplaceAll(address, "{"+c.p.Name+"}", url.PathEscape(value))
					} else {
						query.Set(c.p.Name, value)
					}
				}
				if len(query) > 0 {
					address += "?" + query.Encode()
				}
				sent++
				for media := range bodiesOf(op) {
					body, header := photo, "image/jpeg"
					if media == "multipart/form-data" {
						body, header = form(t, "image", string(photo))
					}
					r := httptest.NewRequest(method, address, bytes.NewReader(body))
					r.Header.Set("Content-Type", header)
					if resp := s.do(t, r); resp.StatusCode != http.StatusOK {
						t.Errorf("%s %s as %q: %d\n%s", method, address, media, resp.StatusCode, read(t, resp))
					}
				}
			}
			send(-1, 0)
			for i, c := range choices {
				for j := 1; j < len(c.values); j++ {
					send(i, j)
				}
			}
		}
	}
	if sent < 15 {
		t.Errorf("%d examples were sent, want those of all operations that change nothing", sent)
	}
}

// bodiesOf are the media types of an operation's body; one empty one without.
func bodiesOf(op *openapi3.Operation) openapi3.Content {
	if op.RequestBody == nil {
		return openapi3.Content{"": nil}
	}
	return op.RequestBody.Value.Content
}

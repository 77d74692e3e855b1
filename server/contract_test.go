package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/format"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

var write = flag.Bool("write", false, "TestContractFiles writes the files instead of comparing them")

// TestContractFiles: what is made of openapi.yaml is fresh.
func TestContractFiles(t *testing.T) {
	spec, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	page, err := renderDocs(spec)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := renderRules(spec)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"pages/docs.html": page, "contract.gen.go": rules} {
		if *write {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Error(err)
			}
			continue
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("server/%s is stale, run make generate (%v)", name, err)
		}
	}
}

// renderRules writes contractRules.
func renderRules(spec *openapi3.T) ([]byte, error) {
	all := rulesOf(spec)
	var b bytes.Buffer
	b.WriteString("// Code generated from openapi.yaml by contract_test.go. DO NOT EDIT.\n\npackage server\n\n// contractRules are by routeOf.\nvar contractRules = map[string]rules{\n")
	for _, route := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%q: {", route)
		if names := slices.Sorted(maps.Keys(all[route].parameters)); len(names) > 0 {
			b.WriteString("parameters: map[string]bool{")
			for _, name := range names {
				fmt.Fprintf(&b, "%q: true,", name)
			}
			b.WriteString("},")
		}
		if all[route].guarded {
			b.WriteString("guarded: true")
		}
		b.WriteString("},\n")
	}
	b.WriteString("}\n")
	return format.Source(b.Bytes())
}

func rulesOf(spec *openapi3.T) map[string]rules {
	all := map[string]rules{}
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			o := rules{parameters: map[string]bool{}, guarded: guarded(op)}
			for _, p := range op.Parameters {
				if p.Value.In == openapi3.ParameterInQuery {
					o.parameters[p.Value.Name] = true
				}
			}
			all[method+" "+path] = o
		}
	}
	return all
}

func guarded(op *openapi3.Operation) bool { return op.Security != nil && len(*op.Security) > 0 }

// What the template docs of pages.html shows.
type (
	docsPage struct {
		Title, Version, Description string
		Operations                  []docsOperation
		Schemas                     []docsSchema
		Problems                    []problemPage
	}
	docsOperation struct {
		Method, Path, ID, Summary, Description string
		Parameters                             []docsField
		Guarded                                bool // by the token
		Bodies                                 []string
		Answers                                []docsAnswer
		Examples                               []docsExample
	}
	docsAnswer struct {
		Status, Description string
		Problems            []string // slugs
	}
	docsExample struct{ Summary, Value string }
	docsSchema  struct {
		Name, Description string
		Properties        []docsField
	}
	docsField struct {
		Name, In, Type, Ref, Description string
		Required                         bool
	}
)

func renderDocs(spec *openapi3.T) ([]byte, error) {
	page := docsPage{Title: spec.Info.Title, Version: spec.Info.Version, Description: spec.Info.Description}
	order := map[string]int{}
	for i, tag := range spec.Tags {
		order[tag.Name] = i
	}
	type operation struct {
		method, path string
		*openapi3.Operation
	}
	var operations []operation
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			operations = append(operations, operation{method, path, op})
		}
	}
	slices.SortFunc(operations, func(a, b operation) int {
		return cmp.Or(cmp.Compare(order[a.Tags[0]], order[b.Tags[0]]), cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method))
	})
	for _, op := range operations {
		d := docsOperation{Method: op.method, Path: op.path, ID: op.OperationID, Summary: op.Summary, Description: op.Description, Guarded: guarded(op.Operation)}
		for _, p := range op.Parameters {
			d.Parameters = append(d.Parameters, docsField{Name: p.Value.Name, In: p.Value.In, Type: typeOf(p.Value.Schema), Description: p.Value.Description, Required: p.Value.Required})
		}
		if op.RequestBody != nil {
			d.Bodies = slices.Sorted(maps.Keys(op.RequestBody.Value.Content))
		}
		answers := op.Responses.Map()
		for _, status := range slices.Sorted(maps.Keys(answers)) {
			a := docsAnswer{Status: status, Description: value(answers[status].Value.Description)}
			contents := answers[status].Value.Content
			for _, media := range slices.Sorted(maps.Keys(contents)) {
				content := contents[media]
				names := slices.Sorted(maps.Keys(content.Examples))
				if media == "application/problem+json" {
					a.Problems = names
					continue
				}
				for _, name := range names {
					e := content.Examples[name].Value
					text, ok := e.Value.(string)
					if !ok {
						b, err := json.MarshalIndent(e.Value, "", "  ")
						if err != nil {
							return nil, fmt.Errorf("example %s: %w", name, err)
						}
						text = string(b)
					}
					d.Examples = append(d.Examples, docsExample{e.Summary, text})
				}
			}
			d.Answers = append(d.Answers, a)
		}
		page.Operations = append(page.Operations, d)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Components.Schemas)) {
		schema := spec.Components.Schemas[name].Value
		d := docsSchema{Name: name, Description: schema.Description}
		for _, field := range slices.Sorted(maps.Keys(schema.Properties)) {
			p := schema.Properties[field]
			d.Properties = append(d.Properties, docsField{
				Name: field, Type: typeOf(p), Ref: refName(p), Description: p.Value.Description, Required: slices.Contains(schema.Required, field),
			})
		}
		page.Schemas = append(page.Schemas, d)
	}
	for _, p := range problems {
		if p.meaning != "" {
			page.Problems = append(page.Problems, p.page())
		}
	}
	b, err := render("docs", page)
	if err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func refName(s *openapi3.SchemaRef) string {
	if s.Ref == "" {
		return ""
	}
	return path.Base(s.Ref)
}

func typeOf(s *openapi3.SchemaRef) string {
	t := strings.Join(s.Value.Type.Slice(), " or ")
	if s.Value.Items != nil {
		item := refName(s.Value.Items)
		if item == "" {
			item = typeOf(s.Value.Items)
		}
		t += " of " + item
	}
	if len(s.Value.Enum) > 0 {
		t += fmt.Sprintf(" %v", s.Value.Enum)
	}
	return t
}

package api

import (
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestContract checks openapi.yaml against OpenAPI 3.1, its examples against
// its schemas, and that every answer has an example.
func TestContract(t *testing.T) {
	spec, err := openapi3.NewLoader().LoadFromData(YAML)
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableMultiError()); err != nil {
		t.Error(err)
	}
	if got, want := spec.OpenAPI, "3.1.0"; got != want {
		t.Errorf("openapi is %s, want %s", got, want)
	}
	for path, item := range spec.Paths.Map() {
		for method, op := range item.Operations() {
			if op.Summary == "" || len(op.Tags) != 1 {
				t.Errorf("%s %s: summary %q, tags %v; want a summary and one tag", method, path, op.Summary, op.Tags)
			}
			for status, answer := range op.Responses.Map() {
				for media, content := range answer.Value.Content {
					if len(content.Examples) == 0 {
						t.Errorf("%s %s: %s %s has no example", method, path, status, media)
					}
					for name, example := range content.Examples {
						if err := content.Schema.Value.VisitJSON(example.Value.Value, openapi3.EnableJSONSchema2020()); err != nil {
							t.Errorf("%s %s: %s example %s: %v", method, path, status, name, err)
						}
					}
				}
			}
		}
	}
}

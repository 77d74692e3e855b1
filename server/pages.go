package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"edgevit/api"
)

//go:embed pages/style.css
var style string

// styleHash allows the pages' one style in the Content-Security-Policy.
var styleHash = func() string {
	sum := sha256.Sum256([]byte(style))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}()

//go:embed pages/pages.html
var pagesHTML string

var pages = template.Must(template.New("pages").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(style) },
	"prose": prose,
}).Parse(pagesHTML))

func render(page string, data any) (*bytes.Buffer, error) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, page, data); err != nil {
		return nil, fmt.Errorf("page %s: %w", page, err)
	}
	return &b, nil
}

// Spec answers the contract as written.
func (h handlers) Spec(context.Context, api.SpecRequestObject) (api.SpecResponseObject, error) {
	return api.Spec200ApplicationyamlResponse{Body: bytes.NewReader(api.YAML), ContentLength: int64(len(api.YAML))}, nil
}

// Docs answers the contract as a page.
func (h handlers) Docs(context.Context, api.DocsRequestObject) (api.DocsResponseObject, error) {
	c := h.specification()
	return api.Docs200TexthtmlResponse{Body: bytes.NewReader(c.docs), ContentLength: int64(len(c.docs))}, c.err
}

// Problem answers the page of a problem type.
func (h handlers) Problem(_ context.Context, req api.ProblemRequestObject) (api.ProblemResponseObject, error) {
	for _, p := range problems {
		if p.slug == req.Slug {
			page, err := render("problem", p.page())
			if err != nil {
				return nil, err
			}
			return api.Problem200TexthtmlResponse{Body: page, ContentLength: int64(page.Len())}, nil
		}
	}
	return nil, fmt.Errorf("%w: no such problem type; /docs lists them", errNotFound)
}

type problemPage struct {
	Slug, Title, Meaning, Remedy string
	Status                       int
}

func (p problem) page() problemPage {
	return problemPage{p.slug, p.title, p.meaning, p.remedy, p.status}
}

// The documentation page is made once from the contract.
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
		return cmp.Or(cmp.Compare(order[a.Tags[0]], order[b.Tags[0]]), cmp.Compare(a.path, b.path))
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
			for media, content := range answers[status].Value.Content {
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

var (
	blankLine = regexp.MustCompile(`\n\s*\n`)
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	boldSpan  = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	emphasis  = regexp.MustCompile(`\*([^*]+)\*`)
)

// prose renders the little of CommonMark that the contract uses: paragraphs,
// indented code, code spans and emphasis.
func prose(text string) template.HTML {
	var b strings.Builder
	for _, p := range blankLine.Split(strings.Trim(text, "\n"), -1) {
		if p == "" {
			continue
		}
		if code, ok := strings.CutPrefix(p, "    "); ok {
			b.WriteString("<pre>" + template.HTMLEscapeString(strings.ReplaceAll(code, "\n    ", "\n")) + "</pre>")
			continue
		}
		p = template.HTMLEscapeString(p)
		p = codeSpan.ReplaceAllString(p, "<code>$1</code>")
		p = boldSpan.ReplaceAllString(p, "<strong>$1</strong>")
		p = emphasis.ReplaceAllString(p, "<em>$1</em>")
		b.WriteString("<p>" + p + "</p>")
	}
	return template.HTML(b.String())
}

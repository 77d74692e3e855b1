package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"regexp"
	"strings"

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

// docs is the documentation page. It and contract.gen.go are made of
// openapi.yaml, as reading that takes longer than a model.
//
//go:generate go test -count=1 -run ^TestContractFiles$ . -args -write
//go:embed pages/docs.html
var docs []byte

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
	return api.Docs200TexthtmlResponse{Body: bytes.NewReader(docs), ContentLength: int64(len(docs))}, nil
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

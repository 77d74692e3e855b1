// Package client talks to the HTTP API from Go. client.gen.go is generated from
// api/openapi.yaml; New makes of every refusal an [*Error], so that an answer's
// JSON200 is there wherever the error is nil.
package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"edgevit/api"
)

//go:generate sh -c "cd .. && go tool -modfile=tools/go.mod oapi-codegen -config client/oapi-codegen.yaml api/openapi.yaml"

// Error is an answer of status 400 or more.
type Error struct {
	// Problem is what the service says, as RFC 9457 has it. Of an answer that
	// does not come from the service, a proxy's for one, it has status and title.
	Problem api.Problem
	// RetryAfter is how long the service asks to wait; 0: it does not say.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%d %s", e.Problem.Status, e.Problem.Title)
	if e.Problem.Detail != "" {
		text += ": " + e.Problem.Detail
	}
	if e.Problem.RequestId != "" {
		text += " (request " + e.Problem.RequestId + ")"
	}
	return text
}

// Is compares the kind of problem, so that errors.Is(err, client.Refused("queue-full"))
// says whether that is why.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Problem.Type != "" && t.Problem.Type == e.Problem.Type
}

// Refused is an error that, for errors.Is, every refusal of that kind is: the last
// part of a problem's type, such as "queue-full".
func Refused(slug string) error { return &Error{Problem: api.Problem{Type: "/problems/" + slug}} }

// New makes a client of the service at address, such as http://localhost:8080.
func New(address string, options ...ClientOption) (*ClientWithResponses, error) {
	c, err := NewClient(address, options...)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c.Client = refusals{c.Client}
	return &ClientWithResponses{c}, nil
}

// WithToken sends the token that lets requests change something.
func WithToken(token string) ClientOption {
	return WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	})
}

// maxProblem bounds how much of a refusal is read, in bytes.
const maxProblem = 1 << 20

// refusals makes errors of answers that are refusals.
type refusals struct{ HttpRequestDoer }

func (d refusals) Do(r *http.Request) (*http.Response, error) {
	answer, err := d.HttpRequestDoer.Do(r)
	if err != nil || answer.StatusCode < 400 {
		return answer, err
	}
	defer answer.Body.Close()
	refusal := &Error{}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		refusal.RetryAfter = time.Duration(seconds) * time.Second
	}
	media, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if media != "application/problem+json" || json.NewDecoder(io.LimitReader(answer.Body, maxProblem)).Decode(&refusal.Problem) != nil || refusal.Problem.Status == 0 {
		refusal.Problem = api.Problem{Status: answer.StatusCode, Title: strings.TrimSpace(strings.TrimPrefix(answer.Status, strconv.Itoa(answer.StatusCode)))}
	}
	return nil, refusal
}

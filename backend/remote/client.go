package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"edgevit/backend"
	"edgevit/oip"
)

const (
	dialTimeout = 5 * time.Second
	// runTimeout ends a request whose context has no earlier deadline.
	runTimeout = time.Minute
	// maxJSON bounds an answer beside the values of its tensors, in bytes.
	maxJSON = 1 << 20
)

// client talks to one server. It repeats nothing and follows no redirect, so that
// no other host than the configured one is ever asked.
type client struct {
	server Server
	http   *http.Client
}

func newClient(s Server) *client {
	return &client{s, &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout: dialTimeout,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true, // floats do not pack, and an answer cannot grow
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// get reads a JSON answer into v, unless that is nil.
func (c *client) get(ctx context.Context, path string, v any) error {
	body, _, err := c.do(ctx, http.MethodGet, path, nil, 0, maxJSON)
	if err != nil || v == nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return c.fault("%s is no answer of the protocol: %w", path, err)
	}
	return nil
}

// infer sends a request whose answer's values have at most that many bytes.
func (c *client) infer(ctx context.Context, path string, request oip.InferRequest, values int) (*oip.InferResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	body, jsonLength, err := request.Encode()
	if err != nil {
		return nil, err
	}
	answer, header, err := c.do(ctx, http.MethodPost, path, body, jsonLength, maxJSON+values)
	if err != nil {
		return nil, err
	}
	jsonLength, err = oip.JSONLength(header.Get(oip.JSONLengthHeader), len(answer))
	if err != nil {
		return nil, c.fault("%w", err)
	}
	r, err := oip.ParseInferResponse(answer, jsonLength)
	if err != nil {
		return nil, c.fault("%w", err)
	}
	return r, nil
}

// do sends a request and reads an answer of at most that many bytes. The error is
// the context's or ErrUnavailable.
func (c *client) do(ctx context.Context, method, path string, body []byte, jsonLength, most int) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.server.Base+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, c.fault("%w", err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
		if jsonLength < len(body) {
			r.Header.Set("Content-Type", "application/octet-stream")
			r.Header.Set(oip.JSONLengthHeader, strconv.Itoa(jsonLength))
		}
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, nil, c.lost(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	switch {
	case err != nil:
		return nil, nil, c.lost(ctx, err)
	case len(answer) > most:
		return nil, nil, c.fault("its answer to %s has more than %d bytes", path, most)
	case resp.StatusCode != http.StatusOK:
		var problem oip.Error
		if json.Unmarshal(answer, &problem) != nil || problem.Error == "" {
			problem.Error = http.StatusText(resp.StatusCode)
		}
		return nil, nil, c.fault("%s: %d: %s", path, resp.StatusCode, clip(problem.Error))
	}
	return answer, resp.Header, nil
}

// lost is the error of a connection, or that of the context that ended it.
func (c *client) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", c.server.Base, ctx.Err())
	}
	var u *url.Error
	if errors.As(err, &u) { // whose method and URL stand in the message already
		err = u.Err
	}
	return c.fault("%w", err)
}

// fault is what the server did wrong.
func (c *client) fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", backend.ErrUnavailable, c.server.Base, fmt.Errorf(format, args...))
}

// clip and clipShape shorten what is repeated of an answer.
func clip(s string) string {
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return s
}

func clipShape(shape []int64) []int64 { return shape[:min(len(shape), 8)] }

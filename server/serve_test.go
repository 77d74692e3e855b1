package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"edgevit/api"
)

// serve runs Serve on a free port of loopback.
func serve(t *testing.T, s *testServer) (url string, stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(cancel)
	return "http://" + l.Addr().String(), cancel, done
}

// TestDisconnect checks that a client that goes away ends its run, for every
// way of sending the body.
func TestDisconnect(t *testing.T) {
	file := jpegFile(t)
	multi, multiType := form(t, "image", string(file))
	for _, c := range []struct {
		name, media, encoding string
		body                  io.Reader
	}{
		{"plain", "", "", bytes.NewReader(file)},
		{"chunked", "", "", unsized{bytes.NewReader(file)}},
		{"multipart", multiType, "", bytes.NewReader(multi)},
		{"gzip", "", "gzip", bytes.NewReader(gzipped(file))},
		{"deflate", "", "deflate", bytes.NewReader(deflated(file))},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{gate: make(chan struct{})}
			s := newServer(t, nil, f, nil)
			url, _, _ := serve(t, s)
			ctx, leave := context.WithCancel(t.Context())
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/classify", c.body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", c.media)
			if c.encoding != "" {
				r.Header.Set("Content-Encoding", c.encoding)
			}
			go func() {
				eventually(t, "running", func() bool { return f.running.get() == 1 })
				leave()
			}()
			if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.Canceled) {
				t.Errorf("client error %v, want its own cancellation", err)
			}
			lines := s.logs.FilterMessage("request")
			eventually(t, "logged", func() bool { lines = s.logs.FilterMessage("request"); return lines.Len() == 1 })
			line := lines.All()[0]
			if line.ContextMap()["status"] != int64(statusClientGone) || line.Level != zap.InfoLevel {
				t.Errorf("log %v, want status 499 at level info", line.ContextMap())
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if !errors.Is(f.last, context.Canceled) {
				t.Errorf("the run ended with %v, want context canceled", f.last)
			}
		})
	}
}

func TestDrain(t *testing.T) {
	f := &fake{gate: make(chan struct{})}
	s := newServer(t, nil, f, nil)
	url, stop, ended := serve(t, s)
	result := make(chan int, 1)
	go func() {
		resp, err := http.Post(url+"/classify", "", bytes.NewReader(jpegFile(t)))
		if err != nil {
			t.Error(err)
			result <- 0
			return
		}
		defer resp.Body.Close()
		result <- resp.StatusCode
	}()
	eventually(t, "running", func() bool { return f.running.get() == 1 })
	stop()
	eventually(t, "draining", s.draining.Load)
	if p := decode[api.Problem](t, s.get(t, "/readyz")); p.Type != "/problems/not-ready" || !strings.Contains(p.Detail, "shutting down") {
		t.Errorf("readyz while draining: %+v", p)
	}
	select {
	case err := <-ended:
		t.Fatalf("Serve returned %v with a request in progress", err)
	default:
	}
	f.gate <- struct{}{}
	if status := <-result; status != 200 {
		t.Errorf("the request in progress got %d", status)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if f.closed.get() != 1 {
		t.Errorf("%d sessions closed, want 1", f.closed.get())
	}
	if p := decode[api.Problem](t, s.post(t, "", jpegFile(t))); p.Type != "/problems/not-ready" {
		t.Errorf("after the end: %+v, want not-ready", p)
	}
}

// TestEndOfDrain: what is still at work, waits, or is on its way shortly before
// the end of the drain is answered, and the end is a clean one.
func TestEndOfDrain(t *testing.T) {
	f := &fake{gate: make(chan struct{})}
	s := newServer(t, nil, f, nil)
	s.drainTime = lameDuck + lastWords + 100*time.Millisecond
	url, stop, ended := serve(t, s)
	half, feed := io.Pipe()
	defer feed.Close()
	answers := make(chan string)
	client := http.Client{Timeout: 20 * time.Second}
	post := func(body io.Reader) {
		resp, err := client.Post(url+"/classify", "", body)
		if err != nil {
			answers <- err.Error()
			return
		}
		defer resp.Body.Close()
		var p api.Problem
		if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
			answers <- err.Error()
			return
		}
		answers <- fmt.Sprint(resp.StatusCode, " ", p.Type)
	}
	file := jpegFile(t)
	go post(bytes.NewReader(file))
	eventually(t, "running", func() bool { return f.running.get() == 1 })
	for range 20 {
		go post(bytes.NewReader(file))
	}
	go post(half)
	feed.Write(file[:100])
	stop()
	for range 22 {
		if got := <-answers; got != "503 /problems/not-ready" {
			t.Errorf("answer %q, want 503 /problems/not-ready", got)
		}
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// TestSlowBody checks that a client that stops sending is given up.
func TestSlowBody(t *testing.T) {
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Deadline = 200 * time.Millisecond })
	url, _, _ := serve(t, s)
	body, feed := io.Pipe()
	defer feed.Close()
	go feed.Write([]byte("\xff\xd8\xff"))
	resp, err := http.Post(url+"/classify", "", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if p := decode[api.Problem](t, resp); resp.StatusCode != 408 || p.Type != "/problems/slow-body" {
		t.Errorf("got %d %+v, want 408 slow-body", resp.StatusCode, p)
	}
}

// TestConnections: beyond the limit a connection learns how the server is, and
// is told to come again for all else.
func TestConnections(t *testing.T) {
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Connections = 1 })
	url, _, _ := serve(t, s)
	get := func(path string) (*http.Response, net.Conn) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return resp, conn
	}
	resp, only := get("/models")
	if resp.StatusCode != 200 {
		t.Fatalf("the only connection: %d", resp.StatusCode)
	}
	for path := range vital {
		if resp, _ := get(path); resp.StatusCode != 200 || !resp.Close {
			t.Errorf("%s on a spare connection: %d, closed %v; want 200 and its end", path, resp.StatusCode, resp.Close)
		}
	}
	resp, _ = get("/models")
	if body := string(read(t, resp)); resp.StatusCode != 503 || !strings.Contains(body, "/problems/too-many-connections") || resp.Header.Get("Retry-After") != "1" || !resp.Close {
		t.Errorf("/models on a spare connection: %d %s, Retry-After %q, closed %v", resp.StatusCode, body, resp.Header.Get("Retry-After"), resp.Close)
	}
	only.Close()
	eventually(t, "closed", func() bool { return s.open.Load() == 0 })
	if resp, _ := get("/models"); resp.StatusCode != 200 || resp.Close {
		t.Errorf("after the others are closed: %d, closed %v", resp.StatusCode, resp.Close)
	}
}

// TestUnwantedBody checks that a body that nobody wants cannot hold its
// connection for ever.
func TestUnwantedBody(t *testing.T) {
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Deadline = 200 * time.Millisecond })
	url, _, _ := serve(t, s)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, "POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
	if got, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 404 ") {
		t.Errorf("got %q, %v; want 404 and the end of the connection", got, err)
	}
}

// TestChunkedIsLast checks that what follows a chunked body is not taken for a
// request: with a Content-Length beside it, a server in between may have passed
// it on as a part of the body.
func TestChunkedIsLast(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	url, _, _ := serve(t, s)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(conn, "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+
		"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
	got, err := io.ReadAll(conn)
	if n := strings.Count(string(got), "HTTP/1.1 "); err != nil || n != 1 || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
		t.Errorf("got %q, %v; want one answer, 400, and the end of the connection", got, err)
	}
}

// TestRawRequests has what the http package's client does not send.
func TestRawRequests(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	url, _, _ := serve(t, s)
	for _, c := range []struct{ name, request, want string }{
		{"announced 3 GB, nothing sent", "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000000\r\n\r\n", "HTTP/1.1 413 "},
		{"expects 100", "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000000\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 413 "},
		{"header too long", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 17<<10) + "\r\n\r\n", "HTTP/1.1 431 "},
		{"long header that fits", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 15<<10) + "\r\n\r\n", "HTTP/1.1 200 "},
		{"no host", "GET /livez HTTP/1.0\r\n\r\n", "HTTP/1.0 421 "},
		{"malformed chunk", "POST /classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "},
		{"HTTP/1.0", "GET /livez HTTP/1.0\r\nHost: localhost\r\n\r\n", "HTTP/1.0 200 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(c.want))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

package server

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"edgevit/api"
	"edgevit/backend"
)

// unsized hides the length of a body, so that it is sent in chunks.
type unsized struct{ io.Reader }

func form(t testing.TB, parts ...string) (body []byte, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i+1 < len(parts); i += 2 {
		p, err := w.CreateFormFile(parts[i], "photo.jpg")
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(p, parts[i+1])
	}
	w.Close()
	return b.Bytes(), w.FormDataContentType()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func deflated(b []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// claimingBMP is a BMP header of 54 bytes that claims 32768 x 32768 pixels of
// 24 bits, 3 GB.
func claimingBMP() []byte {
	b := make([]byte, 54)
	copy(b, "BM")
	binary.LittleEndian.PutUint32(b[2:], 54)
	binary.LittleEndian.PutUint32(b[10:], 54)
	binary.LittleEndian.PutUint32(b[14:], 40)
	binary.LittleEndian.PutUint32(b[18:], 32768)
	binary.LittleEndian.PutUint32(b[22:], 32768)
	binary.LittleEndian.PutUint16(b[26:], 1)
	binary.LittleEndian.PutUint16(b[28:], 24)
	return b
}

// bombPNG is a small file whose pixels, 30000 x 30000 zeros, deflate well.
func bombPNG() []byte {
	var b bytes.Buffer
	b.WriteString("\x89PNG\r\n\x1a\n")
	chunk := func(kind string, data []byte) {
		binary.Write(&b, binary.BigEndian, uint32(len(data)))
		b.WriteString(kind)
		b.Write(data)
		binary.Write(&b, binary.BigEndian, crc32.ChecksumIEEE(append([]byte(kind), data...)))
	}
	header := binary.BigEndian.AppendUint32(nil, 30000)
	header = binary.BigEndian.AppendUint32(header, 30000)
	chunk("IHDR", append(header, 8, 2, 0, 0, 0))
	chunk("IDAT", deflated(make([]byte, 1<<20)))
	chunk("IEND", nil)
	return b.Bytes()
}

// TestAnswers has every answer of the contract that one request alone can get.
func TestAnswers(t *testing.T) {
	file := jpegFile(t)
	const limit = 100_000
	s := newServer(t, files{"one.pth": "ok", "bad.pth": "no"}, &fake{}, func(c *Config) {
		c.DefaultModel = "one"
		c.Limits = defaultLimits(limit)
	})
	type request struct {
		name   string
		method string // POST if empty
		path   string // /classify if empty
		body   []byte
		reader io.Reader // in place of body
		header map[string]string
		host   string
		status int
		slug   string // of the problem
		detail string // part of it
	}
	const formType = "Content-Type"
	one, oneType := form(t, "image", string(file))
	two, twoType := form(t, "image", string(file), "image", string(file))
	wrong, wrongType := form(t, "photo", string(file))
	extra, extraType := form(t, "image", string(file), "model", "demo")
	none, noneType := form(t)
	empty, emptyType := form(t, "image", "")
	big, bigType := form(t, "image", strings.Repeat("x", limit))
	for _, c := range []request{
		{name: "no content type", body: file, status: 200},
		{name: "png", body: pngFile(t), status: 200},
		{name: "image/jpeg", body: file, header: map[string]string{formType: "image/jpeg"}, status: 200},
		{name: "curl -d", body: bytes.ReplaceAll(file, []byte("\n"), nil)[:200], header: map[string]string{formType: "application/x-www-form-urlencoded"}, status: 422, slug: "damaged-image", detail: "--data-binary"},
		{name: "curl's form type", body: file, header: map[string]string{formType: "application/x-www-form-urlencoded"}, status: 200},
		{name: "wrong content type", body: file, header: map[string]string{formType: "text/html; charset=x"}, status: 200},
		{name: "json content type", body: file, header: map[string]string{formType: "application/json"}, status: 200},
		{name: "malformed content type", body: file, header: map[string]string{formType: ";;;/"}, status: 200},
		{name: "multipart/mixed is bytes", body: file, header: map[string]string{formType: "multipart/mixed; boundary=x"}, status: 200},
		{name: "multipart", body: one, header: map[string]string{formType: oneType}, status: 200},
		{name: "multipart, capitals", body: one, header: map[string]string{formType: strings.Replace(oneType, "multipart/form-data", "Multipart/Form-Data", 1)}, status: 200},
		{name: "gzip", body: gzipped(file), header: map[string]string{"Content-Encoding": "gzip"}, status: 200},
		{name: "gzip, capitals", body: gzipped(file), header: map[string]string{"Content-Encoding": " GZIP"}, status: 200},
		{name: "deflate", body: deflated(file), header: map[string]string{"Content-Encoding": "deflate"}, status: 200},
		{name: "identity", body: file, header: map[string]string{"Content-Encoding": "identity"}, status: 200},
		{name: "gzip of multipart", body: gzipped(one), header: map[string]string{formType: oneType, "Content-Encoding": "gzip"}, status: 200},
		{name: "chunked", reader: unsized{bytes.NewReader(file)}, status: 200},
		{name: "all classes", path: "/classify?top_k=7", body: file, status: 200},
		{name: "longest body", body: append(bytes.Clone(file), make([]byte, limit-len(file))...), status: 200},

		{name: "empty body", status: 400, slug: "empty-body", detail: "send the image"},
		{name: "empty chunked body", reader: unsized{strings.NewReader("")}, status: 400, slug: "empty-body"},
		{name: "empty part", body: empty, header: map[string]string{formType: emptyType}, status: 400, slug: "empty-body"},
		{name: "empty gzip body", header: map[string]string{"Content-Encoding": "gzip"}, status: 400, slug: "empty-body"},
		{name: "gzip of nothing", body: gzipped(nil), header: map[string]string{"Content-Encoding": "gzip"}, status: 400, slug: "empty-body"},
		{name: "top_k 0", path: "/classify?top_k=0", body: file, status: 400, slug: "invalid-query", detail: "top_k is 0, want 1 to 7"},
		{name: "top_k too large", path: "/classify?top_k=8", body: file, status: 400, slug: "invalid-query", detail: "want 1 to 7"},
		{name: "top_k 10^9", path: "/classify?top_k=1000000000", body: file, status: 400, slug: "invalid-query"},
		{name: "top_k 10^30", path: "/classify?top_k=1000000000000000000000000000000", body: file, status: 400, slug: "invalid-query", detail: "top_k"},
		{name: "top_k abc", path: "/classify?top_k=abc", body: file, status: 400, slug: "invalid-query", detail: "top_k"},
		{name: "top_k negative", path: "/classify?top_k=-1", body: file, status: 400, slug: "invalid-query", detail: "top_k"},
		{name: "top_k fraction", path: "/classify?top_k=1.5", body: file, status: 400, slug: "invalid-query", detail: "top_k"},
		{name: "top_k empty", path: "/classify?top_k=", body: file, status: 400, slug: "invalid-query", detail: "top_k"},
		{name: "unknown parameter", path: "/classify?topk=1", body: file, status: 400, slug: "invalid-query", detail: `unknown parameter "topk"`},
		{name: "garbage query", path: "/classify?%zz&&;==", body: file, status: 400, slug: "invalid-query"},
		{name: "semicolon", path: "/classify?top_k=1;model=one", body: file, status: 400, slug: "invalid-query"},
		{name: "repeated parameter", path: "/classify?model=one&model=one", body: file, status: 400, slug: "invalid-query", detail: "model"},
		{name: "repeated top_k", path: "/classify?top_k=1&top_k=1", body: file, status: 400, slug: "invalid-query", detail: "top_k"},
		{name: "empty model", path: "/classify?model=", body: file, status: 400, slug: "invalid-query", detail: "model"},
		{name: "query elsewhere", method: "GET", path: "/models?x=1", status: 400, slug: "invalid-query", detail: `unknown parameter "x"`},
		{name: "malformed target", path: "/classify?target=a:b:c:d", body: file, status: 400, slug: "invalid-target", detail: "backend[:device][:precision]"},
		{name: "target in capitals", path: "/classify?target=FAKE", body: file, status: 400, slug: "invalid-target"},
		{name: "two parts", body: two, header: map[string]string{formType: twoType}, status: 400, slug: "invalid-multipart", detail: "second part"},
		{name: "wrong part name", body: wrong, header: map[string]string{formType: wrongType}, status: 400, slug: "invalid-multipart", detail: `part "photo"`},
		{name: "extra part", body: extra, header: map[string]string{formType: extraType}, status: 400, slug: "invalid-multipart", detail: `"model"`},
		{name: "no part", body: none, header: map[string]string{formType: noneType}, status: 400, slug: "invalid-multipart", detail: "no part"},
		{name: "no boundary", body: one, header: map[string]string{formType: "multipart/form-data"}, status: 400, slug: "invalid-multipart"},
		{name: "malformed boundary", body: one, header: map[string]string{formType: "multipart/form-data; boundary=\"x"}, status: 400, slug: "invalid-multipart"},
		{name: "multipart cut short", body: one[:len(one)-10], header: map[string]string{formType: oneType}, status: 400, slug: "invalid-multipart"},
		{name: "not multipart", body: file, header: map[string]string{formType: oneType}, status: 400, slug: "invalid-multipart"},
		{name: "not gzip", body: file, header: map[string]string{"Content-Encoding": "gzip"}, status: 400, slug: "malformed-body", detail: "gzip"},
		{name: "gzip cut short", body: gzipped(file)[:100], header: map[string]string{"Content-Encoding": "gzip"}, status: 400, slug: "malformed-body"},

		{name: "unknown model", path: "/classify?model=cats", body: file, status: 404, slug: "unknown-model", detail: "bad, one, random:s"},
		{name: "path as model", path: "/classify?model=../one.pth", body: file, status: 404, slug: "unknown-model"},
		{name: "unknown preset", path: "/classify?model=random:xl", body: file, status: 404, slug: "unknown-model"},
		{name: "describe unknown model", method: "GET", path: "/models/cats", status: 404, slug: "unknown-model"},
		{name: "unknown target", path: "/classify?target=onnx", body: file, status: 404, slug: "unknown-target", detail: "this build has fake"},
		{name: "unknown precision", path: "/classify?target=fake:bf16", body: file, status: 404, slug: "unknown-target"},
		{name: "unknown path", method: "GET", path: "/nothing", status: 404, slug: "not-found"},
		{name: "unknown path, POST", path: "/nothing", body: file, status: 404, slug: "not-found"},
		{name: "unknown problem", method: "GET", path: "/problems/nothing", status: 404, slug: "not-found"},

		{name: "too many bytes", body: make([]byte, limit+1), status: 413, slug: "body-too-large"},
		{name: "too many bytes in chunks", reader: unsized{bytes.NewReader(make([]byte, limit+1))}, status: 413, slug: "body-too-large"},
		{name: "endless body", reader: unsized{endless{}}, status: 413, slug: "body-too-large"},
		{name: "too many bytes in a part", body: big, header: map[string]string{formType: bigType}, status: 413, slug: "body-too-large"},
		{name: "too many bytes in a chunked part", reader: unsized{bytes.NewReader(big)}, header: map[string]string{formType: bigType}, status: 413, slug: "body-too-large"},
		{name: "gzip bomb", body: gzipped(make([]byte, 100*limit)), header: map[string]string{"Content-Encoding": "gzip"}, status: 413, slug: "body-too-large"},
		{name: "deflate bomb", body: deflated(make([]byte, 100*limit)), header: map[string]string{"Content-Encoding": "deflate"}, status: 413, slug: "body-too-large"},
		{name: "54 bytes of BMP", body: claimingBMP(), status: 413, slug: "image-too-large"},
		{name: "PNG bomb", body: bombPNG(), status: 413, slug: "image-too-large"},

		{name: "text named photo.jpg", body: []byte("This is not a photograph.\n"), header: map[string]string{formType: "image/jpeg"}, status: 415, slug: "unknown-image-format"},
		{name: "zeros", body: make([]byte, 5000), status: 415, slug: "unknown-image-format"},
		{name: "HEIC", body: []byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"), status: 415, slug: "unsupported-image-format", detail: "HEI"},
		{name: "brotli", body: file, header: map[string]string{"Content-Encoding": "br"}, status: 415, slug: "unsupported-content-encoding", detail: `"br"`},
		{name: "gzip twice", body: gzipped(gzipped(file)), header: map[string]string{"Content-Encoding": "gzip, gzip"}, status: 415, slug: "unsupported-content-encoding"},

		{name: "JPEG cut short", body: file[:len(file)/2], status: 422, slug: "damaged-image"},
		{name: "JPEG of three bytes", body: file[:3], status: 422, slug: "damaged-image"},
		{name: "invalid checkpoint", path: "/classify?model=bad", body: file, status: 422, slug: "invalid-checkpoint", detail: "missing tensor head.weight"},

		{name: "unavailable target", path: "/classify?target=fake:gpu", body: file, status: 503, slug: "target-unavailable", detail: "tried /dev/fake; plug one in"},
		{name: "unsupported model", path: "/classify?target=fake:odd", body: file, status: 503, slug: "target-unsupported", detail: "head: Conv"},

		{name: "deadline of nothing", path: "/classify?deadline_ms=0", body: file, status: 400, slug: "invalid-query", detail: "deadline_ms"},
		{name: "deadline beyond the server's", path: "/classify?deadline_ms=99999999999", body: file, status: 200},
		{name: "cross-site page", body: file, header: map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, status: 403, slug: "cross-origin"},
		{name: "page of an old browser", body: file, header: map[string]string{"Origin": "https://evil.example"}, status: 403, slug: "cross-origin"},
		{name: "sandboxed page", body: file, header: map[string]string{"Origin": "null"}, status: 403, slug: "cross-origin"},
		{name: "own page", body: file, header: map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://example.com"}, status: 200},
		{name: "link from elsewhere", method: "GET", path: "/models", header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 200},

		{name: "wrong host", body: file, host: "evil.example", status: 421, slug: "wrong-host", detail: "evil.example"},
		{name: "wrong host, health", method: "GET", path: "/livez", host: "evil.example:8080", status: 421, slug: "wrong-host"},
		{name: "host that ends like ours", method: "GET", path: "/livez", host: "notexample.com", status: 421, slug: "wrong-host"},
		{name: "rebinding name", method: "GET", path: "/livez", host: "127.0.0.1.evil.example", status: 421, slug: "wrong-host"},
		{name: "own name", method: "GET", path: "/livez", host: "EXAMPLE.com.:8080", status: 200},
		{name: "localhost", method: "GET", path: "/livez", host: "localhost:8080", status: 200},
		{name: "loopback name", method: "GET", path: "/livez", host: "api.localhost", status: 200},
		{name: "IPv4", method: "GET", path: "/livez", host: "192.168.1.7:8080", status: 200},
		{name: "IPv6", method: "GET", path: "/livez", host: "[::1]:8080", status: 200},
		{name: "IPv6 without port", method: "GET", path: "/livez", host: "[::1]", status: 200},

		{name: "GET /classify", method: "GET", status: 405, slug: "method-not-allowed", detail: "use POST"},
		{name: "DELETE /models", method: "DELETE", path: "/models", status: 405, slug: "method-not-allowed", detail: "use GET, HEAD"},
		{name: "unknown method", method: "BREW", path: "/models", status: 405, slug: "method-not-allowed", detail: "use GET, HEAD"},
		{name: "unknown method and path", method: "BREW", path: "/coffee", status: 404, slug: "not-found"},
		{name: "PUT with an id", method: "PUT", path: "/models/one", body: file, status: 405, slug: "method-not-allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reader := c.reader
			if reader == nil {
				reader = bytes.NewReader(c.body)
			}
			method, path := c.method, c.path
			if method == "" {
				method = http.MethodPost
			}
			if path == "" {
				path = "/classify"
			}
			r := httptest.NewRequest(method, path, reader)
			if c.host != "" {
				r.Host = c.host
			}
			for name, v := range c.header {
				r.Header.Set(name, v)
			}
			resp := s.do(t, r)
			body := read(t, resp)
			if resp.StatusCode != c.status {
				t.Fatalf("status %d, want %d\n%s", resp.StatusCode, c.status, body)
			}
			if c.slug == "" {
				return
			}
			p := decode[api.Problem](t, resp)
			if p.Type != "/problems/"+c.slug || p.Status != c.status || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("got %s\nwant type /problems/%s with %q in its detail", body, c.slug, c.detail)
			}
			if want := strings.SplitN(path, "?", 2)[0]; p.Instance != want {
				t.Errorf("instance %q, want %q", p.Instance, want)
			}
			switch allow := resp.Header.Get("Allow"); {
			case c.status == 405 && "use "+allow != strings.TrimPrefix(p.Detail, "method not allowed: "):
				t.Errorf("Allow %q, detail %q", allow, p.Detail)
			case c.status != 405 && allow != "":
				t.Errorf("Allow %q on status %d", allow, c.status)
			}
			if (p.Findings != nil) != (c.slug == "invalid-checkpoint") {
				t.Errorf("findings %q", p.Findings)
			}
			if got, want := resp.Header.Get("Accept-Encoding") != "", c.slug == "unsupported-content-encoding"; got != want {
				t.Errorf("Accept-Encoding sent: %v, want %v", got, want)
			}
		})
	}
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens in use afterwards", n)
	}
	if !s.bodies.TryAcquire(maxBodies) {
		t.Error("body memory was lost")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestHead(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	resp, err := http.Head(srv.URL + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.ContentLength == 0 {
		t.Errorf("HEAD /livez: %d, length %d", resp.StatusCode, resp.ContentLength)
	}
}

func TestQueueFull(t *testing.T) {
	f := &fake{gate: make(chan struct{})}
	s := newServer(t, nil, f, func(c *Config) { c.Queue = 2; c.Threads = 1000 })
	file := jpegFile(t)
	results := make(chan int, 3)
	for i := range 3 {
		go func() { results <- s.post(t, "", file).StatusCode }()
		if i == 0 {
			eventually(t, "running", func() bool { return f.running.get() == 1 })
		}
	}
	session, err := s.store.acquire(t.Context(), "demo", s.store.target)
	if err != nil {
		t.Fatal(err)
	}
	defer s.store.release(session)
	eventually(t, "waiting", func() bool { return s.admission.depth(&session.lane) == 2 })
	if body := string(read(t, s.get(t, "/metrics"))); !strings.Contains(body, `edgevit_queue_depth{model="demo",target="fake"} 2`) {
		t.Error("the queue's depth is not in the metrics")
	}

	unread := &watched{Reader: bytes.NewReader(file)}
	resp := s.do(t, httptest.NewRequest(http.MethodPost, "/classify", unread))
	if p := decode[api.Problem](t, resp); resp.StatusCode != 429 || p.Type != "/problems/queue-full" || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("got %d %+v, Retry-After %q; want 429 queue-full, 1", resp.StatusCode, p, resp.Header.Get("Retry-After"))
	}
	if unread.reads != 0 {
		t.Error("the body of a refused request was read")
	}
	for range 3 {
		f.gate <- struct{}{}
	}
	for range 3 {
		if status := <-results; status != 200 {
			t.Errorf("status %d of a request that waited", status)
		}
	}
}

type watched struct {
	io.Reader
	reads int
}

func (w *watched) Read(p []byte) (int, error) { w.reads++; return w.Reader.Read(p) }

// TestBodyBeforeTokens checks that an upload in progress holds no CPU tokens.
func TestBodyBeforeTokens(t *testing.T) {
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Threads = 1000 })
	file := jpegFile(t)
	slow, feed := io.Pipe()
	result := make(chan int, 1)
	go func() {
		result <- s.do(t, httptest.NewRequest(http.MethodPost, "/classify", slow)).StatusCode
	}()
	if _, err := feed.Write(file[:100]); err != nil {
		t.Fatal(err)
	}
	if resp := s.post(t, "", file); resp.StatusCode != 200 {
		t.Errorf("status %d beside a slow upload", resp.StatusCode)
	}
	feed.Write(file[100:])
	feed.Close()
	if status := <-result; status != 200 {
		t.Errorf("status %d of the slow upload", status)
	}
}

func TestOverloaded(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	s.bodies.Acquire(t.Context(), maxBodies)
	resp := s.post(t, "", jpegFile(t))
	if p := decode[api.Problem](t, resp); resp.StatusCode != 429 || p.Type != "/problems/overloaded" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %+v, want 429 overloaded with Retry-After", resp.StatusCode, p)
	}
	s.bodies.Release(maxBodies)
	if resp := s.post(t, "", jpegFile(t)); resp.StatusCode != 200 {
		t.Errorf("status %d afterwards", resp.StatusCode)
	}
}

func TestDeadline(t *testing.T) {
	f := &fake{gate: make(chan struct{})}
	s := newServer(t, nil, f, func(c *Config) { c.Deadline = 200 * time.Millisecond; c.Threads = 1000 })
	check := func(what string, resp *http.Response) {
		t.Helper()
		if p := decode[api.Problem](t, resp); resp.StatusCode != 504 || p.Type != "/problems/deadline" {
			t.Errorf("%s: got %d %+v, want 504 deadline", what, resp.StatusCode, p)
		}
	}
	results := make(chan *http.Response, 2)
	for range 2 { // one runs, one waits for its tokens
		go func() { results <- s.post(t, "", jpegFile(t)) }()
	}
	check("first", <-results)
	check("second", <-results)
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens in use afterwards", n)
	}

	block := make(chan struct{})
	f.mu.Lock()
	f.open = func() error { <-block; return nil }
	f.mu.Unlock()
	check("opening", s.post(t, "?target=fake:int8", jpegFile(t)))
	close(block)
}

func TestDecodeDeadline(t *testing.T) {
	s := newServer(t, nil, &fake{}, func(c *Config) {
		c.Limits = defaultLimits(10 << 20)
		c.Limits.DecodeTime = 1
	})
	resp := s.post(t, "", jpegFile(t))
	if p := decode[api.Problem](t, resp); resp.StatusCode != 504 || p.Type != "/problems/decode-deadline" {
		t.Errorf("got %d %+v, want 504 decode-deadline", resp.StatusCode, p)
	}
}

func TestRateLimit(t *testing.T) {
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Rate = 3 })
	send := func(path, address string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.RemoteAddr = address
		return s.do(t, r)
	}
	// The window may turn over meanwhile, so that up to twice as many pass.
	passed, refused := 0, 0
	for range 20 {
		resp := send("/models", "192.0.2.1:1234")
		if resp.StatusCode == 200 {
			passed++
			continue
		}
		refused++
		if p := decode[api.Problem](t, resp); resp.StatusCode != 429 || p.Type != "/problems/rate-limit" || resp.Header.Get("Retry-After") == "" {
			t.Fatalf("got %d %+v, Retry-After %q; want 429 rate-limit", resp.StatusCode, p, resp.Header.Get("Retry-After"))
		}
	}
	if passed < 3 || passed > 6 {
		t.Errorf("%d of 20 passed, want 3, or 6 where a second ends meanwhile", passed)
	}
	for _, c := range []struct{ path, address string }{{"/models", "192.0.2.2:1234"}, {"/livez", "192.0.2.1:1"}, {"/readyz", "192.0.2.1:1"}, {"/metrics", "192.0.2.1:1"}} {
		if resp := send(c.path, c.address); resp.StatusCode != 200 {
			t.Errorf("%s from %s: %d, want 200", c.path, c.address, resp.StatusCode)
		}
	}
}

// TestAllowedOrigins: a page of an origin that the operator trusts may use the
// service, one of another may not; without any there are no CORS headers.
func TestAllowedOrigins(t *testing.T) {
	const trusted = "https://app.example"
	for _, c := range []struct {
		name, method, origin string
		allowed              []string
		status               int
		header               string // Access-Control-Allow-Origin
	}{
		{"off by default", "POST", trusted, nil, 403, ""},
		{"off by default, reading", "GET", trusted, nil, 200, ""},
		{"off by default, preflight", "OPTIONS", trusted, nil, 405, ""},
		{"trusted", "POST", trusted, []string{trusted}, 200, trusted},
		{"trusted, preflight", "OPTIONS", trusted, []string{trusted}, 200, trusted},
		{"another", "POST", "https://evil.example", []string{trusted}, 403, ""},
		{"another, preflight", "OPTIONS", "https://evil.example", []string{trusted}, 200, ""},
		{"another port", "POST", trusted + ":8443", []string{trusted}, 403, ""},
	} {
		s := newServer(t, nil, &fake{}, func(config *Config) { config.AllowedOrigins = c.allowed })
		path := "/classify"
		if c.method == "GET" {
			path = "/models"
		}
		r := httptest.NewRequest(c.method, path, bytes.NewReader(jpegFile(t)))
		r.Header.Set("Origin", c.origin)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if c.method == "OPTIONS" {
			r.Header.Set("Access-Control-Request-Method", "POST")
		}
		resp := s.do(t, r)
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != c.status || got != c.header {
			t.Errorf("%s: %d, allows %q; want %d, %q", c.name, resp.StatusCode, got, c.status, c.header)
		}
		if got := resp.Header.Get("Timing-Allow-Origin"); c.method != "OPTIONS" && got != c.header {
			t.Errorf("%s: shows its times to %q, want %q", c.name, got, c.header)
		}
	}
	var registry backend.Registry
	registry.Register(&fake{})
	for _, origin := range []string{"app.example", "https://app.example/path", "*"} {
		if _, err := New(Config{Registry: &registry, DefaultTarget: "fake", Demo: tinyModel, AllowedOrigins: []string{origin}}); err == nil || !strings.Contains(err.Error(), origin) {
			t.Errorf("origin %q: %v, want an error that names it", origin, err)
		}
	}
}

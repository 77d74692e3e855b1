package server

import (
	"bytes"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"edgevit/api"
	"edgevit/npy"
	"edgevit/preprocess"
)

func TestPreprocess(t *testing.T) {
	f := &fake{}
	s := newServer(t, nil, f, nil)
	warm := f.done.get()
	for name, file := range map[string][]byte{"jpeg": jpegFile(t), "png": pngFile(t)} {
		im, err := preprocess.Decode(t.Context(), file, preprocess.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		m, err := tinyModel()
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float32, side*side*3)
		if err := im.Tensor(preprocess.Spec(m.Preprocess), want); err != nil {
			t.Fatal(err)
		}
		multi, multiType := form(t, "image", string(file))
		for _, sent := range []struct {
			media string
			body  []byte
		}{{"image/jpeg", file}, {multiType, multi}} {
			r := httptest.NewRequest(http.MethodPost, "/preprocess?model=demo", bytes.NewReader(sent.body))
			r.Header.Set("Content-Type", sent.media)
			resp := s.do(t, r)
			body := read(t, resp)
			if resp.StatusCode != 200 || resp.Header.Get("Content-Disposition") != `attachment; filename="input.npy"` || resp.ContentLength != int64(len(body)) {
				t.Fatalf("%s: %d %v", name, resp.StatusCode, resp.Header)
			}
			if !bytes.HasPrefix(body, []byte("\x93NUMPY\x01\x00")) || !bytes.Contains(body[:80], []byte("'<f4'")) {
				t.Errorf("%s: the file begins %q, want version 1.0 of little-endian float32", name, body[:80])
			}
			got, err := npy.Read(bytes.NewReader(body))
			if err != nil || !slices.Equal(got.Shape, []int{side, side, 3}) || !slices.Equal(got.Float, want) {
				t.Errorf("%s: %+v, %v\nwant %v", name, got, err, want)
			}
		}
	}
	if n := f.done.get(); n != warm {
		t.Errorf("%d runs, want none", n-warm)
	}
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens in use afterwards", n)
	}
	var file bytes.Buffer
	if err := npy.WriteFloats(&file, []int{1}, []float32{float32(math.Pi)}); err != nil || !bytes.HasSuffix(file.Bytes(), []byte{0xdb, 0x0f, 0x49, 0x40}) {
		t.Errorf("π is % x at the end of % x, %v", file.Bytes()[max(file.Len()-4, 0):], file.Bytes(), err)
	}
}

// TestPreprocessAnswers has the answers that differ from those of /classify in
// the operation's name at most.
func TestPreprocessAnswers(t *testing.T) {
	file := jpegFile(t)
	const limit = 100_000
	s := newServer(t, files{"one.pth": "ok", "bad.pth": "no"}, &fake{}, func(c *Config) {
		c.DefaultModel, c.DefaultTarget, c.Limits = "one", "fake", defaultLimits(limit)
	})
	for _, c := range []struct {
		name   string
		method string // POST if empty
		query  string
		body   []byte
		header map[string]string
		status int
		slug   string
	}{
		{name: "default model", body: file, status: 200},
		{name: "gzip", body: gzipped(file), header: map[string]string{"Content-Encoding": "gzip"}, status: 200},
		{name: "empty", status: 400, slug: "empty-body"},
		{name: "a target", query: "?target=fake", body: file, status: 400, slug: "invalid-query"},
		{name: "not multipart", body: file, header: map[string]string{"Content-Type": "multipart/form-data; boundary=x"}, status: 400, slug: "invalid-multipart"},
		{name: "another page", body: file, header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 403, slug: "cross-origin"},
		{name: "unknown model", query: "?model=cats", body: file, status: 404, slug: "unknown-model"},
		{name: "GET", method: "GET", status: 405, slug: "method-not-allowed"},
		{name: "too long", body: make([]byte, limit+1), status: 413, slug: "body-too-large"},
		{name: "too many pixels", body: claimingBMP(), status: 413, slug: "image-too-large"},
		{name: "text", body: []byte("This is not a photograph.\n"), status: 415, slug: "unknown-image-format"},
		{name: "damaged", body: file[:len(file)/2], status: 422, slug: "damaged-image"},
		{name: "broken model", query: "?model=bad", body: file, status: 422, slug: "invalid-checkpoint"},
	} {
		if c.method == "" {
			c.method = http.MethodPost
		}
		r := httptest.NewRequest(c.method, "/preprocess"+c.query, bytes.NewReader(c.body))
		for name, v := range c.header {
			r.Header.Set(name, v)
		}
		resp := s.do(t, r)
		if body := string(read(t, resp)); resp.StatusCode != c.status || c.slug != "" && !strings.Contains(body, "/problems/"+c.slug) {
			t.Errorf("%s: %d %.300q, want %d %s", c.name, resp.StatusCode, body, c.status, c.slug)
		}
	}
}

// TestPreprocessWaits checks that it takes a token, and its turn.
func TestPreprocessWaits(t *testing.T) {
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Queue, c.Deadline = 1, 500*time.Millisecond })
	release, err := s.admission.all(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	send := func() api.Problem {
		return decode[api.Problem](t, s.do(t, httptest.NewRequest(http.MethodPost, "/preprocess", bytes.NewReader(jpegFile(t)))))
	}
	first := make(chan api.Problem, 1)
	go func() { first <- send() }()
	session, err := s.store.acquire(t.Context(), "demo", s.store.target)
	if err != nil {
		t.Fatal(err)
	}
	defer s.store.release(session)
	eventually(t, "waiting", func() bool { return s.admission.depth(&session.lane) == 1 })
	if p := send(); p.Type != "/problems/queue-full" {
		t.Errorf("with a full queue: %+v", p)
	}
	if p := <-first; p.Type != "/problems/deadline" {
		t.Errorf("without a token: %+v", p)
	}
}

package server

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-chi/chi/v5"

	"edgevit/web"
)

// TestWebFiles serves a folder such as Vite makes.
func TestWebFiles(t *testing.T) {
	script := strings.Repeat("export const a = 1;\n", 100)
	page := fstest.MapFS{}
	for name, content := range map[string]string{
		"index.html": "<!doctype html>", "assets/index-AbC_1-23.js": script, "assets/w-1.mjs": script, "assets/index-1.css": "a{}",
		"assets/ort-1.wasm": "\x00asm", "assets/_x-1.js.map": "{}", "samples/cat.jpg": "\xff\xd8", "icon.SVG": "<svg/>", "labels.json": "[]", "x.bin": "x",
	} {
		page[name] = &fstest.MapFile{Data: []byte(content)}
	}
	files, err := webFilesOf(page)
	if err != nil {
		t.Fatal(err)
	}
	router := chi.NewRouter()
	for path, f := range files {
		router.Get(path, f.serve)
	}
	get := func(path string, header ...string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		return w.Result()
	}
	const revalidated, kept = "no-cache", "public, max-age=31536000, immutable"
	for _, c := range []struct {
		path, media, cache string
		packed             bool
	}{
		{"/", "text/html; charset=utf-8", revalidated, true},
		{"/assets/index-AbC_1-23.js", "text/javascript; charset=utf-8", kept, true},
		{"/assets/w-1.mjs", "text/javascript; charset=utf-8", kept, true},
		{"/assets/index-1.css", "text/css; charset=utf-8", kept, true},
		{"/assets/ort-1.wasm", "application/wasm", kept, false},
		{"/assets/_x-1.js.map", "application/json", kept, true},
		{"/samples/cat.jpg", "image/jpeg", revalidated, false},
		{"/icon.SVG", "image/svg+xml", revalidated, true},
		{"/labels.json", "application/json", revalidated, true},
		{"/x.bin", octetStream, revalidated, false},
	} {
		plain, packed := get(c.path), get(c.path, "Accept-Encoding", "br, gzip")
		h := plain.Header
		if plain.StatusCode != 200 || h.Get("Content-Type") != c.media || h.Get("Cache-Control") != c.cache || h.Get("Content-Encoding") != "" || h.Get("Content-Security-Policy") != webPolicy {
			t.Errorf("%s: %d %v; want %s, %s", c.path, plain.StatusCode, h, c.media, c.cache)
		}
		if (packed.Header.Get("Content-Encoding") == "gzip") != c.packed || (h.Get("Vary") == "Accept-Encoding") != c.packed || (packed.Header.Get("ETag") != h.Get("ETag")) != c.packed {
			t.Errorf("%s: %v with gzip, %v without; want it packed: %v", c.path, packed.Header, h, c.packed)
		}
		body := read(t, plain)
		if c.packed {
			if z, err := gzip.NewReader(packed.Body); err != nil {
				t.Errorf("%s: %v", c.path, err)
			} else if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s: packed %d bytes, %v; want %d", c.path, len(got), err, len(body))
			}
		}
		for _, first := range []*http.Response{plain, packed} {
			again := get(c.path, "If-None-Match", first.Header.Get("ETag"), "Accept-Encoding", first.Header.Get("Content-Encoding"))
			if again.StatusCode != http.StatusNotModified {
				t.Errorf("%s: %d with its ETag %s, want 304", c.path, again.StatusCode, first.Header.Get("ETag"))
			}
		}
	}
	if resp := get("/assets/index-AbC_1-23.js", "Range", "bytes=0-5"); resp.StatusCode != http.StatusPartialContent || string(read(t, resp)) != "export" {
		t.Errorf("range: %d %q", resp.StatusCode, read(t, resp))
	}
	for _, path := range []string{"/index.html", "/assets/", "/assets", "/assets/../index.html", "/assets/none.js"} {
		if resp := get(path); resp.StatusCode != 404 {
			t.Errorf("%s: %d, want 404", path, resp.StatusCode)
		}
	}
}

func TestAcceptsGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "gzip": true, "br, GZIP;q=0.5": true, "gzip;q=0": false, "gzip; q=0.000, br": false, "gzip;q=0.001": true,
		"*": false, "identity": false, "x-gzip": false, "deflate, gzip;q=1.0": true,
	} {
		if got := acceptsGzip(header); got != want {
			t.Errorf("Accept-Encoding %q: %v, want %v", header, got, want)
		}
	}
}

// TestWebPaths checks that no file of the page has a path of the API, which
// would answer in its place.
func TestWebPaths(t *testing.T) {
	files, err := webFilesOf(web.Files)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	for path := range files {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if op := operation(spec, httptest.NewRequest(method, "http://localhost"+path, nil)); op != nil {
				t.Errorf("%s is a file of the page and %s of the API", path, op.OperationID)
			}
		}
		if strings.HasPrefix(path, devicePath) {
			t.Errorf("%s is a file of the page where the browser runtimes are", path)
		}
		if strings.ContainsAny(path, "{}*?#% ") {
			t.Errorf("%s has a character that a route cannot have", path)
		}
	}
	if files["/"] == nil {
		t.Error("the page has no index.html")
	}
}

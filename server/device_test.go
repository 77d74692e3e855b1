package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"edgevit/api"
)

func TestDevice(t *testing.T) {
	folder := t.TempDir()
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Runtimes = folder })
	const script = "export default 1;"
	request := func(method, path string, header ...string) *http.Response {
		t.Helper()
		r := httptest.NewRequest(method, "/", nil)
		r.URL.Path = path // as it is, dots and all
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Result()
	}
	const file = "/device/ort/ort.wasm.min.mjs"
	if p := decode[api.Problem](t, request(http.MethodGet, file)); p.Type != "/problems/not-found" || !strings.Contains(p.Detail, "not installed: make runtimes") {
		t.Errorf("without the folder: %+v", p)
	}

	web := filepath.Join(folder, "web")
	if err := os.MkdirAll(filepath.Join(web, "ort"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, folder, files{"libonnxruntime.so": "secret"})
	writeFiles(t, web, files{"ort/ort.wasm.min.mjs": script, "ort/ort.wasm": "\x00asm", "ort/a.js": "1", "ort/b.json": "{}", "ort/LICENSE": "free"})
	for link, to := range map[string]string{
		"ort/inside.js": "a.js", "ort/outside.so": "../../libonnxruntime.so", "absolute.so": filepath.Join(folder, "libonnxruntime.so"), "up": "..",
	} {
		if err := os.Symlink(to, filepath.Join(web, link)); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	for path, media := range map[string]string{
		file: "text/javascript; charset=utf-8", "/device/ort/ort.wasm": "application/wasm", "/device/ort/a.js": "text/javascript; charset=utf-8",
		"/device/ort/inside.js": "text/javascript; charset=utf-8", "/device/ort/b.json": "application/json", "/device/ort/LICENSE": octetStream,
	} {
		resp := request(http.MethodGet, path)
		h := resp.Header
		if resp.StatusCode != 200 || h.Get("Content-Type") != media || h.Get("Content-Security-Policy") != webPolicy || h.Get("Cross-Origin-Embedder-Policy") != "require-corp" ||
			h.Get("Cross-Origin-Opener-Policy") != "same-origin" || h.Get("Cache-Control") != "no-cache" || h.Get("ETag") == "" || h.Get("Last-Modified") != "" {
			t.Errorf("%s: %d %v; want %s", path, resp.StatusCode, h, media)
		}
	}
	for _, path := range []string{
		"/device/", "/device/ort", "/device/ort/", "/device/none.js", "/device//ort/a.js", "/device/ort/../ort/a.js", "/device/./ort/a.js",
		"/device/../libonnxruntime.so", "/device/ort/outside.so", "/device/absolute.so", "/device/up/libonnxruntime.so", "/device/" + folder + "/libonnxruntime.so",
		`/device/..\libonnxruntime.so`, "/device/ort/a.js\x00", "/device/" + strings.Repeat("x", 5000), "/device",
	} {
		resp := request(http.MethodGet, path)
		body := string(read(t, resp))
		if resp.StatusCode != 404 || strings.Contains(body, "secret") || strings.Contains(body, "LICENSE") || strings.Contains(body, "not installed") {
			t.Errorf("%.80q: %d %s", path, resp.StatusCode, body)
		}
		if p := decode[api.Problem](t, resp); strings.Contains(p.Detail, folder) {
			t.Errorf("%.80q: the answer shows a path: %s", path, p.Detail)
		}
	}

	first := request(http.MethodGet, file)
	tag := first.Header.Get("ETag")
	if resp := request(http.MethodHead, file); resp.StatusCode != 200 || resp.ContentLength != int64(len(script)) || len(read(t, resp)) != 0 {
		t.Errorf("HEAD: %d, length %d", resp.StatusCode, resp.ContentLength)
	}
	if resp := request(http.MethodGet, file, "If-None-Match", tag); resp.StatusCode != http.StatusNotModified {
		t.Errorf("with its ETag: %d", resp.StatusCode)
	}
	if resp := request(http.MethodGet, file, "Range", "bytes=7-13", "If-Range", tag); resp.StatusCode != http.StatusPartialContent || string(read(t, resp)) != "default" {
		t.Errorf("range: %d %q", resp.StatusCode, read(t, resp))
	}
	if resp := request(http.MethodPost, file); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, Allow %q", resp.StatusCode, resp.Header.Get("Allow"))
	}

	// Another version of the same length and date.
	date := time.Date(1985, 10, 26, 8, 15, 0, 0, time.UTC)
	replace := func(content string) string {
		writeFiles(t, web, files{"new": content})
		if err := os.Chtimes(filepath.Join(web, "new"), date, date); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(web, "new"), filepath.Join(web, "ort/ort.wasm.min.mjs")); err != nil {
			t.Fatal(err)
		}
		return request(http.MethodGet, file).Header.Get("ETag")
	}
	if one, two := replace("export default 2;"), replace("export default 3;"); one == two || one == tag {
		t.Errorf("three versions have the tags %s, %s, %s", tag, one, two)
	}
	if got := replace(script); got != tag {
		t.Errorf("the first version again has the tag %s, want %s", got, tag)
	}
}

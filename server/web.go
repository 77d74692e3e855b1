package server

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"
)

// webPolicy lets web's page load its own files and ask this server, compile
// WebAssembly, and show pictures and a camera of its visitor. A worker takes the
// policy of its script's answer, so that every file has it.
const webPolicy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; " +
	"img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// webHeaders are those of every answer with a file of the page.
func webHeaders(h http.Header) {
	h.Set("Content-Security-Policy", webPolicy)
	h.Set("Permissions-Policy", "camera=(self)")
}

// mediaTypes are those of the page's files by extension. The tables of the
// machine are not asked, as theirs differ; what is not here is octetStream.
var mediaTypes = map[string]string{
	".html":  "text/html; charset=utf-8",
	".js":    "text/javascript; charset=utf-8",
	".mjs":   "text/javascript; charset=utf-8",
	".css":   "text/css; charset=utf-8",
	".json":  "application/json",
	".map":   "application/json",
	".svg":   "image/svg+xml",
	".txt":   "text/plain; charset=utf-8",
	".wasm":  "application/wasm",
	".jpg":   "image/jpeg",
	".jpeg":  "image/jpeg",
	".png":   "image/png",
	".webp":  "image/webp",
	".ico":   "image/x-icon",
	".woff2": "font/woff2",
}

// compressible are the extensions of files that are worth packing.
var compressible = map[string]bool{".html": true, ".js": true, ".mjs": true, ".css": true, ".json": true, ".map": true, ".svg": true}

func mediaType(name string) string {
	return cmp.Or(mediaTypes[strings.ToLower(path.Ext(name))], octetStream)
}

// webFile is a file of the page.
type webFile struct {
	media, tag string // tag is the sum of data
	immutable  bool
	data       []byte
	packed     func() []byte // gzipped at the first call; nil: not worth it
}

// webFilesOf returns the files of the page by the paths at which they are
// served. Their names must hold nothing that is special in a route.
func webFilesOf(files fs.FS) (map[string]*webFile, error) {
	all := map[string]*webFile{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		f := &webFile{media: mediaType(name), tag: hex.EncodeToString(sum[:8]), immutable: strings.HasPrefix(name, "assets/"), data: data}
		if compressible[strings.ToLower(path.Ext(name))] {
			f.packed = sync.OnceValue(func() []byte { return packed(data) })
		}
		if name == "index.html" {
			name = ""
		}
		all["/"+name] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("files of the page: %w", err)
	}
	return all, nil
}

func packed(data []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is one of the package's
	}
	_, _ = w.Write(data) // memory takes everything
	_ = w.Close()
	return b.Bytes()
}

func (f *webFile) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	webHeaders(h)
	h.Set("Content-Type", f.media)
	h.Set("Cache-Control", "no-cache") // a new version of the program has new files
	if f.immutable {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	data, tag := f.data, f.tag
	if f.packed != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(strings.Join(r.Header.Values("Accept-Encoding"), ",")) {
			h.Set("Content-Encoding", "gzip")
			data, tag = f.packed(), tag+"-gzip"
		}
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// noWeight is a quality value of 0 (RFC 9110 section 12.4.2).
var noWeight = regexp.MustCompile(`(?i)^\s*q\s*=\s*0(\.0*)?\s*$`)

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3). Who says only *
// gets the file as it is.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			return !noWeight.MatchString(weight)
		}
	}
	return false
}

package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"edgevit/web"
)

// webPolicy lets web's page load its own files and ask this server, and
// nothing else.
const webPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// webFile is a file of the page at the root.
type webFile struct {
	name, tag string
	data      []byte
}

// webFiles are the files by path.
var webFiles = func() map[string]webFile {
	files := map[string]webFile{}
	names, err := fs.Glob(web.Files, "*")
	if err != nil {
		panic(err) // the pattern is well-formed
	}
	for _, name := range names {
		data, err := web.Files.ReadFile(name)
		if err != nil {
			panic(err) // it has just been listed, inside the program
		}
		sum := sha256.Sum256(data)
		path := "/" + name
		if name == "index.html" {
			path = "/"
		}
		files[path] = webFile{name, fmt.Sprintf("%q", hex.EncodeToString(sum[:8])), data}
	}
	return files
}()

func (f webFile) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", webPolicy)
	h.Set("Cache-Control", "no-cache") // a new version of the program has new files
	h.Set("ETag", f.tag)
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.data))
}

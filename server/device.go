package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// maxSums bounds the sums that are kept; links may give a file many names.
const maxSums = 256

// devicePath is where the runtimes that run in the visitor's browser are.
const devicePath = "/device/"

// browserRuntimes are the files of the runtimes that run in a browser.
type browserRuntimes struct {
	folder string // of all runtimes; empty: there is none

	mu   sync.Mutex
	sums map[string]fileSum // by name
}

// fileSum is the sum of a file that was as info says.
type fileSum struct {
	info fs.FileInfo
	tag  string
}

// device serves a file of the browser runtimes. They are looked for anew, so
// that they may be installed while the server runs.
func (s *Server) device(w http.ResponseWriter, r *http.Request) {
	f, info, err := s.runtimes.open(strings.TrimPrefix(r.URL.Path, devicePath))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer f.Close()
	tag, err := s.runtimes.tag(f, info)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	// A connection without deadlines, as in tests, needs no longer one.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(min(s.transfer, exportTime)))
	h := w.Header()
	webHeaders(h)
	h.Set("Content-Type", mediaType(f.Name()))
	h.Set("Cache-Control", "no-cache") // another version has the same names
	h.Set("ETag", tag)
	// No Last-Modified: npm dates the files of all versions alike.
	http.ServeContent(w, r, "", time.Time{}, f)
}

// open opens a regular file inside the folder web. The error is errNotFound.
func (b *browserRuntimes) open(name string) (*os.File, fs.FileInfo, error) {
	missing := fmt.Errorf("%w: the browser runtimes are not installed: make runtimes", errNotFound)
	if b.folder == "" {
		return nil, nil, missing
	}
	root, err := os.OpenRoot(filepath.Join(b.folder, "web"))
	if err != nil {
		return nil, nil, missing
	}
	defer root.Close()
	absent := fmt.Errorf("%w: there is no such file among the browser runtimes", errNotFound)
	// Before it is opened, since opening a pipe waits.
	if info, err := root.Stat(name); !fs.ValidPath(name) || err != nil || !info.Mode().IsRegular() {
		return nil, nil, absent
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, absent
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, absent
	}
	return f, info, nil
}

// tag is the file's ETag, of its content: versions may differ in nothing else
// that the file system tells. It is made once for a file, and anew where
// another has taken its place.
func (b *browserRuntimes) tag(f *os.File, info fs.FileInfo) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.sums[f.Name()]; ok && os.SameFile(s.info, info) && s.info.Size() == info.Size() && s.info.ModTime().Equal(info.ModTime()) {
		return s.tag, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("browser runtimes: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("browser runtimes: %w", err)
	}
	tag := `"` + hex.EncodeToString(sum.Sum(nil)[:8]) + `"`
	if len(b.sums) >= maxSums {
		clear(b.sums)
	}
	b.sums[f.Name()] = fileSum{info, tag}
	return tag, nil
}

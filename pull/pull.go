// Package pull brings a file from the network into a folder: bounded in size
// and time, resumed where it was cut, and checked by its sha256 before anybody
// uses it. catalogue.go lists the published checkpoints; get.go is the
// transfer.
package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// Errors that Fetch wraps. After the first three nothing is left of the file.
var (
	// ErrChecksum: the file is not the one that the source names.
	ErrChecksum = errors.New("wrong checksum")
	// ErrWebPage: the server answered with HTML, often a page of login or error.
	ErrWebPage = errors.New("the answer is a web page, not a checkpoint")
	// ErrTooLarge: the file is over the limit, or is said to be.
	ErrTooLarge = errors.New("file too large")

	// ErrBusy: another pull of that name into that folder is at work.
	ErrBusy = errors.New("another pull of it is at work")
	// ErrRedirect: too many redirects, or one that leaves https.
	ErrRedirect = errors.New("redirect refused")
	// ErrInterrupted: the context was cancelled, which it wraps.
	ErrInterrupted error = interrupted{}
	// ErrStalled: no byte came for the time of Options.Stall.
	ErrStalled = errors.New("stalled")
)

type interrupted struct{}

func (interrupted) Error() string { return "interrupted" }
func (interrupted) Unwrap() error { return context.Canceled }

// Options bound a transfer. Zero fields stand for the defaults.
type Options struct {
	// MaxBytes bounds the file. Default: 256 MiB.
	MaxBytes int64
	// Stall is the longest time without a byte. Default: 30 s.
	Stall time.Duration
	// Tries is how many requests in a row may bring nothing new. Default: 4.
	Tries int
	// Wait is the time between the first two of them; it doubles. Default: 1 s.
	Wait time.Duration
	// Transport sends requests. Default: http.DefaultTransport, which heeds
	// HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
	Transport http.RoundTripper
	// Progress is told the bytes that are here and the size, -1 if unknown. A
	// transfer that starts again counts down.
	Progress func(done, size int64)
	// Retry is told of a failure that another try follows.
	Retry func(err error, wait time.Duration)

	// writer stands between a test and the partial file.
	writer func(io.Writer) io.Writer
}

func (o Options) withDefaults() Options {
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	if o.Tries == 0 {
		o.Tries = 4
	}
	if o.Wait == 0 {
		o.Wait = time.Second
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if o.Retry == nil {
		o.Retry = func(error, time.Duration) {}
	}
	if o.writer == nil {
		o.writer = func(w io.Writer) io.Writer { return w }
	}
	return o
}

// File is a whole file, checked.
type File struct {
	Path   string // until use returns
	Bytes  int64
	SHA256 string
	// Resumed is how many of the bytes an earlier pull had left.
	Resumed int64
}

// Fetch brings the source's file into the folder, checks its sum if the source
// names one, and hands it to use. The file then has a hidden name that is no
// checkpoint's, and is gone when Fetch returns, unless use fails with an error
// that keep says is not the file's fault. What a failed or cancelled transfer
// has brought stays, and the next Fetch of the same URL under the same name
// goes on there.
func Fetch(ctx context.Context, folder string, s Source, o Options, use func(File) error, keep func(error) bool) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	p := partialIn(folder, s.Name)
	unlock, err := lock(p.path + ".lock")
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	defer unlock()
	return fetchChecked(ctx, s, p, o.withDefaults(), use, keep)
}

// fetchChecked is Fetch of a partial file that nobody else holds.
func fetchChecked(ctx context.Context, s Source, p *partial, o Options, use func(File) error, keep func(error) bool) error {
	resumed, err := fetch(ctx, s, p, o)
	switch {
	case errors.Is(err, ErrWebPage) || errors.Is(err, ErrTooLarge):
		p.remove()
	case err != nil && p.bytes() > 0 && p.resumable() && p.state.Ranges:
		err = fmt.Errorf("%w (%d bytes are kept: pull it again to go on)", err, p.bytes())
	case err != nil && p.bytes() > 0:
		err = fmt.Errorf("%w (%d bytes had come; the next pull may have to begin at the start, since the server does not say that it can go on)", err, p.bytes())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", redacted(s.URL), err)
	}
	f := File{Path: p.path, Bytes: p.bytes(), Resumed: resumed}
	if f.SHA256, err = sumOf(p.path); err != nil {
		return err
	}
	if s.SHA256 != "" && f.SHA256 != s.SHA256 {
		unsure := resumed > 0 && p.state.validator() == ""
		p.remove()
		if unsure { // its parts may be of two files; the whole is not resumed, so this is once
			o.Retry(fmt.Errorf("%w: what was here belongs to another file", ErrChecksum), 0)
			return fetchChecked(ctx, s, p, o, use, keep)
		}
		return fmt.Errorf("%s: %w: its sha256 is %s, want %s", redacted(s.URL), ErrChecksum, f.SHA256, s.SHA256)
	}
	if err := use(f); err != nil {
		if !keep(err) {
			p.remove()
		}
		return err
	}
	p.remove()
	return nil
}

// Pending is how many bytes an unfinished pull of the name has left in the
// folder.
func Pending(folder, name string) int64 { return partialIn(folder, name).bytes() }

// partial is the file that a transfer fills, and what a request must know to go
// on with it.
type partial struct {
	path  string
	state state
	// summed says that a checksum decides over the whole file, so that parts
	// may be joined that no validator tells to be of one.
	summed bool
}

// resumable says whether a transfer may go on with the file.
func (p *partial) resumable() bool { return p.summed || p.state.validator() != "" }

// state is kept beside a partial file as JSON.
type state struct {
	Key          string `json:"key"` // of the URL
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Size         int64  `json:"size"`             // of the whole file; -1 if unknown
	Ranges       bool   `json:"ranges,omitempty"` // the server says, or has shown, that it sends parts
}

// validator tells one version of a file from another, for If-Range; empty if
// the server gives none that is strong.
func (s state) validator() string {
	if s.ETag != "" && !strings.HasPrefix(s.ETag, "W/") {
		return s.ETag
	}
	return s.LastModified
}

func partialIn(folder, name string) *partial {
	return &partial{path: filepath.Join(folder, ".pull-"+name+".part")}
}

func (p *partial) statePath() string { return p.path + ".state" }

// bytes is the size of the file, 0 if it is not there.
func (p *partial) bytes() int64 {
	info, err := os.Stat(p.path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// load reads what an earlier transfer of the URL has left. Anything else is
// no state: the transfer begins at the start.
func (p *partial) load(url string) {
	p.state = state{Size: -1}
	var s state
	if text, err := os.ReadFile(p.statePath()); err == nil && json.Unmarshal(text, &s) == nil && s.Key == key(url) {
		p.state = s
	}
}

func (p *partial) save() error {
	text, err := json.Marshal(p.state)
	if err != nil {
		return err
	}
	return os.WriteFile(p.statePath(), text, 0o600)
}

// remove leaves nothing of it.
func (p *partial) remove() {
	os.Remove(p.path)
	os.Remove(p.statePath())
}

// lock makes this the only process, and goroutine, that holds the file.
func lock(path string) (unlock func(), err error) {
	for {
		l := flock.New(path)
		switch ok, err := l.TryLock(); {
		case err != nil:
			return nil, err
		case !ok:
			l.Close()
			return nil, ErrBusy
		}
		// Who held it before may have removed the file that was opened here.
		held, err := l.Stat()
		there, err2 := os.Stat(path)
		if err == nil && err2 == nil && os.SameFile(held, there) {
			return func() {
				os.Remove(path)
				l.Close()
			}, nil
		}
		l.Close()
	}
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// redacted is a URL for messages, without a password.
func redacted(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return text
}

package pull

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// proxied counts what goes through the proxy that TestMain sets.
var proxied atomic.Int64

// TestMain sets a proxy before the first request: net/http reads the variables
// once. It does not use one for loopback addresses, so no other test meets it.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied.Add(1)
		w.Write(payload)
	}))
	for _, name := range []string{"NO_PROXY", "no_proxy", "http_proxy"} {
		os.Unsetenv(name)
	}
	os.Setenv("HTTP_PROXY", proxy.URL)
	code := m.Run()
	proxy.Close()
	os.Exit(code)
}

var payload = func() []byte {
	data := make([]byte, 1<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}()

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// site serves data as a well-behaved server does, with a cut, and counts.
type site struct {
	mu       sync.Mutex
	data     []byte
	etag     string
	modified time.Time
	plain    bool // no ranges
	cut      int  // bytes of an answer's body after which the connection is cut; 0: never
	sent     int  // bytes of bodies
	asked    []string
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.Header.Get("Range"))
	if s.etag != "" {
		w.Header().Set("ETag", s.etag)
	}
	if s.plain {
		r.Header.Del("Range")
		w.Header().Set("Accept-Ranges", "none")
	}
	http.ServeContent(&cutWriter{w, s, s.cut}, r, "", s.modified, bytes.NewReader(s.data))
}

type cutWriter struct {
	http.ResponseWriter
	site *site
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if w.site.cut > 0 && len(p) > w.left {
		n, _ := w.ResponseWriter.Write(p[:w.left])
		w.site.sent += n
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	n, err := w.ResponseWriter.Write(p)
	w.left -= n
	w.site.sent += n
	return n, err
}

func (s *site) set(change func(*site)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// seen is what was asked for and sent, once the last answer has ended.
func (s *site) seen() (asked []string, sent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked, s.sent
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// quick makes failures fast.
func quick() Options {
	return Options{Stall: 10 * time.Second, Wait: time.Millisecond, MaxBytes: 2 << 20}
}

// get is Fetch into the folder that returns what use gets.
func get(t *testing.T, ctx context.Context, folder, url, sum string, o Options) (f File, data []byte, err error) {
	t.Helper()
	err = Fetch(ctx, folder, Source{Name: "m", URL: url, SHA256: sum}, o, func(got File) error {
		f = got
		var err error
		data, err = os.ReadFile(got.Path)
		return err
	}, func(error) bool { return true })
	return f, data, err
}

// left lists the files of a folder.
func left(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestFetch(t *testing.T) {
	s := &site{data: payload, etag: `"1"`}
	folder := filepath.Join(t.TempDir(), "new", "models")
	var last [2]int64
	o := quick()
	o.Progress = func(done, size int64) { last = [2]int64{done, size} }
	f, data, err := get(t, t.Context(), folder, serve(t, s)+"/m.pth", hexSum(payload), o)
	if err != nil || !bytes.Equal(data, payload) || f.SHA256 != hexSum(payload) || f.Bytes != int64(len(payload)) || f.Resumed != 0 {
		t.Errorf("%+v, %d bytes, %v", f, len(data), err)
	}
	if last != [2]int64{int64(len(payload)), int64(len(payload))} {
		t.Errorf("last progress %v", last)
	}
	if names := left(t, folder); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// TestResume: a cut connection costs no byte twice, within one Fetch.
func TestResume(t *testing.T) {
	for _, row := range []struct {
		name     string
		etag     string
		modified time.Time
	}{
		{"by ETag", `"1"`, time.Time{}},
		{"by Last-Modified", "", time.Unix(1e9, 0)},
		{"by Last-Modified beside a weak ETag", `W/"1"`, time.Unix(1e9, 0)},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := &site{data: payload, etag: row.etag, modified: row.modified, cut: 300_000}
			o := quick()
			o.Tries = 2 // progress in each, so they do not run out
			f, data, err := get(t, t.Context(), t.TempDir(), serve(t, s), hexSum(payload), o)
			if err != nil || !bytes.Equal(data, payload) || f.Resumed != 0 {
				t.Fatalf("%+v, %d bytes, %v", f, len(data), err)
			}
			asked, sent := s.seen()
			if want := []string{"", "bytes=300000-", "bytes=600000-", "bytes=900000-"}; !slices.Equal(asked, want) || sent != len(payload) {
				t.Errorf("asked for %q and got %d bytes, want %q and %d", asked, sent, want, len(payload))
			}
		})
	}
}

// TestNoResume: what cannot be resumed begins at the start, and says so by
// File.Resumed.
func TestNoResume(t *testing.T) {
	for _, row := range []struct {
		name   string
		first  *site
		second func(*site)
		want   []byte
	}{
		{"server without ranges", &site{data: payload, etag: `"1"`, plain: true}, func(*site) {}, payload},
		{"nothing to know the file by", &site{data: payload}, func(*site) {}, payload},
		{"a weak ETag only", &site{data: payload, etag: `W/"1"`}, func(*site) {}, payload},
		{"another file by its ETag", &site{data: payload, etag: `"1"`}, func(s *site) { s.etag, s.data = `"2"`, slices.Concat(payload[1:], []byte{7}) }, slices.Concat(payload[1:], []byte{7})},
		{"another file by its time", &site{data: payload, modified: time.Unix(1e9, 0)}, func(s *site) { s.modified, s.data = time.Unix(1e9+1, 0), payload[1:] }, payload[1:]},
		{"a shorter file", &site{data: payload, etag: `"1"`}, func(s *site) { s.etag, s.data = `"2"`, payload[:1000] }, payload[:1000]},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, folder := row.first, t.TempDir()
			url := serve(t, s)
			s.set(func(s *site) { s.cut = 300_000 })
			o := quick()
			o.Tries = 1
			_, _, err := get(t, t.Context(), folder, url, "", o)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("a cut connection gives %v", err)
			}
			s.set(func(s *site) { s.cut = 0; s.sent = 0; row.second(s) })
			f, data, err := get(t, t.Context(), folder, url, "", o)
			if _, sent := s.seen(); err != nil || !bytes.Equal(data, row.want) || f.Resumed != 0 || sent != len(row.want) {
				t.Errorf("%+v, %d bytes, %d sent, %v", f, len(data), sent, err)
			}
		})
	}
}

// TestResumeBySum: where a checksum decides over the whole, parts are joined that
// nothing else tells to be of one file.
func TestResumeBySum(t *testing.T) {
	other := slices.Concat([]byte{payload[0] + 1}, payload[1:])
	for _, row := range []struct {
		name    string
		then    []byte // what the server has when it is asked again
		resumed int64
	}{
		{"the same file", payload, 300_000},
		{"another file", other, 0},
	} {
		s, folder := &site{data: payload, cut: 300_000}, t.TempDir()
		url := serve(t, s)
		o := quick()
		o.Tries = 1
		if _, _, err := get(t, t.Context(), folder, url, hexSum(row.then), o); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "pull it again to go on") {
			t.Fatalf("%s: cut: %v", row.name, err)
		}
		s.set(func(s *site) { s.cut, s.data = 0, row.then })
		f, data, err := get(t, t.Context(), folder, url, hexSum(row.then), o)
		if err != nil || !bytes.Equal(data, row.then) || f.Resumed != row.resumed {
			t.Errorf("%s: %+v, %d bytes, %v", row.name, f, len(data), err)
		}
	}
}

// TestNoPromise: a server that sends no parts is not said to go on.
func TestNoPromise(t *testing.T) {
	s := &site{data: payload, etag: `"1"`, plain: true, cut: 300_000}
	o := quick()
	o.Tries = 2
	if _, _, err := get(t, t.Context(), t.TempDir(), serve(t, s), "", o); err == nil || strings.Contains(err.Error(), "to go on") || !strings.Contains(err.Error(), "begin at the start") {
		t.Error(err)
	}
}

// TestRetryAfter: a server's wish is heeded, if there is time.
func TestRetryAfter(t *testing.T) {
	s := &site{data: payload, etag: `"1"`}
	for _, row := range []struct {
		after string
		code  int
		waits []time.Duration
		err   string
	}{
		{"1", http.StatusTooManyRequests, []time.Duration{time.Second}, ""},
		{"soon", http.StatusServiceUnavailable, []time.Duration{time.Millisecond}, ""},
		{"3600", http.StatusServiceUnavailable, nil, "asks to wait 1h0m0s, longer than there is time"},
		{"99999999999999", http.StatusTooManyRequests, nil, "longer than there is time"},
	} {
		n := 0
		url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n++; n == 1 {
				w.Header().Set("Retry-After", row.after)
				w.WriteHeader(row.code)
				return
			}
			s.ServeHTTP(w, r)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var waits []time.Duration
		o := quick()
		o.Retry = func(_ error, wait time.Duration) { waits = append(waits, wait) }
		_, _, err := get(t, ctx, t.TempDir(), url, hexSum(payload), o)
		cancel()
		if !slices.Equal(waits, row.waits) || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: waits %v, %v; want %v, %q", row.after, waits, err, row.waits, row.err)
		}
	}
	date := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	if got := retryAfter(date); got < 60*time.Second || got > 91*time.Second || retryAfter("-5") != 0 || retryAfter("Mon, 01 Jan 2001 00:00:00 GMT") != 0 {
		t.Errorf("%s: %v", date, got)
	}
}

// TestCancel: what has come stays, and the next Fetch goes on there.
func TestCancel(t *testing.T) {
	s, folder := &site{data: payload, etag: `"1"`}, t.TempDir()
	url := serve(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	o := quick()
	o.Progress = func(done, size int64) {
		if done > 200_000 {
			cancel()
		}
	}
	_, _, err := get(t, ctx, folder, url, hexSum(payload), o)
	pending := Pending(folder, "m")
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "are kept") || pending < 200_000 || pending >= int64(len(payload)) {
		t.Fatalf("%v, %d bytes kept", err, pending)
	}
	s.set(func(s *site) { s.sent, s.asked = 0, nil })
	o.Progress = nil
	f, data, err := get(t, t.Context(), folder, url, hexSum(payload), o)
	if asked, sent := s.seen(); err != nil || !bytes.Equal(data, payload) || f.Resumed != pending || int64(sent) != int64(len(payload))-pending {
		t.Errorf("%+v, sent %d, asked %q, %v", f, sent, asked, err)
	}
	if names := left(t, folder); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// TestAnotherURL: the partial file of one URL is not continued from another.
func TestAnotherURL(t *testing.T) {
	s, folder := &site{data: payload, etag: `"1"`, cut: 300_000}, t.TempDir()
	url := serve(t, s)
	o := quick()
	o.Tries = 1
	if _, _, err := get(t, t.Context(), folder, url+"/a", "", o); err == nil {
		t.Fatal("no error")
	}
	s.set(func(s *site) { s.cut, s.data = 0, payload[5:] })
	f, data, err := get(t, t.Context(), folder, url+"/b", "", o)
	if err != nil || f.Resumed != 0 || !bytes.Equal(data, payload[5:]) {
		t.Errorf("%+v, %d bytes, %v", f, len(data), err)
	}
}

// TestWhole: a whole file that could not be used is there the next time,
// without a request.
func TestWhole(t *testing.T) {
	s, folder := &site{data: payload, etag: `"1"`}, t.TempDir()
	url := serve(t, s)
	full := errors.New("disk full")
	source := Source{Name: "m", URL: url}
	for _, keep := range []bool{true, false} {
		err := Fetch(t.Context(), folder, source, quick(), func(File) error { return full }, func(error) bool { return keep })
		asked, _ := s.seen()
		if want := map[bool]int{true: len(payload), false: 0}[keep]; err != full || Pending(folder, "m") != int64(want) || len(asked) != 1 {
			t.Errorf("keep %v: %v, %d bytes kept, %d requests", keep, err, Pending(folder, "m"), len(asked))
		}
	}
	if names := left(t, folder); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// endless answers with bytes until the client goes away.
func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write(payload); err != nil {
			return
		}
	}
}

// raw answers every connection with the text and closes it.
func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(conn, text)
			conn.Close()
		}
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code)
		io.WriteString(w, "<html>sorry</html>")
	}
}

func TestFailures(t *testing.T) {
	var requests atomic.Int64
	counted := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { requests.Add(1); h(w, r) }
	}
	for _, row := range []struct {
		name     string
		handler  http.HandlerFunc
		is       error
		text     string
		requests int64
	}{
		{"wrong checksum", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "PK\x03\x04 but another file") }, ErrChecksum, "its sha256 is ", 1},
		{"endless", endless, ErrTooLarge, "more than 2097152 bytes", 1},
		{"claims too much", raw("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\nx"), ErrTooLarge, "999999999999 bytes, the limit is 2097152", 1},
		{"length too long", raw("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 100\r\n\r\nten bytes."), io.ErrUnexpectedEOF, "(4 tries)", 4},
		{"length too short", raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nten bytes."), ErrChecksum, "", 1},
		{"nothing", raw(""), io.EOF, "(4 tries)", 4},
		{"not HTTP", raw("220 ftp ready\r\n"), nil, "malformed HTTP", 4},
		{"web page", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "\n<!DOCTYPE html><title>Log in</title>")
		}, ErrWebPage, "the answer is a web page", 1},
		{"web page with a type of files", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			io.WriteString(w, "<html>")
		}, ErrWebPage, "", 1},
		{"compressed", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Encoding", "br") }, nil, "compresses", 1},
		{"not found", status(404), nil, "the server answers 404 Not Found", 1},
		{"forbidden", status(403), nil, "403", 1},
		{"broken", status(500), nil, "500 Internal Server Error (4 tries)", 4},
		{"busy", status(503), nil, "(4 tries)", 4},
		{"too many requests", status(429), nil, "(4 tries)", 4},
		{"no content", status(204), nil, "204", 1},
		{"a part that nobody asked for", status(206), nil, "206", 1},
		{"redirect loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, ErrRedirect, "more than 5", 6},
		{"redirect to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, ErrRedirect, "to file", 1},
		{"redirect to no address", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusFound) }, nil, "302 Found", 1},
		{"no byte at all", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, ErrStalled, "no byte for 100ms", 4},
		{"no byte any more", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "ten bytes.")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, ErrStalled, "no byte for 100ms", 4},
	} {
		t.Run(row.name, func(t *testing.T) {
			requests.Store(0)
			folder := t.TempDir()
			o := quick()
			if row.is == ErrStalled {
				o.Stall = 100 * time.Millisecond
			}
			url := serve(t, counted(row.handler))
			_, _, err := get(t, t.Context(), folder, url+"/m.pth", hexSum(payload), o)
			if err == nil || row.is != nil && !errors.Is(err, row.is) || !strings.Contains(fmt.Sprint(err), row.text) {
				t.Errorf("error %v, want %v and %q", err, row.is, row.text)
			}
			if n := requests.Load(); n != row.requests {
				t.Errorf("%d requests, want %d", n, row.requests)
			}
			if names := left(t, folder); (errors.Is(err, ErrChecksum) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrWebPage)) && len(names) != 0 {
				t.Errorf("left behind: %v", names)
			}
		})
	}
}

// TestRetry: a server that is down for two requests is waited for, ever longer.
func TestRetry(t *testing.T) {
	s := &site{data: payload, etag: `"1"`}
	n := 0
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n <= 2 {
			http.Error(w, "later", http.StatusBadGateway)
			return
		}
		s.ServeHTTP(w, r)
	}))
	var waits []time.Duration
	o := quick()
	o.Retry = func(err error, wait time.Duration) { waits = append(waits, wait) }
	if _, _, err := get(t, t.Context(), t.TempDir(), url, hexSum(payload), o); err != nil || !slices.Equal(waits, []time.Duration{time.Millisecond, 2 * time.Millisecond}) {
		t.Errorf("waits %v, %v", waits, err)
	}
}

// TestLyingRanges: a server that answers a range with another part, or without
// heeding If-Range, spoils nothing.
func TestLyingRanges(t *testing.T) {
	for _, row := range []struct{ name, header string }{
		{"another part", "bytes 0-1048575/1048576"},
		{"another size", "bytes 300000-1048576/1048577"},
		{"less than the rest", "bytes 300000-300099/1048576"},
		{"nonsense", "bytes a-b/c"},
		{"nothing", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := &site{data: payload, etag: `"1"`, cut: 300_000}
			lies := 0
			url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") == "" {
					s.ServeHTTP(w, r)
					return
				}
				lies++
				s.set(func(s *site) { s.cut = 0 })
				w.Header().Set("Content-Range", row.header)
				w.WriteHeader(http.StatusPartialContent)
				w.Write(payload[:1000])
			}))
			_, data, err := get(t, t.Context(), t.TempDir(), url, hexSum(payload), quick())
			if err != nil || !bytes.Equal(data, payload) || lies != 1 {
				t.Errorf("%d bytes, %d lies, %v", len(data), lies, err)
			}
		})
	}
}

// TestLeavesHTTPS: https may follow http, but not the other way.
func TestLeavesHTTPS(t *testing.T) {
	s := &site{data: payload, etag: `"1"`}
	plain := serve(t, s)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain, http.StatusFound)
			return
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(secure.Close)
	up := serve(t, http.RedirectHandler(secure.URL+"/m.pth", http.StatusMovedPermanently))
	o := quick()
	o.Transport = secure.Client().Transport
	if _, _, err := get(t, t.Context(), t.TempDir(), secure.URL+"/down", hexSum(payload), o); !errors.Is(err, ErrRedirect) || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("downwards: %v", err)
	}
	if _, _, err := get(t, t.Context(), t.TempDir(), up, hexSum(payload), o); err != nil {
		t.Errorf("upwards: %v", err)
	}
	o.Transport = nil
	before, _ := s.seen()
	_, _, err := get(t, t.Context(), t.TempDir(), secure.URL+"/m.pth", hexSum(payload), o)
	if after, _ := s.seen(); err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "tries") || len(after) != len(before) {
		t.Errorf("an unknown certificate: %v", err)
	}
}

// full is a disk with room for left bytes.
type full struct {
	io.Writer
	left int
}

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.left {
		n, _ := f.Writer.Write(p[:f.left])
		f.left = 0
		return n, &fs.PathError{Op: "write", Path: "m", Err: syscall.ENOSPC}
	}
	f.left -= len(p)
	return f.Writer.Write(p)
}

// TestDiskFull: it is no reason to ask again, and what fitted is of use later.
func TestDiskFull(t *testing.T) {
	s, folder := &site{data: payload, etag: `"1"`}, t.TempDir()
	url := serve(t, s)
	o := quick()
	o.writer = func(w io.Writer) io.Writer { return &full{w, 250_000} }
	_, _, err := get(t, t.Context(), folder, url, hexSum(payload), o)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "250000 bytes are kept") {
		t.Fatal(err)
	}
	if asked, _ := s.seen(); len(asked) != 1 {
		t.Fatalf("asked %d times", len(asked))
	}
	o.writer = nil
	if f, data, err := get(t, t.Context(), folder, url, hexSum(payload), o); err != nil || f.Resumed != 250_000 || !bytes.Equal(data, payload) {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestDeadline: bytes that drip keep no pull alive for ever.
func TestDeadline(t *testing.T) {
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := get(t, ctx, t.TempDir(), url, "", quick()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestBusy(t *testing.T) {
	s, folder := &site{data: payload, etag: `"1"`}, t.TempDir()
	url := serve(t, s)
	source := Source{Name: "m", URL: url}
	err := Fetch(t.Context(), folder, source, quick(), func(File) error {
		if _, _, err := get(t, t.Context(), folder, url, "", quick()); !errors.Is(err, ErrBusy) {
			t.Errorf("the second of two pulls: %v", err)
		}
		other := source
		other.Name = "n"
		return Fetch(t.Context(), folder, other, quick(), func(File) error { return nil }, nil)
	}, func(error) bool { return false })
	if asked, _ := s.seen(); err != nil || len(asked) != 2 {
		t.Errorf("%d requests, %v", len(asked), err)
	}

	// Many at once: one at a time holds the lock, and nothing is left.
	var holders, most atomic.Int64
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 50 {
				unlock, err := lock(filepath.Join(folder, "lock"))
				if errors.Is(err, ErrBusy) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), holders.Add(1)))
				holders.Add(-1)
				unlock()
			}
		})
	}
	group.Wait()
	if most.Load() != 1 || len(left(t, folder)) != 0 {
		t.Errorf("%d held it at once; left behind: %v", most.Load(), left(t, folder))
	}
}

func TestLocalFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(t.TempDir(), "a file.pth")
	if err := os.WriteFile(path, payload, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{path, "file://" + strings.ReplaceAll(path, " ", "%20")} {
		if _, data, err := get(t, t.Context(), folder, from, hexSum(payload), quick()); err != nil || !bytes.Equal(data, payload) {
			t.Errorf("%s: %d bytes, %v", from, len(data), err)
		}
	}
	o := quick()
	o.MaxBytes = 1000
	for _, row := range []struct {
		from, want string
		o          Options
	}{
		{path, "too large", o},
		{folder, "not a regular file", quick()},
		{path + ".nowhere", "no such file", quick()},
		{"ftp://example.org/m.pth", "want http://", quick()},
		{"http:///m.pth", "no host", quick()},
		{"http://a b/", "invalid", quick()},
	} {
		if _, _, err := get(t, t.Context(), folder, row.from, "", row.o); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.from, err, row.want)
		}
	}
	if names := left(t, folder); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
	if _, data, err := get(t, t.Context(), folder, path, hexSum(payload), quick()); err != nil || len(data) != len(payload) {
		t.Errorf("the source is gone: %v", err)
	}
}

func TestProxy(t *testing.T) {
	before := proxied.Load()
	if _, data, err := get(t, t.Context(), t.TempDir(), "http://models.invalid/m.pth", hexSum(payload), quick()); err != nil || len(data) != len(payload) || proxied.Load() != before+1 {
		t.Errorf("%d bytes, %d through the proxy, %v", len(data), proxied.Load()-before, err)
	}
}

// TestSecrets: a password in a URL is in no message and in no file.
func TestSecrets(t *testing.T) {
	s, folder := &site{data: payload, etag: `"1"`, cut: 1000}, t.TempDir()
	url := strings.Replace(serve(t, s), "://", "://me:hunter2@", 1)
	o := quick()
	o.Tries = 1
	_, _, err := get(t, t.Context(), folder, url, "", o)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
	text, err := os.ReadFile(partialIn(folder, "m").statePath())
	if err != nil || bytes.Contains(text, []byte("hunter2")) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestSums(t *testing.T) {
	s := Sums(filepath.Join(t.TempDir(), "pulled"))
	if _, ok, err := s.Lookup("http://a/b"); ok || err != nil {
		t.Errorf("before any: %v, %v", ok, err)
	}
	want := Sum{SHA256: hexSum(payload), Bytes: 3, Name: "m", FirstSeen: time.Unix(1e9, 0).UTC()}
	if err := s.Record("http://a/b", want); err != nil {
		t.Fatal(err)
	}
	if err := s.Record("http://a/b", Sum{SHA256: hexSum(nil)}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second record: %v", err)
	}
	if got, ok, err := s.Lookup("http://a/b"); got != want || !ok || err != nil {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if _, ok, _ := s.Lookup("http://a/c"); ok {
		t.Error("another URL has the sum too")
	}
	if err := os.WriteFile(s.file("http://a/b"), []byte(`{"sha256":""}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Lookup("http://a/b"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged record: %v", err)
	}
	if names := left(t, string(s)); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestKnown(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Known() {
		if seen[s.Name] || s.Title == "" || s.SHA256 != "" && !ValidSHA256(s.SHA256) || strings.HasPrefix(s.URL, "http://") != (s.SHA256 == "") {
			t.Errorf("%+v", s)
		}
		if _, local, err := LocalPath(s.URL); local || err != nil {
			t.Errorf("%s: %v", s.URL, err)
		}
		seen[s.Name] = true
	}
	if len(seen) != 5 {
		t.Errorf("%d checkpoints", len(seen))
	}
}

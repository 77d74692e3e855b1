package pull

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const maxRedirects = 5

// fetch fills p with the whole file. It returns how many bytes of it were
// there before.
func fetch(ctx context.Context, s Source, p *partial, o Options) (resumed int64, err error) {
	from := s.URL
	path, local, err := LocalPath(from)
	if err != nil {
		return 0, err
	}
	p.load(from)
	if local {
		return 0, copyFile(ctx, path, p, o)
	}
	p.summed = s.SHA256 != ""
	if n := p.bytes(); !p.resumable() || n > o.MaxBytes || p.state.Size >= 0 && n > p.state.Size {
		p.remove()
	}
	resumed = p.bytes()
	most, failed := resumed, 0
	for {
		if n := p.bytes(); n > 0 && n == p.state.Size {
			return resumed, nil
		}
		err := request(ctx, from, p, o, func() { resumed = 0 })
		if err == nil {
			return resumed, nil
		}
		if ctx.Err() != nil {
			return 0, stopped(ctx)
		}
		if !temporary(err) {
			return 0, err
		}
		failed++
		if n := p.bytes(); n > most {
			most, failed = n, 1
		}
		if failed >= o.Tries {
			return 0, fmt.Errorf("%w (%d tries)", err, failed)
		}
		wait := o.Wait << (failed - 1)
		if later := new(retryAfterError); errors.As(err, later) {
			wait = max(wait, later.wait)
			if end, ok := ctx.Deadline(); ok && time.Until(end) < later.wait {
				return 0, fmt.Errorf("%w and asks to wait %v, longer than there is time", err, later.wait)
			}
		}
		o.Retry(err, wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, stopped(ctx)
		}
	}
}

// stopped is why ctx has ended: ErrInterrupted, or what its deadline says.
func stopped(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%w", ErrInterrupted)
	}
	return context.Cause(ctx)
}

// LocalPath is the path that a source names, if it names one on this machine.
// The error is that of a URL that Fetch cannot bring.
func LocalPath(from string) (path string, local bool, err error) {
	scheme, rest, isURL := strings.Cut(from, "://")
	switch {
	case !isURL:
		return from, true, nil
	case scheme == "file" && strings.HasPrefix(rest, "/"):
		u, err := url.Parse(from)
		if err != nil {
			return "", false, err
		}
		return u.Path, true, nil
	case scheme == "http" || scheme == "https":
		u, err := url.Parse(from)
		if err == nil && u.Host == "" {
			err = errors.New("no host in it")
		}
		return "", false, err
	}
	return "", false, errors.New("want http://, https://, file:/// or the path of a file")
}

// copyFile fills p with a file of this machine, so that what is checked is
// what is used.
func copyFile(ctx context.Context, path string, p *partial, o Options) error {
	p.remove()
	// Looked at before it is opened, which waits for ever on a pipe.
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = p.append(ctx, f, info.Size(), o, func() {})
	if err != nil {
		p.remove()
	}
	return err
}

// request asks for what p lacks and appends it. restarted is called if the
// answer begins at the start.
func request(ctx context.Context, from string, p *partial, o Options, restarted func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(o.Stall, func() { cancel(fmt.Errorf("%w: no byte for %v", ErrStalled, o.Stall)) })
	defer timer.Stop()
	alive := func() { timer.Reset(o.Stall) }

	have := int64(0)
	if p.resumable() {
		have = p.bytes()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "edgevit")
	req.Header.Set("Accept-Encoding", "identity") // a part of a compressed file is of no use
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		if v := p.state.validator(); v != "" {
			req.Header.Set("If-Range", v)
		}
	}
	client := http.Client{Transport: o.Transport, CheckRedirect: checkRedirect}
	resp, err := client.Do(req)
	if err != nil {
		return transferError(ctx, err)
	}
	defer resp.Body.Close()
	alive()
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return fmt.Errorf("the server compresses the file (%s) though it was asked not to", e)
	}
	size := resp.ContentLength
	switch {
	case resp.StatusCode == http.StatusOK:
	case resp.StatusCode == http.StatusPartialContent && have > 0:
		if size, err = rangeSize(resp.Header.Get("Content-Range"), have); err != nil || !sameFile(p.state, resp.Header, size) {
			p.remove()
			restarted()
			return temporaryError{fmt.Errorf("the server sent another part, or a part of another file (%q); it begins at the start", resp.Header.Get("Content-Range"))}
		}
		p.state.Ranges = true
		if err := p.save(); err != nil {
			return err
		}
		return transferError(ctx, p.append(ctx, resp.Body, max(size, p.state.Size), o, alive))
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		p.remove()
		restarted()
		return temporaryError{errors.New("the file is shorter than what is here of it; it begins at the start")}
	default:
		err := fmt.Errorf("the server answers %s", resp.Status)
		switch resp.StatusCode {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			return temporaryError{retryAfterError{err, retryAfter(resp.Header.Get("Retry-After"))}}
		case http.StatusRequestTimeout:
			return temporaryError{err}
		}
		if resp.StatusCode >= 500 {
			return temporaryError{err}
		}
		return err
	}
	if p.bytes() > 0 {
		restarted()
	}
	if size > o.MaxBytes {
		return tooLarge(size, o)
	}
	body := bufio.NewReaderSize(resp.Body, 512)
	head, err := body.Peek(512)
	if err != nil && err != io.EOF {
		return transferError(ctx, temporaryError{err})
	}
	if strings.HasPrefix(http.DetectContentType(head), "text/html") {
		return ErrWebPage
	}
	// The whole of the file of which a part was asked for: ranges are not heeded.
	ignored := have > 0 && sameFile(p.state, resp.Header, size)
	p.remove()
	p.state = state{Key: key(from), ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified"), Size: size, Ranges: !ignored && resp.Header.Get("Accept-Ranges") == "bytes"}
	if err := p.save(); err != nil {
		return err
	}
	return transferError(ctx, p.append(ctx, body, size, o, alive))
}

// append writes what comes from r behind what p has. A file that ends before
// size, if that is not -1, is a temporary error, and so is one of r's.
func (p *partial) append(ctx context.Context, r io.Reader, size int64, o Options, alive func()) (err error) {
	if size > o.MaxBytes {
		return tooLarge(size, o)
	}
	f, err := os.OpenFile(p.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := o.writer(f)
	done := p.bytes()
	o.Progress(done, size)
	buf := make([]byte, 128<<10)
	for {
		n, readErr := r.Read(buf)
		alive()
		if done += int64(n); done > o.MaxBytes {
			return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, o.MaxBytes)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		alive()
		if n > 0 {
			o.Progress(done, size)
		}
		switch {
		case readErr == io.EOF && (size < 0 || done == size):
			return nil
		case readErr == io.EOF:
			return temporaryError{fmt.Errorf("%w: %d bytes of %d", io.ErrUnexpectedEOF, done, size)}
		case readErr != nil:
			return temporaryError{readErr}
		case ctx.Err() != nil: // a local file's read does not look at it
			return ctx.Err()
		}
	}
}

func tooLarge(size int64, o Options) error {
	return fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, size, o.MaxBytes)
}

// rangeSize reads the size of the whole file from Content-Range, -1 if it is
// unknown. The range must begin at from.
func rangeSize(header string, from int64) (int64, error) {
	rest, ok := strings.CutPrefix(header, "bytes ")
	span, total, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if begin, err := strconv.ParseInt(first, 10, 64); !ok || !ok2 || !ok3 || err != nil || begin != from {
		return 0, fmt.Errorf("Content-Range is %q", header)
	}
	if total == "*" {
		return -1, nil
	}
	size, err := strconv.ParseInt(total, 10, 64)
	if end, err2 := strconv.ParseInt(last, 10, 64); err != nil || err2 != nil || end != size-1 {
		return 0, fmt.Errorf("Content-Range is %q", header)
	}
	return size, nil
}

// sameFile says whether a partial answer is of the file that s is of, for
// servers that do not heed If-Range.
func sameFile(s state, h http.Header, size int64) bool {
	if etag := h.Get("ETag"); etag != "" && s.ETag != "" && etag != s.ETag {
		return false
	}
	if modified := h.Get("Last-Modified"); modified != "" && s.LastModified != "" && modified != s.LastModified {
		return false
	}
	return size < 0 || s.Size < 0 || size == s.Size
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	switch last := via[len(via)-1].URL; {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d", ErrRedirect, maxRedirects)
	case last.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("%w: from https to %s", ErrRedirect, req.URL.Scheme)
	case req.URL.Scheme != "https" && req.URL.Scheme != "http":
		return fmt.Errorf("%w: to %s", ErrRedirect, req.URL.Scheme)
	}
	return nil
}

// temporaryError is one that another request may not meet.
type temporaryError struct{ error }

func (e temporaryError) Unwrap() error { return e.error }

func temporary(err error) bool { return errors.As(err, new(temporaryError)) }

// retryAfterError is a refusal with the time that the server asks to wait.
type retryAfterError struct {
	error
	wait time.Duration
}

func (e retryAfterError) Unwrap() error { return e.error }

// retryAfter reads Retry-After, seconds or a date (RFC 9110, section 10.2.3); 0
// where it says nothing.
func retryAfter(header string) time.Duration {
	const most = 1 << 30 // seconds, so that no duration overflows
	if s, err := strconv.ParseInt(header, 10, 64); err == nil {
		return time.Duration(min(max(s, 0), most)) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(time.Until(at).Round(time.Second), 0)
	}
	return 0
}

// transferError tells a stall by its name, and which of net/http's errors are
// temporary.
func transferError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrStalled) {
		return temporaryError{cause}
	}
	var sent *url.Error
	if !errors.As(err, &sent) {
		return err
	}
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &certificate) || errors.Is(err, ErrRedirect) {
		return sent.Err
	}
	return temporaryError{sent.Err}
}

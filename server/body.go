package server

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"edgevit/preprocess"
)

// maxBodies is the most memory for the bodies of all requests in progress, in
// bytes.
const maxBodies = 256 << 20

// budget is an amount of memory that many take parts of, without waiting.
type budget struct {
	*semaphore.Weighted
	bytes int64
}

func newBudget(bytes int64) budget { return budget{semaphore.NewWeighted(bytes), bytes} }

// decoders undo a Content-Encoding (RFC 9110 section 8.4.1; deflate is zlib's
// format).
var decoders = map[string]func(io.Reader) (io.Reader, error){
	"":         nil,
	"identity": nil,
	"gzip":     func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"x-gzip":   func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	"deflate":  func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) },
}

// prepareBody gives the body of a POST its limits of length, time and memory,
// undoes its Content-Encoding, and makes every Content-Type but
// multipart/form-data application/octet-stream, as the bytes are sniffed. A
// checkpoint may be longer and take longer than an image, and takes no memory.
// The body is read by the handler.
func (s *Server) prepareBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		encoding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ",")))
		decode, known := decoders[encoding]
		if !known {
			s.fail(w, r, fmt.Errorf("%w %q: send the file as it is, or as gzip or deflate", errContentEncoding, clip(encoding, 100)))
			return
		}
		media := contentType(r.Header.Get("Content-Type"))
		infoOf(r.Context()).form = strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
		limit, wait, memory := s.limits.Bytes, s.deadline, &s.bodies
		if routeOf(r) == uploadRoute {
			if media != octetStream {
				s.fail(w, r, fmt.Errorf("%w: send the checkpoint itself: curl --data-binary @net.pth", errMultipart))
				return
			}
			limit, wait, memory = s.checkpoints, s.transfer, nil
			extendDeadlines(w, infoOf(r.Context()).start.Add(s.transfer))
		}
		if r.ContentLength > limit {
			s.fail(w, r, fmt.Errorf("%w: %d bytes, at most %d", errBodyTooLarge, r.ContentLength, limit))
			return
		}
		b := &body{
			raw:    http.MaxBytesReader(w, r.Body, limit),
			decode: decode,
			limit:  limit,
			budget: memory,
			wait:   wait,
			read: func() {
				// Without limitReading's deadline again, net/http watches for a
				// client that leaves and takes nothing else for one.
				_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
			},
		}
		defer b.free()
		r.Body = b
		infoOf(r.Context()).body = b
		r.Header.Set("Content-Type", media)
		next.ServeHTTP(w, r)
	})
}

const octetStream = "application/octet-stream"

// contentType returns header if it announces multipart/form-data, in the form
// that the router looks for, else application/octet-stream.
func contentType(header string) string {
	const form = "multipart/form-data"
	if t, params, err := mime.ParseMediaType(header); err == nil && t == form {
		return mime.FormatMediaType(form, params)
	}
	if len(header) >= len(form) && strings.EqualFold(header[:len(form)], form) {
		return form // malformed parameters: refused for its missing boundary
	}
	return octetStream
}

// body is a request's body within its limits. Its errors are rows of the table
// of problems.
type body struct {
	raw    io.ReadCloser // at most limit bytes
	decode func(io.Reader) (io.Reader, error)
	limit  int64
	budget *budget // nil: the body is not kept in memory
	wait   time.Duration
	read   func() // called when the body is read to its end

	decoded io.Reader
	length  int64 // bytes read, decoded
	held    int64 // bytes of the budget
}

func (b *body) Read(p []byte) (int, error) {
	if b.decoded == nil {
		b.decoded = b.raw
		if b.decode != nil {
			// An empty body needs no encoding; it is refused as empty.
			var first [1]byte
			if _, err := io.ReadFull(b.raw, first[:]); err != nil {
				return 0, b.error(err)
			}
			d, err := b.decode(io.MultiReader(bytes.NewReader(first[:]), b.raw))
			if err != nil {
				return 0, b.error(err)
			}
			b.decoded = d
		}
	}
	n, err := b.decoded.Read(p)
	b.length += int64(n)
	if b.length > b.limit {
		return 0, fmt.Errorf("%w: more than %d bytes", errBodyTooLarge, b.limit)
	}
	if n > 0 && b.budget != nil {
		if !b.budget.TryAcquire(int64(n)) {
			return 0, fmt.Errorf("%w: those in progress hold %d bytes", errOverloaded, b.budget.bytes)
		}
		b.held += int64(n)
	}
	return n, b.error(err)
}

func (b *body) error(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil || err == io.EOF:
		return err
	case errors.As(err, &tooLarge):
		return fmt.Errorf("%w: more than %d bytes", errBodyTooLarge, tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: it did not arrive within %v", errSlowBody, b.wait)
	}
	return fmt.Errorf("%w: %w", errBody, err)
}

// finish reads what stands behind the image, such as a multipart epilogue, so
// that the server begins to watch for a client that leaves.
func (b *body) finish() error {
	_, err := io.Copy(io.Discard, b.raw)
	b.read()
	return b.error(err)
}

func (b *body) Close() error { return b.raw.Close() }

// free gives back the budget when the request is over.
func (b *body) free() {
	if b.budget != nil {
		b.budget.Release(b.held)
	}
}

// extendDeadlines gives a long transfer until end. A connection that has no
// deadlines, as in tests, needs no longer ones.
func extendDeadlines(w http.ResponseWriter, end time.Time) {
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(end)
	_ = c.SetWriteDeadline(end.Add(writeMargin))
}

// readImage reads the image file of a request: the body, or the one part of
// its form.
func readImage(form *multipart.Reader, b *body) ([]byte, error) {
	data, err := readBody(form, b)
	if err != nil {
		return nil, err
	}
	if err := b.finish(); err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: send the image file as the body", preprocess.ErrEmpty)
	}
	return data, nil
}

func readBody(form *multipart.Reader, b *body) ([]byte, error) {
	if form == nil {
		return io.ReadAll(b)
	}
	part, err := imagePart(form)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(part)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMultipart, err)
	}
	switch extra, err := form.NextPart(); {
	case err == io.EOF:
		return data, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errMultipart, err)
	default:
		return nil, fmt.Errorf("%w: a second part, %q, where one named \"image\" is wanted", errMultipart, clip(extra.FormName(), 100))
	}
}

func imagePart(r *multipart.Reader) (*multipart.Part, error) {
	part, err := r.NextPart()
	switch {
	case err == io.EOF:
		return nil, fmt.Errorf("%w: no part, want one named \"image\"", errMultipart)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errMultipart, err)
	case part.FormName() != "image":
		return nil, fmt.Errorf("%w: part %q, want one named \"image\"", errMultipart, clip(part.FormName(), 100))
	}
	return part, nil
}

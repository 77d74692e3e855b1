package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"edgevit/api"
	"edgevit/export"
	"edgevit/model"
)

// maxExports bounds how many models are written at once, each of which may be
// in memory as a whole.
const maxExports = 8

// exportTime is how long a client may take an export.
const exportTime = 2 * time.Minute

// ExportModel streams a model in another format.
func (h handlers) ExportModel(ctx context.Context, req api.ExportModelRequestObject) (api.ExportModelResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, info.start.Add(h.deadline))
	defer cancel()
	format := req.Params.Format
	if err := export.Check(h.registry, format); err != nil {
		return nil, fmt.Errorf("%w: %w", errQuery, err)
	}
	e, err := h.store.find(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	info.model = e.name
	m, err := e.ready(ctx)
	if err != nil {
		return nil, err
	}
	tag, err := exportTag(m, format, h.version)
	if err != nil {
		return nil, err
	}
	if tagMatches(value(req.Params.IfNoneMatch), tag) {
		return unchanged{tag}, nil
	}
	if !h.exports.TryAcquire(1) { // a slow client may hold one for long
		return nil, fmt.Errorf("%w: %d models are being exported", errOverloaded, maxExports)
	}
	return exportFile{
		name: strings.ReplaceAll(e.name, ":", "-") + "." + format,
		tag:  tag,
		end:  time.Now().Add(min(h.transfer, exportTime)),
		info: info,
		write: func(w io.Writer) error {
			defer h.exports.Release(1)
			return export.Write(w, h.registry, m, format)
		},
	}, nil
}

// exportTag names the bytes of an export: the model's hash, a sum of what else
// goes into the file, the format.
func exportTag(m *model.Model, format, version string) (string, error) {
	metadata, err := export.Metadata(m)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal([]any{version, m.Title, metadata})
	if err != nil {
		return "", fmt.Errorf("metadata: %w", err)
	}
	sum := sha256.Sum256(text)
	return fmt.Sprintf(`"%s-%s.%s"`, m.Hash, hex.EncodeToString(sum[:4]), format), nil
}

// tagMatches reads If-None-Match (RFC 9110 section 13.1.2). No tag of ours has
// a comma.
func tagMatches(header, tag string) bool {
	for t := range strings.SplitSeq(header, ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}

// exportCache lets a client keep an export and ask whether it still is that.
const exportCache = "no-cache"

type unchanged struct{ tag string }

func (u unchanged) VisitExportModelResponse(w http.ResponseWriter) error {
	w.Header().Set("ETag", u.tag)
	w.Header().Set("Cache-Control", exportCache)
	w.WriteHeader(http.StatusNotModified)
	return nil
}

// exportFile is the answer of an export. It is not generated since a failure
// before the first byte must become a problem, and one after it must end the
// connection, so that nobody takes the file for a whole one.
type exportFile struct {
	name, tag string
	end       time.Time // for the client to have taken it
	info      *requestInfo
	write     func(io.Writer) error
}

func (f exportFile) VisitExportModelResponse(w http.ResponseWriter) error {
	// A connection without deadlines, as in tests, needs no longer one.
	_ = http.NewResponseController(w).SetWriteDeadline(f.end)
	body := &lateHeader{ResponseWriter: w, header: map[string]string{
		"Content-Type":        octetStream,
		"Content-Disposition": fmt.Sprintf("attachment; filename=%q", f.name),
		"ETag":                f.tag,
		"Cache-Control":       exportCache,
	}}
	err := f.write(body)
	if err != nil && body.begun {
		f.info.err = err
		panic(http.ErrAbortHandler)
	}
	return err
}

// lateHeader sets the header with the first byte of the body.
type lateHeader struct {
	http.ResponseWriter
	header map[string]string
	begun  bool
}

func (l *lateHeader) Write(p []byte) (int, error) {
	if !l.begun {
		l.begun = true
		for name, v := range l.header {
			l.Header().Set(name, v)
		}
	}
	return l.ResponseWriter.Write(p)
}

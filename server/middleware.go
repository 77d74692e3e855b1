package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/cors"
	"github.com/go-chi/httprate"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"edgevit/api"
)

// requestInfo is what the handlers of one request tell its log line.
type requestInfo struct {
	id    string
	path  string // as sent, escaped
	start time.Time
	body  *body
	form  bool // came as curl -d and --data-binary send by default
	err   error

	model, target string
	timing        *api.Timing
}

type infoKey struct{}

// infoOf returns the info that observe has put into every request's context.
func infoOf(ctx context.Context) *requestInfo { return ctx.Value(infoKey{}).(*requestInfo) }

// noRoute is the one label of whatever paths are tried.
const noRoute = "none"

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observe gives the request its id and its span, answers a panic, counts the
// request and writes its one log line.
func (s *Server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := &requestInfo{id: r.Header.Get("X-Request-ID"), path: r.URL.EscapedPath(), start: time.Now()}
		if !requestID.MatchString(info.id) {
			info.id = rand.Text()
		}
		w.Header().Set("X-Request-ID", info.id)
		if s.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		r = r.WithContext(context.WithValue(r.Context(), infoKey{}, info))
		if ctx := s.startSpan(r); ctx != r.Context() {
			r = r.WithContext(ctx)
		}
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer func() {
			p := recover()
			if p == http.ErrAbortHandler { // the one panic that the net/http server expects
				s.record(r, ww, info)
				panic(p)
			}
			if p != nil {
				err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				if ww.Status() == 0 {
					s.fail(ww, r, err)
				}
				info.err = err
			}
			s.record(r, ww, info)
		}()
		next.ServeHTTP(ww, r)
	})
}

func (s *Server) record(r *http.Request, w middleware.WrapResponseWriter, info *requestInfo) {
	route := chi.RouteContext(r.Context()).RoutePattern()
	if route == "" {
		route = noRoute
	}
	status := w.Status()
	if status == 0 {
		status = http.StatusOK // a handler that writes nothing
	}
	s.metrics.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	fields := []zap.Field{
		zap.String("request_id", info.id),
		zap.String("method", clip(r.Method, 16)),
		zap.String("route", route),
		zap.String("path", clip(r.URL.EscapedPath(), 200)),
		zap.String("query", clip(r.URL.RawQuery, 200)),
		zap.Int("status", status),
		zap.Int("bytes", w.BytesWritten()),
		zap.Float64("duration_ms", ms(time.Since(info.start))),
	}
	if info.model != "" {
		fields = append(fields, zap.String("model", info.model))
	}
	if info.target != "" {
		fields = append(fields, zap.String("target", info.target))
	}
	if info.body != nil {
		fields = append(fields, zap.Int64("body_bytes", info.body.length))
	}
	if t := info.timing; t != nil {
		fields = append(fields, zap.Float64("decode_ms", t.DecodeMs), zap.Float64("preprocess_ms", t.PreprocessMs),
			zap.Float64("queue_ms", t.QueueMs), zap.Float64("inference_ms", t.InferenceMs))
	}
	span := trace.SpanFromContext(r.Context())
	if c := span.SpanContext(); c.IsValid() {
		fields = append(fields, zap.Stringer("trace_id", c.TraceID()), zap.Stringer("span_id", c.SpanID()))
	}
	endSpan(span, r, route, status, info)
	log := s.log.Info
	if vital[r.URL.Path] { // what asks every second
		log = s.log.Debug
	}
	if info.err != nil {
		fields = append(fields, zap.Error(info.err))
		if status >= 500 && !vital[r.URL.Path] {
			log = s.log.Error
		}
	}
	log("request", fields...)
}

// secureHeaders makes a browser believe what the server says and nothing else,
// and ask again: an answer is about this moment, unless its handler says how
// long it may be kept.
// No page of the server but web's runs a script or loads anything but its own
// style. The Cross-Origin headers together isolate pages from other origins, so
// that web's may share memory between its threads.
func secureHeaders(next http.Handler) http.Handler {
	policy := "default-src 'none'; style-src '" + styleHash + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Embedder-Policy", "require-corp")
		next.ServeHTTP(w, r)
	})
}

// limitReading bounds the time in which a request's body must arrive, also
// where nobody wants it. A connection that has no deadlines, as in tests, is
// none that is slow. A chunked body is the last of its connection: net/http
// drops a Content-Length beside Transfer-Encoding before anybody sees it, and
// what follows such a body may be a request only to this server, and a part of
// the body to one in between (RFC 9112 section 6.1 wants the connection closed).
func (s *Server) limitReading(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		if r.ContentLength != 0 {
			c := http.NewResponseController(w)
			_ = c.SetReadDeadline(infoOf(r.Context()).start.Add(s.deadline))
			// The end of a drain does not wait for a body.
			defer context.AfterFunc(r.Context(), func() {
				if errors.Is(context.Cause(r.Context()), errClosing) {
					_ = c.SetReadDeadline(time.Now())
				}
			})()
		}
		next.ServeHTTP(w, r)
	})
}

// checkHost refuses a Host that is no name of the server. A web page that
// points a name of its own at this machine (DNS rebinding) sends that name; an
// IP address or a loopback name cannot be pointed elsewhere, so they pass.
func (s *Server) checkHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.allowsHost(r.Host) {
			s.fail(w, r, fmt.Errorf("%w: %q is no name of this server; it answers to IP addresses, localhost and the names it was started with", errWrongHost, clip(r.Host, 100)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) allowsHost(host string) bool {
	name := normalHost(host)
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || s.hosts[name] || s.hosts[anyHost]
}

// anyHost among the allowed hosts stands for all names: where a cluster's
// routes call the service by many, and no browser can reach it directly.
const anyHost = "*"

// normalHost is the name in a Host header: without port, brackets and final
// dot, in lower case.
func normalHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// vital are the paths that tell how the server is. They are answered also when
// nothing else is.
var vital = map[string]bool{"/livez": true, "/readyz": true, "/metrics": true, "/v2/health/live": true, "/v2/health/ready": true}

// spareConnections are those beyond the limit, on which only what is vital is
// answered: whoever watches the server is not shut out by its clients.
const spareConnections = 64

// crowdKey marks the context of a spare connection.
type crowdKey struct{}

// countConnection is a http.Server's ConnContext, uncountConnection its
// ConnState.
func (s *Server) countConnection(ctx context.Context, _ net.Conn) context.Context {
	if s.open.Add(1) > int64(s.connections) {
		return context.WithValue(ctx, crowdKey{}, true)
	}
	return ctx
}

func (s *Server) uncountConnection(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		s.open.Add(-1)
	}
}

// checkCrowd answers on a spare connection only what is vital, and closes it.
func (s *Server) checkCrowd(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(crowdKey{}) != nil {
			w.Header().Set("Connection", "close")
			if !vital[r.URL.Path] {
				s.fail(w, r, fmt.Errorf("%w: %d are open", errConnections, s.connections))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// limitRate bounds the requests that one client's address sends within a
// second; an IPv6 client is its /64.
func (s *Server) limitRate(perSecond int) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if perSecond == 0 {
			return next
		}
		limited := httprate.LimitBy(perSecond, time.Second, clientAddress,
			httprate.WithLimitHandler(func(w http.ResponseWriter, r *http.Request) {
				s.fail(w, r, fmt.Errorf("%w: more than %d within a second", errRate, perSecond))
			}))(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if vital[r.URL.Path] {
				next.ServeHTTP(w, r)
				return
			}
			limited.ServeHTTP(w, r)
		})
	}
}

// clientAddress is the IPv4 address that a request came from, or the /64 of an
// IPv6 one.
func clientAddress(r *http.Request) (string, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return httprate.CanonicalizeIP(host), nil
}

// allowOrigins lets pages of these origins read answers and answers their
// browsers' preflight requests; without any, no answer has a CORS header.
func (s *Server) allowOrigins(origins []string) func(http.Handler) http.Handler {
	if len(origins) == 0 {
		return func(next http.Handler) http.Handler { return next }
	}
	allow := cors.Handler(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Traceparent", "Tracestate", "X-Request-ID"},
		ExposedHeaders: []string{"Location", "Retry-After", "Server-Timing", "X-Request-ID"},
		MaxAge:         600,
	})
	return func(next http.Handler) http.Handler {
		return allow(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// Whose page may read the answer may also see its times.
			if origin := w.Header().Get("Access-Control-Allow-Origin"); origin != "" {
				w.Header().Set("Timing-Allow-Origin", origin)
			}
			next.ServeHTTP(w, r)
		}))
	}
}

// originProtection trusts these origins beside the server's own. The error says
// which is none.
func originProtection(origins []string) (*http.CrossOriginProtection, error) {
	protection := http.NewCrossOriginProtection()
	for _, origin := range origins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("allowed origin %q: want SCHEME://HOST[:PORT]: %w", origin, err)
		}
	}
	return protection, nil
}

// checkOrigin refuses what a browser sends for a page of another origin, but
// for GET and HEAD, which change nothing.
func (s *Server) checkOrigin(protection *http.CrossOriginProtection) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := protection.Check(r); err != nil {
				s.fail(w, r, fmt.Errorf("%w: %w", errCrossOrigin, err))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// checkQuery refuses query parameters that the operation does not have, and
// those that are repeated or empty.
func (s *Server) checkQuery(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := queryError(r.URL.RawQuery, contractRules[routeOf(r)].parameters); err != nil {
			s.fail(w, r, fmt.Errorf("%w: %w", errQuery, err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkToken lets only those who bear the token reach an operation that the
// contract guards by it.
func (s *Server) checkToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rule, ok := contractRules[routeOf(r)]; !ok || rule.guarded {
			if err := s.tokenError(r.Header.Values("Authorization")); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) tokenError(header []string) error {
	if s.token == nil {
		return fmt.Errorf("%w: the server was started without --token-file", errChangesDisabled)
	}
	if len(header) != 1 {
		return fmt.Errorf("%w: send one header Authorization: Bearer TOKEN", errToken)
	}
	scheme, sent, _ := strings.Cut(header[0], " ")
	// The sums have one length, so that the comparison takes the same time for
	// whatever is sent.
	sum := sha256.Sum256([]byte(strings.TrimSpace(sent)))
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(sum[:], s.token[:]) != 1 {
		return fmt.Errorf("%w: the one that was sent is not this server's", errToken)
	}
	return nil
}

func queryError(query string, known map[string]bool) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	for name, v := range values {
		switch {
		case !known[name]:
			return fmt.Errorf("unknown parameter %q", clip(name, 100))
		case len(v) > 1:
			return fmt.Errorf("parameter %s is given %d times", name, len(v))
		case v[0] == "":
			return fmt.Errorf("parameter %s is empty", name)
		}
	}
	return nil
}

// notFound and methodNotAllowed are the router's own answers.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, fmt.Errorf("%w: see /docs for what there is", errNotFound))
}

func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		if s.router.Match(chi.NewRouteContext(), method, r.URL.Path) {
			allowed = append(allowed, method)
			if method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
	}
	if allowed == nil { // a method that the router does not know, on no path
		s.notFound(w, r)
		return
	}
	allow := strings.Join(allowed, ", ")
	w.Header().Set("Allow", allow)
	s.fail(w, r, fmt.Errorf("%w: use %s", errMethod, allow))
}

// paramError makes an error of the generated router one of the table.
func paramError(err error) error {
	var format *api.InvalidParamFormatError
	if errors.As(err, &format) {
		var number *strconv.NumError
		if errors.As(format.Err, &number) {
			return fmt.Errorf("%w: parameter %s is %q, want a number or true or false, as it says in /docs", errQuery, format.ParamName, clip(number.Num, 100))
		}
		return fmt.Errorf("%w: parameter %s: %w", errQuery, format.ParamName, format.Err)
	}
	return fmt.Errorf("%w: %w", errQuery, err)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

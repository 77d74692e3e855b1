package server

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"edgevit/api"
)

// stages times what a request goes through, one stage after the other. Where
// the request is traced, each is a span of it.
type stages struct {
	ctx   context.Context
	about []attribute.KeyValue
	last  time.Time
}

func startStages(ctx context.Context, about ...attribute.KeyValue) *stages {
	return &stages{ctx, about, time.Now()}
}

// end ends the stage that began where the one before it ended, and returns its
// milliseconds. err is why the request goes no further.
func (s *stages) end(stage string, err error) float64 {
	begin := s.last
	s.last = time.Now()
	if parent := trace.SpanFromContext(s.ctx); parent.IsRecording() {
		_, span := parent.TracerProvider().Tracer(scope).Start(s.ctx, stage, trace.WithTimestamp(begin), trace.WithAttributes(s.about...))
		setError(span, err)
		span.End(trace.WithTimestamp(s.last))
	}
	return ms(s.last.Sub(begin))
}

// stageTime is an entry of a Server-Timing header. The target may be empty.
type stageTime struct {
	stage  string
	ms     float64
	target string
}

// serverTiming is the value of a Server-Timing header (W3C Server Timing,
// section 2), with the very numbers of the answer's JSON.
func serverTiming(all []stageTime) string {
	var b strings.Builder
	for i, t := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(t.stage)
		if t.target != "" {
			b.WriteString(`;desc="` + t.target + `"`)
		}
		b.WriteString(";dur=" + strconv.FormatFloat(t.ms, 'f', -1, 64))
	}
	return b.String()
}

// serverTimingOf is the header of one run.
func serverTimingOf(t api.Timing) string {
	return serverTiming([]stageTime{
		{"queue", t.QueueMs, ""}, {"decode", t.DecodeMs, ""}, {"preprocess", t.PreprocessMs, ""},
		{"inference", t.InferenceMs, ""}, {"total", t.TotalMs, ""},
	})
}

// scope names the spans' maker; modelKey and targetKey are what they are about.
const (
	scope     = "edgevit/server"
	modelKey  = attribute.Key("edgevit.model")
	targetKey = attribute.Key("edgevit.target")
)

// tracer makes the spans of a provider; nil stands for one that makes none.
func tracer(p trace.TracerProvider) trace.Tracer {
	if p == nil {
		p = noop.NewTracerProvider()
	}
	return p.Tracer(scope)
}

// startSpan begins the span of a request, in the caller's trace where it sent a
// W3C traceparent. Without a provider there is no span and the caller's, if
// any, is the one of the context. Whoever asks how the server is leaves none.
func (s *Server) startSpan(r *http.Request) context.Context {
	ctx := r.Context()
	if r.Header["Traceparent"] != nil { // Extract allocates where there is none
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	}
	if !s.tracing || vital[r.URL.Path] {
		return ctx
	}
	// Attributes as in the semantic conventions' HTTP server span.
	about := []attribute.KeyValue{method(r.Method), semconv.URLPath(clip(r.URL.EscapedPath(), 200)), scheme(r)}
	if r.URL.RawQuery != "" {
		about = append(about, semconv.URLQuery(clip(r.URL.RawQuery, 200)))
	}
	if host, port, err := net.SplitHostPort(r.Host); err == nil {
		about = append(about, semconv.ServerAddress(host))
		if n, err := strconv.Atoi(port); err == nil {
			about = append(about, semconv.ServerPort(n))
		}
	} else if r.Host != "" {
		about = append(about, semconv.ServerAddress(r.Host))
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		about = append(about, semconv.ClientAddress(host))
	}
	if agent := r.UserAgent(); agent != "" {
		about = append(about, semconv.UserAgentOriginal(clip(agent, 200)))
	}
	ctx, _ = s.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(about...), trace.WithTimestamp(infoOf(ctx).start))
	return ctx
}

// method is the attribute of the methods that RFC 9110 and RFC 5789 define; a
// client must not make up names.
func method(m string) attribute.KeyValue {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return semconv.HTTPRequestMethodKey.String(m)
	}
	return semconv.HTTPRequestMethodOther
}

func scheme(r *http.Request) attribute.KeyValue {
	if r.TLS != nil {
		return semconv.URLScheme("https")
	}
	return semconv.URLScheme("http")
}

// endSpan ends the span of an answered request. Only what is the server's
// fault makes it one that failed.
func endSpan(span trace.Span, r *http.Request, route string, status int, info *requestInfo) {
	if !span.IsRecording() {
		return
	}
	name := method(r.Method).Value.AsString()
	if name == semconv.HTTPRequestMethodOther.Value.AsString() {
		name = "HTTP"
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(status), attribute.String("edgevit.request_id", info.id))
	if route != noRoute {
		name += " " + route
		span.SetAttributes(semconv.HTTPRoute(route))
	}
	span.SetName(name)
	if info.model != "" {
		span.SetAttributes(modelKey.String(info.model))
	}
	if info.target != "" {
		span.SetAttributes(targetKey.String(info.target))
	}
	if info.err != nil {
		span.SetAttributes(attribute.String("edgevit.problem", problemOf(info.err).slug))
	}
	if status >= 500 {
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
		setError(span, info.err)
	}
	span.End()
}

// setError marks a span as failed, unless err is nil.
func setError(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, clip(err.Error(), maxDetail))
	}
}

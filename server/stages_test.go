package server

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"edgevit/api"
)

// TestServerTiming: the header has the numbers of the answer.
func TestServerTiming(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	file := jpegFile(t)
	send := func(path string, body []byte) *http.Response {
		return s.do(t, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
	}

	resp := send("/classify", file)
	c := decode[api.Classification](t, resp).Timing
	want := fmt.Sprintf("queue;dur=%v, decode;dur=%v, preprocess;dur=%v, inference;dur=%v, total;dur=%v", c.QueueMs, c.DecodeMs, c.PreprocessMs, c.InferenceMs, c.TotalMs)
	if got := resp.Header.Get("Server-Timing"); got != want || c.DecodeMs <= 0 || c.TotalMs < c.DecodeMs {
		t.Errorf("/classify: %q, want %q", got, want)
	}

	resp = send("/compare?targets=fake,fake:gpu,fake:int8", file)
	m := decode[api.Comparison](t, resp)
	want = fmt.Sprintf("decode;dur=%v, preprocess;dur=%v", m.Timing.DecodeMs, m.Timing.PreprocessMs)
	for _, r := range m.Targets {
		if r.Timing != nil {
			want += fmt.Sprintf(`, queue;desc="%s";dur=%v, inference;desc="%[1]s";dur=%[3]v`, r.Target, r.Timing.QueueMs, r.Timing.InferenceMs)
		}
	}
	want += fmt.Sprintf(", total;dur=%v", m.Timing.TotalMs)
	if got := resp.Header.Get("Server-Timing"); got != want || len(m.Targets) != 3 {
		t.Errorf("/compare: %q, want %q", got, want)
	}

	const dur = `;dur=\d+(\.\d+)?`
	for _, c := range []struct {
		path string
		body []byte
		want string
	}{
		{"/preprocess", file, "queue" + dur + ", decode" + dur + ", preprocess" + dur + ", total" + dur},
		{"/classify", []byte("no image"), "total" + dur},
		{"/classify?top_k=0", file, "total" + dur},
		{"/compare?targets=none", file, "total" + dur},
	} {
		got := send(c.path, c.body).Header.Get("Server-Timing")
		if !regexp.MustCompile("^" + c.want + "$").MatchString(got) {
			t.Errorf("%s: %q, want %s", c.path, got, c.want)
		}
	}
}

// traced is a server whose spans end up in memory.
func traced(t *testing.T, f *fake, change func(*Config)) (*testServer, *tracetest.InMemoryExporter) {
	t.Helper()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	s := newServer(t, nil, f, func(c *Config) {
		c.TracerProvider = provider
		if change != nil {
			change(c)
		}
	})
	return s, spans
}

// byName finds the only span of each name.
func byName(t *testing.T, spans tracetest.SpanStubs) map[string]tracetest.SpanStub {
	t.Helper()
	all := map[string]tracetest.SpanStub{}
	for _, s := range spans {
		if _, twice := all[s.Name]; twice {
			t.Errorf("two spans named %q", s.Name)
		}
		all[s.Name] = s
	}
	return all
}

func attributes(s tracetest.SpanStub) map[attribute.Key]string {
	all := map[attribute.Key]string{}
	for _, a := range s.Attributes {
		all[a.Key] = a.Value.String()
	}
	return all
}

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentID    = "00f067aa0ba902b7"
	traceparent = "00-" + traceID + "-" + parentID + "-01"
)

func TestSpans(t *testing.T) {
	s, exporter := traced(t, &fake{}, nil)
	eventually(t, "open", func() bool { return len(exporter.GetSpans()) == 2 })
	start := byName(t, exporter.GetSpans())
	for name, want := range map[string]string{"load model": "demo", "open session": "demo"} {
		if got := attributes(start[name])["edgevit.model"]; got != want || start[name].Parent.IsValid() {
			t.Errorf("at the start: span %q of model %q, parent %v; want %q and none", name, got, start[name].Parent, want)
		}
	}
	exporter.Reset()

	r := httptest.NewRequest(http.MethodPost, "/classify?top_k=2", bytes.NewReader(jpegFile(t)))
	r.Header.Set("traceparent", traceparent)
	r.Header.Set("tracestate", "vendor=1")
	r.Header.Set("User-Agent", "test")
	r.Host = "localhost:8080"
	resp := s.do(t, r)
	timing := decode[api.Classification](t, resp).Timing
	all := byName(t, exporter.GetSpans())
	request := all["POST /classify"]
	if got := request.Parent; got.TraceID().String() != traceID || got.SpanID().String() != parentID || !got.IsRemote() || got.TraceState().String() != "vendor=1" {
		t.Errorf("the request's parent is %v, want the caller's span", got)
	}
	if request.SpanKind != trace.SpanKindServer || request.Status.Code != codes.Unset {
		t.Errorf("kind %v, status %v; want server, unset", request.SpanKind, request.Status)
	}
	got := attributes(request)
	for key, want := range map[attribute.Key]string{
		"http.request.method": "POST", "http.route": "/classify", "url.path": "/classify", "url.query": "top_k=2", "url.scheme": "http",
		"http.response.status_code": "200", "server.address": "localhost", "server.port": "8080", "client.address": "192.0.2.1",
		"user_agent.original": "test", "edgevit.model": "demo", "edgevit.target": "fake", "edgevit.request_id": resp.Header.Get("X-Request-ID"),
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
		delete(got, key)
	}
	if len(got) > 0 {
		t.Errorf("attributes besides: %v", got)
	}
	for stage, want := range map[string]float64{"queue": timing.QueueMs, "decode": timing.DecodeMs, "preprocess": timing.PreprocessMs, "inference": timing.InferenceMs} {
		span, ok := all[stage]
		if !ok || span.Parent.SpanID() != request.SpanContext.SpanID() || span.SpanContext.TraceID().String() != traceID || span.Status.Code != codes.Unset {
			t.Errorf("%s: %v, parent %v, status %v; want a span of the request without status", stage, ok, span.Parent, span.Status)
		}
		if took := ms(span.EndTime.Sub(span.StartTime)); math.Abs(took-want) > 1e-6 {
			t.Errorf("%s: the span took %v ms, the answer says %v", stage, took, want)
		}
	}
	if len(all) != 5 {
		t.Errorf("%d spans, want 5", len(all))
	}
	line := s.logs.FilterMessage("request").All()[0].ContextMap()
	if line["trace_id"] != traceID || line["span_id"] != request.SpanContext.SpanID().String() {
		t.Errorf("logged %v, want the request's trace and span", line)
	}
}

// TestRefusedSpans: a stage that fails says why; a request fails only where it
// is the server's fault.
func TestRefusedSpans(t *testing.T) {
	f := &fake{}
	s, exporter := traced(t, f, nil)
	eventually(t, "open", func() bool { return len(exporter.GetSpans()) == 2 })
	file := jpegFile(t)
	for _, c := range []struct {
		name, method, path string
		body               []byte
		span, problem      string
		status             codes.Code
		stage              string // that fails
	}{
		{"damaged", "POST", "/classify", file[:len(file)/2], "POST /classify", "damaged-image", codes.Unset, "decode"},
		{"unavailable", "POST", "/classify?target=fake:gpu", file, "POST /classify", "target-unavailable", codes.Error, "open session"},
		{"no such path", "GET", "/a/path/of/somebody", nil, "GET", "not-found", codes.Unset, ""},
		{"made-up method", "BREW", "/classify", nil, "HTTP", "method-not-allowed", codes.Unset, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			exporter.Reset()
			resp := s.do(t, httptest.NewRequest(c.method, c.path, bytes.NewReader(c.body)))
			if c.stage != "" { // a session's opening is told apart from the request
				eventually(t, "told", func() bool {
					return slices.ContainsFunc(exporter.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name == c.stage })
				})
			}
			all := byName(t, exporter.GetSpans())
			request, ok := all[c.span]
			got := attributes(request)
			if !ok || request.Status.Code != c.status || got["edgevit.problem"] != c.problem {
				t.Errorf("spans %v; %q has status %v, problem %q; want %v, %q", slices.Collect(maps.Keys(all)), c.span, request.Status, got["edgevit.problem"], c.status, c.problem)
			}
			if want := fmt.Sprint(resp.StatusCode); got["http.response.status_code"] != want || c.status == codes.Error && got["error.type"] != want {
				t.Errorf("status %q, error.type %q, want %s", got["http.response.status_code"], got["error.type"], want)
			}
			if request.Parent.IsValid() {
				t.Errorf("parent %v of a request without traceparent", request.Parent)
			}
			if stage := all[c.stage]; c.stage != "" && (stage.Status.Code != codes.Error || stage.Status.Description == "" || stage.Parent.SpanID() != request.SpanContext.SpanID()) {
				t.Errorf("%s: status %v, parent %v; want an error under the request", c.stage, stage.Status, stage.Parent)
			}
		})
	}
}

// TestComparisonSpans: stages of a target name it, and a request that opens
// sessions has their spans.
func TestComparisonSpans(t *testing.T) {
	s, exporter := traced(t, &fake{}, nil)
	eventually(t, "open", func() bool { return len(exporter.GetSpans()) == 2 })
	exporter.Reset()
	s.do(t, httptest.NewRequest(http.MethodPost, "/compare?targets=fake,fake:int8&repeat=2", bytes.NewReader(jpegFile(t))))
	eventually(t, "told", func() bool {
		return slices.ContainsFunc(exporter.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name == "open session" })
	})
	count := map[string]int{}
	for _, span := range exporter.GetSpans() {
		count[strings.TrimSpace(span.Name+" "+attributes(span)["edgevit.target"])]++
	}
	for _, want := range []string{"queue", "decode", "preprocess", "queue fake", "inference fake", "queue fake:int8", "inference fake:int8", "open session fake:int8", "repeat", "POST /compare fake,fake:int8"} {
		if count[want] != 1 {
			t.Errorf("%d spans %q, want 1; there are %v", count[want], want, count)
		}
	}
}

// TestTraceContext: the caller's trace is logged without a provider too, and
// what is no traceparent is ignored.
func TestTraceContext(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	for _, c := range []struct{ name, sent, want string }{
		{"valid", traceparent, traceID},
		{"not sampled", traceparent[:len(traceparent)-1] + "0", traceID},
		{"absent", "", ""},
		{"garbage", "garbage", ""},
		{"too short", traceparent[:40], ""},
		{"upper case", strings.ToUpper(traceparent), ""},
		{"version ff", "ff" + traceparent[2:], ""},
		{"no trace id", "00-" + strings.Repeat("0", 32) + "-" + parentID + "-01", ""},
		{"no span id", "00-" + traceID + "-" + strings.Repeat("0", 16) + "-01", ""},
		{"version 00 with more", traceparent + "-more", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.logs.TakeAll()
			r := httptest.NewRequest(http.MethodGet, "/models", nil)
			r.Header.Set("traceparent", c.sent)
			if resp := s.do(t, r); resp.StatusCode != 200 {
				t.Errorf("status %d", resp.StatusCode)
			}
			if got, _ := s.logs.FilterMessage("request").All()[0].ContextMap()["trace_id"].(string); got != c.want {
				t.Errorf("logged trace %q, want %q", got, c.want)
			}
		})
	}
}

// TestQuietSpans: whoever asks how the server is leaves no span, and the
// caller's decision not to sample is kept.
func TestQuietSpans(t *testing.T) {
	s, exporter := traced(t, &fake{}, nil)
	eventually(t, "open", func() bool { return len(exporter.GetSpans()) == 2 })
	exporter.Reset()
	for path := range vital {
		s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	r := httptest.NewRequest(http.MethodPost, "/classify", bytes.NewReader(jpegFile(t)))
	r.Header.Set("traceparent", traceparent[:len(traceparent)-1]+"0")
	s.do(t, r)
	if got := exporter.GetSpans(); len(got) > 0 {
		t.Errorf("%d spans, the first %q", len(got), got[0].Name)
	}
}

// TestUntraced: without a provider a request allocates nothing for traces.
func TestUntraced(t *testing.T) {
	s := newStopped(t, nil, &fake{}, nil)
	r := httptest.NewRequest(http.MethodPost, "/classify?top_k=2", nil)
	if n := testing.AllocsPerRun(100, func() {
		if s.startSpan(r) != r.Context() {
			t.Error("another context")
		}
		stages := startStages(r.Context())
		stages.end("queue", nil)
		endSpan(trace.SpanFromContext(r.Context()), r, "/classify", 200, nil)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkClassify is a request's way without a network that costs anything.
func BenchmarkClassify(b *testing.B) {
	for name, provider := range map[string]trace.TracerProvider{
		"untraced": nil,
		"traced":   sdktrace.NewTracerProvider(),
	} {
		b.Run(name, func(b *testing.B) {
			s := newServer(b, nil, &fake{}, func(c *Config) { c.TracerProvider, c.Log = provider, nil })
			file := jpegFile(b)
			b.ReportAllocs()
			for b.Loop() {
				s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/classify", bytes.NewReader(file)))
			}
		})
	}
}

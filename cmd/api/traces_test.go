package main

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector is an OTLP/HTTP collector that keeps what it is sent.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	paths   map[string]bool
	service map[string]string // attributes of the resource
	spans   []*tracepb.Span
	headers http.Header
}

func newCollector(t *testing.T) *collector {
	c := &collector{paths: map[string]bool{}, service: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var sent coltracepb.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &sent); err != nil {
			t.Errorf("%s of %s: %v", r.Method, r.Header.Get("Content-Type"), err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.headers = r.Header
		c.paths[r.Method+" "+r.URL.Path] = true
		for _, resource := range sent.ResourceSpans {
			for _, a := range resource.Resource.Attributes {
				c.service[a.Key] = a.Value.GetStringValue()
			}
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// TestTraces: the program sends the spans of a request, the last ones as it
// ends.
func TestTraces(t *testing.T) {
	photo, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {})) })
	for _, c := range []struct {
		name        string
		environment map[string]string // {} stands for the collector's address
		flag        bool
		path        string // empty: nothing is sent
		service     string
		log         string
	}{
		{"flag", nil, true, "POST /v1/traces", "edgevit", ""},
		{"flag before the environment", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, true, "POST /v1/traces", "edgevit", ""},
		{"endpoint", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "{}", "OTEL_SERVICE_NAME": "birds"}, false, "POST /v1/traces", "birds", ""},
		{"endpoint of traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{}/mine", "OTEL_RESOURCE_ATTRIBUTES": "service.name=bees"}, false, "POST /mine", "bees", ""},
		{"sampled out", map[string]string{"OTEL_TRACES_SAMPLER": "always_off"}, true, "", "", ""},
		{"nothing set", nil, false, "", "", ""},
		{"disabled", map[string]string{"OTEL_SDK_DISABLED": "true"}, true, "", "", ""},
		{"no exporter", map[string]string{"OTEL_TRACES_EXPORTER": "none"}, true, "", "", ""},
		{"gRPC", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "{}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, false, "", "", "OTLP over HTTP only"},
		{"nobody there", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}, false, "", "", "traces"},
	} {
		t.Run(c.name, func(t *testing.T) {
			collector := newCollector(t)
			for name, value := range c.environment {
				t.Setenv(name, strings.ReplaceAll(value, "{}", collector.URL))
			}
			flags := []string{"--listen", "127.0.0.1:0", "--data", t.TempDir(), "--log-format", "json"}
			if c.flag {
				flags = append(flags, "--otlp", collector.URL)
			}
			address, stop := startService(t, flags...)
			r, err := http.NewRequest(http.MethodPost, address+"/classify", bytes.NewReader(photo))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			code, log := stop()
			if code != exitYes || answer.StatusCode != http.StatusOK || !strings.Contains(log, c.log) || !strings.Contains(log, `"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"`) {
				t.Errorf("status %d, exit %d, log without %q or the trace:\n%s", answer.StatusCode, code, c.log, log)
			}
			collector.mu.Lock()
			defer collector.mu.Unlock()
			if c.path == "" {
				if len(collector.spans) > 0 {
					t.Errorf("%d spans were sent", len(collector.spans))
				}
				return
			}
			if !collector.paths[c.path] || len(collector.paths) != 1 || collector.headers.Get("Content-Type") != "application/x-protobuf" {
				t.Errorf("sent to %v as %q", collector.paths, collector.headers.Get("Content-Type"))
			}
			if got := collector.service["service.name"]; got != c.service || collector.service["service.version"] == "" {
				t.Errorf("service %v, want the name %q and a version", collector.service, c.service)
			}
			byName := map[string]*tracepb.Span{}
			for _, span := range collector.spans {
				byName[span.Name] = span
			}
			for _, name := range []string{"POST /classify", "queue", "decode", "preprocess", "inference", "load model", "open session"} {
				if byName[name] == nil {
					t.Errorf("no span %q among %v", name, slices.Sorted(maps.Keys(byName)))
				}
			}
			if request, stage := byName["POST /classify"], byName["inference"]; !bytes.Equal(stage.GetParentSpanId(), request.GetSpanId()) || !bytes.Equal(stage.GetTraceId(), request.GetTraceId()) || request.GetKind() != tracepb.Span_SPAN_KIND_SERVER {
				t.Errorf("inference %v under the request %v", stage, request)
			}
		})
	}
}

// TestDebugListen: profiles are on their own listener, loopback's unless it
// says another, and for no web page.
func TestDebugListen(t *testing.T) {
	address, stop := startService(t, "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--log-format", "json", "--debug-listen", ":0")
	answer, err := http.Get(address + "/debug/pprof/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	code, log := stop()
	if answer.StatusCode != http.StatusNotFound || code != exitYes || !strings.Contains(log, `"address":"http://127.0.0.1:`) || strings.Contains(log, "other machines") {
		t.Errorf("on the main listener %d, want 404; exit %d; log:\n%s", answer.StatusCode, code, log)
	}

	for _, c := range []struct {
		path, host, site string
		status           int
		body             string
	}{
		{"/debug/pprof/", "127.0.0.1:6060", "", 200, "goroutine"},
		{"/debug/pprof/heap?debug=1", "localhost:6060", "same-origin", 200, "heap profile"},
		{"/debug/pprof/symbol", "[::1]:6060", "", 200, "num_symbols"},
		{"/debug/pprof/none", "localhost", "", 404, ""},
		{"/", "localhost", "", 404, ""},
		{"/debug/pprof/heap", "evil.example:6060", "", 403, ""},
		{"/debug/pprof/heap", "localhost:6060", "cross-site", 403, ""},
	} {
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		r.Host = c.host
		r.Header.Set("Sec-Fetch-Site", c.site)
		w := httptest.NewRecorder()
		debugHandler().ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s of %s, site %q: %d %.100q; want %d, %q", c.path, c.host, c.site, w.Code, w.Body, c.status, c.body)
		}
	}
}

package server

import (
	"bytes"
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"edgevit/api"
)

// metrics are the server's own, in a registry of their own.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(version string, a *admission, st *store) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgevit_http_requests_total", Help: "Requests by route and status code; 499 is a client that went away.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "edgevit_stage_seconds", Help: "Time of each stage of an answered classification.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 18), // 0.25 ms to 33 s
		}, []string{"stage", "target"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "edgevit_build_info", Help: "Always 1; the version is its label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	tokens := prometheus.NewGauge(prometheus.GaugeOpts{Name: "edgevit_cpu_tokens", Help: "CPU threads that runs may use together."})
	tokens.Set(float64(a.size))
	inUse := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "edgevit_cpu_tokens_in_use", Help: "CPU threads taken by runs in progress.",
	}, func() float64 { return float64(a.inUse()) })
	m.registry.MustRegister(m.requests, m.seconds, build, tokens, inUse, storeCollector{st},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// stages records an answered classification.
func (m *metrics) stages(target string, t api.Timing) {
	for stage, ms := range map[string]float64{
		"queue": t.QueueMs, "decode": t.DecodeMs, "preprocess": t.PreprocessMs, "inference": t.InferenceMs, "total": t.TotalMs,
	} {
		m.seconds.WithLabelValues(stage, target).Observe(ms / 1000)
	}
}

// storeCollector reads the store when it is scraped, so that models and
// sessions that are gone leave no series behind.
type storeCollector struct{ *store }

var (
	descModels   = prometheus.NewDesc("edgevit_models", "Models by state.", []string{"state"}, nil)
	descMemory   = prometheus.NewDesc("edgevit_model_bytes", "Size of a loaded model's weights as float32.", []string{"model"}, nil)
	descQueue    = prometheus.NewDesc("edgevit_queue_depth", "Requests waiting for a session.", []string{"model", "target"}, nil)
	descOpen     = prometheus.NewDesc("edgevit_sessions", "Open sessions.", []string{"model", "target"}, nil)
	descRestarts = prometheus.NewDesc("edgevit_worker_restarts_total", "Worker processes of a backend that were started again after they died.", []string{"backend"}, nil)
	descPacked   = prometheus.NewDesc("edgevit_session_bytes", "Memory that a session's runtime reports: packed weights, and activations of one run.", []string{"model", "target", "kind"}, nil)
)

// Describe is prometheus.Collector's.
func (c storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descModels, descMemory, descQueue, descOpen, descPacked, descRestarts} {
		ch <- d
	}
}

// Collect is prometheus.Collector's.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	states := map[api.ModelState]int{api.Loading: 0, api.Ready: 0, api.Failed: 0}
	entries, _ := c.list()
	for _, e := range entries {
		state := e.state()
		states[state]++
		if state != api.Ready {
			continue
		}
		gauge(descMemory, float64(e.model.WeightBytes()), e.name)
		for _, s := range c.openSessions(e) {
			target := s.target.String()
			d := s.classifier.Describe()
			gauge(descQueue, float64(c.admission.depth(&s.lane)), e.name, target)
			gauge(descOpen, 1, e.name, target)
			gauge(descPacked, float64(d.WeightBytes), e.name, target, "weights")
			gauge(descPacked, float64(d.ArenaBytes), e.name, target, "arena")
			c.release(s)
		}
	}
	restarts := map[string]int64{}
	for t, w := range c.registry.Workers() {
		restarts[t.Backend] += w.Restarts
	}
	for name, n := range restarts {
		ch <- prometheus.MustNewConstMetric(descRestarts, prometheus.CounterValue, float64(n), name)
	}
	for state, n := range states {
		gauge(descModels, float64(n), string(state))
	}
}

// Metrics answers in Prometheus' text format.
func (h handlers) Metrics(context.Context, api.MetricsRequestObject) (api.MetricsResponseObject, error) {
	families, err := h.metrics.registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return api.Metrics200TextplainVersion004CharsetUtf8Response{Body: &b, ContentLength: int64(b.Len())}, nil
}

package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.uber.org/zap"
)

// newTraces makes the provider of spans that are sent over OTLP to the
// collector at address, or where OpenTelemetry's variables say; nil where
// neither says anything. The variables also name the service, its attributes,
// the sampler, headers, certificates and batches (OpenTelemetry specification,
// "Environment Variable Specification"). What they ask for in vain is logged
// and leaves the service without traces, as the specification wants it.
func newTraces(ctx context.Context, address string, log *zap.Logger) (*sdktrace.TracerProvider, error) {
	var options []otlptracehttp.Option
	if address != "" {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("--otlp %q: want the collector's address, such as http://localhost:4318", address)
		}
		u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/v1/traces") // with or without it
		options = append(options, otlptracehttp.WithEndpointURL(u.JoinPath("v1/traces").String()))
	} else if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil, nil
	}
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return nil, nil
	}
	for name, can := range map[string]func(string) bool{
		"OTEL_TRACES_EXPORTER":               func(v string) bool { return v == "otlp" },
		"OTEL_EXPORTER_OTLP_PROTOCOL":        func(v string) bool { return strings.HasPrefix(v, "http/") },
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": func(v string) bool { return strings.HasPrefix(v, "http/") },
	} {
		if v := os.Getenv(name); v != "" && !can(v) {
			log.Warn("no traces: they go by OTLP over HTTP only", zap.String("variable", name), zap.String("value", v))
			return nil, nil
		}
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", zap.Error(err)) }))
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(semconv.ServiceName("edgevit"), semconv.ServiceVersion(buildVersion())), resource.WithFromEnv())
	if err != nil { // part of it is there
		log.Warn("traces: attributes of the service", zap.Error(err))
	}
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about)), nil
}

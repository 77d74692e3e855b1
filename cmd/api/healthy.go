package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type healthyCmd struct {
	Listen string `help:"Address that the service listens on." default:"127.0.0.1:8080" env:"EDGEVIT_LISTEN"`
}

// Run asks the service on this machine for /readyz: a health check for images
// that have no shell.
func (c *healthyCmd) Run(ctx context.Context, s std) error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("--listen %s: %w", c.Listen, err)
	}
	if err := ready(ctx, c.Listen); err != nil {
		fmt.Fprintln(s.err, "api:", err)
		return errNo
	}
	return nil
}

// ready asks the service that listens on an address for /readyz.
func ready(ctx context.Context, listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s %s", answer.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// serveDebug serves profiles of the program itself (net/http/pprof) on a
// listener of its own until stop is called. They tell what is in the program's
// memory, so an address without a host is loopback.
func serveDebug(address string, log *zap.Logger) (stop func(), err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--debug-listen: %w", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("--debug-listen: %w", err)
	}
	log.Info("profiles", zap.String("address", fmt.Sprintf("http://%s/debug/pprof/", l.Addr())))
	if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		log.Warn("profiles can be read from other machines", zap.String("address", l.Addr().String()))
	}
	srv := &http.Server{Handler: debugHandler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, ErrorLog: zap.NewStdLog(log)}
	go func() { _ = srv.Serve(l) }() // its end is Close's
	return func() { _ = srv.Close() }, nil
}

func debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index) // with heap, goroutine and the like
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A name that a web page has pointed at this machine is no way in, nor is
		// a page itself.
		name, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			name = r.Host
		}
		if _, err := netip.ParseAddr(name); err != nil && name != "localhost" || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			http.Error(w, "Use an IP address or localhost, and no link of another page.", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

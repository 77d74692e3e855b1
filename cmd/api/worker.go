package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"

	"edgevit/backend"
	"edgevit/backend/worker"
)

// workerCmd is what serve starts for a backend in a process of its own.
type workerCmd struct {
	Backend string `arg:""`
}

// Run serves the backend until the service that started it ends.
func (c *workerCmd) Run() error {
	b := backend.Default.Backend(c.Backend)
	if b == nil {
		return fmt.Errorf("there is no backend %s", c.Backend)
	}
	worker.Serve(b)
	return nil
}

// nativeRuntimes are the backends that call a native library, which may crash.
var nativeRuntimes = []string{"onnx", "tflite"}

// isolated returns the backends to serve: those of all, with --isolate native
// ones in worker processes, and those of --backend.
func (c *serveCmd) isolated(ctx context.Context, log *zap.Logger, all *backend.Registry) (*backend.Registry, error) {
	config := worker.Config{Log: func(line string) { log.Warn(line) }}
	if c.Isolate && !worker.Supported() {
		return nil, errors.New("--isolate: worker processes need Linux or macOS")
	}
	self, err := worker.Self()
	if err != nil && c.Isolate {
		return nil, err
	}
	var r backend.Registry
	for _, name := range all.Names() {
		b := all.Backend(name)
		if c.Isolate && slices.Contains(nativeRuntimes, name) {
			own := config
			own.Command = []string{self, "worker", name}
			own.Env = []string{"EDGEVIT_RUNTIMES=" + backend.Runtimes()}
			b = worker.Wrap(b, own)
		}
		r.Register(b)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Backend)) {
		theirs := config
		theirs.Command = []string{c.Backend[name]}
		if _, err := backend.ParseTarget(name); err != nil || strings.Contains(name, ":") {
			return nil, fmt.Errorf("--backend %s=%s: a name is lower-case letters, digits, - and _", name, c.Backend[name])
		}
		if r.Backend(name) != nil {
			return nil, fmt.Errorf("--backend %s=%s: there is a backend of that name already", name, c.Backend[name])
		}
		b, err := worker.Load(ctx, name, theirs)
		if err != nil {
			return nil, fmt.Errorf("--backend %s=%s: %w", name, c.Backend[name], err)
		}
		log.Info("backend loaded", zap.String("backend", name), zap.String("executable", c.Backend[name]), zap.Stringers("targets", b.Targets()))
		r.Register(b)
	}
	return &r, nil
}

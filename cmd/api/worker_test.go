//go:build linux || darwin

package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"edgevit/backend"
	"edgevit/backend/backendtest"
	"edgevit/backend/purego"
	"edgevit/backend/worker"
	"edgevit/model/demo"
)

// TestMain is also the program that serve starts as a worker, and with no
// arguments an executable of a third party.
func TestMain(m *testing.M) {
	switch {
	case !worker.Serving():
		os.Exit(m.Run())
	case len(os.Args) > 1:
		os.Exit(run(context.Background(), os.Args[1:], std{os.Stdout, os.Stderr}))
	default:
		worker.Serve(purego.Backend{})
	}
}

// TestIsolated: native runtimes are in worker processes where that is asked for,
// the pure-Go engine is not, and an executable's backend is what it is called.
func TestIsolated(t *testing.T) {
	for _, row := range []struct {
		isolate bool
		theirs  map[string]string
		workers []string
		err     string
	}{
		{true, nil, []string{"onnx", "tflite"}, ""},
		{false, nil, nil, ""},
		{false, map[string]string{"theirs": os.Args[0]}, []string{"theirs"}, ""},
		{false, map[string]string{"purego": os.Args[0]}, nil, "a backend of that name"},
		{false, map[string]string{"Two:parts": os.Args[0]}, nil, "a name is"},
		{false, map[string]string{"theirs": "/nowhere/backend"}, nil, "no such file"},
		{false, map[string]string{"theirs": "/bin/true"}, nil, "is it a backend?"},
	} {
		r, err := (&serveCmd{Isolate: row.isolate, Backend: row.theirs}).isolated(t.Context(), zap.NewNop(), &backend.Default)
		if row.err != "" || err != nil {
			if err == nil || row.err == "" || !strings.Contains(err.Error(), row.err) {
				t.Errorf("isolate %v, %v: error %v, want %q", row.isolate, row.theirs, err, row.err)
			}
			continue
		}
		var workers []string
		for _, name := range r.Names() {
			if _, ok := r.Backend(name).(backend.Supervisor); ok {
				workers = append(workers, name)
			}
		}
		if !slices.Equal(workers, row.workers) {
			t.Errorf("isolate %v, %v: in workers are %v, want %v", row.isolate, row.theirs, workers, row.workers)
		}
	}
}

// TestWorkerCommand: serve's own workers say of a runtime what this process
// does, run where it is there, and come back after they are killed.
func TestWorkerCommand(t *testing.T) {
	r, err := (&serveCmd{Isolate: true}).isolated(t.Context(), zap.NewNop(), &backend.Default)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range nativeRuntimes {
		t.Run(name, func(t *testing.T) {
			here, there := backend.Default.Backend(name).Probe(t.Context()), r.Backend(name).Probe(t.Context())
			for i := range here {
				if here[i].Available != there[i].Available {
					t.Errorf("the worker says %+v, want %+v", there[i], here[i])
				}
			}
			if !there[0].Available {
				backendtest.Skip(t, name, there[0].Reason)
			}
			m, err := demo.Model()
			if err != nil {
				t.Fatal(err)
			}
			c, err := r.Open(t.Context(), name, m.Graph, backend.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			in, out := make([]float32, m.Graph.Input().Len()), make([]float32, m.Graph.Classes())
			if err := c.Run(t.Context(), in, out); err != nil {
				t.Fatal(err)
			}
			pid := c.Describe().WorkerPID
			syscall.Kill(pid, syscall.SIGSEGV)
			for end := time.Now().Add(20 * time.Second); c.Describe().WorkerPID == pid || c.Up() != nil; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("no new process: %v", c.Up())
				}
			}
			if err := c.Run(t.Context(), in, out); err != nil {
				t.Errorf("after the restart: %v", err)
			}
		})
	}
	if code := run(t.Context(), []string{"worker", "nowhere"}, std{io.Discard, io.Discard}); code != exitUsage {
		t.Errorf("a worker of no backend exits %d", code)
	}
}

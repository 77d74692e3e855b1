//go:build linux || darwin

package main

import (
	"os"
	"testing"

	"edgevit/backend/backendtest"
	"edgevit/backend/worker"
)

// TestMain is the executable itself where it is started as a worker.
func TestMain(m *testing.M) {
	if worker.Serving() {
		main()
	}
	os.Exit(m.Run())
}

func TestConformance(t *testing.T) {
	b, err := worker.Load(t.Context(), "theirs", worker.Config{Command: []string{os.Args[0]}, Env: []string{"GORACE=atexit_sleep_ms=0"}})
	if err != nil {
		t.Fatal(err)
	}
	backendtest.Run(t, b)
}

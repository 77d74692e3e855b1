//go:build linux

// Command hold shows, from outside, what the service promises under load,
// faults and hostile input: it starts the program, does its worst, and prints a
// table of promise, figure and verdict.
//
//	test/hold.sh load|soak|faults|wire|storm|corpus [-long] [-seed N] [-duration D]
//
// It exits 1 where a promise is broken, 2 where it could not try. The short
// forms, each under a minute, are tiers of make test; make soak runs the long
// ones.
//
// Read report.go and service.go first; then each trial is a file of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// trial is what the trials are told.
type trial struct {
	binary   string
	runtimes string // folder of native libraries
	root     string // of the repository
	long     bool
	seed     uint64
	duration time.Duration // 0: the trial's own
	report
}

var trials = map[string]func(context.Context, *trial) error{
	"load": load, "soak": soak, "faults": faults, "wire": wire, "storm": storm, "corpus": corpus,
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == pinned {
		os.Exit(runPinned(os.Args[2:]))
	}
	if len(os.Args) < 2 || trials[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: hold load|soak|faults|wire|storm|corpus [flags]")
		os.Exit(2)
	}
	t := &trial{report: report{name: os.Args[1]}}
	f := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	f.StringVar(&t.binary, "binary", "bin/api", "the program")
	f.StringVar(&t.runtimes, "runtimes", os.Getenv("EDGEVIT_RUNTIMES"), "folder of native libraries")
	f.StringVar(&t.root, "root", ".", "root of the repository, for its images and checkpoints")
	f.BoolVar(&t.long, "long", false, "the long form")
	f.Uint64Var(&t.seed, "seed", 1, "seed of whatever is drawn")
	f.DurationVar(&t.duration, "duration", 0, "of the soak; 0: 20 s, 30 min with -long")
	_ = f.Parse(os.Args[2:]) // exits on error
	for _, path := range []*string{&t.binary, &t.runtimes, &t.root} {
		if *path != "" {
			*path, _ = filepath.Abs(*path)
		}
	}
	// The first signal ends the trial, which ends its processes and removes its
	// folders.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	begin := time.Now()
	err := trials[t.name](ctx, t)
	t.print(time.Since(begin))
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "hold: interrupted")
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "hold: %s: %v\n", t.name, err)
		os.Exit(2)
	case t.broken():
		os.Exit(1)
	}
}

// within is the short or the long form's value.
func within[T any](t *trial, short, long T) T {
	if t.long {
		return long
	}
	return short
}

//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// report collects the lines of a trial's table.
type report struct {
	name  string
	lines []line
}

type line struct {
	promise, figure, verdict string
}

const (
	holds  = "holds"
	broken = "BROKEN"
)

// promise adds a line that holds or is broken.
func (r *report) promise(ok bool, promise, figure string, args ...any) {
	verdict := broken
	if ok {
		verdict = holds
	}
	r.add(line{promise, fmt.Sprintf(figure, args...), verdict})
}

// figure adds a line that is reported only.
func (r *report) figure(what, figure string, args ...any) {
	r.add(line{what, fmt.Sprintf(figure, args...), "figure"})
}

// skip adds a promise that was not tried, and why.
func (r *report) skip(promise, reason string, args ...any) {
	r.add(line{promise, fmt.Sprintf(reason, args...), "skipped"})
}

// add keeps a line, and prints it at once where it will be waited for.
func (r *report) add(l line) { r.lines = append(r.lines, l) }

func (r *report) broken() bool {
	for _, l := range r.lines {
		if l.verdict == broken {
			return true
		}
	}
	return false
}

func (r *report) print(took time.Duration) {
	first, second := len("promise"), len("figure")
	for _, l := range r.lines {
		first, second = max(first, utf8.RuneCountInString(l.promise)), max(second, utf8.RuneCountInString(l.figure))
	}
	row := func(l line) {
		fmt.Printf("%s | %s | %s\n", pad(l.promise, first), pad(l.figure, second), l.verdict)
	}
	row(line{"promise", "figure", "verdict"})
	for _, l := range r.lines {
		row(l)
	}
	fmt.Printf("%s: %d lines in %.0f s\n", r.name, len(r.lines), took.Seconds())
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestProgress(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		var drawn bytes.Buffer
		p := newProgress(&drawn)
		p.terminal = terminal
		p.set(1, 12)
		p.end()
		if strings.Contains(drawn.String(), "/12") != terminal {
			t.Errorf("terminal %v: drawn is %q", terminal, drawn.String())
		}
	}
}

package worker

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Bounds of what a worker's output adds to the log.
const (
	maxLine  = 1 << 10 // bytes
	maxLines = 200     // in linesWindow
)

const linesWindow = time.Minute

// output logs what a worker prints, line by line, and remembers of what it died
// if it says so.
type output struct {
	log func(line string)
	now func() time.Time

	mu      sync.Mutex
	line    []byte // the beginning of one
	cut     bool   // it was longer
	window  time.Time
	lines   int // in the window
	dropped int
	fatal   string // the first line of a fatal error
}

// Write takes everything.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		if room := maxLine - len(o.line); len(part) > room {
			part, o.cut = part[:room], true
		}
		o.line = append(o.line, part...)
		if end < 0 {
			break
		}
		o.flush()
		p = p[end+1:]
	}
	return n, nil
}

// flush ends a line. The caller holds mu.
func (o *output) flush() {
	line := strings.ToValidUTF8(strings.TrimRight(string(o.line), "\r"), "�")
	if o.cut {
		line += "…"
	}
	o.line, o.cut = o.line[:0], false
	if line == "" {
		return
	}
	for _, prefix := range []string{"panic:", "fatal error:", "SIG", "[signal "} {
		if o.fatal == "" && strings.HasPrefix(line, prefix) {
			o.fatal = line
		}
	}
	if now := o.now(); now.Sub(o.window) >= linesWindow {
		o.tellDropped()
		o.window, o.lines = now, 0
	}
	if o.lines++; o.lines > maxLines {
		o.dropped++
		return
	}
	o.log(line)
}

func (o *output) tellDropped() {
	if o.dropped > 0 {
		o.log(fmt.Sprintf("(%d more lines left out)", o.dropped))
		o.dropped = 0
	}
}

// end logs what is left and returns the line of a fatal error, if there was one.
func (o *output) end() (fatal string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flush()
	o.tellDropped()
	return o.fatal
}

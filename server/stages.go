package server

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// stages times what a request goes through, one stage after the other.
type stages struct{ last time.Time }

func startStages(context.Context) *stages { return &stages{time.Now()} }

// end ends the stage that began where the one before it ended, and returns its
// milliseconds. err is why the request goes no further.
func (s *stages) end(_ string, _ error) float64 {
	now := time.Now()
	took := now.Sub(s.last)
	s.last = now
	return ms(took)
}

// stageTime is an entry of a Server-Timing header. The target may be empty.
type stageTime struct {
	stage  string
	ms     float64
	target string
}

// serverTiming is the value of a Server-Timing header (W3C Server Timing,
// section 2), with the very numbers of the answer's JSON.
func serverTiming(all []stageTime) string {
	var b strings.Builder
	for i, t := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(t.stage)
		if t.target != "" {
			b.WriteString(`;desc="` + t.target + `"`)
		}
		b.WriteString(";dur=" + strconv.FormatFloat(t.ms, 'f', -1, 64))
	}
	return b.String()
}

package backend

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Errors of the names of targets.
var (
	// ErrTargetSyntax: the name is not of the form backend[:device][:precision].
	ErrTargetSyntax = errors.New("malformed target")
	// ErrUnknownTarget: no such backend, device or precision in this build.
	ErrUnknownTarget = errors.New("unknown target")
)

// Target is a backend on a device at a precision, written
// backend[:device][:precision]. Its zero fields stand for the defaults of the
// backend.
type Target struct{ Backend, Device, Precision string }

// Precisions are the numeric types a target may compute in. No device has such
// a name, so that either may be left out.
var Precisions = []string{"fp32", "fp16", "bf16", "int8"}

var targetPart = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// ParseTarget reads the name of a target without asking whether it exists:
// Registry.Resolve does.
func ParseTarget(name string) (Target, error) {
	parts := strings.Split(name, ":")
	bad := func(why string) (Target, error) {
		return Target{}, fmt.Errorf("%w %q: %s; write backend[:device][:precision], as purego or onnx:cpu:fp32", ErrTargetSyntax, name, why)
	}
	if len(parts) > 3 {
		return bad("more than three parts")
	}
	for _, p := range parts {
		if !targetPart.MatchString(p) {
			return bad(fmt.Sprintf("part %q is not a lower-case name", p))
		}
	}
	t := Target{Backend: parts[0]}
	for i, p := range parts[1:] {
		switch {
		case isPrecision(p) && t.Precision == "":
			t.Precision = p
		case !isPrecision(p) && t.Device == "" && i == 0:
			t.Device = p
		default:
			return bad(fmt.Sprintf("part %q is out of place", p))
		}
	}
	return t, nil
}

func isPrecision(s string) bool {
	for _, p := range Precisions {
		if s == p {
			return true
		}
	}
	return false
}

func (t Target) String() string {
	s := t.Backend
	for _, part := range []string{t.Device, t.Precision} {
		if part != "" {
			s += ":" + part
		}
	}
	return s
}

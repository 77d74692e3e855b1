package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Reading is a value with the meter that it was read from, or the reason why
// there is none.
type Reading struct {
	Value float64 `json:"value"`
	Meter string  `json:"meter,omitempty"`
	// Missing says why there is no value: "not measurable here: …".
	Missing string `json:"missing,omitempty"`
}

// Measured says whether there is a value.
func (r Reading) Measured() bool { return r.Missing == "" && r.Meter != "" }

func missing(format string, args ...any) Reading {
	return Reading{Missing: "not measurable here: " + fmt.Sprintf(format, args...)}
}

// machine reads the system's files below a root, which is empty but in tests.
// Where they are absent, as on systems other than Linux, there is no reading.
type machine struct{ root string }

func (m machine) read(path string) (string, error) {
	text, err := os.ReadFile(m.root + path)
	if err != nil {
		return "", fmt.Errorf("%s cannot be read on this %s", path, runtime.GOOS)
	}
	return strings.TrimSpace(string(text)), nil
}

// resident reads VmRSS, the memory that is resident now, or VmHWM, the most
// that ever was, in bytes.
func (m machine) resident(name string) Reading {
	const path = "/proc/self/status"
	text, err := m.read(path)
	if err != nil {
		return missing("%v", err)
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == name+":" && f[2] == "kB" {
			if kB, err := strconv.ParseFloat(f[1], 64); err == nil {
				return Reading{Value: kB * 1024, Meter: name + " of " + path}
			}
		}
	}
	return missing("%s has no %s", path, name)
}

// grown is the resident memory that was added between two readings.
func grown(before, after Reading) Reading {
	switch {
	case !after.Measured():
		return after
	case after.Value < before.Value:
		return missing("other memory was freed meanwhile")
	}
	return Reading{Value: after.Value - before.Value, Meter: after.Meter + ", after opening and warm-up less before"}
}

// processorTime is what the machine's cores have done since it started, in
// ticks.
type processorTime struct{ total, busy, stolen, own float64 }

func (m machine) processorTime() (processorTime, error) {
	var t processorTime
	text, err := m.read("/proc/stat")
	if err != nil {
		return t, err
	}
	line, _, _ := strings.Cut(text, "\n")
	// user nice system idle iowait irq softirq steal; guest is part of user.
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return t, fmt.Errorf("/proc/stat begins with %.40q", line)
	}
	for i, s := range f[1:9] {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return t, fmt.Errorf("/proc/stat begins with %.40q", line)
		}
		t.total += v
		switch i {
		case 3, 4:
		case 7:
			t.stolen += v
		default:
			t.busy += v
		}
	}
	if text, err = m.read("/proc/self/stat"); err != nil {
		return t, err
	}
	// The name, in parentheses, may hold anything; utime and stime are the 12th
	// and 13th field behind it.
	f = strings.Fields(text[strings.LastIndex(text, ")")+1:])
	if len(f) < 13 {
		return t, fmt.Errorf("/proc/self/stat has %d fields", len(f))
	}
	for _, s := range f[11:13] {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return t, fmt.Errorf("/proc/self/stat: %w", err)
		}
		t.own += v
	}
	return t, nil
}

// load is what was not this process between two readings, as shares of the
// time of all cores.
func load(before processorTime, errBefore error, after processorTime, errAfter error) (others, stolen Reading) {
	if errBefore == nil {
		errBefore = errAfter
	}
	total := after.total - before.total
	switch {
	case errBefore != nil:
		return missing("%v", errBefore), missing("%v", errBefore)
	case total <= 0:
		return missing("/proc/stat stands still"), missing("/proc/stat stands still")
	}
	// This process's time and the machine's are not read at the same moment.
	busy := max(after.busy-before.busy-(after.own-before.own), 0)
	return Reading{Value: min(busy/total, 1), Meter: "/proc/stat less /proc/self/stat"},
		Reading{Value: min((after.stolen-before.stolen)/total, 1), Meter: "steal of /proc/stat"}
}

// energyMeter adds up the RAPL domains of the processor packages. They count
// whatever the package does, this process or another.
type energyMeter struct {
	machine machine
	domains []energyDomain
	missing string
}

type energyDomain struct {
	path string
	wrap float64 // the counter restarts behind it, in µJ
}

func (m machine) energy() energyMeter {
	e := energyMeter{machine: m}
	const pattern = "/sys/class/powercap/intel-rapl:*"
	folders, _ := filepath.Glob(m.root + pattern) // the pattern is well-formed
	for _, folder := range folders {
		folder = strings.TrimPrefix(folder, m.root)
		if strings.Count(filepath.Base(folder), ":") != 1 { // a part of a package
			continue
		}
		text, err := m.read(folder + "/max_energy_range_uj")
		wrap, parseErr := strconv.ParseFloat(text, 64)
		if err != nil || parseErr != nil {
			continue
		}
		e.domains = append(e.domains, energyDomain{folder + "/energy_uj", wrap})
	}
	if len(e.domains) == 0 {
		e.missing = "no RAPL counter at " + pattern
	} else if _, err := e.read(); err != nil {
		e.domains, e.missing = nil, err.Error()+"; root may read it"
	}
	return e
}

// read returns the domains' counters in µJ.
func (e energyMeter) read() ([]float64, error) {
	var values []float64
	for _, d := range e.domains {
		text, err := e.machine.read(d.path)
		if err != nil {
			return nil, err
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.path, err)
		}
		values = append(values, v)
	}
	return values, nil
}

// since returns the joules between two values of read.
func (e energyMeter) since(before, after []float64) float64 {
	sum := 0.0
	for i, d := range e.domains {
		delta := after[i] - before[i]
		if delta < 0 {
			delta += d.wrap
		}
		sum += delta / 1e6
	}
	return sum
}

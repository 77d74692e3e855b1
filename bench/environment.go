package bench

import (
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Environment is what a run ran on. Text is empty and numbers are 0 where the
// system does not tell.
type Environment struct {
	OS       string   `json:"os"`
	Arch     string   `json:"arch"`
	Kernel   string   `json:"kernel"`
	CPU      string   `json:"cpu"`
	CPUFlags []string `json:"cpu_flags"`
	Cores    int      `json:"cores"`
	// MemoryBytes is the machine's, not the container's.
	MemoryBytes int64 `json:"memory_bytes"`
	// Governor is that of the clock of core 0.
	Governor   string `json:"governor"`
	GoMaxProcs int    `json:"gomaxprocs"`
	// Quota is the container's limit in cores, 0 for none.
	Quota float64 `json:"cpu_quota"`
	Go    string  `json:"go"`
	// Version is that of this program.
	Version string `json:"version"`
	// Browser is the user agent of the browser that measured, if one did.
	Browser string `json:"browser,omitempty"`
	// Loads are the averages of 1, 5 and 15 minutes.
	LoadBefore []float64 `json:"load_before"`
	LoadAfter  []float64 `json:"load_after"`
	// Others is the share of all cores' time that other processes took during
	// the run, Stolen what other virtual machines did.
	Others Reading `json:"others"`
	Stolen Reading `json:"stolen"`
	// PeakResident is the most memory of the process until the run's end.
	PeakResident Reading `json:"peak_resident_bytes"`
}

func (m machine) environment(version string) Environment {
	e := Environment{
		OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU(), GoMaxProcs: runtime.GOMAXPROCS(0),
		Go: runtime.Version(), Version: version, LoadBefore: m.loadAverage(), Quota: m.quota(),
	}
	e.Kernel, _ = m.read("/proc/sys/kernel/osrelease")
	e.Governor, _ = m.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	cpu := m.fields("/proc/cpuinfo")
	e.CPU = cpu["model name"]
	flags := cpu["flags"]
	if flags == "" {
		flags = cpu["Features"] // arm64
	}
	e.CPUFlags = strings.Fields(flags)
	if kB, err := strconv.ParseInt(strings.TrimSuffix(m.fields("/proc/meminfo")["MemTotal"], " kB"), 10, 64); err == nil {
		e.MemoryBytes = kB * 1024
	}
	return e
}

// fields reads lines of the form "name : value", the first of each name.
func (m machine) fields(path string) map[string]string {
	text, _ := m.read(path)
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if _, ok := fields[name]; !ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

func (m machine) loadAverage() []float64 {
	text, _ := m.read("/proc/loadavg")
	var loads []float64
	for _, f := range strings.Fields(text)[:min(3, len(strings.Fields(text)))] {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return nil
		}
		loads = append(loads, v)
	}
	return loads
}

// quota is the smallest CPU limit on the way from the process's control group
// to the root, of version 2 or 1; 0 where there is none.
func (m machine) quota() float64 {
	groups := []string{"/"}
	text, _ := m.read("/proc/self/cgroup")
	for line := range strings.Lines(text) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && (f[1] == "" || slices.Contains(strings.Split(f[1], ","), "cpu")) {
			for dir := f[2]; len(dir) > 1; dir = filepath.Dir(dir) {
				groups = append(groups, dir)
			}
		}
	}
	limit := 0.0
	for _, g := range groups {
		both, _ := m.read(filepath.Join("/sys/fs/cgroup", g, "cpu.max"))
		v1 := filepath.Join("/sys/fs/cgroup/cpu", g)
		if both == "" {
			quota, _ := m.read(v1 + "/cpu.cfs_quota_us")
			period, _ := m.read(v1 + "/cpu.cfs_period_us")
			both = quota + " " + period
		}
		f := strings.Fields(both)
		if len(f) != 2 {
			continue
		}
		quota, err1 := strconv.ParseFloat(f[0], 64) // "max" and -1 are no limit
		period, err2 := strconv.ParseFloat(f[1], 64)
		if err1 == nil && err2 == nil && quota > 0 && period > 0 && (limit == 0 || quota/period < limit) {
			limit = quota / period
		}
	}
	return limit
}

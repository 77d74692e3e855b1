package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree is a machine of made-up files.
func tree(t *testing.T, files map[string]string) machine {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return machine{root}
}

func TestNothingToRead(t *testing.T) {
	m := tree(t, nil)
	for name, r := range map[string]Reading{"memory": m.resident("VmRSS"), "grown": grown(Reading{}, m.resident("VmRSS")), "energy": missing("%s", m.energy().missing)} {
		if r.Measured() || r.Value != 0 || !strings.HasPrefix(r.Missing, "not measurable here: ") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	before, err := m.processorTime()
	others, stolen := load(before, err, before, err)
	if others.Measured() || stolen.Measured() {
		t.Errorf("load: %+v, %+v", others, stolen)
	}
	e := m.environment("v")
	if e.CPU != "" || e.LoadBefore != nil || e.Quota != 0 || e.Cores == 0 || e.Version != "v" {
		t.Errorf("environment %+v", e)
	}
}

func TestResident(t *testing.T) {
	m := tree(t, map[string]string{"/proc/self/status": "Name:\tapi\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"})
	if r := m.resident("VmRSS"); r.Value != 1<<20 || r.Meter != "VmRSS of /proc/self/status" {
		t.Errorf("%+v", r)
	}
	if r := grown(m.resident("VmRSS"), m.resident("VmHWM")); r.Value != 1<<20 {
		t.Errorf("grown by %+v", r)
	}
	if r := grown(m.resident("VmHWM"), m.resident("VmRSS")); r.Measured() {
		t.Errorf("shrunk: %+v", r)
	}
}

func TestLoad(t *testing.T) {
	read := func(stat, self string) (processorTime, error) {
		return tree(t, map[string]string{"/proc/stat": stat, "/proc/self/stat": self}).processorTime()
	}
	a, errA := read("cpu  100 10 20 1000 5 1 4 0 0 0\ncpu0 …", "1 (a) b) R 1 1 1 0 -1 0 0 0 0 0 40 10 0 0 20 0")
	// 1,000 ticks later: 300 + 100 busy, 250 of them this process's, 50 stolen.
	b, errB := read("cpu  400 10 120 1550 5 1 4 50 0 0\ncpu0 …", "1 (a) b) R 1 1 1 0 -1 0 0 0 0 0 200 100 0 0 20 0")
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	others, stolen := load(a, nil, b, nil)
	if others.Value != 0.15 || stolen.Value != 0.05 {
		t.Errorf("others %v, stolen %v; want 0.15 and 0.05", others.Value, stolen.Value)
	}
	for _, broken := range [][2]string{{"", ""}, {"cpu 1 2", "1 (a) R 1"}, {"cpu  a 10 20 1000 5 1 4 0 0 0", "1 (a) R"}, {"cpu  1 10 20 1000 5 1 4 0 0 0", "1 (a) R"}} {
		if _, err := read(broken[0], broken[1]); err == nil {
			t.Errorf("read %q, %q without an error", broken[0], broken[1])
		}
	}
}

func TestEnergy(t *testing.T) {
	const folder = "/sys/class/powercap/intel-rapl:"
	m := tree(t, map[string]string{
		folder + "0/energy_uj": "900", folder + "0/max_energy_range_uj": "1000",
		folder + "1/energy_uj": "5000000", folder + "1/max_energy_range_uj": "9000000",
		folder + "0:0/energy_uj": "1", folder + "0:0/max_energy_range_uj": "1000",
	})
	e := m.energy()
	before, err := e.read()
	if err != nil || len(before) != 2 || e.missing != "" {
		t.Fatalf("%v, %v, %q", before, err, e.missing)
	}
	// The first counter starts again behind 1,000 µJ.
	if got := e.since(before, []float64{100, 7000000}); got != 2.0002 {
		t.Errorf("%v J, want 2.0002", got)
	}
}

func TestEnvironment(t *testing.T) {
	m := tree(t, map[string]string{
		"/proc/cpuinfo":              "processor\t: 0\nmodel name\t: Abacus 9\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nmodel name\t: other\n",
		"/proc/meminfo":              "MemTotal:       1000 kB\nMemFree: 1 kB\n",
		"/proc/loadavg":              "0.50 1.25 2.00 1/100 42\n",
		"/proc/sys/kernel/osrelease": "6.1\n",
		"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
	})
	e := m.environment("v")
	if e.CPU != "Abacus 9" || !slices.Equal(e.CPUFlags, []string{"fpu", "avx2"}) || e.MemoryBytes != 1024000 || !slices.Equal(e.LoadBefore, []float64{0.5, 1.25, 2}) || e.Kernel != "6.1" || e.Governor != "performance" {
		t.Errorf("%+v", e)
	}
}

func TestQuota(t *testing.T) {
	for _, row := range []struct {
		name  string
		files map[string]string
		want  float64
	}{
		{"none", map[string]string{"/sys/fs/cgroup/cpu.max": "max 100000"}, 0},
		{"version 2, seen from inside", map[string]string{"/sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5},
		{"version 2, the parent's is smaller", map[string]string{
			"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/b/cpu.max": "400000 100000", "/sys/fs/cgroup/a/cpu.max": "200000 100000"}, 2},
		{"version 1", map[string]string{
			"/proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/a\n", "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000", "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000"}, 0.5},
		{"version 1, none", map[string]string{"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 0},
	} {
		if got := tree(t, row.files).quota(); got != row.want {
			t.Errorf("%s: %v cores, want %v", row.name, got, row.want)
		}
	}
}

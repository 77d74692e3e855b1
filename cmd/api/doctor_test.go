package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"edgevit/model/modeltest"
)

// doctor runs the doctor with a free address, unless args name another.
func doctor(t *testing.T, args ...string) (int, doctorOutput) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	code, out, _ := call(t, append([]string{"doctor", "--json", "--listen", "127.0.0.1:0"}, args...)...)
	var o doctorOutput
	decode(t, out, &o)
	if o.Healthy != (code == exitYes) {
		t.Errorf("exit %d, healthy %v", code, o.Healthy)
	}
	return code, o
}

// find returns the checkup of that name.
func (o doctorOutput) find(t *testing.T, area, name string) checkup {
	t.Helper()
	for _, c := range o.Checks {
		if c.Area == area && c.Name == name {
			return c
		}
	}
	t.Fatalf("no checkup %s %s in %+v", area, name, o.Checks)
	return checkup{}
}

func TestDoctorHealthy(t *testing.T) {
	code, o := doctor(t)
	if code != exitYes {
		t.Errorf("exit %d: %+v", code, o.Checks)
	}
	for _, target := range []string{"purego (default)", "purego:int8", "purego:bf16"} {
		if c := o.find(t, "targets", target); c.State != stateOK || !strings.Contains(c.Detail, "knows a cat") {
			t.Errorf("%s: %+v", target, c)
		}
	}
	for _, c := range o.Checks {
		if c.Detail == "" || c.State != stateOK && c.State != stateAbsent {
			t.Errorf("checkup %+v", c)
		}
	}
	if code, out, _ := call(t, "doctor", "--listen", "127.0.0.1:0"); code != exitYes || strings.Count(out, "\n") != len(o.Checks) {
		t.Errorf("for people, one line a checkup: exit %d\n%s", code, out)
	}
}

// TestDoctorFinds breaks one thing at a time.
func TestDoctorFinds(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	checkpoint := modeltest.Bytes(t, "tiny/official.pth")
	broken := filepath.Dir(write("broken/net.pth", []byte("not a checkpoint")))
	clash := filepath.Dir(write("clash/net.pth", checkpoint))
	write("clash/Net.pt", checkpoint)
	file := write("file", []byte("short"))

	for _, c := range []struct {
		title, area, name, detail string
		args                      []string
	}{
		{"a damaged checkpoint", "models", "net.pth", "", []string{"--models", broken}},
		{"two files of one name", "models", "net.pth", "taken by Net.pt", []string{"--models", clash}},
		{"no models folder", "models", "folder", "is not there", []string{"--models", filepath.Join(dir, "none")}},
		{"a models folder that is a file", "models", "folder", "is not a folder", []string{"--models", file}},
		{"an unknown default model", "models", "default", "none-such", []string{"--models", broken, "--default-model", "none-such"}},
		{"an unknown default target", "targets", "gpu", "unknown target", []string{"--default-target", "gpu"}},
		{"a default target that is not in this machine", "targets", "onnx:coreml (default)", "", []string{"--default-target", "onnx:coreml"}},
		{"a data folder that is a file", "folders", "data", "is not a folder", []string{"--data", file}},
		{"no runtimes folder", "runtimes", "folder", "is not a folder", []string{"--runtimes", filepath.Join(dir, "none")}},
		{"a short token", "access", "token", "fewer than 16", []string{"--token-file", file}},
		{"a taken address", "access", "address", "in use", []string{"--listen", taken.Addr().String()}},
	} {
		t.Run(c.title, func(t *testing.T) {
			code, o := doctor(t, c.args...)
			if found := o.find(t, c.area, c.name); code != exitNo || found.State != stateFailed || !strings.Contains(found.Detail, c.detail) {
				t.Errorf("exit %d, %+v; want it failed, with %q", code, found, c.detail)
			}
		})
	}

	t.Run("kernels that are not in this processor", func(t *testing.T) {
		t.Setenv("EDGEVIT_KERNELS", "none-such")
		if _, o := doctor(t); o.find(t, "cpu", "kernels").State != stateFailed {
			t.Errorf("checks %+v", o.Checks)
		}
	})
	t.Run("what is well is not failed", func(t *testing.T) {
		_, o := doctor(t, "--models", clash, "--token-file", filepath.Join(dir, "new"), "--data", filepath.Join(dir, "new"))
		for _, name := range [][2]string{{"models", "Net.pt"}, {"access", "token"}, {"folders", "data"}} {
			if c := o.find(t, name[0], name[1]); c.State != stateOK {
				t.Errorf("%+v", c)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
			t.Error("the doctor made a file that it only looked for")
		}
	})
}

// TestDoctorInService: in a container the address is taken by the service
// itself.
func TestDoctorInService(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			http.NotFound(w, r)
		}
	}))
	defer service.Close()
	_, o := doctor(t, "--listen", service.Listener.Addr().String())
	if c := o.find(t, "access", "address"); c.State != stateOK || !strings.Contains(c.Detail, "is ready") {
		t.Errorf("%+v", c)
	}
}

// TestDoctorReadsServesConfig: the file's settings are those of serve.
func TestDoctorReadsServesConfig(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("serve:\n  default-target: none-such\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, o := doctor(t, "--config", config); o.find(t, "targets", "none-such").State != stateFailed {
		t.Errorf("checks %+v", o.Checks)
	}
}

func TestCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"api doc":                 "doctor\n",
		"api serve --log-format ": "console json",
		"api serve --default-t":   "--default-target\n",
		"api completion ":         "bash fish zsh",
	} {
		t.Setenv("COMP_LINE", line)
		code, out, errs := call(t)
		for _, word := range strings.Fields(want) {
			if code != exitYes || errs != "" || !strings.Contains(out, word+"\n") {
				t.Errorf("%q: exit %d, %q, %q; want %s", line, code, out, errs, want)
			}
		}
	}
	t.Setenv("COMP_LINE", "")
	for shell, want := range map[string]string{"bash": "complete -o default -C api api", "zsh": "bashcompinit", "fish": "complete -c api"} {
		if code, out, _ := call(t, "completion", shell); code != exitYes || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d\n%s", shell, code, out)
		}
	}
	if code, _, _ := call(t, "completion", "powershell"); code != exitUsage {
		t.Errorf("an unknown shell: exit %d", code)
	}
}

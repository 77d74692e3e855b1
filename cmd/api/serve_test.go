package main

import (
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/alecthomas/kong"
)

func TestToken(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	token, created, err := loadToken(path)
	if err != nil || !created || len(token) < 26 {
		t.Fatalf("got %q, created %v, %v; want a new token", token, created, err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if again, created, err := loadToken(path); again != token || created || err != nil {
		t.Errorf("the second time %q, created %v, %v; want %q", again, created, err, token)
	}
	if other, _, err := loadToken(filepath.Join(dir, "other")); err != nil || other == token {
		t.Errorf("another file has %q, %v", other, err)
	}
	if token, created, err := loadToken(""); token != "" || created || err != nil {
		t.Errorf("no file: %q, %v, %v", token, created, err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{empty, "is empty"}, {filepath.Join(dir, "none", "token"), "token file: "}, {dir, "token file: "}} {
		if _, _, err := loadToken(c[0]); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v, want %q", c[0], err, c[1])
		}
	}

	// Many at once get one token, and leave nothing else.
	shared := filepath.Join(dir, "shared")
	tokens, news := map[string]bool{}, 0
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			token, created, err := loadToken(shared)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if tokens[token] = true; created {
				news++
			}
		})
	}
	all.Wait()
	if len(tokens) != 1 || news != 1 {
		t.Errorf("%d tokens, made %d times, want one", len(tokens), news)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := createToken(empty); !os.IsExist(err) {
		t.Errorf("over another file: %v", err)
	}
}

func TestDataSets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("serve:\n  data-set:\n    photos: /data/photos\n    birds: /data/birds.csv\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"photos": "/data/photos", "birds": "/data/birds.csv"}
	for _, row := range []struct{ name, args, env string }{
		{"flags", "serve --data-set photos=/data/photos --data-set birds=/data/birds.csv", ""},
		{"environment", "serve", "photos=/data/photos;birds=/data/birds.csv"},
		{"file", "--config " + file + " serve", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.env != "" {
				t.Setenv("EDGEVIT_DATA_SETS", row.env)
			}
			var c cli
			parser, err := kong.New(&c, kong.Vars(limitDefaults()), kong.Configuration(loadConfig))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(strings.Fields(row.args)); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(c.Serve.DataSets, want) {
				t.Errorf("%v, want %v", c.Serve.DataSets, want)
			}
		})
	}
	for _, row := range [][2]string{
		{"--data-set Photos=" + t.TempDir(), `data set "Photos": its name must be`},
		{"--data-set photos", "photos"},
	} {
		if code, _, errs := call(t, strings.Fields("serve --listen 127.0.0.1:0 --data "+t.TempDir()+" "+row[0])...); code != exitUsage || !strings.Contains(errs, row[1]) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s", row[0], code, exitUsage, row[1], errs)
		}
	}
}

func TestGreeting(t *testing.T) {
	local, everywhere := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}, &net.TCPAddr{IP: net.IPv6zero, Port: 80}
	for _, c := range []struct {
		at       net.Addr
		token    string
		terminal bool
		want     string
	}{
		{local, "abc+/=", true, "  dashboard: http://127.0.0.1:8080/#token=abc%2B%2F%3D\n"},
		{local, "secret", false, "  dashboard: http://127.0.0.1:8080/  (asks for the token in the/file)\n"},
		{local, "", true, "  dashboard: http://127.0.0.1:8080/\n"},
		{everywhere, "abc", true, "  dashboard: http://localhost:80/#token=abc\n"},
	} {
		cmd := serveCmd{TokenFile: "the/file"}
		got := cmd.greeting(c.at, c.token, c.terminal)
		if !strings.Contains(got, c.want) || !strings.Contains(got, "  curl --data-binary @photo.jpg http://"+c.at.String()+"/classify\n") || strings.Contains(got, "secret") {
			t.Errorf("on a terminal: %v: %q\nwant %q", c.terminal, got, c.want)
		}
	}
	if isTerminal(io.Discard) {
		t.Error("io.Discard is a terminal")
	}
}

// TestServeKernels: a service that could run nothing does not start.
func TestServeKernels(t *testing.T) {
	t.Setenv("EDGEVIT_KERNELS", "none-such")
	code, out, errs := call(t, "serve", "--listen", "127.0.0.1:0")
	if want := `EDGEVIT_KERNELS is "none-such"; this processor runs generic`; code == exitYes || !strings.Contains(errs, want) || out != "" {
		t.Errorf("exit %d, %q, %q; want an error that says %q", code, out, errs, want)
	}
}

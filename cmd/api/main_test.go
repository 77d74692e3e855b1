package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSecondSignal runs the program in a process of its own, since a signal
// ends it.
func TestSecondSignal(t *testing.T) {
	const child = "EDGEVIT_TEST_SERVE"
	if dir := os.Getenv(child); dir != "" {
		os.Args = []string{"api", "serve", "--listen", "127.0.0.1:0", "--data", dir, "--token-file", filepath.Join(dir, "token")}
		main()
	}
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signals that one process sends to another")
	}
	dir := t.TempDir()
	program := exec.Command(os.Args[0], "-test.run=^TestSecondSignal$")
	program.Env = append(os.Environ(), child+"="+dir)
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := program.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(time.Minute, func() { _ = program.Process.Kill() })
	defer guard.Stop()
	await := func(r *bufio.Reader, text string) string {
		t.Helper()
		for {
			line, err := r.ReadString('\n')
			if strings.Contains(line, text) {
				return line
			}
			if err != nil {
				t.Fatalf("no line with %q: %v", text, err)
			}
		}
	}
	output, lines := bufio.NewReader(out), bufio.NewReader(log)
	curl := await(output, "curl")
	if line := await(output, "dashboard"); strings.Contains(line, "#") || !strings.Contains(line, filepath.Join(dir, "token")) {
		t.Errorf("into a pipe: %q, want the file's name and no token", line)
	}
	await(lines, "a new token was made")

	// A request that does not end keeps the server draining.
	_, address, _ := strings.Cut(strings.TrimSpace(curl), "http://")
	address, _, _ = strings.Cut(address, "/")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	await(bufio.NewReader(conn), "100 Continue") // it is being read
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(lines, "draining")
	begin := time.Now()
	ended := make(chan error, 1)
	go func() {
		_, _ = io.Copy(io.Discard, lines) // until it ends
		ended <- program.Wait()
	}()
	for {
		// Again, should it come before the first is dealt with. What has ended
		// takes none.
		_ = program.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if d := time.Since(begin); d > 10*time.Second || program.ProcessState.Exited() {
				t.Errorf("ended after %v: %v; want at once, by the signal", d, err)
			}
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// token is what the services of the trials are started with.
const token = "hold-the-token-of-trials"

// setup says how a service is started.
type setup struct {
	args []string // of serve
	env  []string // over the trial's own
	// folder holds the service's data, models, caches and token; it outlives the
	// service.
	folder string
	core   int    // where 0 or more, the only core that it may use
	user   uint32 // where not 0, whose process it is
	binary string // empty: the trial's
	limit  *unix.Rlimit
}

// service is a running program.
type service struct {
	url     string
	address string // host:port
	cmd     *exec.Cmd
	stderr  *tail
	ended   chan struct{} // is closed when the process has ended
	client  *http.Client
}

// newFolder makes a folder for services and says how to remove it.
func (t *trial) newFolder() (string, func(), error) {
	dir, err := os.MkdirTemp("", "hold-")
	if err != nil {
		return "", nil, err
	}
	remove := func() { os.RemoveAll(dir) }
	for _, d := range []string{"data", "models", "cache"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600))
	if err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}

var greeting = regexp.MustCompile(` on http://(\S+) `)

// start starts a service on a free port and waits until it is ready.
func (t *trial) start(ctx context.Context, s setup) (*service, error) {
	if s.binary == "" {
		s.binary = t.binary
	}
	args := append([]string{s.binary, "serve", "--listen", "127.0.0.1:0", "--log-level", "error",
		"--data", filepath.Join(s.folder, "data"), "--models", filepath.Join(s.folder, "models"), "--token-file", filepath.Join(s.folder, "token")}, s.args...)
	if s.core >= 0 || s.limit != nil {
		own, err := os.Executable()
		if err != nil {
			return nil, err
		}
		files := int64(-1)
		if s.limit != nil {
			files = int64(s.limit.Cur)
		}
		args = append([]string{own, pinned, strconv.Itoa(s.core), strconv.FormatInt(files, 10)}, args...)
	}
	v := &service{stderr: &tail{}, ended: make(chan struct{})}
	v.cmd = exec.Command(args[0], args[1:]...)
	v.cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(s.folder, "cache"), "EDGEVIT_RUNTIMES="+t.runtimes)
	v.cmd.Env = append(v.cmd.Env, s.env...)
	v.cmd.Stderr = v.stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if s.user != 0 {
		v.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.user, Gid: s.user}
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startProcess(v.cmd); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() {
		defer close(v.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := greeting.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
		_ = v.cmd.Wait() // the state says how it ended
	}()
	v.client = newClient()
	select {
	case v.address = <-found:
		v.url = "http://" + v.address
	case <-v.ended:
		return nil, fmt.Errorf("the service did not start: %v: %s", v.cmd.ProcessState, v.stderr)
	case <-ctx.Done():
		v.kill()
		return nil, ctx.Err()
	}
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if a, err := v.get("/readyz"); err == nil && a.status == http.StatusOK {
			return v, nil
		}
		if !v.alive() || ctx.Err() != nil || time.Since(begin) > time.Minute {
			v.kill()
			return nil, fmt.Errorf("the service is not ready: %v: %s", v.cmd.ProcessState, v.stderr)
		}
	}
}

// starter starts all processes: the kernel's parent-death signal means the
// thread that has started a process, and this one lasts.
var starter = sync.OnceValue(func() chan func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func startProcess(c *exec.Cmd) error {
	done := make(chan error)
	starter() <- func() { done <- c.Start() }
	return <-done
}

// pinned is the subcommand that keeps a program to one core and to files of a
// size, each where it is 0 or more, and becomes it: pinned CORE BYTES PROGRAM…
const pinned = "pinned"

func runPinned(args []string) int {
	core, err := strconv.Atoi(args[0])
	files, err2 := strconv.ParseInt(args[1], 10, 64)
	err = errors.Join(err, err2)
	if err == nil && core >= 0 {
		runtime.LockOSThread() // exec keeps this thread's cores
		var set unix.CPUSet
		set.Set(core)
		err = unix.SchedSetaffinity(0, &set)
	}
	if err == nil && files >= 0 {
		err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(files), Max: uint64(files)})
	}
	if err == nil {
		err = syscall.Exec(args[2], args[2:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "hold: pinned:", err)
	return 2
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (b *tail) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if over := len(b.text) - 16<<10; over > 0 {
		b.text = slices.Delete(b.text, 0, over)
	}
	return len(p), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

func newClient() *http.Client {
	return &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
}

func (v *service) pid() int { return v.cmd.Process.Pid }

func (v *service) alive() bool {
	select {
	case <-v.ended:
		return false
	default:
		return true
	}
}

// kill ends the service at once and waits for its end.
func (v *service) kill() {
	_ = v.cmd.Process.Kill() // it may have ended
	<-v.ended
}

// stop ends the service as an operator does. It reports the exit status, and
// how long it took; a service that has ended by itself is an error.
func (v *service) stop(limit time.Duration) (code int, took time.Duration, err error) {
	if !v.alive() {
		return 0, 0, fmt.Errorf("the service ended by itself: %v: %s", v.cmd.ProcessState, v.stderr)
	}
	begin := time.Now()
	if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, 0, err
	}
	select {
	case <-v.ended:
		return v.cmd.ProcessState.ExitCode(), time.Since(begin), nil
	case <-time.After(limit):
		v.kill()
		return -1, limit, nil
	}
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

// problem is what the answer's body says of an error.
func (a answer) problem() (p struct {
	Type, Title, Detail string
	Status              int
}) {
	_ = json.Unmarshal(a.body, &p) // anything else has no type
	return p
}

// honest says what is wrong with an answer that is neither a success nor a
// well-formed problem with the right to be sent: one of statuses.
func (a answer) honest(statuses ...int) error {
	if a.status < 300 {
		return nil
	}
	p := a.problem()
	switch {
	case !slices.Contains(statuses, a.status):
		return fmt.Errorf("status %d: %s", a.status, clip(a.body))
	case a.header.Get("Content-Type") != "application/problem+json" || p.Status != a.status || p.Type == "":
		return fmt.Errorf("status %d is no problem document: %s", a.status, clip(a.body))
	case a.status == http.StatusTooManyRequests:
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 {
			return fmt.Errorf("status 429 with Retry-After %q", a.header.Get("Retry-After"))
		}
	}
	return nil
}

func clip(b []byte) string { return string(b[:min(len(b), 200)]) }

func (v *service) get(path string) (answer, error) { return v.do(http.MethodGet, path, nil) }

func (v *service) post(path string, body []byte) (answer, error) {
	return v.do(http.MethodPost, path, bytes.NewReader(body))
}

// do sends a request with the token.
func (v *service) do(method, path string, body io.Reader) (answer, error) {
	return v.doContext(context.Background(), method, path, body)
}

func (v *service) doContext(ctx context.Context, method, path string, body io.Reader) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, v.url+path, body)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	begin := time.Now()
	w, err := v.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	return answer{w.StatusCode, w.Header, text, time.Since(begin)}, err
}

// metric is the sum of the samples of /metrics whose name, and where labels
// are given each of them, fit.
func metric(text []byte, name string, labels ...string) float64 {
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if series, rest, _ := strings.Cut(key, "{"); !ok || series != name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		if x, err := strconv.ParseFloat(value, 64); err == nil {
			sum += x
		}
	}
	return sum
}

// metric asks the service for one.
func (v *service) metric(name string, labels ...string) (float64, error) {
	a, err := v.get("/metrics")
	return metric(a.body, name, labels...), err
}

// targets are those that the service can run.
func (v *service) targets() ([]string, error) {
	a, err := v.get("/backends")
	if err != nil {
		return nil, err
	}
	var list struct {
		Targets []struct {
			Target    string
			Available bool
		}
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		return nil, fmt.Errorf("/backends: %w", err)
	}
	var names []string
	for _, b := range list.Targets {
		if b.Available {
			names = append(names, b.Target)
		}
	}
	return names, nil
}

// await asks until what is asked for is so.
func await(limit time.Duration, so func() bool) bool {
	for begin := time.Now(); time.Since(begin) < limit; time.Sleep(20 * time.Millisecond) {
		if so() {
			return true
		}
	}
	return so()
}

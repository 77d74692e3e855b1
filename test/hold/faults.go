//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is whose processes some trials run as, so that permissions count.
const nobody = 65534

// jump is put into time.Now behind its line jumpAfter: a wall clock that goes a
// day ahead 3 s after the start, and two days back another 3 s later.
const (
	jumpAfter = "\tmono -= startNano\n"
	jump      = "\tswitch {\n\tcase mono > 6e9:\n\t\tsec -= 86400\n\tcase mono > 3e9:\n\t\tsec += 86400\n\t}\n"
)

// faults breaks what the service stands on.
func faults(ctx context.Context, t *trial) error {
	photo, err := os.ReadFile(filepath.Join(t.root, "docs", "cat.jpg"))
	if err != nil {
		return err
	}
	for _, f := range []func(context.Context, []byte) error{t.workers, t.libraries, t.fullDisk, t.readOnly, t.killed, t.terminated, t.vanished, t.clock} {
		if err := f(ctx, photo); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// begin starts a service in a folder of its own; end stops it and removes that.
func (t *trial) begin(ctx context.Context, s setup) (v *service, folder string, end func(), err error) {
	folder, remove, err := t.newFolder()
	if err != nil {
		return nil, "", nil, err
	}
	s.folder = folder
	if s.user != 0 {
		for _, d := range []string{"data", "cache", "token"} {
			err = errors.Join(err, os.Chown(filepath.Join(folder, d), int(s.user), int(s.user)))
		}
	}
	if err == nil {
		v, err = t.start(ctx, s)
	}
	if err != nil {
		remove()
		return nil, "", nil, err
	}
	return v, folder, func() { v.kill(); remove() }, nil
}

// workers kills and stops the processes that the native runtimes run in.
func (t *trial) workers(ctx context.Context, photo []byte) error {
	const kills, hangs = "a runtime's process killed: others go on, it comes back", "a runtime's process hung: others wait 10 s at most, it comes back"
	v, _, end, err := t.begin(ctx, setup{core: -1, args: []string{"--default-model", "random:xxs", "--isolate"}})
	if err != nil {
		return err
	}
	defer end()
	targets, err := v.targets()
	if err != nil {
		return err
	}
	tried := 0
	for _, target := range targets {
		path := "/classify?target=" + target
		if !strings.HasPrefix(target, "onnx") && !strings.HasPrefix(target, "tflite") {
			continue
		}
		before := children(v.pid())
		if a, err := v.post(path, photo); err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%s: %v %s", target, err, clip(a.body))
		}
		ids := slices.DeleteFunc(children(v.pid()), func(id int) bool { return slices.Contains(before, id) })
		if len(ids) == 0 {
			continue
		}
		tried++
		for _, fault := range []struct {
			signal  syscall.Signal
			promise string
		}{{syscall.SIGKILL, kills}, {syscall.SIGSTOP, hangs}} {
			for _, id := range children(v.pid()) {
				if fault.signal == syscall.SIGKILL || slices.Contains(ids, id) {
					_ = syscall.Kill(id, fault.signal)
				}
			}
			// The one that is lost holds the CPU when the other one comes.
			var own answer
			var ownErr error
			lost := make(chan struct{})
			go func() {
				defer close(lost)
				if own, ownErr = v.post(path, photo); ownErr == nil {
					ownErr = own.honest(http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusTooManyRequests)
				}
			}()
			time.Sleep(200 * time.Millisecond)
			begin := time.Now()
			other, err := v.post("/classify", photo)
			waited := time.Since(begin)
			ok := err == nil && other.status == http.StatusOK && waited <= 10*time.Second
			<-lost
			err = ownErr
			begin = time.Now()
			back := await(20*time.Second, func() bool {
				a, err := v.post(path, photo)
				return err == nil && a.status == http.StatusOK
			})
			t.promise(ok && err == nil && back, target+": "+fault.promise, "purego %d after %.1f s, itself %d %s, back after %.1f s", other.status, waited.Seconds(), own.status, errorText(err), time.Since(begin).Seconds())
			ids = children(v.pid())
		}
	}
	if tried == 0 {
		t.skip(kills, "this build runs %v in its own process", targets)
		t.skip(hangs, "the same")
	}
	return nil
}

// libraries takes the native libraries away, or leaves half of them.
func (t *trial) libraries(ctx context.Context, photo []byte) error {
	found, _ := filepath.Glob(filepath.Join(t.runtimes, "lib*.so*"))
	if t.runtimes == "" || len(found) == 0 {
		t.skip("a native library removed or cut: 503 with the reason, others go on", "there is none in %q", t.runtimes)
		return nil
	}
	for _, fault := range []string{"removed before the start", "removed after the start", "cut to a half", "overwritten with zeros", "empty"} {
		folder, err := os.MkdirTemp("", "hold-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder)
		for _, path := range found {
			if err := spoil(path, filepath.Join(folder, filepath.Base(path)), fault); err != nil {
				return err
			}
		}
		v, _, end, err := t.begin(ctx, setup{core: -1, env: []string{"EDGEVIT_RUNTIMES=" + folder, "LD_LIBRARY_PATH="}, args: []string{"--default-model", "random:xxs"}})
		if err != nil {
			return err
		}
		defer end()
		if fault == "removed after the start" {
			for _, path := range found {
				os.Remove(filepath.Join(folder, filepath.Base(path)))
			}
		}
		var said []string
		ok := true
		for _, target := range []string{"onnx", "tflite"} {
			a, err := v.post("/classify?target="+target, photo)
			p := a.problem()
			ok = ok && err == nil && a.honest(http.StatusServiceUnavailable) == nil && a.status == http.StatusServiceUnavailable && p.Detail != ""
			said = append(said, fmt.Sprintf("%s %d", target, a.status))
		}
		a, err := v.post("/classify", photo)
		ok = ok && err == nil && a.status == http.StatusOK && v.alive()
		figure := fmt.Sprintf("%s, purego %d", strings.Join(said, ", "), a.status)
		if !v.alive() {
			text := v.stderr.String()
			figure += ", and the service has ended: " + clip([]byte(text))
		}
		t.promise(ok, "native libraries "+fault+": 503 with the reason, purego goes on", "%s", figure)
		end()
	}
	return nil
}

// spoil makes a copy of a library with a fault.
func spoil(from, to, fault string) error {
	switch fault {
	case "removed before the start":
		return nil
	case "removed after the start":
		return os.Symlink(from, to)
	case "empty":
		return os.WriteFile(to, nil, 0o755)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if fault == "overwritten with zeros" {
		clear(data[4096:])
	} else {
		data = data[:len(data)/2]
	}
	return os.WriteFile(to, data, 0o755)
}

// checkpointFile makes a checkpoint of XXS, 16 MB.
func (t *trial) checkpointFile(folder string) ([]byte, error) {
	path := filepath.Join(folder, "xxs.safetensors")
	if out, err := exec.Command(t.binary, "convert", "random:xxs", path).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("convert: %w: %s", err, out)
	}
	defer os.Remove(path)
	return os.ReadFile(path)
}

// fullDisk lets uploads and benchmarks meet a disk without room.
func (t *trial) fullDisk(ctx context.Context, photo []byte) error {
	folder, remove, err := t.newFolder()
	if err != nil {
		return err
	}
	defer remove()
	file, err := t.checkpointFile(folder)
	if err != nil {
		return err
	}
	s := setup{folder: folder, core: -1, args: []string{"--default-model", "random:xxs"}}
	how := "a disk of 8 MiB"
	small := filepath.Join(folder, "small")
	err = os.Mkdir(small, 0o755)
	if err == nil {
		err = unix.Mount("tmpfs", small, "tmpfs", 0, "size=8m")
	}
	if err == nil {
		defer unix.Unmount(small, unix.MNT_DETACH)
		s.folder = small
		for _, d := range []string{"data", "models", "cache"} {
			err = errors.Join(err, os.Mkdir(filepath.Join(small, d), 0o755))
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(small, "token"), []byte(token), 0o600)); err != nil {
			return err
		}
	} else {
		how = "files of 1 MiB at most"
		s.limit = &unix.Rlimit{Cur: mib}
	}
	v, err := t.start(ctx, s)
	if err != nil {
		return err
	}
	defer v.kill()
	a, err := v.post("/models?name=big", file)
	if err == nil {
		err = a.honest(http.StatusServiceUnavailable)
	}
	left, _ := os.ReadDir(filepath.Join(s.folder, "models"))
	seen, _ := v.get("/models/big")
	c, _ := v.post("/classify", photo)
	t.promise(err == nil && a.status == http.StatusServiceUnavailable && len(left) == 0 && seen.status == http.StatusNotFound && c.status == http.StatusOK,
		"disk full in an upload: 503, nothing left behind, others go on", "%s: %d %s, %d files left, purego %d", how, a.status, errorText(err), len(left), c.status)
	if s.limit != nil {
		t.skip("disk full in a benchmark: an honest answer, and afterwards another one runs", "only root can make a small disk")
		return nil
	}

	// What is left of the disk goes to a file, so that the store cannot grow.
	filler := filepath.Join(small, "filler")
	f, err := os.Create(filler)
	if err != nil {
		return err
	}
	_, _ = io.Copy(f, zeros{}) // to the end of the disk
	f.Close()
	const plan = "/benchmarks?models=random:xxs&targets=purego&min_duration_ms=100&min_count=10&blocks=2"
	a, err = v.post(plan, nil)
	if err == nil {
		err = a.honest(http.StatusServiceUnavailable)
	}
	id := idOf(a)
	state := "not begun"
	if id != "" {
		state = v.outcomeOf(id)
	}
	c, _ = v.post("/classify", photo)
	os.Remove(filler)
	again, _ := v.post(plan, nil)
	final := v.outcomeOf(idOf(again))
	t.promise(err == nil && c.status == http.StatusOK && state != "running" && state != "done" && final == "done" && v.alive(),
		"disk full in a benchmark: an honest answer, and with room another one is done", "%d %s, the run is %s; purego %d; then %d, %s", a.status, errorText(err), or(state, "unknown"), c.status, again.status, final)
	return nil
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// idOf is the id of the benchmark that an answer describes.
func idOf(a answer) string {
	var b struct{ ID string }
	_ = json.Unmarshal(a.body, &b)
	return b.ID
}

// outcomeOf waits for the end of a benchmark and says its state.
func (v *service) outcomeOf(id string) string {
	var b struct{ State string }
	await(15*time.Second, func() bool {
		a, err := v.get("/benchmarks/" + id)
		b.State = ""
		return err == nil && json.Unmarshal(a.body, &b) == nil && b.State != "running"
	})
	return b.State
}

// readOnly lets changes meet a folder of models that is not the service's.
func (t *trial) readOnly(ctx context.Context, photo []byte) error {
	s := setup{core: -1, args: []string{"--default-model", "random:xxs"}}
	if os.Getuid() == 0 {
		s.user = nobody
	}
	dir, remove, err := t.newFolder()
	if err != nil {
		return err
	}
	defer remove()
	file, err := t.checkpointFile(dir)
	if err != nil {
		return err
	}
	if s.user != 0 { // the program where nobody may run it
		data, err := os.ReadFile(t.binary)
		s.binary = filepath.Join(dir, "api")
		if err := errors.Join(err, os.WriteFile(s.binary, data, 0o755)); err != nil {
			return err
		}
	}
	v, folder, end, err := t.begin(ctx, s)
	if err != nil {
		return err
	}
	defer end()
	models := filepath.Join(folder, "models")
	if err := errors.Join(os.WriteFile(filepath.Join(models, "kept.safetensors"), file, 0o644), os.Chmod(models, 0o555)); err != nil {
		return err
	}
	defer os.Chmod(models, 0o755)
	_ = v.cmd.Process.Signal(syscall.SIGHUP)
	await(5*time.Second, func() bool { a, err := v.get("/models/kept"); return err == nil && a.status == http.StatusOK })
	up, err := v.post("/models?name=new", file)
	down, err2 := v.do(http.MethodDelete, "/models/kept", nil)
	c, err3 := v.post("/classify?model=kept", photo)
	err = errors.Join(err, err2, err3, up.honest(http.StatusServiceUnavailable), down.honest(http.StatusServiceUnavailable))
	t.promise(err == nil && up.status == http.StatusServiceUnavailable && down.status == http.StatusServiceUnavailable && c.status == http.StatusOK,
		"models folder read-only: uploads and removals 503, its models serve", "upload %d, removal %d, classification %d %s", up.status, down.status, c.status, errorText(err))
	return nil
}

// killed ends the service without warning in an upload, a benchmark and a
// write of the cache, and looks at what its successor shows.
func (t *trial) killed(ctx context.Context, photo []byte) error {
	folder, remove, err := t.newFolder()
	if err != nil {
		return err
	}
	defer remove()
	file, err := t.checkpointFile(folder)
	if err != nil {
		return err
	}
	s := setup{folder: folder, core: -1, args: []string{"--default-model", "random:xxs"}}
	v, err := t.start(ctx, s)
	if err != nil {
		return err
	}
	native := ""
	targets, err := v.targets()
	for _, target := range targets {
		if strings.HasPrefix(target, "tflite") || native == "" && strings.HasPrefix(target, "onnx") {
			native = target
		}
	}
	half, w := io.Pipe()
	go func() {
		_, _ = w.Write(file[:len(file)/2]) // and no more
	}()
	go func() { _, _ = v.do(http.MethodPost, "/models?name=half", half) }()
	run, err2 := v.post("/benchmarks?models=random:xxs&targets=purego&min_duration_ms=20000&min_count=1&blocks=20", nil)
	await(5*time.Second, func() bool {
		files, _ := os.ReadDir(filepath.Join(folder, "models"))
		return len(files) > 0
	})
	time.Sleep(300 * time.Millisecond)
	v.kill()
	w.Close()
	if err := errors.Join(err, err2); err != nil {
		return err
	}

	if v, err = t.start(ctx, s); err != nil {
		t.promise(false, "killed in an upload and a benchmark: the next one starts", "%v", err)
		return nil
	}
	var list struct {
		Models []struct{ Name, State string }
	}
	a, err := v.get("/models")
	_ = json.Unmarshal(a.body, &list)
	var odd []string
	for _, m := range list.Models {
		if m.State == "failed" || strings.Contains(m.Name, "half") || strings.Contains(m.Name, "upload") {
			odd = append(odd, m.Name)
		}
	}
	left, _ := filepath.Glob(filepath.Join(folder, "models", ".*"))
	up, err2 := v.post("/models?name=half", file)
	t.promise(err == nil && err2 == nil && len(odd) == 0 && len(left) == 0 && up.status == http.StatusCreated, "killed in an upload: nothing of it is served or left behind, and its name is free", "%d odd models %v, %d files left; the same name then %d", len(odd), odd, len(left), up.status)
	state := v.outcomeOf(idOf(run))
	again, err := v.post("/benchmarks?models=random:xxs&targets=purego&min_duration_ms=100&min_count=10&blocks=2", nil)
	final := v.outcomeOf(idOf(again))
	t.promise(err == nil && state == "interrupted" && final == "done", "killed in a benchmark: it is interrupted, and another one is done", "%s; then %d, %s", or(state, "unknown"), again.status, or(final, "unknown"))
	v.kill()

	const cache = "killed as it writes the cache: the next one answers as ever"
	if native == "" {
		t.skip(cache, "no native runtime, and purego has no cache")
		return nil
	}
	path := "/classify?target=" + native
	rounds := within(t, 4, 25)
	var faults []string
	var reference []byte
	for i := range rounds + 1 {
		if v, err = t.start(ctx, s); err != nil {
			return err
		}
		a, err := v.post(path, photo)
		if err != nil || a.status != http.StatusOK {
			faults = append(faults, fmt.Sprintf("%d %v %s", a.status, err, clip(a.body)))
		}
		var c struct{ Predictions json.RawMessage }
		_ = json.Unmarshal(a.body, &c)
		if reference == nil {
			reference = c.Predictions
		}
		if !bytes.Equal(reference, c.Predictions) {
			faults = append(faults, "other predictions")
		}
		v.kill()
		if i == rounds {
			break
		}
		if err := os.RemoveAll(filepath.Join(folder, "cache", "edgevit")); err != nil {
			return err
		}
		if v, err = t.start(ctx, s); err != nil {
			return err
		}
		go v.post(path, photo)
		time.Sleep(time.Duration(i*within(t, 40, 8)) * time.Millisecond)
		v.kill()
	}
	t.promise(len(faults) == 0, cache, "%d kills at other moments, %d faults%s", rounds, len(faults), first(faults))
	return nil
}

// terminated sends SIGTERM to a service with work in hand.
func (t *trial) terminated(ctx context.Context, photo []byte) error {
	v, _, end, err := t.begin(ctx, setup{core: -1, args: []string{"--default-model", "random:s", "--threads", "1"}})
	if err != nil {
		return err
	}
	defer end()
	const clients = 40
	var group sync.WaitGroup
	var good atomic.Int64
	var mu sync.Mutex
	var faults []string
	for range clients {
		group.Go(func() {
			a, err := v.post("/classify", photo)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				faults = append(faults, err.Error())
			case a.status != http.StatusOK:
				faults = append(faults, fmt.Sprintf("status %d", a.status))
			default:
				good.Add(1)
			}
		})
	}
	// All are accepted once each is answered, in work or waiting.
	accepted := await(10*time.Second, func() bool {
		a, err := v.get("/metrics")
		return err == nil && metric(a.body, "edgevit_queue_depth")+metric(a.body, "edgevit_cpu_tokens_in_use")+float64(good.Load()) >= clients
	})
	if !accepted {
		return errors.New("the requests were not accepted within 10 s")
	}
	open := clients - int(good.Load())
	stopped := make(chan string, 1)
	go func() {
		code, took, err := v.stop(30 * time.Second)
		ok := err == nil && code == 0 && took <= 25*time.Second
		stopped <- fmt.Sprintf("exit status %d after %.1f s %s", code, took.Seconds(), errorText(err))
		t.promise(ok, "SIGTERM under load: ends with 0 within 25 s", "exit status %d after %.1f s %s", code, took.Seconds(), errorText(err))
	}()
	refused := await(2*time.Second, func() bool {
		c, err := net.DialTimeout("tcp", v.address, time.Second)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	<-stopped
	group.Wait()
	t.promise(len(faults) == 0 && refused, "SIGTERM under load: all that was accepted finishes, new connections are refused", "%d in work or waiting, %d of %d answered 200%s; refused: %v", open, good.Load(), clients, first(faults), refused)
	return nil
}

// clock runs the program with a wall clock that jumps.
func (t *trial) clock(ctx context.Context, photo []byte) error {
	const promise = "wall clock a day ahead, then two days back: answers, deadlines and a benchmark as ever"
	if !t.long {
		t.skip(promise, "only with -long: to build the program with another clock takes about a minute the first time")
		return nil
	}
	dir, remove, err := t.newFolder()
	if err != nil {
		return err
	}
	defer remove()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil || bytes.Count(text, []byte(jumpAfter)) != 1 {
		t.skip(promise, "this Go's time.Now is another one %s", errorText(err))
		return nil
	}
	changed := filepath.Join(dir, "time.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		return err
	}
	err = errors.Join(os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644),
		os.WriteFile(changed, bytes.Replace(text, []byte(jumpAfter), []byte(jumpAfter+jump), 1), 0o644))
	if err != nil {
		return err
	}
	binary := filepath.Join(dir, "api")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "./cmd/api")
	build.Dir, build.Env = t.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.skip(promise, "this Go does not build with another clock: %v: %s", err, clip(out))
		return nil
	}
	v, _, end, err := t.begin(ctx, setup{core: -1, binary: binary, args: []string{"--default-model", "random:xxs", "--deadline", "2s"}})
	if err != nil {
		return err
	}
	defer end()
	run, err := v.post("/benchmarks?models=random:xxs&targets=purego&min_duration_ms=6000&min_count=10&blocks=20", nil)
	if err != nil {
		return err
	}
	good, bad := 0, ""
	for begin := time.Now(); time.Since(begin) < 9*time.Second; time.Sleep(50 * time.Millisecond) {
		a, err := v.post("/classify", photo)
		if err != nil || a.status != http.StatusOK {
			bad = fmt.Sprintf("after %.1f s: %d %v %s", time.Since(begin).Seconds(), a.status, err, clip(a.body))
			continue
		}
		good++
	}
	took, status := v.dribble("POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
	state := v.outcomeOf(idOf(run))
	t.promise(bad == "" && state == "done" && strings.HasPrefix(status, "408") && took < 5*time.Second, promise,
		"%d answers, %s; a body that stalls: %s after %.1f s; the benchmark is %s", good, or(bad, "none but 200"), or(status, "closed"), took.Seconds(), state)
	return nil
}

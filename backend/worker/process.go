package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"edgevit/backend"
)

// process is a running worker.
type process struct {
	config Config
	cmd    *exec.Cmd
	conn   *conn
	hello  hello

	mu      sync.Mutex
	lastID  uint64
	calls   map[uint64]*pending
	reason  error // why it was told to end
	reading chan struct{}

	// done is closed once the process is gone; err is then why, and wraps
	// backend.ErrCrashed unless it was stopped.
	done chan struct{}
	err  error
}

// call says what a request brings beside its message, and takes of its answer.
type call struct {
	payload [][]byte
	// values is how many float32 the answer's payload may have.
	values int
	// parts takes a file that comes in parts.
	parts io.Writer
	// hang is how long an answer may take before the process is killed; 0: for
	// ever.
	hang time.Duration
}

// pending is a request without its answer.
type pending struct {
	call
	answer chan answer
	// failed is the error of parts. Only the reader uses it, until the answer.
	failed error
}

type answer struct {
	*message
	values []float32
	err    error
}

// start starts a worker, with memory if it is for a session, and waits for its
// hello. The error is backend.ErrUnavailable where the executable cannot be
// started or does not speak the protocol.
func (b *Backend) start(ctx context.Context, memory *os.File) (*process, error) {
	c := b.config
	if !supported {
		return nil, fmt.Errorf("%w: worker processes need Linux or macOS", backend.ErrUnavailable)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	out := &output{now: b.clock.now}
	cmd := exec.Command(c.Command[0], c.Command[1:]...)
	cmd.Args[0] = filepath.Base(c.Command[0])
	cmd.Env = append(append(os.Environ(), c.Env...), versionVariable+"="+strconv.Itoa(Version))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{theirs}
	if memory != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, memory)
	}
	cmd.WaitDelay = time.Second // where a child of its own holds its output
	isolate(cmd)
	p := &process{
		config: c, cmd: cmd, conn: newConn(ours),
		calls: map[uint64]*pending{}, reading: make(chan struct{}), done: make(chan struct{}),
	}
	started := make(chan error)
	go p.live(out, b.name, started)
	err = <-started
	theirs.Close() // so that the worker's end is the end of the socket
	if err != nil {
		return nil, fmt.Errorf("%w: worker: %w", backend.ErrUnavailable, err)
	}
	return p, p.greet(ctx)
}

// live starts the process, waits for its end and tells those who wait for it. It
// keeps a thread to itself, as waiting does anyway: Linux takes the end of the
// thread that started a process for the end of its parent.
func (p *process) live(out *output, name string, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out.mu.Lock() // until there is somebody to tell
	err := p.cmd.Start()
	if err != nil {
		out.mu.Unlock()
		p.conn.socket.Close()
		started <- err
		return
	}
	pid := p.cmd.Process.Pid
	out.log = func(line string) { p.config.Log(fmt.Sprintf("worker %s, pid %d: %s", name, pid, line)) }
	out.mu.Unlock()
	close(started)
	err = p.cmd.Wait()
	// What it said before it died is still read; a child of its own may hold the
	// socket open.
	_ = p.conn.socket.SetReadDeadline(time.Now().Add(time.Second))
	<-p.reading
	fatal := out.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.reason != nil:
		p.err = p.reason
	case fatal != "":
		p.err = fmt.Errorf("%w: its worker process, pid %d, died: %s", backend.ErrCrashed, pid, fatal)
	case err == nil:
		p.err = fmt.Errorf("%w: its worker process, pid %d, ended by itself", backend.ErrCrashed, pid)
	default:
		p.err = fmt.Errorf("%w: its worker process, pid %d, died: %w", backend.ErrCrashed, pid, err)
	}
	close(p.done)
	p.conn.socket.Close()
}

// greet reads the hello and begins to read answers. Unless it succeeds the
// process is gone.
func (p *process) greet(ctx context.Context) error {
	_ = p.conn.socket.SetReadDeadline(time.Now().Add(p.config.StartTimeout))
	stop := context.AfterFunc(ctx, func() { _ = p.conn.socket.SetReadDeadline(time.Now()) })
	m, payload, err := p.conn.receive()
	stop()
	_ = p.conn.socket.SetReadDeadline(time.Time{})
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("%w: %s did not say hello within %v; is it a backend?", backend.ErrUnavailable, p.config.Command[0], p.config.StartTimeout)
	case err == io.EOF:
		err = fmt.Errorf("%w: %s ended before it said hello; is it a backend?", backend.ErrUnavailable, p.config.Command[0])
	case err != nil:
		err = fmt.Errorf("%w: %s: %w", backend.ErrUnavailable, p.config.Command[0], err)
	case m.Hello == nil || payload.N != 0 || len(m.Hello.Targets) > maxTargets || len(m.Hello.Format) > maxName:
		err = fmt.Errorf("%w: %s: %w: its first message is no hello", backend.ErrUnavailable, p.config.Command[0], errProtocol)
	case m.Hello.Protocol != Version:
		err = fmt.Errorf("%w: %s speaks version %d of the protocol of workers, this program %d: build it anew", backend.ErrUnavailable, p.config.Command[0], m.Hello.Protocol, Version)
	}
	if err != nil {
		p.kill(err)
		close(p.reading)
		<-p.done
		return err
	}
	p.hello = *m.Hello
	go p.read()
	return nil
}

// read hands answers to those who wait for them until the socket ends.
func (p *process) read() {
	defer close(p.reading)
	for {
		m, payload, err := p.conn.receive()
		if err == nil {
			err = p.deliver(m, payload)
		}
		if err == nil {
			continue
		}
		var reason error // where it only died, live says of what
		if errors.Is(err, errProtocol) {
			reason = fmt.Errorf("%w: its worker process, pid %d, was killed: %w", backend.ErrCrashed, p.cmd.Process.Pid, err)
		}
		p.kill(reason)
		return
	}
}

func (p *process) deliver(m *message, payload *io.LimitedReader) error {
	p.mu.Lock()
	c := p.calls[m.ID]
	if !m.More {
		delete(p.calls, m.ID)
	}
	p.mu.Unlock()
	switch {
	case c == nil:
		return fmt.Errorf("%w: an answer to nothing", errProtocol)
	case c.parts != nil && payload.N <= maxPart:
		part, err := readAll(payload, int(payload.N))
		if err != nil {
			return err
		}
		if c.failed == nil {
			_, c.failed = c.parts.Write(part)
		}
		if !m.More {
			c.answer <- answer{message: m, err: c.failed}
		}
		return nil
	case m.More || payload.N > 4*int64(c.values) || payload.N%4 != 0:
		return fmt.Errorf("%w: an answer with %d bytes of payload", errProtocol, payload.N)
	}
	data, err := readAll(payload, int(payload.N))
	if err != nil {
		return err
	}
	c.answer <- answer{message: m, values: floatsOf(data)}
	return nil
}

// call sends a request and waits for its answer. When ctx ends the worker is
// told so, and killed if there is no answer within the grace. The error is the
// worker's own, the context's, or wraps backend.ErrCrashed.
func (p *process) call(ctx context.Context, m *message, c call) (answer, error) {
	wait := &pending{call: c, answer: make(chan answer, 1)}
	p.mu.Lock()
	p.lastID++
	m.ID = p.lastID
	p.calls[m.ID] = wait
	p.mu.Unlock()
	within := p.config.Grace
	if len(c.payload) > 0 {
		within = p.config.OpenTimeout
	}
	if err := p.conn.send(m, within, c.payload...); err != nil {
		if errors.Is(err, errProtocol) { // nothing was sent
			p.mu.Lock()
			delete(p.calls, m.ID)
			p.mu.Unlock()
			return answer{}, err
		}
		var reason error
		if errors.Is(err, os.ErrDeadlineExceeded) {
			reason = fmt.Errorf("%w: its worker process, pid %d, was killed, as it read nothing for %v", backend.ErrCrashed, p.cmd.Process.Pid, within)
		}
		p.kill(reason)
		<-p.done
		return answer{}, p.err
	}
	var hung <-chan time.Time
	if c.hang > 0 {
		timer := time.NewTimer(c.hang)
		defer timer.Stop()
		hung = timer.C
	}
	select {
	case a := <-wait.answer:
		return p.take(a)
	case <-p.done:
		return p.last(wait)
	case <-hung:
		p.kill(fmt.Errorf("%w: its worker process, pid %d, was killed, as a run had no answer after %v", backend.ErrCrashed, p.cmd.Process.Pid, c.hang))
		<-p.done
		return p.last(wait)
	case <-ctx.Done():
	}
	_ = p.conn.send(&message{ID: m.ID, Op: opCancel}, p.config.Grace)
	timer := time.NewTimer(p.config.Grace)
	defer timer.Stop()
	select {
	case a := <-wait.answer:
		if a.Error != nil && a.Error.Kind == "canceled" {
			return answer{}, ctx.Err()
		}
		return p.take(a)
	case <-p.done:
		return p.last(wait)
	case <-timer.C:
	}
	p.kill(fmt.Errorf("%w: its worker process, pid %d, was killed, as a run did not end within %v of its deadline or cancellation", backend.ErrCrashed, p.cmd.Process.Pid, p.config.Grace))
	<-p.done
	return answer{}, fmt.Errorf("the worker process was killed, as it did not stop within %v: %w", p.config.Grace, ctx.Err())
}

func (p *process) take(a answer) (answer, error) {
	if a.err != nil {
		return answer{}, a.err
	}
	if a.Error != nil {
		return answer{}, a.Error.decode()
	}
	return a, nil
}

// last is the answer that came before the process was gone, else why it is.
func (p *process) last(wait *pending) (answer, error) {
	select {
	case a := <-wait.answer:
		return p.take(a)
	default:
		return answer{}, p.err
	}
}

// kill ends the process at once, whatever it started included. The first reason
// that is not nil counts.
func (p *process) kill(reason error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason == nil {
		p.reason = reason
	}
	select {
	case <-p.done: // its id may be another's by now
	default:
		killGroup(p.cmd.Process)
	}
	p.conn.socket.Close()
}

// errStopped is why a process is gone that was stopped.
var errStopped = fmt.Errorf("%w: its worker process was stopped", backend.ErrClosed)

// stop has the process end and waits until it is gone.
func (p *process) stop() {
	p.mu.Lock()
	if p.reason == nil {
		p.reason = errStopped
	}
	p.mu.Unlock()
	closeWrite(p.conn.socket)
	timer := time.NewTimer(p.config.Grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.kill(nil)
		<-p.done
	}
}

//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	wireDeadline = 3 * time.Second
	// What net/http is told in the service, beside the deadline.
	headerTime  = 5 * time.Second
	writeMargin = 10 * time.Second
)

// smuggled are requests that two servers could cut differently. Each is sent
// with a second one, GET /openapi.yaml, in what one of the readings takes for
// the body: that one must not be answered.
var smuggled = []struct {
	name, request string
	status        []int // of the first answer
}{
	{"Content-Length and Transfer-Encoding", "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX" + hidden, []int{400}},
	{"two Content-Lengths", "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 64\r\n\r\n" + hidden, []int{400}},
	{"a list of Content-Lengths", "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0, 64\r\n\r\n" + hidden, []int{400}},
	{"a signed Content-Length", "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: +0\r\n\r\n" + hidden, []int{400}},
	{"a negative Content-Length", "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n" + hidden, []int{400}},
	{"a Content-Length past 63 bits", "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551616\r\n\r\n" + hidden, []int{400}},
	{"an unknown Transfer-Encoding", "POST /classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n" + hidden, []int{400, 501}},
	{"two Transfer-Encodings", "POST /classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, []int{400, 501}},
	{"Transfer-Encoding in HTTP/1.0", "POST /classify HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, []int{400, 501}},
	{"a chunk size that is no number", "POST /classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n" + hidden, []int{400}},
	{"a chunk size past 64 bits", "POST /classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000f\r\n" + hidden, []int{400}},
	{"a chunk without its end", "POST /classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nXX0\r\n\r\n" + hidden, []int{400}},
	{"a space before the colon", "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length : 64\r\n\r\n" + hidden, []int{400}},
	{"a folded header line", "POST /classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 64\r\n\r\n" + hidden, []int{400}},
	{"a NUL in a header", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", []int{400}},
	{"a bare CR in a header", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\rContent-Length: 64\r\n\r\n", []int{400}},
	{"no Host", "GET /livez HTTP/1.1\r\n\r\n", []int{400}},
	{"two Hosts", "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", []int{400}},
	{"absolute form of another host", "GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{421}},
	{"absolute form of another host, Host of another", "GET http://localhost/livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", []int{200, 400, 421}}, // RFC 9112 section 3.2.2: Host is ignored
	{"CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n", []int{400, 404, 405, 421}},
	{"a header of 64 KiB", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", []int{431}},
	{"a path of 64 KiB", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{431}},
	{"HTTP/2 without agreement", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{400, 404, 405, 421, 505}},
	{"an unknown version", "GET /livez HTTP/3.7\r\nHost: localhost\r\n\r\n", []int{400, 505}},
}

const hidden = "GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: hidden\r\n\r\n"

// wire tries what ordinary clients cannot send: bytes that are no proper HTTP,
// and connections that stall.
func wire(ctx context.Context, t *trial) error {
	if err := raiseFiles(8192); err != nil {
		return err
	}
	dir, remove, err := t.newFolder()
	if err != nil {
		return err
	}
	defer remove()
	v, err := t.start(ctx, setup{folder: dir, core: -1, args: []string{"--deadline", wireDeadline.String()}})
	if err != nil {
		return err
	}
	defer v.kill()
	photo, err := os.ReadFile(filepath.Join(t.root, "docs", "cat.jpg"))
	if err != nil {
		return err
	}

	var faults []string
	for _, s := range smuggled {
		if err := v.smuggle(s.request, s.status); err != nil {
			faults = append(faults, s.name+": "+err.Error())
		}
	}
	t.promise(len(faults) == 0, "requests that can be cut in two ways: refused, and the hidden one never answered", "%d of %d not%s", len(faults), len(smuggled), all(faults))

	// The stalls go on side by side, so that the trial is as long as the longest.
	clients := within(t, 300, 1000)
	before := descriptors(v.pid())
	var group sync.WaitGroup
	var slowHeader, slowBody, silent, deaf string
	var headerTook, bodyTook time.Duration
	var silentClosed, deafClosed atomic.Int64
	group.Go(func() { headerTook, slowHeader = v.dribble("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ") })
	group.Go(func() {
		bodyTook, slowBody = v.dribble("POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
	})
	group.Go(func() {
		silent = v.stall(clients, "", headerTime+5*time.Second, &silentClosed)
	})
	group.Go(func() {
		deaf = v.stall(clients, pipeline, wireDeadline+writeMargin+10*time.Second, &deafClosed)
	})
	time.Sleep(time.Second)
	during := descriptors(v.pid())
	memoryThen := resident(v.pid())
	served := 0
	const asked = 50
	var worst time.Duration
	waiting := 0 // writes of the service that the buffers have no room for
	for range asked {
		a, err := v.post("/classify", photo)
		if err == nil && a.status == http.StatusOK {
			served++
			worst = max(worst, a.took)
		}
		sockets, err := v.sockets()
		if err != nil {
			return err
		}
		blocked := 0
		for _, s := range sockets {
			if s.held && s.unsent > 0 {
				blocked++
			}
		}
		waiting = max(waiting, blocked)
	}
	t.promise(served == asked, "while all of that goes on, others are served", "%d of %d classified, the slowest in %.0f ms; %d descriptors, %.0f MiB", served, asked, ms(worst), during, inMiB(memoryThen))
	group.Wait()
	t.promise(slowHeader == "" && headerTook <= headerTime+3*time.Second, "a header of a byte every 200 ms: closed after 5 s", "after %.1f s: %s", headerTook.Seconds(), or(slowHeader, "closed without an answer"))
	t.promise(strings.HasPrefix(slowBody, "408") && bodyTook <= wireDeadline+3*time.Second, "a body of a byte every 200 ms: 408 at the deadline of 3 s", "after %.1f s: %s", bodyTook.Seconds(), or(slowBody, "closed without an answer"))
	t.promise(silent == "" && silentClosed.Load() == int64(clients), "connections that say nothing: closed after 5 s", "%d of %d closed %s", silentClosed.Load(), clients, silent)
	t.promise(deaf == "" && deafClosed.Load() == int64(clients) && waiting >= clients, "clients that stop reading long answers: closed 10 s after the deadline", "%d of %d closed, %d writes had to wait %s", deafClosed.Load(), clients, waiting, deaf)
	if err := t.unread(v, clients, photo); err != nil {
		return err
	}
	v.client.CloseIdleConnections()
	var after int
	back := await(5*time.Second, func() bool { after = descriptors(v.pid()); return after <= before+8 })
	t.promise(back, "descriptors are as before", "%d before, %d while they stalled, %d after", before, during, after)
	_, _, err = v.stop(30 * time.Second)
	t.promise(err == nil, "the service lives to the end", "%s", or(errorText(err), "it does"))
	return nil
}

// unread has clients ask for what fits into buffers, and leave it there.
func (t *trial) unread(v *service, clients int, photo []byte) error {
	const promise = "clients that do not read short answers: closed when idle for 2 min, others are served"
	if !t.long {
		t.skip(promise, "only with -long, which waits for that")
		return nil
	}
	var closed atomic.Int64
	failed := make(chan string)
	go func() {
		failed <- v.stall(clients, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", idleTime+10*time.Second, &closed)
	}()
	most, served, asked := 0, 0, 0
	for {
		select {
		case text := <-failed:
			t.promise(text == "" && closed.Load() == int64(clients) && most >= clients && served == asked, promise,
				"%d of %d closed, %d open at once; %d of %d others classified %s", closed.Load(), clients, most, served, asked, text)
			return nil
		case <-time.After(time.Second):
		}
		sockets, err := v.sockets()
		if err != nil {
			return err
		}
		held := 0
		for _, s := range sockets {
			if s.held {
				held++
			}
		}
		most = max(most, held)
		asked++
		if a, err := v.post("/classify", photo); err == nil && a.status == http.StatusOK {
			served++
		}
	}
}

// smuggle sends a request as it stands and reads all answers.
func (v *service) smuggle(request string, want []int) error {
	c, err := net.Dial("tcp", v.address)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wireDeadline + 5*time.Second))
	go io.WriteString(c, request) // the answer may come before the end
	r := bufio.NewReader(c)
	w, err := http.ReadResponse(r, nil)
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
			return nil // closed without an answer, which refuses as well
		}
		return err
	}
	_, _ = io.Copy(io.Discard, w.Body)
	w.Body.Close()
	ok := false
	for _, status := range want {
		ok = ok || w.StatusCode == status
	}
	if !ok {
		return fmt.Errorf("status %d, want one of %v", w.StatusCode, want)
	}
	if w.Header.Get("X-Request-ID") == "hidden" {
		return errors.New("the hidden request was answered")
	}
	if !w.Close && w.StatusCode != http.StatusOK {
		_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	}
	if second, err := http.ReadResponse(r, nil); err == nil {
		return fmt.Errorf("a second answer, %d", second.StatusCode)
	}
	return nil
}

// dribble begins a request and goes on by a byte every 200 ms until the
// connection ends. It says how long that took, and the answer's status line
// without its protocol.
func (v *service) dribble(begin string) (time.Duration, string) {
	start := time.Now()
	c, err := net.Dial("tcp", v.address)
	if err != nil {
		return 0, err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(start.Add(time.Minute))
	_, _ = io.WriteString(c, begin)
	done := make(chan string)
	go func() {
		text, _ := io.ReadAll(c)
		line, _, _ := strings.Cut(string(text), "\r\n")
		_, status, _ := strings.Cut(line, " ")
		done <- status
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case status := <-done:
			return time.Since(start), status
		case <-tick.C:
			_, _ = c.Write([]byte("a")) // once closed, the reader knows
		}
	}
}

// stall opens connections, sends the same on each, reads nothing, and counts
// those that the service ends within the limit. It says what went wrong.
func (v *service) stall(clients int, request string, limit time.Duration, closed *atomic.Int64) string {
	var group sync.WaitGroup
	var failed atomic.Value
	end := time.Now().Add(limit)
	for range clients {
		c, err := net.Dial("tcp", v.address)
		if err != nil {
			return err.Error()
		}
		tcp := c.(*net.TCPConn)
		_ = tcp.SetReadBuffer(4096)
		group.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(end)
			_, _ = io.WriteString(c, request) // blocks once the service reads no more
			for time.Now().Before(end) {
				if hungUp(tcp) {
					closed.Add(1)
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			failed.Store("some were still open after " + limit.String())
		})
	}
	group.Wait()
	text, _ := failed.Load().(string)
	return text
}

// hungUp says whether the other side has ended a connection, of which nothing
// is read.
func hungUp(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	over := false
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		const established = 1 // TCP_ESTABLISHED of include/net/tcp_states.h
		over = err != nil || info.State != established
	})
	return over
}

// raiseFiles lets this process and those that it starts open so many files.
func raiseFiles(n uint64) error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if l.Cur >= n {
		return nil
	}
	l.Cur = min(n, l.Max)
	if l.Cur < n {
		return errors.New("ulimit -n " + strconv.FormatUint(n, 10) + " is not allowed")
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
}

// or is the first text, or the second where that is empty.
func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

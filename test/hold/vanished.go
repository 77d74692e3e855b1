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
	"strings"
	"syscall"
	"time"
)

// idleTime is how long the service keeps a connection without a request.
const idleTime = 2 * time.Minute

// missing are clients that vanished at one point of a request.
type missing struct {
	where   string
	request string // what they had sent
	answer  bool   // they had read an answer
	unsent  bool   // the service has more to write than buffers hold
	bound   time.Duration

	ports    []int
	since    time.Time     // when the last one had vanished, and nothing more was written for any
	written  int64         // bytes that the service has written and nobody acknowledged
	blocked  int           // whose answer could not be written
	orphans  int           // that the kernel alone still had: the other end was silent to the last
	released time.Duration // when the last one was
}

// gone says how many the service has let go of.
func (m *missing) gone(sockets map[int]socket) int {
	held, orphans := 0, 0
	for _, port := range m.ports {
		switch s, known := sockets[port]; {
		case s.held:
			held++
		case known:
			orphans++
		}
	}
	m.orphans = max(m.orphans, orphans)
	if held > 0 {
		m.released = time.Since(m.since)
	}
	return len(m.ports) - held
}

// vanished leaves the service with clients that are gone without a word.
func (t *trial) vanished(ctx context.Context, photo []byte) error {
	const promise = "clients that vanish without FIN or RST "
	v, _, end, err := t.begin(ctx, setup{core: -1, args: []string{"--default-model", "random:xxs", "--deadline", wireDeadline.String()}})
	if err != nil {
		return err
	}
	defer end()
	kinds := []*missing{
		{where: "before a request", bound: headerTime},
		{where: "in a header", request: "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a", bound: headerTime},
		{where: "in a body", request: "POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nabc", bound: wireDeadline},
		{where: "while an answer is written", request: pipeline, unsent: true, bound: wireDeadline + writeMargin},
	}
	if idle := (missing{where: "between requests", request: "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", answer: true, bound: idleTime}); t.long {
		kinds = append(kinds, &idle)
	} else {
		t.skip(promise+idle.where, "not tried: they are kept for 2 min, only with -long")
	}
	each := within(t, 60, 300)
	before := v.quiet()

	var clients []net.Conn
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for _, m := range kinds {
		for range each {
			c, err := net.Dial("tcp", v.address)
			if err != nil {
				return err
			}
			clients = append(clients, c)
			m.ports = append(m.ports, portOf(c))
			if err := m.send(c.(*net.TCPConn)); err != nil {
				return err
			}
			switch err := vanish(c.(*net.TCPConn)); {
			case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOPROTOOPT), errors.Is(err, syscall.EINVAL):
				t.skip(promise+"anywhere", "not tried: this system lets no socket drop its packets: %v", err)
				return nil
			case err != nil:
				return err
			}
		}
		m.since = time.Now()
	}

	during := v.sample(0)
	served, asked := 0, 0
	begin := time.Now()
	for left := len(clients); left > 0 && time.Since(begin) < kinds[len(kinds)-1].bound+10*time.Second && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		a, err := v.post("/classify", photo)
		asked++
		if err == nil && a.status == http.StatusOK {
			served++
		}
		sockets, err := v.sockets()
		if err != nil {
			return err
		}
		left = len(clients)
		for _, m := range kinds {
			left -= m.gone(sockets)
			blocked, written := 0, int64(0)
			for _, port := range m.ports {
				if s := sockets[port]; s.held && s.unsent > 0 {
					blocked++
					written += s.unsent
				}
			}
			m.blocked = max(m.blocked, blocked)
			if m.unsent && written > m.written { // each answer of a pipeline has a bound of its own
				m.written, m.since = written, time.Now()
			}
		}
	}
	sockets, err := v.sockets()
	if err != nil {
		return err
	}
	for _, m := range kinds {
		gone := m.gone(sockets)
		// They are looked for between classifications, which take their time.
		ok := gone == each && m.released <= m.bound+2*time.Second && (!m.unsent || m.blocked == each)
		proof := fmt.Sprintf("%d closes never acknowledged", m.orphans)
		if m.unsent { // with a request unread, a close is a reset, which waits for nothing
			proof = fmt.Sprintf("%d writes had to wait", m.blocked)
		}
		figure := fmt.Sprintf("%d of %d let go, the last after %.1f s; %s", gone, each, m.released.Seconds(), proof)
		t.promise(ok, fmt.Sprintf("%s%s: let go within %.0f s", promise, m.where, m.bound.Seconds()), "%s", figure)
	}
	t.promise(served == asked, "while they are missed, others are served", "%d of %d classified", served, asked)
	var after sample
	back := await(5*time.Second, func() bool {
		after = v.quiet()
		return after.threads <= before.threads+3 && after.descriptors <= before.descriptors+3
	})
	t.promise(back, "after them, goroutines and descriptors are as before", "goroutines %.0f, %.0f, %.0f before, during and after; descriptors %.0f, %.0f, %.0f",
		before.threads, during.threads, after.threads, before.descriptors, during.descriptors, after.descriptors)
	return nil
}

// send brings a client to where it will vanish.
func (m *missing) send(c *net.TCPConn) error {
	if m.unsent {
		_ = c.SetReadBuffer(4096)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, m.request); err != nil {
		return fmt.Errorf("%s: %w", m.where, err)
	}
	if !m.answer {
		return nil
	}
	w, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return fmt.Errorf("%s: %w", m.where, err)
	}
	defer w.Body.Close()
	_, err = io.Copy(io.Discard, w.Body)
	return err
}

// quiet is a sample without the trial's own idle connections.
func (v *service) quiet() sample {
	v.client.CloseIdleConnections()
	return v.sample(0)
}

// pipeline asks for answers that together fill every buffer on the way.
var pipeline = strings.Repeat("GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n", 200)

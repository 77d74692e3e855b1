//go:build linux

package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// socket is what the kernel knows of a connection of the service.
type socket struct {
	held   bool  // the service has it open; else the kernel alone sees to its end
	unsent int64 // bytes that were written and not acknowledged
}

// sockets are the connections of the service by the port of the other end.
func (v *service) sockets() (map[int]socket, error) {
	_, port, err := net.SplitHostPort(v.address)
	if err != nil {
		return nil, err
	}
	own, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/net/tcp") // its columns: proc_net_tcp.txt of the kernel
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found := map[int]socket{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		c := strings.Fields(lines.Text())
		if len(c) < 10 || !strings.HasSuffix(c[1], fmt.Sprintf(":%04X", own)) {
			continue
		}
		_, remote, _ := strings.Cut(c[2], ":")
		other, err := strconv.ParseInt(remote, 16, 32)
		if err != nil || other == 0 { // the one that listens
			continue
		}
		waiting, _, _ := strings.Cut(c[4], ":")
		unsent, err := strconv.ParseInt(waiting, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("/proc/net/tcp: %w", err)
		}
		found[int(other)] = socket{held: c[9] != "0", unsent: unsent}
	}
	return found, lines.Err()
}

// portOf is the client's own port.
func portOf(c net.Conn) int { return c.LocalAddr().(*net.TCPAddr).Port }

// vanish makes a client deaf to its kernel: a filter drops every packet for it,
// so that nothing is acknowledged and no FIN or RST tells of it, as if its
// machine were gone. Whoever closes it must not do so before the end.
func vanish(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(drop)), Filter: &drop[0]})
	})
	if err != nil {
		return err
	}
	return failed
}

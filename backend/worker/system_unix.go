//go:build linux || darwin

package worker

import (
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

const supported = true

// socketPair returns the two ends of a stream, the second for a child.
func socketPair() (net.Conn, *os.File, error) {
	syscall.ForkLock.RLock() // no child may inherit them by chance
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "worker")
	defer ours.Close()
	c, err := net.FileConn(ours) // of a copy
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c, theirs, nil
}

// closeWrite lets the other side read the end of the stream.
func closeWrite(c net.Conn) {
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.CloseWrite() // fails where it is closed altogether
	}
}

// isolate has the process of cmd lead a group of its own, which a terminal's
// Ctrl-C does not reach, and end with this one.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithParent(cmd.SysProcAttr)
}

// killGroup kills p and what it has started. Errors mean that it is gone.
func killGroup(p *os.Process) {
	_ = unix.Kill(-p.Pid, unix.SIGKILL)
	_ = p.Kill()
}

// mapMemory maps size bytes of f for both processes.
func mapMemory(f *os.File, size int) ([]byte, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return b, os.NewSyscallError("mmap", err)
}

func unmapMemory(b []byte) error { return os.NewSyscallError("munmap", unix.Munmap(b)) }

// inherited returns the file that the parent passed as number fd, for this
// process alone.
func inherited(fd uintptr) *os.File {
	unix.CloseOnExec(int(fd))
	return os.NewFile(fd, "worker")
}

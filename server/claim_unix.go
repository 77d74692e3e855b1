//go:build unix

package server

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// claim marks a file as in use for as long as it is open, which also a kill ends.
// It says whether the file is still there. A file system without locks has no
// claims.
func claim(f *os.File) bool {
	if errors.Is(lock(f), unix.EWOULDBLOCK) { // about to be removed
		return false
	}
	own, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(f.Name())
	return err == nil && os.SameFile(own, there)
}

// removeUnclaimed removes a file unless somebody has claimed it, or that cannot
// be told.
func removeUnclaimed(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return lock(f) == nil && os.Remove(path) == nil
}

// lock takes the lock of a file if nobody has it.
func lock(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		return err
	}
	return failed
}

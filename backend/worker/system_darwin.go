package worker

import (
	"errors"
	"os"
	"syscall"
)

// ownExecutable is empty: the system names a running program's file by its path.
const ownExecutable = ""

// endWithParent has nothing to set: the worker ends when its socket is closed.
func endWithParent(*syscall.SysProcAttr) {}

// newMemory returns memory of size bytes as a file without a name.
func newMemory(size int) (*os.File, error) {
	f, err := os.CreateTemp("", "edgevit-tensors-*")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(f.Name()), f.Truncate(int64(size))); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

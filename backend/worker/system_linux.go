package worker

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownExecutable is this program's file even if it was replaced meanwhile, as an
// update does.
const ownExecutable = "/proc/self/exe"

func endWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// newMemory returns memory of size bytes as a file, whose size is sealed: were a
// worker to cut it, this process would die of reading it.
func newMemory(size int) (*os.File, error) {
	fd, err := unix.MemfdCreate("edgevit-tensors", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "edgevit-tensors")
	if err := f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl", err)
	}
	return f, nil
}

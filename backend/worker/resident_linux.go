package worker

import (
	"fmt"
	"os"
)

// resident is the memory of a process that it shares with no file, in bytes; 0
// where that cannot be told.
func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if pid == 0 || err != nil {
		return 0
	}
	var size, all, shared int64 // pages, proc_pid_statm(5)
	if _, err := fmt.Sscan(string(text), &size, &all, &shared); err != nil {
		return 0
	}
	return (all - shared) * int64(os.Getpagesize())
}

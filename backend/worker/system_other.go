//go:build !linux && !darwin

package worker

import (
	"errors"
	"net"
	"os"
	"os/exec"
)

const (
	supported     = false
	ownExecutable = ""
)

var errNoWorkers = errors.New("worker processes need Linux or macOS")

func socketPair() (net.Conn, *os.File, error) { return nil, nil, errNoWorkers }
func closeWrite(net.Conn)                     {}
func isolate(*exec.Cmd)                       {}
func killGroup(*os.Process)                   {}
func newMemory(int) (*os.File, error)         { return nil, errNoWorkers }
func mapMemory(*os.File, int) ([]byte, error) { return nil, errNoWorkers }
func unmapMemory([]byte) error                { return errNoWorkers }
func inherited(uintptr) *os.File              { return nil }

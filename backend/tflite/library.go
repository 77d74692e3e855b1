//go:build cgo && tflite && (linux || darwin)

package tflite

/*
#cgo CFLAGS: -I${SRCDIR}/forward/include
#include <forward.h>
#include <stdlib.h>
*/
import "C"

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"edgevit/backend"
)

// library is a native library that a program loads at most once, for good.
type library struct {
	id    C.ForwardLibrary
	what  string   // what it is to the user
	names []string // of its file
	hint  string   // how to get it

	mu     sync.Mutex
	loaded bool
	path   string
}

var (
	tfliteLibrary = &library{
		id: C.FORWARD_TFLITE, what: "TensorFlow Lite", hint: "`make runtimes` gets it",
		names: byOS([]string{"libjnitensorflowlite.so", "libtensorflowlite_c.so"}, []string{"libjnitensorflowlite.dylib", "libtensorflowlite_c.dylib"}),
	}
	gpuLibrary = &library{
		id: C.FORWARD_GPU, what: "TensorFlow Lite's GPU delegate", hint: "no package carries it for Linux: build it from TensorFlow's sources and put it into the runtimes folder",
		names: byOS([]string{"libtensorflowlite_gpu_delegate.so"}, []string{"libtensorflowlite_gpu_delegate.dylib"}),
	}
)

func byOS(linux, darwin []string) []string {
	if runtime.GOOS == "darwin" {
		return darwin
	}
	return linux
}

// available loads what device needs and says why it cannot.
func available(device string) error {
	if err := tfliteLibrary.load(); err != nil {
		return err
	}
	if device == deviceGPU {
		return gpuLibrary.load()
	}
	return nil
}

// load loads the first candidate that can be loaded. The error is about the
// first candidate that is there, or names all that were tried. It may be called
// again: the file may have come in between.
func (l *library) load() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.loaded {
		return nil
	}
	candidates := backend.LibraryCandidates(l.names...)
	var broken error
	for _, path := range candidates {
		err := l.loadFile(path)
		if err == nil {
			l.loaded, l.path = true, C.GoString(C.forward_path(l.id))
			return nil
		}
		if broken == nil && !errors.Is(err, fs.ErrNotExist) {
			broken = err
		}
	}
	if broken != nil {
		return broken
	}
	return fmt.Errorf("the library of %s was not found; tried %s; %s", l.what, strings.Join(candidates, ", "), l.hint)
}

// loadFile loads the library at path. The error is fs.ErrNotExist if there is
// none.
func (l *library) loadFile(path string) error {
	plain := filepath.Base(path) == path // the system's loader knows where
	if !plain {
		if err := checkLibrary(path); err != nil {
			return err
		}
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	reason := (*C.char)(C.calloc(1, 4096))
	defer C.free(unsafe.Pointer(reason))
	switch C.forward_load(l.id, name, reason, 4096) {
	case 0:
		return nil
	case 1:
		if plain {
			return fmt.Errorf("%w: %s", fs.ErrNotExist, C.GoString(reason))
		}
		return fmt.Errorf("the library of %s cannot be loaded: %s", l.what, C.GoString(reason))
	}
	return fmt.Errorf("%s is no library of %s, or of too old a version: it lacks %s; %s", path, l.what, C.GoString(reason), l.hint)
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// checkLibrary reports what the system's loader does not say clearly, or dies
// of: a library of another architecture, or one that is cut short.
func checkLibrary(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if runtime.GOOS != "linux" {
		return nil
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is damaged, cut short or no library: %w", path, err)
	}
	defer f.Close()
	if want, known := machines[runtime.GOARCH]; known && f.Machine != want {
		return fmt.Errorf("%s is a library for %v, this program is for %v", path, f.Machine, want)
	}
	for _, p := range f.Progs {
		if p.Off+p.Filesz > uint64(info.Size()) {
			return fmt.Errorf("%s is cut short: it has %d bytes and says it has at least %d", path, info.Size(), p.Off+p.Filesz)
		}
	}
	return nil
}

// version is that of the loaded library.
func version() string { return C.GoString(C.TfLiteVersion()) }

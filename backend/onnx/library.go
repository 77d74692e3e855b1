//go:build cgo

package onnx

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"edgevit/backend"
)

// library is the loaded ONNX Runtime. It and its environment are one per
// process and stay until it ends.
type library struct{ path, version string }

var (
	libraryMu sync.Mutex
	loaded    *library
)

// libraryNames are the files that hold ONNX Runtime.
func libraryNames() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{"onnxruntime.dll"}
	case "darwin":
		return []string{"libonnxruntime.1.dylib", "libonnxruntime.dylib"}
	}
	return []string{"libonnxruntime.so.1", "libonnxruntime.so"}
}

// loadLibrary loads ONNX Runtime from the first place where it is. As long as
// there is none, a later call looks again. The error is ErrUnavailable and says
// what was tried.
func loadLibrary() (*library, error) {
	libraryMu.Lock()
	defer libraryMu.Unlock()
	if loaded != nil {
		return loaded, nil
	}
	// The binding asks for the loader's error in a call of its own, and errors
	// are kept by thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var tried []string
	for _, path := range backend.LibraryCandidates(libraryNames()...) {
		err := checkFile(path)
		if err == nil {
			ort.SetSharedLibraryPath(path)
			err = nativeError(ort.InitializeEnvironment(ort.WithLogLevelFatal()))
		}
		if err != nil {
			tried = append(tried, fmt.Sprintf("%s (%v)", path, err))
			continue
		}
		// Only Windows has any; what a service sends nobody asked for.
		if err := ort.DisableTelemetry(); err != nil {
			return nil, fmt.Errorf("%w: ONNX Runtime's telemetry stays on: %w", backend.ErrUnavailable, nativeError(err))
		}
		loaded = &library{path: mappedFile(path), version: ort.GetVersion()}
		return loaded, nil
	}
	return nil, fmt.Errorf("%w: no ONNX Runtime library; tried %s; `make runtimes` fetches one, --runtimes or EDGEVIT_RUNTIMES names its folder",
		backend.ErrUnavailable, strings.Join(tried, ", "))
}

// checkFile finds what the system's loader reports badly or dies of: a file
// that is absent, cut short, or for another processor. A plain name, which the
// loader looks for, passes.
func checkFile(path string) error {
	if filepath.Base(path) == path {
		return nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("not there")
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if runtime.GOOS != "linux" {
		return nil
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("not a whole shared library: %w", err)
	}
	defer f.Close()
	if want, ok := machines[runtime.GOARCH]; ok && f.Machine != want {
		return fmt.Errorf("built for %v, this program for %v", f.Machine, want)
	}
	for _, p := range f.Progs {
		if end := p.Off + p.Filesz; end < p.Off || end > uint64(info.Size()) {
			return fmt.Errorf("not a whole shared library: %d bytes of at least %d", info.Size(), end)
		}
	}
	return nil
}

var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// mappedFile is the file that the loader took for a plain name, as far as the
// system tells.
func mappedFile(path string) string {
	if filepath.Base(path) != path {
		return path
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return path
	}
	for line := range strings.Lines(string(maps)) {
		if i := strings.IndexByte(line, '/'); i >= 0 {
			if file := strings.TrimSpace(line[i:]); strings.HasPrefix(filepath.Base(file), strings.TrimSuffix(path, ".1")) {
				return file
			}
		}
	}
	return path
}

// sourceLine is where in ONNX Runtime's source an error arose.
var sourceLine = regexp.MustCompile(`^\S+\.(cc|h):\d+ .*?(was false\. |\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : )`)

// nativeError makes an error of ONNX Runtime or its binding one of this
// program's: what a caller decides on becomes a sentinel, the wording that of
// the cause.
func nativeError(err error) error {
	if err == nil {
		return nil
	}
	text := sourceLine.ReplaceAllString(err.Error(), "")
	for _, prefix := range []string{"Platform-specific initialization failed: ", "Error creating C session: ", "Error running network: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	switch {
	case strings.HasPrefix(text, "Error setting ORT API base"):
		return errors.New("older than ONNX Runtime 1.24, which this program needs")
	case strings.HasPrefix(text, "Error looking up OrtGetApiBase"):
		return errors.New("not ONNX Runtime: it has no OrtGetApiBase")
	case strings.HasPrefix(text, "Error loading ONNX shared library"):
		_, cause, _ := strings.Cut(text, `": `)
		return errors.New(cause)
	case strings.Contains(text, "fallback to CPU EP has been explicitly disabled"):
		return fmt.Errorf("%w: some operations have no kernel on this device and strict placement forbids the CPU: %s", backend.ErrUnsupported, text)
	}
	return errors.New(text)
}

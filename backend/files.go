package backend

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// RuntimesFolder is where native libraries are looked for first. A program sets
// it before it opens anything; empty means the environment variable
// EDGEVIT_RUNTIMES, else .runtimes/<goos>-<goarch> beside the folder of the
// program's file.
var RuntimesFolder string

// Runtimes returns the folder that RuntimesFolder stands for, which may be
// missing; empty where the program's file cannot be found.
func Runtimes() string {
	if RuntimesFolder != "" {
		return RuntimesFolder
	}
	if folder := os.Getenv("EDGEVIT_RUNTIMES"); folder != "" {
		return folder
	}
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(filepath.Dir(program)), ".runtimes", runtime.GOOS+"-"+runtime.GOARCH)
}

// LibraryCandidates returns the paths at which a native library of one of the
// given file names may be, in the order in which they are tried; the plain
// names at the end are for the system's loader.
func LibraryCandidates(names ...string) []string {
	var paths []string
	if folder := Runtimes(); folder != "" {
		for _, n := range names {
			paths = append(paths, filepath.Join(folder, n))
		}
	}
	return append(paths, names...)
}

// CacheFolder is where files made from models are kept: the user's cache
// folder.
func CacheFolder() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	return filepath.Join(dir, "edgevit"), nil
}

// CacheFile returns the path of a file in the cache folder that holds what
// write writes. It is written beside its place and renamed, with its sha256 in
// a file of the same name and the extension .sha256; a file that does not have
// that sum any more is written again. The name must change with the content.
func CacheFile(name string, write func(io.Writer) error) (string, error) {
	dir, err := CacheFolder()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if intact(path) {
		now := time.Now()
		_ = os.Chtimes(path, now, now) // in use: among the last to be pruned
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	f, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	sum := sha256.New()
	err = errors.Join(write(io.MultiWriter(f, sum)), f.Close())
	if err != nil {
		return "", fmt.Errorf("cache file %s: %w", name, err)
	}
	text := []byte(hex.EncodeToString(sum.Sum(nil)))
	// The sum first: without its file it is only a miss.
	if err := errors.Join(os.WriteFile(path+".sha256", text, 0o644), os.Rename(f.Name(), path)); err != nil {
		return "", fmt.Errorf("cache file %s: %w", name, err)
	}
	prune(dir, path)
	return path, nil
}

// maxCache bounds the cache folder in bytes: a dozen models.
const maxCache = 512 << 20

// prune removes files that were used longest ago until the folder keeps its
// bound; keep stays. What cannot be removed stays too: it is a cache.
func prune(dir, keep string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	total := int64(0)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
			total += info.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if total <= maxCache {
			return
		}
		if path != keep && path != keep+".sha256" && os.Remove(path) == nil {
			total -= f.Size()
		}
	}
}

// intact says whether the file has the sum that was written beside it.
func intact(path string) bool {
	want, err := os.ReadFile(path + ".sha256")
	if err != nil {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return false
	}
	return bytes.Equal(want, []byte(hex.EncodeToString(sum.Sum(nil))))
}

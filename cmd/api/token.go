package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// loadToken reads the token of those who may change the models and run
// benchmarks; none where no file is named. Where the file does not exist it is
// created with a new token.
func loadToken(path string) (token string, created bool, err error) {
	if path == "" {
		return "", false, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = createToken(path)
		if created = err == nil; created || errors.Is(err, fs.ErrExist) { // another program was first
			text, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return "", false, fmt.Errorf("token file: %w", err)
	}
	token = strings.TrimSpace(string(text))
	if token == "" {
		return "", false, fmt.Errorf("token file %s is empty", path)
	}
	return token, created, nil
}

// createToken makes the file with 128 random bits, for its owner only. It
// appears whole or not at all, and never in the place of another.
func createToken(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(rand.Text() + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

//go:build unix

package server

import (
	"os"
	"path/filepath"
	"testing"
)

// TestUploadClaim: what a start was about to remove is not claimed.
func TestUploadClaim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "upload")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !removeUnclaimed(path) || claim(f) {
		t.Error("a file that was removed before it was claimed counts as claimed")
	}
	if f, err = os.Create(path); err != nil {
		t.Fatal(err)
	}
	if !claim(f) || removeUnclaimed(path) {
		t.Error("a file that is claimed was removed")
	}
	f.Close()
	if !removeUnclaimed(path) {
		t.Error("a file whose owner is gone was not removed")
	}
}

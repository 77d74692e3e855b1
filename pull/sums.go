package pull

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Sum is what a file was when it was first taken on trust.
type Sum struct {
	SHA256    string    `json:"sha256"`
	Bytes     int64     `json:"bytes"`
	Name      string    `json:"name"`
	FirstSeen time.Time `json:"first_seen"`
}

// Sums is a folder of such sums, a small file for each URL.
type Sums string

func (s Sums) file(url string) string { return filepath.Join(string(s), key(url)+".json") }

// Lookup returns the sum of the file at the URL, false where none was recorded.
func (s Sums) Lookup(url string) (Sum, bool, error) {
	var sum Sum
	text, err := os.ReadFile(s.file(url))
	if errors.Is(err, fs.ErrNotExist) {
		return sum, false, nil
	}
	if err != nil {
		return sum, false, fmt.Errorf("recorded checksum: %w", err)
	}
	if err := json.Unmarshal(text, &sum); err != nil || !ValidSHA256(sum.SHA256) {
		return sum, false, fmt.Errorf("recorded checksum: %s is damaged; remove it to trust the file anew", s.file(url))
	}
	return sum, true, nil
}

// Record keeps the first sum of the file at the URL; a later one is fs.ErrExist.
func (s Sums) Record(url string, sum Sum) error {
	if err := os.MkdirAll(string(s), 0o755); err != nil {
		return fmt.Errorf("record the checksum: %w", err)
	}
	text, err := json.MarshalIndent(sum, "", "  ")
	if err != nil {
		return fmt.Errorf("record the checksum: %w", err)
	}
	f, err := os.CreateTemp(string(s), ".sum-*")
	if err != nil {
		return fmt.Errorf("record the checksum: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("record the checksum: %w", err)
	}
	if err := os.Link(f.Name(), s.file(url)); err != nil { // whole, and never over another
		return fmt.Errorf("record the checksum: %w", err)
	}
	return nil
}

// ValidSHA256 says whether text is a sha256 in lower-case hex.
func ValidSHA256(text string) bool {
	if len(text) != 64 {
		return false
	}
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// seeds are files of every format that the service reads, from the packages'
// test data.
func seeds(root string, patterns ...string) ([][]byte, error) {
	var files [][]byte
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			if len(data) > 0 {
				files = append(files, data)
			}
		}
	}
	return files, nil
}

// mutated is one of the files with one to four faults: bits flipped, a length
// forged, a stretch cut out, doubled or taken from another file, an end lost.
func mutated(r *rand.Rand, files [][]byte) []byte {
	data := bytes.Clone(files[r.IntN(len(files))])
	for range 1 + r.IntN(4) {
		if len(data) == 0 {
			return data
		}
		// Headers are where faults do most, so that half of all are there.
		at := r.IntN(len(data))
		if r.IntN(2) == 0 {
			at = r.IntN(min(len(data), 256))
		}
		stretch := min(1+r.IntN(64), len(data)-at)
		switch r.IntN(7) {
		case 0:
			data[at] ^= 1 << r.IntN(8)
		case 1:
			data[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
		case 2:
			forged := []uint64{0, 1, 1 << 15, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}[r.IntN(9)]
			var field [8]byte
			if r.IntN(2) == 0 {
				binary.LittleEndian.PutUint64(field[:], forged)
				copy(data[at:], field[:2<<r.IntN(3)])
			} else {
				binary.BigEndian.PutUint64(field[:], forged)
				copy(data[at:], field[8-2<<r.IntN(3):])
			}
		case 3:
			data = data[:at]
		case 4:
			data = slices.Delete(data, at, at+stretch)
		case 5:
			data = slices.Insert(data, at, bytes.Clone(data[at:at+stretch])...)
		case 6:
			other := files[r.IntN(len(files))]
			from := r.IntN(len(other))
			data = append(data[:at], other[from:]...)
		}
	}
	return data
}

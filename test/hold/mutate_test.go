//go:build linux

package main

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestMutated(t *testing.T) {
	files := [][]byte{bytes.Repeat([]byte("abcdefgh"), 100), []byte("x"), bytes.Repeat([]byte{0}, 300)}
	kept := bytes.Clone(files[0])
	changed := 0
	for seed := range uint64(500) {
		a := mutated(rand.New(rand.NewPCG(seed, 0)), files)
		b := mutated(rand.New(rand.NewPCG(seed, 0)), files)
		if !bytes.Equal(a, b) {
			t.Fatalf("seed %d gives two files", seed)
		}
		same := false
		for _, f := range files {
			same = same || bytes.Equal(a, f)
		}
		if !same {
			changed++
		}
	}
	if changed < 400 {
		t.Errorf("%d of 500 are changed, want most", changed)
	}
	if !bytes.Equal(files[0], kept) {
		t.Error("a seed was changed")
	}
}

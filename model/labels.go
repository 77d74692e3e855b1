package model

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// NOTICE says where the names come from.
//
//go:embed imagenet1k.txt
var imageNetText string

var imageNet = sync.OnceValue(func() []string { return strings.Split(strings.TrimSuffix(imageNetText, "\n"), "\n") })

// ImageNet returns the names of the 1,000 classes of ImageNet-1k (ILSVRC 2012)
// in the usual order, that of their WordNet ids. A trained checkpoint of 1,000
// classes that names none gets them. The slice is the caller's.
func ImageNet() []string { return slices.Clone(imageNet()) }

// imageNetNote tells that the labels are a guess, if a good one.
const imageNetNote = "the file names no classes; as it has 1000 of them, they are named after ImageNet-1k"

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

// NOTICE says where the ids come from.
//
//go:embed imagenet1k_wordnet.txt
var imageNetIDs string

var imageNet = sync.OnceValue(func() []string { return strings.Split(strings.TrimSuffix(imageNetText, "\n"), "\n") })

// ImageNet returns the names of the 1,000 classes of ImageNet-1k (ILSVRC 2012)
// in the usual order, that of their WordNet ids. A trained checkpoint of 1,000
// classes that names none gets them. The slice is the caller's.
func ImageNet() []string { return slices.Clone(imageNet()) }

// ImageNetIDs returns the WordNet ids of the classes, n01440764 and on, in the
// order of ImageNet. The slice is the caller's.
func ImageNetIDs() []string { return strings.Fields(imageNetIDs) }

// IsImageNet says whether m's classes are known to be those of ImageNet in their
// order: it bears their names, or is one of the paper's networks untrained.
func (m *Model) IsImageNet() bool {
	if m.Untrained && m.Labels == nil {
		return m.Config.Classes == len(imageNet())
	}
	return slices.Equal(m.Labels, imageNet())
}

// imageNetNote tells that the labels are a guess, if a good one.
const imageNetNote = "the file names no classes; as it has 1000 of them, they are named after ImageNet-1k"

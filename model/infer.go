package model

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// tensors are a checkpoint's weights under canonical names; only shapes are
// known until they are read.
type tensors map[string][]int

var blockName = regexp.MustCompile(`^blocks([1-4])\.(\d{1,3})\.(.+)$`)

// inferConfig reads a configuration off names and shapes. Where tensors of one
// stage disagree the majority decides, so that a single wrong tensor is
// reported as such and does not colour the rest.
func inferConfig(t tensors, l layout) Config {
	c := presets["xxs"]
	c.Depths = [4]int{}
	c.Layout = l.name
	l.apply(&c)
	var dims, rates, hidden [4]votes
	var classes, kernels votes
	for name, shape := range t {
		if m := blockName.FindStringSubmatch(name); m != nil {
			s := int(m[1][0] - '1')
			block, _ := strconv.Atoi(m[2])
			if block >= len(t) {
				continue // no network of so few tensors has it
			}
			c.Depths[s] = max(c.Depths[s], block+1)
			switch rest := m[3]; {
			case rest == "SelfAttn.attn.LocalProp.weight":
				rates[s].add(shape, 3)
			case strings.HasSuffix(rest, ".fc1.weight"), strings.HasSuffix(rest, ".fc1.bias"):
				hidden[s].add(shape, 0)
			case strings.HasSuffix(rest, ".fc2.weight"):
				hidden[s].add(shape, 1)
			case strings.HasSuffix(rest, ".norm.weight"), strings.HasSuffix(rest, ".norm1.weight"), strings.HasSuffix(rest, ".proj.weight"), strings.HasSuffix(rest, ".conv1.weight"):
				dims[s].add(shape, 0)
			case rest == "LocalAgg.attn.weight":
				kernels.add(shape, 3)
			}
			continue
		}
		for s := range 4 {
			stem := "patch_embed" + strconv.Itoa(s+1)
			switch name {
			case stem + ".proj.weight":
				dims[s].add(shape, 0)
				if len(shape) == 4 && shape[2] > 0 {
					c.PatchSizes[s] = shape[2]
				}
			case stem + ".proj.bias", stem + ".norm.weight", stem + ".norm.bias":
				dims[s].add(shape, 0)
			}
		}
		switch name {
		case "head.weight", "head.bias":
			classes.add(shape, 0)
		}
	}
	for s := range 4 {
		c.Dims[s] = dims[s].winner(1)
		c.MLPHidden[s] = hidden[s].winner(4 * c.Dims[s])
		c.SampleRates[s] = rates[s].winner(1)
		c.Heads[s] = max(1, c.Dims[s]/c.Dims[0])
	}
	c.Classes = classes.winner(1)
	c.LocalAggKernel = kernels.winner(c.LocalAggKernel)
	return inferRest(t, c, l)
}

// inferRest settles what needs the dimensions: rates without a LocalProp to
// show them, biases and heads.
func inferRest(t tensors, c Config, l layout) Config {
	has := func(suffix string) bool {
		for name := range t {
			if strings.HasSuffix(name, suffix) {
				return true
			}
		}
		return false
	}
	for s := range 4 {
		prefix := "blocks" + strconv.Itoa(s+1) + "."
		sparse := false
		for name := range t {
			sparse = sparse || strings.HasPrefix(name, prefix) && !c.EveryStage &&
				(strings.Contains(name, ".LocalAgg.") || strings.Contains(name, ".LocalProp.") || strings.Contains(name, ".attn.norm."))
		}
		if sparse && c.SampleRates[s] == 1 {
			c.SampleRates[s] = presets["xxs"].SampleRates[s]
		}
	}
	if l.name == "birder" {
		c.HeadBias = has("head.bias")
	}
	if l.name != "1hunters" {
		c.QKVBias = has(".qkv.bias")
	} else if slices.ContainsFunc([]string{"xxs", "xs"}, func(p string) bool { return presets[p].Dims == c.Dims }) {
		c.Heads = [4]int{1, 2, 4, 8}
	}
	return c
}

// votes counts the values that tensors give for one number.
type votes map[int]int

func (v *votes) add(shape []int, axis int) {
	if axis < len(shape) && shape[axis] > 0 {
		if *v == nil {
			*v = votes{}
		}
		(*v)[shape[axis]]++
	}
}

// winner is the value with most votes, the largest of equals; def if none.
func (v votes) winner(def int) int {
	best := def
	for value, n := range v {
		if n > v[best] || n == v[best] && value > best {
			best = value
		}
	}
	return best
}

// sameTensor says whether a tensor of shape got can stand for want: equal, or
// both a 1x1 convolution, written with or without its two axes of length 1.
func sameTensor(got, want []int) bool {
	trim := func(s []int) []int {
		if len(s) == 4 && s[2] == 1 && s[3] == 1 {
			return s[:2]
		}
		return s
	}
	return slices.Equal(trim(got), trim(want))
}

package model

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// layout is whose tensor names a checkpoint follows, and what that code does
// differently from the authors'.
type layout struct {
	name string
	// matches says whether a tensor of that name shows the layout.
	matches func(name string) bool
	// renamer returns the function from a file's names to canonical ones, those
	// of the authors' code. An empty result drops the tensor.
	renamer func(names []string) func(string) string
	// original is the file's name of a canonical tensor, for messages.
	original func(name string, c Config) string
	// apply sets what no tensor shows.
	apply func(*Config)
}

// layouts in the order in which they are tried: the official names are part of
// easycv's.
var layouts = []layout{
	{
		name:     "1hunters",
		matches:  func(n string) bool { return strings.HasPrefix(n, "main_body.") },
		renamer:  rename1hunters,
		original: original1hunters,
		apply: func(c *Config) {
			c.Variation = Variation{
				HeadBias: true, LocalAggKernel: 3, LocalAggMidNorm: true, EveryStage: true,
				GroupNorm: true, NoPreNorm: true, UnscaledAttention: true,
			}
		},
	},
	{
		name:     "birder",
		matches:  func(n string) bool { return strings.Contains(n, ".local_agg.") || strings.Contains(n, ".self_attn.") },
		renamer:  renameBirder,
		original: originalBirder,
		apply:    func(c *Config) { c.InputSize = 256 },
	},
	{
		name:     "easycv",
		matches:  func(n string) bool { return strings.HasPrefix(n, "backbone.") || strings.Contains(n, ".fc_cls.") },
		renamer:  renameEasyCV,
		original: originalEasyCV,
		apply:    func(c *Config) { c.BlockLayerNormEps = 1e-8 },
	},
	{
		name:     "official",
		matches:  func(n string) bool { return strings.HasPrefix(n, "patch_embed") || strings.HasPrefix(n, "blocks") },
		renamer:  func([]string) func(string) string { return func(n string) string { return n } },
		original: func(n string, _ Config) string { return n },
		apply:    func(*Config) {},
	},
}

// recognise returns the layout that most of the names show, false if none.
func recognise(names []string) (layout, bool) {
	for _, l := range layouts {
		shown := 0
		for _, n := range names {
			if l.matches(n) {
				shown++
			}
		}
		if shown > 0 && shown*2 >= len(names) || shown >= 8 {
			return l, true
		}
	}
	return layout{}, false
}

// wrappers are prefixes that training frameworks put before every name.
var wrappers = []string{"module.", "model.", "net.", "_orig_mod."}

// unwrap returns the prefix of wrappers that all names share.
func unwrap(names []string) string {
	prefix := ""
	for {
		next := ""
		for _, w := range wrappers {
			if allHavePrefix(names, prefix+w) {
				next = w
			}
		}
		if next == "" {
			return prefix
		}
		prefix += next
	}
}

func allHavePrefix(names []string, prefix string) bool {
	for _, n := range names {
		if !strings.HasPrefix(n, prefix) {
			return false
		}
	}
	return len(names) > 0
}

// easyCVHead matches both the name head and head_0, which EasyCV's
// Classification gives to the first of its heads.
var easyCVHead = regexp.MustCompile(`^head(?:_0)?\.fc_cls\.(\w+)$`)

// EasyCV (github.com/alibaba/EasyCV): a backbone and a classification head. The
// backbone may keep a head of its own, which is not used.
func renameEasyCV([]string) func(string) string {
	return func(n string) string {
		if strings.HasPrefix(n, "backbone.head.") {
			return ""
		}
		if m := easyCVHead.FindStringSubmatch(n); m != nil {
			return "head." + m[1]
		}
		return strings.TrimPrefix(n, "backbone.")
	}
}

func originalEasyCV(n string, _ Config) string {
	if rest, ok := strings.CutPrefix(n, "head."); ok {
		return "head.fc_cls." + rest
	}
	return "backbone." + n
}

var (
	birderModules = strings.NewReplacer(".local_agg.", ".LocalAgg.", ".self_attn.", ".SelfAttn.", ".local_prop.", ".LocalProp.")
	birderNames   = strings.NewReplacer(".LocalAgg.", ".local_agg.", ".SelfAttn.", ".self_attn.", ".LocalProp.", ".local_prop.")
	birderStage   = regexp.MustCompile(`^stage(\d+)\.(patch_embed|blocks)\.`)
	officialStage = regexp.MustCompile(`^(patch_embed|blocks)(\d+)\.`)
)

// birder (gitlab.com/birder/birder): modules in lower case, stages under body.
// Older files use the official names of the stages.
func renameBirder([]string) func(string) string {
	return func(n string) string {
		n = strings.TrimPrefix(n, "body.")
		n = birderStage.ReplaceAllString(n, "$2$1.")
		n = birderModules.Replace(n)
		if rest, ok := strings.CutPrefix(n, "features.0."); ok {
			return "norm." + rest
		}
		if rest, ok := strings.CutPrefix(n, "classifier."); ok {
			return "head." + rest
		}
		return n
	}
}

func originalBirder(n string, _ Config) string {
	if rest, ok := strings.CutPrefix(n, "norm."); ok {
		return "features.0." + rest
	}
	if rest, ok := strings.CutPrefix(n, "head."); ok {
		return "classifier." + rest
	}
	return "body." + officialStage.ReplaceAllString(birderNames.Replace(n), "stage$2.$1.")
}

// hunterModules are the six modules of a block of 1hunters/EdgeViT, in their
// order in main_body, with the names of their tensors' owners. The code spells
// 'ositional' so.
var hunterModules = []struct {
	canonical string
	names     map[string]string
}{
	{"LocalAgg", map[string]string{"conditional_ositional_encoding": "pos_embed"}},
	{"LocalAgg", map[string]string{
		"pointwise_prenorm_0": "norm1", "pointwise_conv_0": "conv1", "depthwise_conv": "attn",
		"pointwise_prenorm_1": "mid_norm", "pointwise_conv_1": "conv2",
	}},
	{"LocalAgg.mlp", map[string]string{"mlp_layer_0": "fc1", "mlp_layer_1": "fc2"}},
	{"SelfAttn", map[string]string{"conditional_ositional_encoding": "pos_embed"}},
	{"SelfAttn.attn", map[string]string{"norm": "norm", "qkv": "qkv", "local_prop": "LocalProp", "proj": "proj"}},
	{"SelfAttn.mlp", map[string]string{"mlp_layer_0": "fc1", "mlp_layer_1": "fc2"}},
}

var hunterName = regexp.MustCompile(`^main_body\.(\d{1,4})\.(?:module\.)?(\w+)\.(\w+)$`)

// rename1hunters numbers the flat list main_body: each downsampling starts a
// stage, and every six modules after it are one block.
func rename1hunters(names []string) func(string) string {
	starts := map[int]bool{}
	last := 0
	for _, n := range names {
		if m := hunterName.FindStringSubmatch(n); m != nil {
			i, _ := strconv.Atoi(m[1])
			last = max(last, i)
			if strings.HasPrefix(m[2], "downsampling_") {
				starts[i] = true
			}
		}
	}
	type place struct{ stage, index int }
	places := make([]place, last+1)
	at := place{}
	for i := range places {
		if starts[i] {
			at = place{at.stage + 1, -1}
		} else {
			at.index++
		}
		places[i] = at
	}
	return func(n string) string {
		if rest, ok := strings.CutPrefix(n, "classifier."); ok {
			return "head." + rest
		}
		m := hunterName.FindStringSubmatch(n)
		if m == nil {
			return n
		}
		i, _ := strconv.Atoi(m[1])
		p := places[i]
		switch {
		case m[2] == "downsampling_conv":
			return fmt.Sprintf("patch_embed%d.proj.%s", p.stage, m[3])
		case m[2] == "downsampling_norm":
			return fmt.Sprintf("patch_embed%d.norm.%s", p.stage, m[3])
		case p.stage == 0:
			return n
		}
		module := hunterModules[p.index%len(hunterModules)]
		owner, ok := module.names[m[2]]
		if !ok {
			return n
		}
		return fmt.Sprintf("blocks%d.%d.%s.%s.%s", p.stage, p.index/len(hunterModules), module.canonical, owner, m[3])
	}
}

var (
	canonicalPatch = regexp.MustCompile(`^patch_embed(\d)\.(\w+)\.(\w+)$`)
	canonicalBlock = regexp.MustCompile(`^blocks(\d)\.(\d+)\.([\w.]+)\.(\w+)\.(\w+)$`)
)

func original1hunters(n string, c Config) string {
	if rest, ok := strings.CutPrefix(n, "head."); ok {
		return "classifier." + rest
	}
	start := func(stage string) int {
		s, _ := strconv.Atoi(stage)
		i := 0
		for _, depth := range c.Depths[:s-1] {
			i += 1 + depth*len(hunterModules)
		}
		return i
	}
	if m := canonicalPatch.FindStringSubmatch(n); m != nil {
		return fmt.Sprintf("main_body.%d.downsampling_%s.%s", start(m[1]), map[string]string{"proj": "conv", "norm": "norm"}[m[2]], m[3])
	}
	m := canonicalBlock.FindStringSubmatch(n)
	if m == nil {
		return n
	}
	block, _ := strconv.Atoi(m[2])
	for i, module := range hunterModules {
		for name, owner := range module.names {
			if module.canonical == m[3] && owner == m[4] {
				return fmt.Sprintf("main_body.%d.module.%s.%s", start(m[1])+1+block*len(hunterModules)+i, name, m[5])
			}
		}
	}
	return n
}

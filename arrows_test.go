// Package edgevit_test holds the rules of the whole tree.
package edgevit_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// arrows lists, for each package or tree of packages, what of this module it
// may import beside itself. A tree ends in /…; the longest match counts.
// What is missing may import nothing of the module.
var arrows = map[string][]string{
	"cmd/api":             {"server", "backend", "backend/…", "bench", "checkpoint", "compare", "eval", "export", "jobs", "model", "model/demo", "npy", "preprocess", "pull", "web"},
	"client":              {"api"},
	"server":              {"api", "backend", "bench", "checkpoint", "compare", "eval", "export", "graph", "jobs", "model", "npy", "oip", "preprocess", "web"},
	"bench":               {"backend", "backend/purego/kernel", "compare", "graph", "jobs", "model"},
	"compare":             {"backend", "graph"},
	"eval":                {"backend", "compare", "model", "preprocess"},
	"export":              {"backend", "model"},
	"model":               {"checkpoint", "graph"},
	"preprocess":          {"preprocess/internal/jpeg"},
	"examples/…":          {"api", "client", "backend", "backend/purego", "backend/worker", "graph", "model", "model/demo", "preprocess"},
	"model/demo":          {"checkpoint", "model"},
	"model/modeltest":     {"checkpoint", "model", "npy"},
	"backend":             {"graph"},
	"backend/backendtest": {"backend", "compare", "graph", "model", "model/modeltest"},
	"backend/purego/…":    {"backend", "graph", "backend/purego/…"},
	"backend/onnx/…":      {"backend", "graph", "backend/onnx/…"},
	"backend/tflite/…":    {"backend", "graph", "backend/tflite/…"},
	"backend/remote":      {"backend", "graph", "oip"},
	"backend/worker":      {"backend", "graph"},
}

// standardOnly may import nothing but the standard library.
var standardOnly = []string{"checkpoint", "graph", "model", "compare", "eval", "export", "npy", "oip", "backend"}

func TestArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		imports := strings.Fields(line)
		from := strings.TrimPrefix(strings.TrimPrefix(imports[0], "edgevit"), "/")
		for _, path := range imports[1:] {
			to, ours := strings.CutPrefix(path, "edgevit/")
			switch {
			case !ours && slices.Contains(standardOnly, from) && strings.Contains(strings.Split(path, "/")[0], "."):
				t.Errorf("%s imports %s; it may import the standard library only", from, path)
			case ours && !allowed(from, to):
				t.Errorf("%s imports %s: no arrow goes that way", from, to)
			}
		}
	}
}

func allowed(from, to string) bool {
	rule, longest := []string(nil), -1
	for pattern, targets := range arrows {
		if matches(pattern, from) && len(pattern) > longest {
			rule, longest = targets, len(pattern)
		}
	}
	return slices.ContainsFunc(rule, func(pattern string) bool { return matches(pattern, to) })
}

func matches(pattern, path string) bool {
	tree, ok := strings.CutSuffix(pattern, "/…")
	return path == pattern || ok && (path == tree || strings.HasPrefix(path, tree+"/"))
}

// Command thirdparty says what of others' work the program holds, under which
// licences: the Go modules that are linked into it, the npm packages in its
// page, and the native libraries that it can load.
//
//	go run ./test/thirdparty > THIRD_PARTY.md
//	go run ./test/thirdparty -check THIRD_PARTY.md
//	go run ./test/thirdparty -sbom modules.json > sbom.json
//
// The last adds what is no Go module to a CycloneDX document of the modules,
// and corrects the licences, which its maker guesses.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

var errNoLicence = errors.New("no file of a licence")

// unlicensed are modules whose files do not say their licence: known, and to be
// asked for.
var unlicensed = []string{"github.com/alecthomas/kong-yaml"}

// part is a piece of others' work.
type part struct {
	kind, name, version string
	licence             string // SPDX expression
	text                string // of the licence; empty where the part is not handed on
	sha256              string
}

func main() {
	check := flag.String("check", "", "compare with this file instead of printing")
	sbom := flag.String("sbom", "", "add to this CycloneDX document")
	flag.Parse()
	if err := run(*check, *sbom); err != nil {
		fmt.Fprintln(os.Stderr, "thirdparty:", err)
		os.Exit(1)
	}
}

func run(check, sbom string) error {
	parts, err := modules()
	if err != nil {
		return err
	}
	page, err := packages("web/package-lock.json")
	if err != nil {
		return err
	}
	native, err := libraries("runtimes/runtimes.lock", "runtimes/package-lock.json")
	if err != nil {
		return err
	}
	parts = slices.Concat(parts, page, native)
	for _, p := range parts {
		if p.licence == "" {
			return fmt.Errorf("%s %s: no licence was recognised", p.name, p.version)
		}
	}
	if sbom != "" {
		return merge(sbom, parts)
	}
	text := list(parts)
	if check == "" {
		_, err := os.Stdout.Write(text)
		return err
	}
	kept, err := os.ReadFile(check)
	if err == nil && !bytes.Equal(kept, text) {
		err = fmt.Errorf("%s is stale: go run ./test/thirdparty > %s", check, check)
	}
	return err
}

// modules are those that the program with all backends is linked from, on Linux
// on x86-64.
func modules() ([]part, error) {
	c := exec.Command("go", "list", "-tags", "tflite", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}", "./cmd/api")
	c.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=1")
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	lines := slices.Compact(slices.Sorted(strings.SplitSeq(strings.TrimSpace(string(out)), "\n")))
	root, err := exec.Command("go", "env", "GOROOT", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	goroot, _, _ := strings.Cut(string(root), "\n")
	var parts []part
	for _, line := range append(lines, "std go1.26 "+goroot) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue // packages of no module
		}
		text, err := licenceText(f[2])
		if err == errNoLicence && slices.Contains(unlicensed, f[0]) {
			parts = append(parts, part{kind: "Go module", name: f[0], version: f[1], licence: "NOASSERTION"})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f[0], err)
		}
		parts = append(parts, part{kind: "Go module", name: f[0], version: f[1], licence: recognise(text), text: text})
	}
	return parts, nil
}

// licenceText is what a folder has of licences and notices.
func licenceText(dir string) (string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, f := range files {
		name := strings.ToUpper(f.Name())
		if f.IsDir() || !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") && !strings.HasPrefix(name, "NOTICE") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return "", err
		}
		text.Write(bytes.ReplaceAll(bytes.TrimSpace(data), []byte("\r\n"), []byte("\n")))
		text.WriteString("\n")
	}
	if text.Len() == 0 {
		return "", errNoLicence
	}
	return text.String(), nil
}

// recognise tells licences by the words that only they have; empty if none.
func recognise(text string) string {
	words := strings.Join(strings.Fields(text), " ")
	has := func(s string) bool { return strings.Contains(words, s) }
	var found []string
	if has("Apache License") && has("Version 2.0") {
		found = append(found, "Apache-2.0")
	}
	if has("Redistribution and use in source and binary forms") {
		if has("Neither the name") || has("may be used to endorse or promote") {
			found = append(found, "BSD-3-Clause")
		} else {
			found = append(found, "BSD-2-Clause")
		}
	}
	if has("Permission is hereby granted, free of charge") {
		found = append(found, "MIT")
	}
	if has("Mozilla Public License") && has("ersion 2.0") {
		found = append(found, "MPL-2.0")
	}
	return strings.Join(found, " AND ")
}

// lock is npm's package-lock.json, as far as it matters here.
type lock struct {
	Packages map[string]struct {
		Version, License, Integrity string
		Dev                         bool
	}
}

func readLock(path string) (l lock, err error) {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	return l, err
}

// packages are those of an npm lock that are no tools. Their licences' texts
// are in NOTICE.
func packages(path string) ([]part, error) {
	l, err := readLock(path)
	if err != nil {
		return nil, err
	}
	var parts []part
	for at, p := range l.Packages {
		if name := strings.TrimPrefix(at, "node_modules/"); at != "" && !p.Dev {
			parts = append(parts, part{kind: "npm package", name: name, version: p.Version, licence: p.License})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.name, b.name) })
	return parts, nil
}

// libraries are the native ones of runtimes.lock, which are not handed on with
// the program but fetched.
func libraries(path, npm string) ([]part, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	l, err := readLock(npm)
	if err != nil {
		return nil, err
	}
	var parts []part
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] == "#" {
			continue
		}
		p := part{kind: "fetched library", name: f[0] + "/" + f[1], sha256: f[2], licence: "Apache-2.0"}
		switch {
		case strings.Contains(f[1], "onnxruntime"):
			p.version, p.licence = l.Packages["node_modules/onnxruntime-node"].Version, "MIT"
		case strings.HasPrefix(f[1], "web/ort/"):
			p.version, p.licence = l.Packages["node_modules/onnxruntime-web"].Version, "MIT"
		case strings.HasPrefix(f[1], "web/litert/"):
			p.version = l.Packages["node_modules/@litertjs/core"].Version
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func list(parts []part) []byte {
	var b bytes.Buffer
	b.WriteString("# Third-party work\n\nWritten by `go run ./test/thirdparty`. NOTICE says what of others' work the sources hold.\n\n| what | name | version | licence |\n|---|---|---|---|\n")
	texts := map[string][]string{}
	var order []string
	for _, p := range parts {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", p.kind, p.name, p.version, p.licence)
		if p.text != "" {
			if texts[p.text] == nil {
				order = append(order, p.text)
			}
			texts[p.text] = append(texts[p.text], p.name)
		}
	}
	for _, text := range order {
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s```\n", strings.Join(texts[text], ", "), text)
	}
	return b.Bytes()
}

// merge prints the CycloneDX document with all parts in it.
func merge(path string, parts []part) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document map[string]any
	if err := json.Unmarshal(data, &document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	components, _ := document["components"].([]any)
	known := map[string]map[string]any{}
	for _, c := range components {
		if c, ok := c.(map[string]any); ok {
			delete(c, "evidence") // guesses
			known[fmt.Sprint(c["name"])] = c
		}
	}
	for _, p := range parts {
		licences := []any{map[string]any{"expression": p.licence}}
		if c := known[p.name]; c != nil {
			c["licenses"] = licences
			continue
		}
		c := map[string]any{"type": "library", "name": p.name, "licenses": licences}
		if p.version != "" {
			c["version"] = p.version
		}
		if p.kind == "npm package" {
			c["purl"] = "pkg:npm/" + p.name + "@" + p.version
		}
		if p.sha256 != "" {
			c["hashes"] = []any{map[string]any{"alg": "SHA-256", "content": p.sha256}}
		}
		components = append(components, c)
	}
	document["components"] = components
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(document)
}

package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"edgevit/backend"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = ""

// buildVersion is the version of the build, or of the revision it was made
// from.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return info.Main.Version
}

type versionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// versionOutput is the JSON of version.
type versionOutput struct {
	Version  string   `json:"version"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	Backends []string `json:"backends"`
}

func (c *versionCmd) Run(s std, registry *backend.Registry) error {
	v := versionOutput{buildVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, registry.Names()}
	if c.JSON {
		return writeJSON(s.out, v)
	}
	_, err := fmt.Fprintf(s.out, "edgevit %s (%s, %s), backends %v\n", v.Version, v.Go, v.Platform, v.Backends)
	return err
}

package main

import (
	"context"
	"fmt"

	"edgevit/backend"
	"edgevit/backend/remote"
	"edgevit/model"
)

// withRemotes returns the targets of this build and those of --remote.
func withRemotes(flags []string) (*backend.Registry, error) {
	if len(flags) == 0 {
		return &backend.Default, nil
	}
	var servers []remote.Server
	for _, flag := range flags {
		server, err := remote.Parse(flag)
		if err != nil {
			return nil, fmt.Errorf("--remote: %w", err)
		}
		servers = append(servers, server)
	}
	b, err := remote.New(servers)
	if err != nil {
		return nil, fmt.Errorf("--remote: %w", err)
	}
	return backend.Default.With(b), nil
}

// openTarget opens a model on a target. Of one that runs elsewhere it says on
// standard error where, and whether the model there is known to be the same.
func openTarget(ctx context.Context, s std, registry *backend.Registry, target string, m *model.Model, threads int) (*backend.Classifier, error) {
	c, err := registry.Open(ctx, target, m.Graph, backend.Options{Threads: threads, Model: m.Name})
	if err != nil {
		return nil, err
	}
	if c.Threads() == 0 {
		fmt.Fprintf(s.err, "api: %s: %s\n", c.Target(), c.Describe().Provider)
	}
	return c, nil
}

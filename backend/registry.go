package backend

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"edgevit/graph"
)

// Registry holds the backends of a program under their names.
type Registry struct {
	mu       sync.RWMutex
	backends map[string]Backend
}

// Default is the registry that backends register with in their init.
var Default Registry

// With returns a registry of r's backends and b, which Register would take.
func (r *Registry) With(b Backend) *Registry {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := &Registry{backends: maps.Clone(r.backends)}
	all.Register(b)
	return all
}

// Register adds b to the default registry.
func Register(b Backend) { Default.Register(b) }

// Register adds b. It panics if b is nil, its name is not a valid part of a
// target's name, it lists no targets, or the name is taken.
func (r *Registry) Register(b Backend) {
	if b == nil {
		panic("backend: Register of a nil backend")
	}
	name := b.Name()
	if !targetPart.MatchString(name) {
		panic(fmt.Sprintf("backend: Register of the invalid name %q", name))
	}
	if len(b.Targets()) == 0 {
		panic("backend: " + name + " lists no targets")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.backends[name]; taken {
		panic("backend: Register called twice for " + name)
	}
	if r.backends == nil {
		r.backends = map[string]Backend{}
	}
	r.backends[name] = b
}

// Names lists the registered backends, sorted.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names := make([]string, 0, len(r.backends))
	for name := range r.backends {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Backend returns the backend of that name, nil if there is none.
func (r *Registry) Backend(name string) Backend {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.backends[name]
}

// Targets lists every target of every backend in its canonical form, sorted by
// backend, the backend's default first.
func (r *Registry) Targets() []Target {
	var all []Target
	for _, name := range r.Names() {
		b := r.Backend(name)
		for _, t := range b.Targets() {
			all = append(all, canonical(t, defaults(b)))
		}
	}
	return all
}

// Probe asks every backend what can run here. Targets are in canonical form
// and in the order of Targets.
func (r *Registry) Probe(ctx context.Context) []TargetStatus {
	var all []TargetStatus
	for _, name := range r.Names() {
		b := r.Backend(name)
		for _, s := range b.Probe(ctx) {
			s.Target = canonical(s.Target, defaults(b))
			all = append(all, s)
		}
	}
	return all
}

// Workers tells of the processes of every target whose sessions have their own.
// Targets are in canonical form.
func (r *Registry) Workers() map[Target]Workers {
	all := map[Target]Workers{}
	for _, name := range r.Names() {
		b := r.Backend(name)
		s, ok := b.(Supervisor)
		if !ok {
			continue
		}
		for _, w := range s.Workers() {
			w.Target = canonical(w.Target, b.Targets()[0])
			all[w.Target] = w
		}
	}
	return all
}

// Resolve parses the name of a target and returns its canonical form, in which
// the backend's defaults are left out. The error is ErrTargetSyntax or
// ErrUnknownTarget; the latter lists what there is.
func (r *Registry) Resolve(name string) (Target, error) {
	t, err := ParseTarget(name)
	if err != nil {
		return Target{}, err
	}
	if b := r.Backend(t.Backend); b != nil {
		t = canonical(t, defaults(b))
	}
	known := r.Targets()
	if slices.Contains(known, t) {
		return t, nil
	}
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.String()
	}
	return Target{}, fmt.Errorf("%w %q; this build has %s", ErrUnknownTarget, name, strings.Join(names, ", "))
}

// defaults is the backend's default target, without a device if none of them is
// the default.
func defaults(b Backend) Target {
	t := b.Targets()[0]
	if _, ok := b.(DeviceNamer); ok {
		t.Device = ""
	}
	return t
}

// canonical leaves out of t what is the same in def, the backend's default.
func canonical(t, def Target) Target {
	if t.Device == def.Device {
		t.Device = ""
	}
	if t.Precision == def.Precision {
		t.Precision = ""
	}
	return t
}

// Open opens g on the target of that name with the default registry. Device
// and Precision of o are taken from the target.
func Open(ctx context.Context, target string, g *graph.Graph, o Options) (*Classifier, error) {
	return Default.Open(ctx, target, g, o)
}

// Open opens g on the target of that name.
func (r *Registry) Open(ctx context.Context, target string, g *graph.Graph, o Options) (*Classifier, error) {
	t, err := r.Resolve(target)
	if err != nil {
		return nil, err
	}
	b := r.Backend(t.Backend)
	if o.Threads == 0 {
		o.Threads = DefaultThreads()
	}
	def := defaults(b)
	o.Device, o.Precision = t.Device, t.Precision
	if o.Device == "" {
		o.Device = def.Device
	}
	if o.Precision == "" {
		o.Precision = def.Precision
	}
	s, err := b.Open(ctx, g, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", t, err)
	}
	c := &Classifier{session: s, graph: g, target: t, threads: o.Threads}
	if s, ok := s.(Threader); ok {
		c.threads = s.Threads()
	}
	return c, nil
}

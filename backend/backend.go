// Package backend is the contract between the service and the runtimes that
// can execute a graph. A runtime registers a Backend under its name; a program
// opens a model on a target and runs it:
//
//	c, err := backend.Open(ctx, "purego", g, backend.Options{})
//	err = c.Run(ctx, images, logits)
//
// backend.go holds the contract that a runtime implements, registry.go finds
// runtimes, target.go names them, classifier.go is what callers hold.
package backend

import (
	"context"
	"errors"
	"io"
	"runtime"
	"time"

	"edgevit/graph"
)

// Errors that a caller decides on. A Backend returns them wrapped with what
// exactly was wrong.
var (
	// ErrUnavailable: the target cannot run here, for the reason given.
	ErrUnavailable = errors.New("target unavailable")
	// ErrUnsupported: the target cannot run this graph or option.
	ErrUnsupported = errors.New("not supported by the target")
	// ErrShape: the lengths of input and output do not fit the graph.
	ErrShape = errors.New("wrong shape")
	// ErrClosed: the session is closed.
	ErrClosed = errors.New("session closed")
	// ErrCrashed: the process in which the runtime runs died or had to be
	// killed. It starts again by itself.
	ErrCrashed = errors.New("the runtime crashed")
)

// Backend compiles graphs for one runtime. It holds no state and is safe for
// concurrent use.
type Backend interface {
	// Name is the first part of a target's name.
	Name() string
	// Targets lists every device and precision that this build knows, the
	// default first. It asks nothing of the machine.
	Targets() []Target
	// Probe says for each of Targets whether it can run here and now.
	Probe(ctx context.Context) []TargetStatus
	// Open compiles g, whose weights g.Full has: a session should keep g, and
	// not those. It reports ErrUnavailable if the native library or the
	// device is absent, ErrUnsupported if an operation of g or an option has
	// no lowering.
	Open(ctx context.Context, g *graph.Graph, o Options) (Session, error)
}

// DeviceNamer is a Backend none of whose devices is the default one, so that a
// target's name always has it.
type DeviceNamer interface{ NamedDevices() }

// Session runs one compiled graph. Calls of Run may overlap.
type Session interface {
	// Run reads in, [N H W 3] float32, and fills out, [N classes] logits. It
	// returns ctx.Err() soon after ctx ends; out is then undefined.
	Run(ctx context.Context, in, out []float32) error
	// Close frees the session. It is called once, with no Run in progress.
	Close() error
}

// Options say how a session is opened.
type Options struct {
	// Threads is the number of CPU threads of one Run; 0 is DefaultThreads.
	Threads int
	// Device and Precision are those of the target; empty means its default.
	Device, Precision string
	// Model is the name that the graph is served under, for a target that has the
	// model already and is not given the graph.
	Model string
	// Strict makes it an error that a node would run on another device.
	Strict bool
}

// DefaultThreads is the number of threads of one Run where none is given: the
// CPU quota, which GOMAXPROCS follows, but at most 4.
func DefaultThreads() int { return min(runtime.GOMAXPROCS(0), 4) }

// TargetStatus says whether a target can run here.
type TargetStatus struct {
	Target    Target
	Available bool
	// Reason says why not: what was looked for, and what to do.
	Reason string
}

// Threader is a Session whose Run does not take as many CPU threads of this machine
// as it was asked to.
type Threader interface{ Threads() int }

// Tracer is a Session that can show the output of every node.
type Tracer interface {
	// Trace runs one image, [H W 3], through a form of the model that keeps
	// every node's output, and reports the nodes in execution order.
	Trace(ctx context.Context, in []float32) ([]NodeTrace, error)
}

// NodeTrace is what a node did in one run.
type NodeTrace struct {
	Node string
	// Output is the node's feature map, [H W C]. It is nil if Folded.
	Output []float32
	// Folded says that the runtime merged the node into another one, so that
	// its output never exists.
	Folded bool
	// Time is how long the node ran, 0 where the runtime does not tell.
	Time time.Duration
}

// Profiler is a Session that can say where the time of a Run goes.
type Profiler interface {
	// Profile runs one image, [H W 3], the given number of times, and reports
	// the steps that a Run takes, in their order.
	Profile(ctx context.Context, in []float32, runs int) ([]Step, error)
}

// Step is a part of a Run: one or more nodes that are computed together.
type Step struct {
	// Nodes are the names of the graph's nodes.
	Nodes []string
	// Times is how long the step took in each run.
	Times []time.Duration
}

// Describer is a Session that can say what truly runs where.
type Describer interface{ Describe() Description }

// Description says what a session runs on.
type Description struct {
	Threads int
	// Provider is the execution provider, delegate or kernel set.
	Provider string
	// DelegatedNodes of Nodes run on the provider.
	DelegatedNodes, Nodes int
	// Library is the path of the native library, empty where there is none.
	Library        string
	LibraryVersion string
	// WeightBytes is the size of the packed weights, ArenaBytes that of the
	// activations of one run.
	WeightBytes, ArenaBytes int64
	// ResidentBytes is the memory that a process of the session's own holds
	// now, all told; 0 where there is none or it cannot be told.
	ResidentBytes int64
	// WorkerPID is the id of the process that the session runs in, 0 if that is
	// the caller's own, or is down.
	WorkerPID int
}

// Supervised is a Session in a process of its own, which may be down.
type Supervised interface {
	// Up is nil while the process is there, else says why not and when it
	// starts again.
	Up() error
}

// Supervisor is a Backend whose sessions are Supervised.
type Supervisor interface {
	// Workers tells of the processes of every target that was ever opened.
	Workers() []Workers
}

// Workers are the processes of a target's sessions.
type Workers struct {
	Target Target
	// Running have a process, Restarting wait for theirs to start again.
	Running, Restarting int
	// Restarts is how often a process was started again after it died.
	Restarts int64
	// RestartIn is the time to the next start where any is Restarting.
	RestartIn time.Duration
}

// Exporter is a Backend that can write a graph in its runtime's file format. It
// needs no native library.
type Exporter interface {
	// Format is the file's extension without the dot: onnx, tflite.
	Format() string
	// Export writes g, whose weights g.Full has. The metadata goes into the file as far as the format
	// has a place for it.
	Export(w io.Writer, g *graph.Graph, metadata map[string]string) error
}

// Package server is the HTTP API: it serves the contract in package api with
// the models of a folder on the targets of a backend registry.
//
// Read classify.go first, the way of an image; preprocess.go goes half of it,
// compare.go sends it through several targets; benchmarks.go measures them,
// profile.go one of them step by step, evaluations.go how often they are right
// on the sets of datasets.go. jobs.go is what both kinds of long jobs share. oip.go
// does the same by the Open Inference Protocol.
// store.go holds models and sessions, upload.go what changes their folder,
// admission.go the CPU tokens, stages.go times and spans, body.go the limits of what is uploaded, web.go
// and device.go the files of the page, middleware.go what every request
// passes, errors.go the one table from errors to answers.
package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/semaphore"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/checkpoint"
	"edgevit/model"
	"edgevit/preprocess"
	"edgevit/web"
)

// Limits of connections, as DESIGN fixes them.
const (
	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	drainTimeout      = 25 * time.Second
	lameDuck          = 500 * time.Millisecond
	lastWords         = 4 * time.Second
	writeMargin       = 10 * time.Second // past a request's deadline, to write its answer
)

// Config says what is served. Only Registry is required.
type Config struct {
	Log      *zap.Logger       // nil: no log
	Registry *backend.Registry // the targets
	// ModelsDir is the folder of checkpoints; it may be missing.
	ModelsDir string
	// Demo makes the model "demo", which is served where ModelsDir has no
	// checkpoint, or where DefaultModel asks for it. It may be nil.
	Demo func() (*model.Model, error)
	// DefaultModel is the served name of the model that requests mean which
	// name none; empty: the single one there is.
	DefaultModel string
	// DefaultTarget is where requests run that name no target; empty: purego.
	DefaultTarget string
	// Threads of one run; 0: backend.DefaultThreads.
	Threads int
	// Limits of uploads and images; the zero value: preprocess.DefaultLimits.
	Limits preprocess.Limits
	// Token is what a request must bear that changes the models folder; empty:
	// nobody may change it.
	Token string
	// CheckpointBytes is the longest checkpoint that is taken in; 0, which is
	// also the most: checkpoint.DefaultMaxBytes.
	CheckpointBytes int64
	// Data is the folder of benchmarks and evaluations; empty: there are none.
	Data string
	// DataSets are folders or .csv files of images with known classes, as
	// eval.Open reads them, by the name that clients use.
	DataSets map[string]string
	// Runtimes is the folder of the runtimes, whose folder web holds those that
	// run in browsers; empty, or without that folder: there are none.
	Runtimes string
	// Queue is how many requests may wait for a session; 0: 64.
	Queue int
	// MaxWait is the longest that a request may be expected to wait for its
	// turn; 0: 5 s.
	MaxWait time.Duration
	// Memory is the budget of open sessions in bytes: those that were not used
	// for the longest time make room for others. The pixels of images in
	// progress may take half as much again, and so may the bodies of requests,
	// but always one image, and at most 256 MiB of bodies. 0: no bound but that.
	Memory int64
	// ModelsBytes is the most that checkpoints in ModelsDir may have together
	// for another to be taken in; 0: no bound.
	ModelsBytes int64
	// Rate is how many requests a second one client's address may send, but for
	// those that ask how the server is; 0: no bound.
	Rate int
	// AllowedOrigins are the origins of web pages, such as
	// https://example.org, that may use the service from a browser beside its
	// own.
	AllowedOrigins []string
	// Deadline of a request from its header to its answer; 0: 30 s.
	Deadline time.Duration
	// Connections at most are served at once; beyond them a few are told to come
	// again, or how the server is; 0: 2048.
	Connections int
	// AllowedHosts are names in a request's Host beside IP addresses and
	// loopback names, which always pass; "*" lets any pass.
	AllowedHosts []string
	Version      string
	// TracerProvider makes the spans of requests and of what they wait for; nil:
	// there are none.
	TracerProvider trace.TracerProvider
}

// Server is the service. Its methods may be called concurrently.
type Server struct {
	log         *zap.Logger
	registry    *backend.Registry
	limits      preprocess.Limits
	deadline    time.Duration
	drainTime   time.Duration
	connections int
	version     string
	hosts       map[string]bool
	transfer    time.Duration
	token       *[sha256.Size]byte // its sum; nil: there is none
	checkpoints int64              // bytes of one upload
	bodies      budget
	pixels      *semaphore.Weighted // bytes of images that are being decoded
	uploads     *semaphore.Weighted // checkpoints that come in
	exports     *semaphore.Weighted // models that go out
	traces      *semaphore.Weighted // comparisons layer by layer
	imports     *semaphore.Weighted // bundles that are read
	admission   *admission
	store       *store
	jobs        *longJobs
	dataSets    *dataSets
	metrics     *metrics
	runtimes    browserRuntimes
	tracer      trace.Tracer
	tracing     bool // there is a provider

	open     atomic.Int64 // connections
	router   *chi.Mux
	initial  []*entry // found by New, loaded by Start
	draining atomic.Bool
}

// New makes a server and looks at the models folder, but loads nothing. The
// error says which setting cannot be met: an unknown default target or model,
// a models folder that cannot be read, or a data set without a proper name.
func New(c Config) (*Server, error) {
	target, err := c.Registry.Resolve(cmp.Or(c.DefaultTarget, "purego"))
	if err != nil {
		return nil, fmt.Errorf("default target: %w", err)
	}
	if c.CheckpointBytes < 0 || c.CheckpointBytes > checkpoint.DefaultMaxBytes {
		return nil, fmt.Errorf("largest checkpoint: %d bytes, want 1 to %d", c.CheckpointBytes, int64(checkpoint.DefaultMaxBytes))
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.ModelsDir != "" {
		c.ModelsDir = filepath.Clean(c.ModelsDir)
	}
	if c.Limits == (preprocess.Limits{}) {
		c.Limits = preprocess.DefaultLimits()
	}
	s := &Server{
		log:         c.Log,
		registry:    c.Registry,
		limits:      c.Limits,
		deadline:    cmp.Or(c.Deadline, 30*time.Second),
		drainTime:   drainTimeout,
		connections: cmp.Or(c.Connections, 2048),
		version:     c.Version,
		hosts:       map[string]bool{},
		transfer:    transferTime,
		checkpoints: cmp.Or(c.CheckpointBytes, checkpoint.DefaultMaxBytes),
		uploads:     semaphore.NewWeighted(maxUploads),
		exports:     semaphore.NewWeighted(maxExports),
		traces:      semaphore.NewWeighted(1),
		imports:     semaphore.NewWeighted(1),
		runtimes:    browserRuntimes{folder: c.Runtimes, sums: map[string]fileSum{}},
		tracer:      tracer(c.TracerProvider),
		tracing:     c.TracerProvider != nil,
		admission:   newAdmission(runtime.GOMAXPROCS(0), cmp.Or(c.Queue, 64), cmp.Or(c.MaxWait, 5*time.Second)),
	}
	s.bodies, s.pixels = newBudget(maxBodies), semaphore.NewWeighted(math.MaxInt64)
	if c.Memory > 0 {
		s.bodies = newBudget(min(maxBodies, max(c.Memory/2, c.Limits.Bytes)))
		s.pixels = semaphore.NewWeighted(max(c.Memory/2, c.Limits.DecodeBytes))
	}
	if c.Token != "" {
		if len(c.Token) < MinToken {
			return nil, fmt.Errorf("token: it has %d characters, want at least %d", len(c.Token), MinToken)
		}
		sum := sha256.Sum256([]byte(c.Token))
		s.token = &sum
	}
	for _, host := range c.AllowedHosts {
		s.hosts[normalHost(host)] = true
	}
	s.store = &store{
		dir: c.ModelsDir, demo: c.Demo, wantDefault: c.DefaultModel, target: target, threads: c.Threads,
		registry: c.Registry, admission: s.admission, log: c.Log, tracer: s.tracer, memory: c.Memory, quota: c.ModelsBytes,
		open:    func(path string) (*model.Model, error) { return model.Open(path, model.Sidecar{}) },
		entries: map[string]*entry{}, moved: make(chan struct{}),
	}
	s.store.tidying = time.AfterFunc(tidyAfter, s.store.tidy)
	s.store.ctx, s.store.cancel = context.WithCancel(context.Background())
	if s.initial, err = s.store.scan(); err != nil {
		return nil, err
	}
	if name := c.DefaultModel; name != "" && s.store.entries[name] == nil && !slices.Contains(randomModels, name) {
		return nil, fmt.Errorf("default model: %w %q; there are %s", errUnknownModel, name, s.store.names())
	}
	s.jobs = openJobs(c.Data, c.Log)
	if s.dataSets, err = newDataSets(c.DataSets); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(c.Version, s.admission, s.store)
	page, err := webFilesOf(web.Files)
	if err != nil {
		return nil, err
	}
	protection, err := originProtection(c.AllowedOrigins)
	if err != nil {
		return nil, err
	}
	s.router = s.routes(page, s.limitRate(c.Rate), s.allowOrigins(c.AllowedOrigins), s.checkOrigin(protection))
	return s, nil
}

// rules are what the server itself checks of an operation of the contract.
type rules struct {
	parameters map[string]bool // of the query
	guarded    bool            // by the token
}

// routeOf is the request's operation, such as "GET /models/{name}".
func routeOf(r *http.Request) string {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return method + " " + chi.RouteContext(r.Context()).RoutePattern()
}

func (s *Server) routes(page map[string]*webFile, rate, origins, origin func(http.Handler) http.Handler) *chi.Mux {
	r := chi.NewRouter()
	r.Use(s.observe, s.limitReading, secureHeaders, s.checkCrowd, s.checkHost, rate, origins, origin, middleware.GetHead)
	r.NotFound(s.notFound)
	r.MethodNotAllowed(s.methodNotAllowed)
	for path, file := range page {
		r.Get(path, file.serve)
	}
	r.Get(devicePath+"*", s.device)
	s.protocolRoutes(r)
	strict := api.NewStrictHandlerWithOptions(handlers{s}, nil, api.StrictHTTPServerOptions{
		// The strict server itself decodes nothing but multipart bodies.
		RequestErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
			s.fail(w, r, fmt.Errorf("%w: %w", errMultipart, err))
		},
		ResponseErrorHandlerFunc: s.fail,
	})
	api.HandlerWithOptions(strict, api.ChiServerOptions{
		BaseRouter:  r,
		Middlewares: []api.MiddlewareFunc{s.prepareBody, s.checkQuery, s.checkToken}, // the last is outermost
		ErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
			s.fail(w, r, paramError(err))
		},
	})
	return r
}

// Handler answers requests. It may be used without Serve, as in tests; Close
// then ends the sessions.
func (s *Server) Handler() http.Handler { return s.router }

// Start begins to load the models and to warm the default one, in the
// background. It is called once. The channel is closed when the default model is
// warm, or cannot be.
func (s *Server) Start() <-chan struct{} {
	warm := make(chan struct{})
	s.store.removeCut()
	s.store.start(func() {
		s.store.reloading.Lock()
		defer s.store.reloading.Unlock()
		s.store.loadAll(s.initial, func() { close(warm) })
	})
	return warm
}

// Reload looks at the models folder again, in the background: new and changed
// checkpoints are loaded, and a changed one serves until its successor is
// loaded.
func (s *Server) Reload() { s.store.start(s.store.reload) }

// Serve answers the connections of l until ctx ends, then lets requests in
// progress finish, for at most 25 seconds, and closes all sessions.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer s.Close()
	requests, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      s.deadline + writeMargin, // a client that does not read its answer
		MaxHeaderBytes:    maxHeaderBytes - 4096,    // net/http adds 4096
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       s.countConnection,
		ConnState:         s.uncountConnection,
		ErrorLog:          zap.NewStdLog(s.log),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(netutil.LimitListener(l, s.connections+spareConnections)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	s.log.Info("draining")
	s.jobs.stop()
	// The end of the requests is not that of the wait: they are still answered.
	wait, stop := context.WithTimeout(context.WithoutCancel(ctx), s.drainTime)
	defer stop()
	// Shutdown closes connections on which no request has been read yet, also
	// where one is on its way: they are given a moment to come.
	select {
	case <-time.After(lameDuck):
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	// What is still at work shortly before the end is answered that it ends.
	last := time.AfterFunc(s.drainTime-lameDuck-lastWords, func() { cancel(errClosing) })
	defer last.Stop()
	if err := srv.Shutdown(wait); err != nil {
		cancel(errClosing)
		return errors.Join(fmt.Errorf("drain: %w", err), srv.Close())
	}
	return nil
}

// Close ends all sessions when the requests that use them are done. It is for
// a server that does not Serve.
func (s *Server) Close() {
	s.jobs.close()
	s.store.close()
}

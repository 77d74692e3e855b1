package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"edgevit/backend"
	"edgevit/backend/purego/kernel"
	"edgevit/checkpoint"
	"edgevit/model/demo"
	"edgevit/preprocess"
	"edgevit/server"
)

type serveCmd struct {
	Listen         string            `help:"Address to listen on." default:"127.0.0.1:8080" env:"EDGEVIT_LISTEN"`
	Models         string            `help:"Folder of checkpoints to serve. Default: models in the data folder." placeholder:"DIR" env:"EDGEVIT_MODELS" type:"path"`
	Data           string            `help:"Data folder. Default: the user's." placeholder:"DIR" env:"EDGEVIT_DATA" type:"path"`
	DefaultModel   string            `help:"Model of requests that name none. Default: the only one of the folder, demo where it is empty." placeholder:"M" env:"EDGEVIT_DEFAULT_MODEL"`
	DefaultTarget  string            `help:"Target of requests that name none." default:"purego" env:"EDGEVIT_DEFAULT_TARGET"`
	DataSets       map[string]string `name:"data-set" help:"Images with known classes, a folder with a folder for each class or a .csv of path and label, that clients may evaluate models on under a name, 1 to 64 of a-z, 0-9, '.', '_' and '-'. May be repeated; ';' separates several." placeholder:"NAME=DIR" env:"EDGEVIT_DATA_SETS" type:":path"`
	Runtimes       string            `help:"Folder of native libraries. Default: .runtimes/OS-ARCH beside the binary's folder." placeholder:"DIR" env:"EDGEVIT_RUNTIMES" type:"path"`
	Isolate        bool              `help:"Run native runtimes in processes of their own, so that a crash or hang there costs only the requests in them; 4 to 11 % slower on XXS." env:"EDGEVIT_ISOLATE"`
	Backend        map[string]string `help:"Serve an executable's backend under a name." placeholder:"NAME=EXECUTABLE" env:"EDGEVIT_BACKEND"`
	Threads        int               `help:"CPU threads of one run; 0: min(cores, 4)." placeholder:"N" env:"EDGEVIT_THREADS"`
	Queue          int               `help:"Requests that may wait for one model on one target." default:"64" env:"EDGEVIT_QUEUE"`
	MaxWait        time.Duration     `help:"Longest time that a request may be expected to wait for its turn." default:"5s" env:"EDGEVIT_MAX_WAIT"`
	Rate           int               `name:"rate-limit" help:"Requests a second that one client's address may send; 0: any number." placeholder:"N" env:"EDGEVIT_RATE_LIMIT"`
	Connections    int               `help:"Connections that are served at once." default:"2048" env:"EDGEVIT_CONNECTIONS"`
	MemoryBytes    int64             `help:"Memory of open models, in bytes; those not used for longest make room, then those in use, in turn. Default: half of GOMEMLIMIT, which is 90 % of what the container or machine has unless it is set." placeholder:"N" env:"EDGEVIT_MEMORY_BYTES"`
	Deadline       time.Duration     `help:"Longest time from a request to its answer." default:"30s" env:"EDGEVIT_DEADLINE"`
	AllowedHosts   []string          `help:"Host names that requests may use beside loopback ones and IP addresses; * is any." placeholder:"NAME" env:"EDGEVIT_ALLOWED_HOSTS"`
	AllowedOrigins []string          `help:"Origins of web pages that may use the service from a browser, such as https://example.org." placeholder:"ORIGIN" env:"EDGEVIT_ALLOWED_ORIGINS"`
	TokenFile      string            `help:"File with the token, 16 characters or more, of those who may add and remove models, run benchmarks and evaluations and see a data set's images; made where it does not exist. Default: nobody may." placeholder:"FILE" env:"EDGEVIT_TOKEN_FILE" type:"path"`
	MaxCheckpoint  int64             `name:"max-checkpoint-bytes" help:"Largest checkpoint that is taken in, in bytes." default:"${max_checkpoint}" env:"EDGEVIT_MAX_CHECKPOINT_BYTES"`
	MaxModels      int64             `name:"max-models-bytes" help:"Most that the checkpoints of the models folder may have together for another to be uploaded, in bytes." default:"8589934592" env:"EDGEVIT_MAX_MODELS_BYTES"`
	MaxBytes       int64             `help:"Largest body in bytes." default:"${max_bytes}" env:"EDGEVIT_MAX_BYTES"`
	MaxPixels      int               `help:"Largest image in pixels." default:"${max_pixels}" env:"EDGEVIT_MAX_PIXELS"`
	MaxSide        int               `help:"Longest side of an image in pixels." default:"${max_side}" env:"EDGEVIT_MAX_SIDE"`
	MaxScans       int               `help:"Most scans of a JPEG." default:"${max_scans}" env:"EDGEVIT_MAX_SCANS"`
	DecodeTime     time.Duration     `help:"Longest time to decode an image." default:"${decode_time}" env:"EDGEVIT_DECODE_TIME"`
	OTLP           string            `name:"otlp" help:"Send traces over OTLP/HTTP to the collector at this address, such as http://localhost:4318. Default: where OTEL_EXPORTER_OTLP_ENDPOINT says, else nowhere." placeholder:"URL" env:"EDGEVIT_OTLP"`
	DebugListen    string            `help:"Address to serve profiles of the program itself on, for go tool pprof: :6060 is that port of loopback, other machines are let in by 0.0.0.0:6060. Default: none." placeholder:"ADDR" env:"EDGEVIT_DEBUG_LISTEN"`
	LogFormat      string            `help:"console or json." enum:"console,json" default:"console" env:"EDGEVIT_LOG_FORMAT"`
	LogLevel       zapcore.Level     `help:"debug, info, warn or error." default:"info" env:"EDGEVIT_LOG_LEVEL"`
}

// Validate refuses numbers that would refuse every request.
func (c *serveCmd) Validate() error {
	for name, v := range map[string]int64{
		"--queue": int64(c.Queue), "--deadline": int64(c.Deadline), "--max-bytes": c.MaxBytes, "--max-pixels": int64(c.MaxPixels),
		"--connections": int64(c.Connections), "--max-wait": int64(c.MaxWait), "--max-models-bytes": c.MaxModels, "--max-side": int64(c.MaxSide), "--max-scans": int64(c.MaxScans), "--decode-time": int64(c.DecodeTime),
	} {
		if v <= 0 {
			return fmt.Errorf("%s must be more than 0", name)
		}
	}
	for name, v := range map[string]int64{"--threads": int64(c.Threads), "--rate-limit": int64(c.Rate), "--memory-bytes": c.MemoryBytes} {
		if v < 0 {
			return fmt.Errorf("%s must not be negative", name)
		}
	}
	return nil
}

// flushTimeout bounds the sending of the last traces, so that with the drain it
// fits into the 30 s that Kubernetes gives a container to end.
const flushTimeout = 3 * time.Second

// startGC is the garbage collector's percentage until the default model is warm.
const startGC = 400

// limitDefaults are the variables in serve's flags.
func limitDefaults() map[string]string {
	l := preprocess.DefaultLimits()
	return map[string]string{
		"max_bytes": fmt.Sprint(l.Bytes), "max_pixels": fmt.Sprint(l.Pixels), "max_side": fmt.Sprint(l.Side),
		"max_checkpoint": fmt.Sprint(checkpoint.DefaultMaxBytes),
		"max_scans":      fmt.Sprint(l.Scans), "decode_time": l.DecodeTime.String(),
	}
}

func (c *serveCmd) Run(ctx context.Context, s std, registry *backend.Registry) error {
	log := newLog(s, c.LogFormat, c.LogLevel)
	defer func() { _ = log.Sync() }() // standard error cannot be synced everywhere
	// With a set of kernels that does not run here, every run of purego would fail.
	if _, err := kernel.Best(); err != nil {
		return err
	}
	backend.RuntimesFolder = c.Runtimes
	if c.Data == "" {
		c.Data = dataFolder()
	}
	given := c.Models != ""
	if !given {
		c.Models = filepath.Join(c.Data, "models")
	}
	if info, err := os.Stat(c.Models); err == nil && !info.IsDir() {
		return fmt.Errorf("--models %s is not a folder", c.Models)
	} else if err != nil && given {
		log.Warn("the models folder is not there", zap.String("folder", c.Models))
	}
	for name, path := range c.DataSets {
		if _, err := os.Stat(path); err != nil {
			log.Warn("a data set is not there", zap.String("data_set", name), zap.Error(err))
		}
	}
	limits := preprocess.DefaultLimits()
	limits.Bytes, limits.Pixels, limits.Side, limits.Scans, limits.DecodeTime = c.MaxBytes, c.MaxPixels, c.MaxSide, c.MaxScans, c.DecodeTime
	token, created, err := loadToken(c.TokenFile)
	if err != nil {
		return err
	}
	if created {
		log.Info("a new token was made", zap.String("file", c.TokenFile))
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = limitMemory() / 2
	}
	if registry, err = c.isolated(ctx, log, registry); err != nil {
		return err
	}
	config := server.Config{
		Log: log, Registry: registry, ModelsDir: c.Models, Demo: demo.Model,
		DefaultModel: c.DefaultModel, DefaultTarget: c.DefaultTarget, Threads: c.Threads, Limits: limits,
		Data: c.Data, DataSets: c.DataSets, Runtimes: backend.Runtimes(), Token: token, CheckpointBytes: c.MaxCheckpoint, Queue: c.Queue, MaxWait: c.MaxWait, Rate: c.Rate, Connections: c.Connections, Memory: c.MemoryBytes, ModelsBytes: c.MaxModels, AllowedOrigins: c.AllowedOrigins, Deadline: c.Deadline, AllowedHosts: c.AllowedHosts, Version: buildVersion(),
	}
	traces, err := newTraces(ctx, c.OTLP, log)
	if err != nil {
		return err
	}
	if traces != nil {
		config.TracerProvider = traces
		defer func() { // the requests are done
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
			defer cancel()
			if err := traces.Shutdown(ctx); err != nil {
				log.Warn("the last traces were not sent", zap.Error(err))
			}
		}()
	}
	if c.DebugListen != "" {
		stop, err := serveDebug(c.DebugListen, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	srv, err := server.New(config)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// Reading and packing weights makes garbage for a moment, which need not be
	// collected at once: tidying follows.
	percent := debug.SetGCPercent(startGC)
	if percent < 0 || percent > startGC { // as GOGC wants it
		debug.SetGCPercent(percent)
	}
	warm := srv.Start()
	go func() {
		<-warm
		debug.SetGCPercent(percent)
	}()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	go func() {
		for range reload {
			srv.Reload()
		}
	}()
	fmt.Fprint(s.out, c.greeting(l.Addr(), token, isTerminal(s.out)))
	return srv.Serve(ctx, l)
}

// limitMemory makes the collector keep to nine tenths of the memory that the
// container or the machine has, unless GOMEMLIMIT says otherwise, and returns
// the limit in bytes; 0 if there is none.
func limitMemory() int64 {
	// What cannot be found out is no limit.
	_, _ = memlimit.Set(memlimit.WithRatio(0.9), memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)))
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// greeting says where the service is. A link that bears the token is for the
// eyes at a terminal; standard output may also be a log that others read.
func (c *serveCmd) greeting(at net.Addr, token string, terminal bool) string {
	address := "http://" + at.String()
	page := address + "/"
	if tcp, ok := at.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() { // no browser goes there
		page = fmt.Sprintf("http://localhost:%d/", tcp.Port)
	}
	switch {
	case token != "" && terminal:
		page += "#token=" + url.QueryEscape(token)
	case token != "":
		page += "  (asks for the token in " + c.TokenFile + ")"
	}
	return fmt.Sprintf("EdgeViT %s on %s (models: %s)\n\n  curl --data-binary @photo.jpg %s/classify\n  dashboard: %s\n\n", buildVersion(), address, c.Models, address, page)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newLog writes one line an event to standard error.
func newLog(s std, format string, level zapcore.Level) *zap.Logger {
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	config.TimeKey = "time"
	encoder := zapcore.NewJSONEncoder(config)
	if format == "console" {
		config.EncodeTime = zapcore.TimeEncoderOfLayout(time.TimeOnly)
		config.ConsoleSeparator = "  "
		encoder = zapcore.NewConsoleEncoder(config)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(s.err)), level))
}

// Command api serves EdgeViT image classifiers over HTTP and does the same
// work, and its checks, on the command line. main.go holds the flags; each
// other file is one subcommand.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	kongyaml "github.com/alecthomas/kong-yaml"
	"gopkg.in/yaml.v3"
)

// Exit codes of every command.
const (
	exitYes   = 0 // done; the answer is yes
	exitNo    = 1 // the answer is no: an input failed, targets disagree
	exitUsage = 2 // wrong usage, or the command cannot run
)

// errNo makes a command end with exitNo after it has said why.
var errNo = errors.New("no")

type cli struct {
	Config  kong.ConfigFlag `help:"Read flags from this YAML file: serve: {threads: 2}." placeholder:"FILE" env:"EDGEVIT_CONFIG"`
	Remotes []string        `name:"remote" help:"Server of the Open Inference Protocol as one more target, remote:NAME; the URL may go on with /v2/models/MODEL. May be repeated." placeholder:"NAME=URL" env:"EDGEVIT_REMOTES"`

	Serve      serveCmd      `cmd:"" help:"Serve the HTTP API."`
	Classify   classifyCmd   `cmd:"" help:"Name what is in photographs."`
	Inspect    inspectCmd    `cmd:"" help:"Show what a checkpoint holds: layout, configuration, parameters, MACs."`
	Pull       pullCmd       `cmd:"" help:"Download a published checkpoint, check it and put it among the models."`
	Convert    convertCmd    `cmd:"" help:"Write a checkpoint as .safetensors, with labels and preprocessing in its metadata."`
	Verify     verifyCmd     `cmd:"" help:"Check that targets give the logits that PyTorch gave: is this deployment my model?"`
	Compare    compareCmd    `cmd:"" help:"Run photographs on several targets and show how closely they agree."`
	Eval       evalCmd       `cmd:"" help:"Measure how often a model is right on images with known classes, on several targets."`
	Bench      benchCmd      `cmd:"" help:"Measure targets against each other, by MLPerf's scenarios, and keep the run."`
	Profile    profileCmd    `cmd:"" help:"Show where the time of a run goes, step by step, beside the machine's peak."`
	Export     exportCmd     `cmd:"" help:"Write a checkpoint in another program's format: onnx, tflite, safetensors."`
	Preprocess preprocessCmd `cmd:"" help:"Write what the network would see of each image, as NumPy files."`
	Doctor     doctorCmd     `cmd:"" help:"Check this machine and these settings: what is here, what is missing, what to do."`
	Healthy    healthyCmd    `cmd:"" help:"Exit 0 if the service on this machine is ready, 1 if not."`
	Completion completionCmd `cmd:"" help:"Print the script that completes this program's command lines in a shell."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Worker     workerCmd     `cmd:"" hidden:"" help:"Run a backend for serve, which starts this by itself."`
}

// std are the streams of a command.
type std struct{ out, err io.Writer }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal does not wait for what the first ends
	os.Exit(run(ctx, os.Args[1:], std{os.Stdout, os.Stderr}))
}

// run is main with its surroundings as arguments. It returns the exit code.
func run(ctx context.Context, args []string, s std) int {
	var c cli
	exit := -1
	parser, err := kong.New(&c,
		kong.Name("api"),
		kong.Description("EdgeViT image classifiers: one checkpoint in, labels out. Every flag of serve can also be set by its environment variable or in the file of --config."),
		kong.Configuration(loadConfig),
		kong.Vars(limitDefaults()),
		kong.UsageOnError(),
		kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { exit = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(s),
	)
	if err != nil {
		fmt.Fprintln(s.err, "api:", err)
		return exitUsage
	}
	if completing() {
		if err := completeLine(parser, s); err != nil {
			fmt.Fprintln(s.err, "api:", err)
			return exitUsage
		}
		return exitYes
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help has been answered
		return exit
	}
	if err != nil {
		command := "api"
		if wrong := new(kong.ParseError); errors.As(err, &wrong) && wrong.Context.Selected() != nil {
			command = wrong.Context.Selected().FullPath()
		}
		fmt.Fprintf(s.err, "api: %v\ntry: %s --help\n", err, command)
		return exitUsage
	}
	registry, err := withRemotes(c.Remotes)
	if err != nil {
		fmt.Fprintln(s.err, "api:", err)
		return exitUsage
	}
	switch err := parsed.Run(registry); {
	case err == nil:
		return exitYes
	case errors.Is(err, errNo):
		return exitNo
	default:
		fmt.Fprintln(s.err, "api:", err)
		return exitUsage
	}
}

// loadConfig reads the file of --config. What the environment sets wins over it,
// as the command line wins over both.
func loadConfig(r io.Reader) (kong.Resolver, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	file, err := kongyaml.Loader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var keys map[string]any
	if err := yaml.Unmarshal(text, &keys); err != nil {
		return nil, err
	}
	return configFile{keys, kong.ResolverFunc(func(c *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
		if n := parent.Node(); n != nil && n.Name == "doctor" { // which checks what serve would do
			for _, command := range n.Parent.Children {
				if command.Name == "serve" {
					parent = &kong.Path{Command: command}
				}
			}
		}
		for _, name := range flag.Envs {
			if _, set := os.LookupEnv(name); set {
				return nil, nil
			}
		}
		return file.Resolve(c, parent, flag)
	})}, nil
}

// configFile refuses keys that are no flags, which would go unseen else.
type configFile struct {
	keys map[string]any
	kong.Resolver
}

// Validate is kong.Resolver's.
func (f configFile) Validate(app *kong.Application) error {
	known := map[string]bool{} // by path; true: its value may be a map
	var walk func(n *kong.Node, path string)
	walk = func(n *kong.Node, path string) {
		for _, flag := range n.Flags {
			known[path+flag.Name] = flag.IsMap()
		}
		for _, child := range n.Children {
			walk(child, path+child.Name+"-")
		}
	}
	walk(app.Node, "")
	return unknownKey(f.keys, "", known)
}

// unknownKey goes down to what is no map, as the flags' values are found.
func unknownKey(keys map[string]any, path string, known map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		key := path + name
		isMap, ok := known[key]
		if below, deeper := keys[name].(map[string]any); deeper && !isMap {
			if err := unknownKey(below, key+"-", known); err != nil {
				return err
			}
		} else if !ok {
			return fmt.Errorf("the file of --config sets %s, which is no flag: see api --help and the command's own", strings.ReplaceAll(key, "-", "."))
		}
	}
	return nil
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"edgevit/backend"
	"edgevit/backend/purego/kernel"
	"edgevit/model"
	"edgevit/model/demo"
	"edgevit/server"
	"edgevit/web"
)

// doctorCmd checks what serve would find with the same flags, environment and
// file of --config, and changes nothing.
type doctorCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
	serveCmd
}

// doctorOutput is the JSON of doctor.
type doctorOutput struct {
	// Healthy: the default target works, and nothing that was set is broken.
	Healthy bool      `json:"healthy"`
	Version string    `json:"version"`
	Checks  []checkup `json:"checks"`
}

// checkup is one thing that was looked at.
type checkup struct {
	Area   string `json:"area"`
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	// Remedy says what to do, where the detail does not.
	Remedy string `json:"remedy,omitempty"`
}

// States of a checkup.
const (
	stateOK     = "ok"
	stateAbsent = "absent" // not there, and not asked for: the service runs without
	stateFailed = "failed"
)

// The demo model must know sample, a photograph of the page, as sampleLabel.
const sample, sampleLabel = "samples/cat.jpg", "cat"

// demoTime bounds opening and running the demo model on one target.
const demoTime = time.Minute

func (c *doctorCmd) Run(ctx context.Context, s std) error {
	backend.RuntimesFolder = c.Runtimes
	o := doctorOutput{Version: buildVersion()}
	dataGiven := c.Data != ""
	c.Data = cmp.Or(c.Data, dataFolder())
	o.build()
	o.cpu(c.Threads)
	o.runtimes(c.Runtimes)
	o.targets(ctx, c.DefaultTarget, c.Threads)
	o.data(c.Data, dataGiven)
	o.cache()
	o.models(cmp.Or(c.Models, filepath.Join(c.Data, "models")), c.Models != "", c.DefaultModel)
	o.token(c.TokenFile)
	o.address(ctx, c.Listen)
	failed := 0
	for _, check := range o.Checks {
		if check.State == stateFailed {
			failed++
		}
	}
	o.Healthy = failed == 0
	if err := o.print(s, c.JSON); err != nil {
		return err
	}
	if failed > 0 {
		fmt.Fprintf(s.err, "api: %d of %d checks failed\n", failed, len(o.Checks))
		return errNo
	}
	return nil
}

func (o doctorOutput) print(s std, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, o)
	}
	t := newTable(s.out)
	for _, c := range o.Checks {
		detail := c.Detail
		if c.Remedy != "" {
			detail += " → " + c.Remedy
		}
		t.row(c.State, c.Area, c.Name, detail)
	}
	return t.flush()
}

func (o *doctorOutput) add(area, name, state, detail, remedy string) {
	o.Checks = append(o.Checks, checkup{area, name, state, detail, remedy})
}

func (o *doctorOutput) build() {
	settings := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
	}
	cgo := "without cgo"
	if settings["CGO_ENABLED"] == "1" {
		cgo = "with cgo"
	}
	detail := fmt.Sprintf("%s, %s, %s/%s, %s", o.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH, cgo)
	if tags := settings["-tags"]; tags != "" {
		detail += ", tags " + tags
	}
	o.add("build", "version", stateOK, detail, "")
}

func (o *doctorOutput) cpu(threads int) {
	if table, err := kernel.Best(); err != nil {
		o.add("cpu", "kernels", stateFailed, err.Error(), "unset "+kernel.Variable)
	} else {
		var names []string
		for _, t := range kernel.Tables() {
			names = append(names, t.Name)
		}
		o.add("cpu", "kernels", stateOK, fmt.Sprintf("%s, of %s", table.Name, strings.Join(names, ", ")), "")
	}
	quota := runtime.GOMAXPROCS(0)
	o.add("cpu", "threads", stateOK, fmt.Sprintf("%d a run, of a quota of %d; %d cores",
		min(cmp.Or(threads, backend.DefaultThreads()), quota), quota, runtime.NumCPU()), "")
}

func (o *doctorOutput) runtimes(given string) {
	folder := backend.Runtimes()
	info, err := os.Stat(folder)
	switch {
	case err == nil && info.IsDir():
		o.add("runtimes", "folder", stateOK, folder, "")
	case given != "" || os.Getenv("EDGEVIT_RUNTIMES") != "":
		o.add("runtimes", "folder", stateFailed, folder+" is not a folder", "make runtimes fills one; name it by --runtimes or EDGEVIT_RUNTIMES")
	default:
		o.add("runtimes", "folder", stateAbsent, folder+" is not there; native libraries are left to the system's loader", "make runtimes fills one; name it by --runtimes or EDGEVIT_RUNTIMES")
	}
	if _, err := os.Stat(filepath.Join(folder, "web")); err != nil {
		o.add("runtimes", "browser", stateAbsent, "no runtimes that a visitor's browser could load", "make runtimes")
	} else {
		o.add("runtimes", "browser", stateOK, filepath.Join(folder, "web"), "")
	}
}

// targets runs the demo model wherever it can: that a library is there does not
// yet mean that its answers are right.
func (o *doctorOutput) targets(ctx context.Context, wanted string, threads int) {
	def, err := backend.Default.Resolve(wanted)
	if err != nil {
		o.add("targets", wanted, stateFailed, err.Error(), "choose another --default-target")
	}
	m, err := demo.Model()
	if err != nil {
		o.add("targets", "demo", stateFailed, err.Error(), "")
		return
	}
	image, err := fs.ReadFile(web.Files, sample)
	if err != nil {
		o.add("targets", "demo", stateFailed, err.Error(), "")
		return
	}
	for _, status := range backend.Default.Probe(ctx) {
		isDefault := status.Target == def
		name := status.Target.String()
		if isDefault {
			name += " (default)"
		}
		if !status.Available {
			state := stateAbsent
			if isDefault {
				state = stateFailed
			}
			o.add("targets", name, state, status.Reason, "")
			continue
		}
		detail, err := runDemo(ctx, status.Target.String(), m, image, threads)
		if err != nil {
			o.add("targets", name, stateFailed, err.Error(), "choose another target; api compare shows where it differs")
			continue
		}
		o.add("targets", name, stateOK, detail, "")
	}
}

// runDemo says what the demo model sees in the sample, and what ran it.
func runDemo(ctx context.Context, target string, m *model.Model, image []byte, threads int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	b, err := backend.Open(ctx, target, m.Graph, backend.Options{Threads: threads})
	if err != nil {
		return "", err
	}
	defer b.Close()
	r, err := classifyImage(ctx, b, m, image, 1)
	if err != nil {
		return "", err
	}
	top := r.Predictions[0]
	if top.Label != sampleLabel {
		return "", fmt.Errorf("the demo model calls the sample of a %s a %s", sampleLabel, top.Label)
	}
	detail := fmt.Sprintf("knows a %s, %.0f %%, %.1f ms", top.Label, 100*top.Probability, r.Timing.InferenceMS)
	d := b.Describe()
	if d.Provider != "" {
		detail += "; " + d.Provider
	}
	if d.Library != "" {
		detail += fmt.Sprintf(", %s of %s", cmp.Or(d.LibraryVersion, "no version"), d.Library)
	}
	return detail, nil
}

func (o *doctorOutput) data(folder string, given bool) {
	const remedy = "name a folder that can be written by --data or EDGEVIT_DATA"
	free, err := writable(folder)
	switch {
	case err == nil:
		o.add("folders", "data", stateOK, folder+", "+free, "")
	case given:
		o.add("folders", "data", stateFailed, err.Error(), remedy)
	default:
		o.add("folders", "data", stateAbsent, err.Error()+"; benchmarks' runs cannot be kept", remedy)
	}
}

func (o *doctorOutput) cache() {
	folder, err := backend.CacheFolder()
	free := ""
	if err == nil {
		free, err = writable(folder)
	}
	if err != nil {
		o.add("folders", "cache", stateAbsent, err.Error()+"; tflite writes its file at each opening", "name a folder that can be written by XDG_CACHE_HOME")
		return
	}
	o.add("folders", "cache", stateOK, folder+", "+free, "")
}

// writable says how much room a folder has, or why nothing can be written
// there. A folder that is yet to be made is judged by the one it will stand in.
func writable(folder string) (string, error) {
	at := folder
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			return "", fmt.Errorf("%s is not a folder", at)
		}
		if err == nil {
			break
		}
		if parent := filepath.Dir(at); errors.Is(err, fs.ErrNotExist) && parent != at {
			at = parent
			continue
		}
		return "", err
	}
	f, err := os.CreateTemp(at, ".doctor-*")
	if err != nil {
		return "", fmt.Errorf("%s cannot be written: %w", at, err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return "", err
	}
	free, err := freeBytes(at)
	if err != nil {
		return "", fmt.Errorf("free space of %s: %w", at, err)
	}
	text := fmt.Sprintf("%d MiB free", free>>20)
	if at != folder {
		text += ", yet to be made"
	}
	return text, nil
}

func (o *doctorOutput) models(folder string, given bool, wanted string) {
	info, err := os.Stat(folder)
	switch {
	case err == nil && !info.IsDir():
		o.add("models", "folder", stateFailed, folder+" is not a folder", "name the folder of checkpoints by --models")
		return
	case errors.Is(err, fs.ErrNotExist) && given:
		o.add("models", "folder", stateFailed, folder+" is not there", "make it, or name another by --models")
	case errors.Is(err, fs.ErrNotExist):
		o.add("models", "folder", stateAbsent, folder+" is not there; the demo model is served", "api pull brings a checkpoint there")
	}
	files, err := model.List(folder)
	if err != nil {
		o.add("models", "folder", stateFailed, err.Error(), "let the service's user read it")
		return
	}
	named := map[string]string{"random:xxs": "", "random:xs": "", "random:s": "", "demo": ""}
	if len(files) > 0 {
		o.add("models", "folder", stateOK, fmt.Sprintf("%s, %d checkpoints", folder, len(files)), "")
	} else if info != nil {
		o.add("models", "folder", stateAbsent, folder+" holds no checkpoint; the demo model is served", "api pull brings one there")
	}
	for _, file := range files {
		base := filepath.Base(file.Path)
		m, err := model.Open(file.Path, model.Sidecar{})
		other := named[file.Name]
		switch {
		case err != nil:
			o.add("models", base, stateFailed, err.Error(), "api inspect "+file.Path+" lists what is wrong; mend the file or move it away")
		case other != "":
			o.add("models", base, stateFailed, fmt.Sprintf("its name %s is taken by %s", file.Name, other), "rename one of the two files")
		default:
			o.add("models", base, stateOK, fmt.Sprintf("served as %s: %s, %s parameters, %d classes, %d px", file.Name, m.Config.Layout, grouped(int64(m.Parameters())), m.Config.Classes, m.Config.InputSize), "")
		}
		named[file.Name] = base
	}
	_, known := named[wanted]
	switch {
	case wanted != "" && !known:
		o.add("models", "default", stateFailed, fmt.Sprintf("--default-model %s is not there", wanted), "api pull lists what can be had")
	case wanted == "" && len(files) > 1:
		o.add("models", "default", stateAbsent, "none: of several, each request must name one", "name one by --default-model")
	}
}

func (o *doctorOutput) token(file string) {
	const area, name = "access", "token"
	if file == "" {
		o.add(area, name, stateAbsent, "none: nobody may add models or run benchmarks over HTTP", "--token-file FILE makes one")
		return
	}
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := writable(filepath.Dir(file)); err != nil {
			o.add(area, name, stateFailed, fmt.Sprintf("%s is not there and cannot be made: %v", file, err), "put the token there, or name another file")
			return
		}
		o.add(area, name, stateOK, file+" will be made", "")
	case err != nil:
		o.add(area, name, stateFailed, err.Error(), "let the service's user read it")
	case len(strings.TrimSpace(string(text))) < server.MinToken:
		o.add(area, name, stateFailed, fmt.Sprintf("%s has fewer than %d characters", file, server.MinToken), "remove the file, and serve makes a new one")
	default:
		o.add(area, name, stateOK, file, "")
	}
}

func (o *doctorOutput) address(ctx context.Context, listen string) {
	const area, name = "access", "address"
	l, err := net.Listen("tcp", listen)
	switch {
	case err == nil:
		_ = l.Close()
		o.add(area, name, stateOK, listen+" is free", "")
	case errors.Is(err, syscall.EADDRINUSE) && ready(ctx, listen) == nil:
		o.add(area, name, stateOK, listen+": a service answers there and is ready", "")
	default:
		o.add(area, name, stateFailed, err.Error(), "stop what listens there, or choose another --listen")
	}
}

package deploy

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// image is a Dockerfile whose stages are carried out in folders of this machine.
//
// What that cannot show: that the base images exist and hold what is expected,
// that apt-get finds its packages, and what only an engine has, such as layers
// and the health check's timer. A build step sees this machine's tools instead
// of its base image's, and folders in place of its absolute paths; the libraries
// are those of this machine, if their sums are right.
type image struct {
	t       *testing.T
	context string // what COPY takes from
	work    string
	stages  []instructions.Stage
	built   map[string]built // by stage
}

// built is a stage that has been carried out.
type built struct {
	root   string
	config stageConfig
}

// stageConfig is what the final stage says of a container.
type stageConfig struct {
	user, workdir              string
	env, entrypoint, cmd, test []string
}

func TestImages(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("images are Linux's")
	}
	im := newImage(t)
	for name, targets := range map[string][]string{
		"purego": {"purego", "purego:int8"},
		"full":   {"purego", "purego:int8", "onnx", "tflite"},
	} {
		t.Run(name, func(t *testing.T) {
			im.t = t
			if name == "full" {
				im.seedRuntimes()
			}
			stage := im.build(name)
			if c := stage.config; c.user != "65534:65534" || len(c.test) == 0 || !slices.Equal(c.cmd, []string{"serve"}) {
				t.Errorf("config %+v", c)
			}
			for _, file := range []string{"LICENSE", "NOTICE", "THIRD_PARTY.md"} {
				if _, err := os.Stat(filepath.Join(stage.root, "licenses", file)); err != nil {
					t.Error(err)
				}
			}
			// KServe mounts one checkpoint's folder.
			models := filepath.Join(stage.root, "mnt", "models")
			if err := os.MkdirAll(models, 0o755); err != nil {
				t.Fatal(err)
			}
			im.copy("../model/demo/demo.safetensors", filepath.Join(models, "birds.safetensors"))

			c := im.container(stage)
			address := freeAddress(t)
			url := serve(t, c.command(address, "serve"), address)
			if out, err := c.command(address, stage.config.test[1:]...).CombinedOutput(); err != nil {
				t.Errorf("health check: %v\n%s", err, out)
			}
			for _, target := range targets {
				if label, err := classify(url, "?target="+target); err != nil || label != "cat" {
					t.Errorf("%s: the cat is a %q: %v", target, label, err)
				}
			}
			if out, err := c.command(address, "doctor").CombinedOutput(); err != nil || strings.Count(string(out), "knows a cat") < len(targets) {
				t.Errorf("doctor: %v\n%s", err, out)
			}

			address = freeAddress(t)
			url = serve(t, c.command(address, "serve", "--models", c.at("/mnt/models")), address)
			if code, body := get(url + "/models"); code != http.StatusOK || !strings.Contains(body, `"birds"`) || strings.Contains(body, `"demo"`) {
				t.Errorf("models: %d %s", code, body)
			}
			if label, err := classify(url, ""); err != nil || label != "cat" {
				t.Errorf("the mounted checkpoint calls the cat a %q: %v", label, err)
			}
		})
	}
}

// newImage takes the files that git has, which an engine would be sent.
func newImage(t *testing.T) *image {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	if err := os.Chmod(filepath.Dir(work), 0o755); err != nil { // for the image's user
		t.Fatal(err)
	}
	if err := os.Chmod(work, 0o755); err != nil {
		t.Fatal(err)
	}
	im := &image{t: t, context: filepath.Join(work, "context"), work: work, stages: stages, built: map[string]built{}}
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	files, err := list.Output()
	if err != nil {
		t.Skipf("no list of the files that an engine would be sent: git: %v", err)
	}
	var there []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(files), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil { // not removed
			there = append(there, name)
		}
	}
	if err := os.Mkdir(im.context, 0o755); err != nil {
		t.Fatal(err)
	}
	send := exec.Command("xargs", "-0", "cp", "-a", "--parents", "-t", im.context)
	send.Dir, send.Stdin = root, strings.NewReader(strings.Join(there, "\x00"))
	if out, err := send.CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	return im
}

// seedRuntimes puts this machine's libraries where the step that fetches them
// looks first. It still checks their sums.
func (im *image) seedRuntimes() {
	platform := runtime.GOOS + "-" + runtime.GOARCH
	have := filepath.Join(root, ".runtimes", platform)
	for _, pattern := range []string{"*onnxruntime*", "*tensorflowlite*", "web"} {
		if found, _ := filepath.Glob(filepath.Join(have, pattern)); len(found) == 0 {
			im.t.Skipf("no %s in %s: make runtimes", pattern, have)
		}
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		im.t.Skip("gcc is not installed")
	}
	im.copy(have, filepath.Join(im.work, "runtimes", "fetch", ".runtimes", platform))
}

func (im *image) copy(from, to string) {
	im.t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		im.t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		im.t.Fatalf("cp: %v\n%s", err, out)
	}
}

func (im *image) stage(name string) (instructions.Stage, bool) {
	for _, s := range im.stages {
		if s.Name == name {
			return s, true
		}
	}
	return instructions.Stage{}, false
}

// build carries out a stage, once, and first those it begins from and copies
// from.
func (im *image) build(name string) built {
	im.t.Helper()
	if b, ok := im.built[name]; ok {
		return b
	}
	stage, ok := im.stage(name)
	if !ok {
		im.t.Fatalf("the Dockerfile has no stage %s", name)
	}
	root, config := filepath.Join(im.work, name), stageConfig{workdir: "/"}
	if err := os.MkdirAll(root, 0o755); err != nil {
		im.t.Fatal(err)
	}
	if _, ok := im.stage(stage.BaseName); ok {
		base := im.build(stage.BaseName)
		im.copy(base.root+"/.", root)
		config = base.config
	}
	env := os.Environ()
	for _, command := range stage.Commands {
		switch c := command.(type) {
		case *instructions.WorkdirCommand:
			config.workdir = c.Path
			if err := os.MkdirAll(filepath.Join(root, c.Path), 0o755); err != nil {
				im.t.Fatal(err)
			}
		case *instructions.ArgCommand:
			for _, a := range c.Args {
				env = append(env, a.Key+"="+a.ValueString())
			}
		case *instructions.EnvCommand:
			for _, e := range c.Env {
				config.env = append(config.env, e.Key+"="+e.Value)
			}
		case *instructions.CopyCommand:
			im.copyStep(c, root, config.workdir)
		case *instructions.RunCommand:
			im.runStep(c, root, config.workdir, env)
		case *instructions.UserCommand:
			config.user = c.User
		case *instructions.EntrypointCommand:
			config.entrypoint = c.CmdLine
		case *instructions.CmdCommand:
			config.cmd = c.CmdLine
		case *instructions.HealthCheckCommand:
			config.test = c.Health.Test[1:] // after CMD
		case *instructions.ExposeCommand:
		default:
			im.t.Fatalf("%s: a step that this test does not know: %v", name, command)
		}
	}
	im.built[name] = built{root, config}
	return im.built[name]
}

func (im *image) copyStep(c *instructions.CopyCommand, root, workdir string) {
	im.t.Helper()
	from := im.context
	if c.From != "" {
		from = im.build(c.From).root
	}
	to := c.DestPath
	if !path.IsAbs(to) {
		to = path.Join(workdir, to) + "/"
	}
	to = filepath.Join(root, to) + to[len(path.Clean(to)):]
	for _, source := range c.SourcePaths {
		source = filepath.Join(from, source)
		info, err := os.Stat(source)
		if os.IsNotExist(err) && strings.HasPrefix(source, from+"/etc/ssl/") { // of the base image
			source = strings.TrimPrefix(source, from)
			info, err = os.Stat(source)
		}
		if err != nil {
			im.t.Fatalf("COPY: %v", err)
		}
		switch {
		case info.IsDir(): // its content
			if err := os.MkdirAll(to, 0o755); err != nil {
				im.t.Fatal(err)
			}
			im.copy(source+"/.", to)
		case strings.HasSuffix(to, "/"):
			im.copy(source, filepath.Join(to, filepath.Base(source)))
		default:
			im.copy(source, to)
		}
	}
	if c.Chown != "" && os.Getuid() == 0 {
		if out, err := exec.Command("chown", "-R", c.Chown, to).CombinedOutput(); err != nil {
			im.t.Fatalf("chown: %v\n%s", err, out)
		}
	}
}

// runStep runs a command in the stage's folder. Installing packages is left out:
// their tools must be here.
func (im *image) runStep(c *instructions.RunCommand, root, workdir string, env []string) {
	im.t.Helper()
	line := strings.Join(c.CmdLine, " ")
	if strings.HasPrefix(line, "apt-get ") {
		im.t.Logf("left out: %s", line)
		return
	}
	var pairs []string
	for _, folder := range []string{"/src", "/data", "/static", "/native", "/fetch", "/libraries"} {
		for _, before := range []string{" ", `"`} {
			pairs = append(pairs, before+folder, before+root+folder)
		}
	}
	step := exec.Command("sh", "-ec", strings.NewReplacer(pairs...).Replace(line))
	if strings.Contains(line, "-o /static/") {
		if err := os.MkdirAll(root+"/static", 0o755); err != nil {
			im.t.Fatal(err)
		}
	}
	step.Dir, step.Env = filepath.Join(root, workdir), env
	if out, err := step.CombinedOutput(); err != nil {
		im.t.Fatalf("RUN %s: %v\n%s", line, err, out)
	}
}

// container runs an image's program. As root it runs as the image's user, sees
// the image's files and nothing else, and can write /data only; else it runs as
// this user, with this machine's files around it.
type container struct {
	built
	t      *testing.T
	jailed bool
}

func (im *image) container(b built) *container {
	im.t.Helper()
	c := &container{built: b, t: im.t, jailed: os.Getuid() == 0 && exec.Command("unshare", "--mount", "true").Run() == nil}
	if !c.jailed {
		im.t.Log("without the right to mount: nothing shows that the image is complete, or that its root may be read-only")
		return c
	}
	for _, folder := range []string{"proc", "dev"} { // as engines have them
		if err := os.MkdirAll(filepath.Join(b.root, folder), 0o755); err != nil {
			im.t.Fatal(err)
		}
	}
	if stage, _ := im.stage(filepath.Base(b.root)); stage.BaseName != "scratch" {
		im.copyLibraries(b.root)
	}
	return c
}

// copyLibraries stands in for a base image: the C and C++ libraries of this
// machine that the program and its runtimes ask for.
func (im *image) copyLibraries(root string) {
	im.t.Helper()
	programs, _ := filepath.Glob(filepath.Join(root, "runtimes", "*.so*"))
	for _, program := range append(programs, filepath.Join(root, "api")) {
		out, err := exec.Command("ldd", program).Output()
		if err != nil {
			im.t.Fatalf("ldd %s: %v", program, err)
		}
		for _, word := range strings.Fields(string(out)) {
			if !path.IsAbs(word) {
				continue
			}
			real, err := filepath.EvalSymlinks(word)
			if err != nil {
				im.t.Fatal(err)
			}
			im.copy(real, filepath.Join(root, word))
		}
	}
}

// at is where the program finds a path of the image.
func (c *container) at(p string) string {
	if c.jailed {
		return p
	}
	return filepath.Join(c.root, p)
}

// jail makes $1 the root of a command, read-only but for its data, and nobody
// its user.
const jail = `set -e
root=$1; shift
mount --bind "$root" "$root"
mount --bind "$root/data" "$root/data"
mount --bind /proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero urandom; do
	: >"$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
mount -o remount,bind,ro "$root"
exec chroot --userspec=65534:65534 "$root" "$@"`

func (c *container) command(address string, args ...string) *exec.Cmd {
	c.t.Helper()
	if len(c.config.entrypoint) != 1 {
		c.t.Fatalf("entry point %v", c.config.entrypoint)
	}
	args = append([]string{c.at(c.config.entrypoint[0])}, args...)
	if c.jailed {
		args = append([]string{"unshare", "--mount", "sh", "-c", jail, "sh", c.root}, args...)
	}
	command := exec.Command(args[0], args[1:]...)
	command.Dir = "/"
	if c.jailed {
		command.Env = []string{"PATH=" + os.Getenv("PATH")}
	}
	for _, e := range c.config.env {
		name, value, _ := strings.Cut(e, "=")
		switch {
		case name == "EDGEVIT_LISTEN":
			value = address
		case strings.HasPrefix(value, "/"):
			value = c.at(value)
		}
		command.Env = append(command.Env, name+"="+value)
	}
	return command
}

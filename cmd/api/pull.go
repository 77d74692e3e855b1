package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"edgevit/checkpoint"
	"edgevit/model"
	"edgevit/model/demo"
	"edgevit/pull"
)

type pullCmd struct {
	Known    string        `arg:"" optional:"" name:"checkpoint" help:"A published checkpoint. Without it they are listed."`
	URL      string        `name:"url" help:"Any other: http, https, or a file's path." placeholder:"URL"`
	Sidecar  string        `help:"Labels, preprocessing and configuration as JSON, from http, https or a file's path. Default: the .json of the same stem beside a file of --url." placeholder:"FILE_OR_URL"`
	SHA256   string        `name:"sha256" help:"Checksum that the file must have, in hex." placeholder:"HEX"`
	Trust    bool          `name:"trust-first-use" help:"Take a file whose checksum nobody gives, and hold later pulls to what it was."`
	Name     string        `help:"Name to serve it under. Default: the checkpoint's, or after the URL." placeholder:"NAME"`
	Force    bool          `help:"Replace a model of that name."`
	Deadline time.Duration `help:"Longest time for the download." default:"1h"`
	Models   string        `help:"Folder to put it into. Default: models in the data folder." placeholder:"DIR" env:"EDGEVIT_MODELS" type:"path"`
	Data     string        `help:"Data folder. Default: the user's." placeholder:"DIR" env:"EDGEVIT_DATA" type:"path"`
	JSON     bool          `name:"json" help:"Print JSON."`
	settingFlags

	options pull.Options
	known   []pull.Source
}

// pullOutput is the JSON of a pull.
type pullOutput struct {
	Name string `json:"name"`
	File string `json:"file"`
	// State is pulled, or present where there was nothing to do; then the
	// other fields are missing.
	State string `json:"state"`
	URL   string `json:"url,omitempty"`
	// Bytes and SHA256 are of the file that was pulled, Hash is the model's.
	Bytes   int64  `json:"bytes,omitempty"`
	Resumed int64  `json:"resumed_bytes,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	// Verified says whose checksum it has: published, given, recorded, or
	// first_use, which is nobody's.
	Verified string   `json:"verified,omitempty"`
	Hash     string   `json:"hash,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// pullList is the JSON of a pull of nothing.
type pullList struct {
	Folder      string         `json:"folder"`
	Checkpoints []pullListItem `json:"checkpoints"`
}

type pullListItem struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	URL   string `json:"url"`
	// State is present, partial or absent.
	State   string `json:"state"`
	File    string `json:"file,omitempty"`
	Partial int64  `json:"partial_bytes,omitempty"`
	// SHA256 is published, or recorded at the first use; else it is missing.
	SHA256   string `json:"sha256,omitempty"`
	Verified string `json:"verified"` // published, recorded or no
}

// pullName is what a model may be named, as for uploads.
var pullName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Whose a checksum is.
const (
	sumPublished = "published"
	sumGiven     = "given"
	sumRecorded  = "recorded"
	sumFirstUse  = "first_use"
)

func (c *pullCmd) Run(ctx context.Context, s std) error {
	if c.Data == "" {
		c.Data = dataFolder()
	}
	if c.Models == "" {
		c.Models = filepath.Join(c.Data, "models")
	}
	if c.known == nil {
		c.known = pull.Known()
	}
	sums := pull.Sums(filepath.Join(c.Data, "pulled"))
	if c.Known == "" && c.URL == "" {
		if c.SHA256 != "" || c.Trust || c.Force || c.Name != "" || c.Sidecar != "" {
			return errors.New("name a checkpoint, or give --url")
		}
		return c.list(s, sums)
	}
	source, err := c.source()
	if err != nil {
		return err
	}
	flags, err := c.settingFlags.sidecar()
	if err != nil {
		return err
	}
	to := filepath.Join(c.Models, source.Name+".safetensors")
	have, err := c.have(source.Name)
	if err != nil {
		return err
	}
	switch {
	case have != "" && !c.Force:
		return pullOutput{Name: source.Name, File: have, State: "present"}.print(s, c.JSON)
	case have != "" && have != to:
		return fmt.Errorf("%s has the name %s: remove it, or choose another by --name", have, source.Name)
	}
	verified, err := c.settleSum(&source, sums)
	if err != nil {
		return err
	}
	o := pullOutput{Name: source.Name, File: to, State: "pulled", URL: redacted(source.URL), Verified: verified}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Deadline, fmt.Errorf("not done after %v, the time of --deadline", c.Deadline))
	defer cancel()
	settings, notes, err := c.beside(ctx, source)
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	settings = settings.Merge(flags)
	if settings.Name == "" {
		settings.Name = source.Title
	}
	err = c.fetch(ctx, s, source, func(f pull.File) error {
		m, err := openPulled(f, settings)
		if err != nil {
			return fmt.Errorf("%s: %w", o.URL, err)
		}
		place := os.Link // never overwrites
		if c.Force {
			place = os.Rename
		}
		if verified == sumFirstUse {
			sum := pull.Sum{SHA256: f.SHA256, Bytes: f.Bytes, Name: source.Name, FirstSeen: time.Now().UTC().Truncate(time.Second)}
			if err := sums.Record(source.URL, sum); err != nil {
				return err
			}
		}
		if _, err := writeFile(to, m.WriteSafetensors, place); err != nil {
			return err
		}
		o.Bytes, o.Resumed, o.SHA256, o.Hash, o.Notes = f.Bytes, f.Resumed, f.SHA256, m.Hash, slices.Concat(notes, m.Notes, unknowns(m))
		return nil
	})
	if err != nil && refused(err) {
		fmt.Fprintln(s.err, "api:", err)
		if errors.Is(err, pull.ErrChecksum) && verified == sumRecorded {
			fmt.Fprintln(s.err, "api: it is another file than at its first use; if that is meant, give its --sha256")
		}
		return errNo
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(c.Models, source.Name+".json")); err == nil {
		o.Notes = append(o.Notes, source.Name+".json beside it is its sidecar, and wins over what the file says of itself")
	}
	return o.print(s, c.JSON)
}

// source is what the flags name.
func (c *pullCmd) source() (pull.Source, error) {
	c.SHA256 = strings.ToLower(c.SHA256)
	var source pull.Source
	switch {
	case c.Known != "" && c.URL != "":
		return source, errors.New("give a published checkpoint or --url, not both; --name names what --url brings")
	case c.SHA256 != "" && !pull.ValidSHA256(c.SHA256):
		return source, fmt.Errorf("--sha256 is %q, want 64 hex digits", c.SHA256)
	case c.Deadline <= 0:
		return source, errors.New("--deadline must be more than 0")
	case c.URL != "":
		source = pull.Source{URL: c.URL, Name: nameOf(c.URL)}
		if source.Name == demo.Name && c.Name == "" {
			return source, fmt.Errorf("the name would be %s, which is that of the embedded model; choose one by --name", demo.Name)
		}
	default:
		var names []string
		for _, k := range c.known {
			if k.Name == c.Known {
				source = k
			}
			names = append(names, k.Name)
		}
		if source.URL == "" {
			return source, fmt.Errorf("no published checkpoint %q; there are: %s; or give --url", c.Known, strings.Join(names, ", "))
		}
		if source.SHA256 != "" && c.SHA256 != "" && c.SHA256 != source.SHA256 {
			return source, fmt.Errorf("--sha256 is not that of %s, which is published as %s", source.Name, source.SHA256)
		}
	}
	if c.Name != "" {
		source.Name = c.Name
	}
	if !pullName.MatchString(source.Name) || model.IsCheckpoint(source.Name) {
		return source, fmt.Errorf("the name would be %q; choose one by --name: 1 to 64 of a-z 0-9 . _ -, the first a letter or digit, without a checkpoint's extension", source.Name)
	}
	return source, nil
}

// beside reads the source's sidecar: that of --sidecar, or what lies beside a
// file. There need not be any.
func (c *pullCmd) beside(ctx context.Context, source pull.Source) (settings model.Sidecar, notes []string, err error) {
	from := c.Sidecar
	if from == "" {
		path, local, err := pull.LocalPath(source.URL)
		if err != nil || !local {
			return settings, nil, err
		}
		from = strings.TrimSuffix(path, filepath.Ext(path)) + ".json"
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
			return settings, nil, nil
		}
	}
	dir, err := os.MkdirTemp("", "edgevit-sidecar-")
	if err != nil {
		return settings, nil, err
	}
	defer os.RemoveAll(dir)
	o := c.options
	o.MaxBytes = model.MaxSidecar
	err = pull.Fetch(ctx, dir, pull.Source{Name: "sidecar", URL: from}, o, func(f pull.File) error {
		data, err := os.ReadFile(f.Path)
		if err != nil {
			return err
		}
		settings, notes, err = model.ParseSidecar(data, redacted(from))
		return err
	}, func(error) bool { return false })
	return settings, notes, err
}

// unknowns are notes on what neither the file nor a sidecar nor flags say.
func unknowns(m *model.Model) []string {
	var notes []string
	if m.Labels == nil && !m.Untrained {
		notes = append(notes, fmt.Sprintf("nothing names its %d classes: answers will say class 0, class 1, …; --labels FILE or a sidecar names them", m.Config.Classes))
	}
	if m.SizeAssumed {
		notes = append(notes, fmt.Sprintf("nothing says its input size: %d pixels is the default of the layout %s; --input-size or a sidecar sets it", m.Preprocess.Size, m.Config.Layout))
	}
	return notes
}

// nameOf is the served name of what a URL or path ends in.
func nameOf(from string) string {
	if u, err := url.Parse(from); err == nil && u.Host != "" {
		return model.ServedName(path.Base(u.Path))
	}
	return model.ServedName(from)
}

// have is the file that has the name already, empty if none has.
func (c *pullCmd) have(name string) (string, error) {
	files, err := model.List(c.Models)
	for _, f := range files {
		if f.Name == name {
			return f.Path, err
		}
	}
	return "", err
}

// settleSum sets the checksum that the source must have, and says whose it is.
// Without any, only --trust-first-use goes on.
func (c *pullCmd) settleSum(source *pull.Source, sums pull.Sums) (verified string, err error) {
	switch {
	case source.SHA256 != "":
		return sumPublished, nil
	case c.SHA256 != "":
		source.SHA256 = c.SHA256
		return sumGiven, nil
	}
	sum, ok, err := sums.Lookup(source.URL)
	switch {
	case err != nil:
		return "", err
	case ok:
		source.SHA256 = sum.SHA256
		return sumRecorded, nil
	case c.Trust:
		return sumFirstUse, nil
	}
	plain := ""
	if strings.HasPrefix(source.URL, "http://") {
		plain = " and comes over plain http, which anybody on the way can change"
	}
	return "", fmt.Errorf("%s is unverified: it has no published checksum%s. Give --sha256 HEX, or --trust-first-use to take it as it is and hold later pulls to the same checksum", source.Name, plain)
}

// fetch is pull.Fetch with a progress bar on a terminal.
func (c *pullCmd) fetch(ctx context.Context, s std, source pull.Source, use func(pull.File) error) error {
	var bar *progressbar.ProgressBar
	o := c.options
	o.MaxBytes = checkpoint.DefaultMaxBytes
	clear := func() {
		if bar != nil {
			_ = bar.Clear() // a bar that cannot be drawn stops nothing
		}
	}
	terminal := isTerminal(s.err)
	o.Progress = func(done, size int64) {
		if !terminal {
			return
		}
		if bar == nil {
			bar = progressbar.NewOptions64(size, progressbar.OptionSetWriter(s.err), progressbar.OptionShowBytes(true), progressbar.OptionShowCount(), progressbar.OptionSetDescription(source.Name),
				progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
		}
		if size > 0 {
			bar.ChangeMax64(size)
		}
		_ = bar.Set64(done)
	}
	o.Retry = func(err error, wait time.Duration) {
		clear()
		fmt.Fprintf(s.err, "api: %v; again in %v\n", err, wait)
	}
	err := pull.Fetch(ctx, c.Models, source, o, use, func(err error) bool { return !refused(err) })
	clear()
	return err
}

// refused says that what was pulled is at fault: another pull brings no better.
func refused(err error) bool {
	for _, e := range []error{
		pull.ErrChecksum, pull.ErrWebPage, pull.ErrTooLarge,
		checkpoint.ErrFormat, checkpoint.ErrDamaged, checkpoint.ErrUnsupported, checkpoint.ErrTooLarge,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return errors.As(err, new(*model.InvalidError))
}

// openPulled makes a model of a pulled file, which has no checkpoint's name.
func openPulled(pulled pull.File, settings model.Sidecar) (*model.Model, error) {
	r, err := os.Open(pulled.Path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := checkpoint.Read(r, pulled.Bytes, 0)
	if err != nil {
		return nil, err
	}
	return model.New(f, settings)
}

func (o pullOutput) print(s std, asJSON bool) error {
	if asJSON {
		return writeJSON(s.out, o)
	}
	if o.State == "present" {
		_, err := fmt.Fprintf(s.out, "%s is here already: %s (--force pulls it again)\n", o.Name, o.File)
		return err
	}
	checked := map[string]string{
		sumPublished: "as published", sumGiven: "as given", sumRecorded: "as at its first use",
		sumFirstUse: "UNVERIFIED: taken on trust; later pulls are held to it",
	}[o.Verified]
	for _, n := range o.Notes {
		fmt.Fprintln(s.err, "note:", n)
	}
	_, err := fmt.Fprintf(s.out, "%s: model %s\n%s bytes pulled, sha256 %s, %s\n", o.File, o.Hash, grouped(o.Bytes), o.SHA256, checked)
	return err
}

// list prints the published checkpoints and which of them are here.
func (c *pullCmd) list(s std, sums pull.Sums) error {
	l := pullList{Folder: c.Models}
	for _, k := range c.known {
		i := pullListItem{Name: k.Name, Title: k.Title, URL: k.URL, State: "absent", SHA256: k.SHA256, Verified: sumPublished}
		if k.SHA256 == "" {
			sum, ok, err := sums.Lookup(k.URL)
			if err != nil {
				return err
			}
			if i.SHA256, i.Verified = sum.SHA256, "no"; ok {
				i.Verified = sumRecorded
			}
		}
		have, err := c.have(k.Name)
		if err != nil {
			return err
		}
		i.Partial = pull.Pending(c.Models, k.Name)
		switch {
		case have != "":
			i.State, i.File = "present", have
		case i.Partial > 0:
			i.State = "partial"
		}
		l.Checkpoints = append(l.Checkpoints, i)
	}
	if c.JSON {
		return writeJSON(s.out, l)
	}
	t := newTable(s.out)
	t.row("name", "state", "checksum", "what")
	for _, i := range l.Checkpoints {
		state := i.State
		if i.State == "partial" {
			state = grouped(i.Partial) + " bytes"
		}
		t.row(i.Name, state, map[string]string{sumPublished: "published", sumRecorded: "of first use", "no": "none"}[i.Verified], i.Title)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.out, "folder:", l.Folder)
	return err
}

// redacted is a URL for output, without a password.
func redacted(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return text
}

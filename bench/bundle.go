package bench

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"edgevit/backend"
)

// ErrBundle is the error of a file that is no bundle of a run.
var ErrBundle = errors.New("invalid run bundle")

// Schema is the version of the form of a bundle.
const Schema = 2

// Where a bundle's samples were taken.
const (
	OriginAPI     = "api"     // by this program
	OriginBrowser = "browser" // by a visitor's browser
)

// Bundle is one run with everything needed to repeat it. Its file is gzipped
// JSON.
type Bundle struct {
	Schema   int       `json:"schema"`
	ID       string    `json:"id"`
	Origin   string    `json:"origin"`
	Created  time.Time `json:"created"`
	Finished time.Time `json:"finished"`
	Plan     Plan      `json:"plan"`
	// Models are those of the plan, in its order.
	Models []ModelFacts `json:"models"`
	// Peers are those of the plan, in its order.
	Peers       []PeerFacts `json:"peers,omitempty"`
	Environment Environment `json:"environment"`
	// Disturbances is the number of requests that the program served meanwhile.
	Disturbances int64   `json:"disturbances"`
	Probes       []Probe `json:"probes"`
	// Subjects are every model on every target, model by model, in the plan's
	// order, and then the peers; the first of a model is the one that its others
	// are related to, the first of all the one that peers are.
	Subjects []Subject `json:"subjects"`
	// Summary is made of the rest: a reader makes it anew.
	Summary Summary `json:"summary"`
}

// ModelFacts identify a model. MACs are those of one image.
type ModelFacts struct {
	Name      string `json:"name"`
	Hash      string `json:"hash"`
	Untrained bool   `json:"untrained"`
	MACs      int64  `json:"macs"`
}

// PeerFacts identify another program's model by its file's sha256, with the
// sides of its input and the number of classes, 0 where it could not be read.
type PeerFacts struct {
	Name    string `json:"name"`
	Hash    string `json:"hash"`
	Height  int    `json:"height"`
	Width   int    `json:"width"`
	Classes int    `json:"classes"`
}

// Probe is a measurement of the machine's peak in multiply-adds of a precision,
// in 10⁹ operations a second, on one core and on Cores cores at once. There is
// one of fp32, and of what else the targets compute in, before, between and
// after the blocks.
type Probe struct {
	StartMS float64 `json:"start_ms"`
	// Precision is fp32, int8 or bf16.
	Precision string `json:"precision"`
	// Instructions are empty where the precision has none, and the figures 0.
	Instructions string  `json:"instructions"`
	OneCore      float64 `json:"one_core"`
	Cores        int     `json:"cores"`
	AllCores     float64 `json:"all_cores"`
}

// Subject is a model on a target.
type Subject struct {
	Model  string `json:"model"`
	Target string `json:"target"`
	// Label is the target, or the target and #2 the second time.
	Label string `json:"label"`
	// Error says why it could not run.
	Error       string       `json:"error,omitempty"`
	Description *TargetFacts `json:"description,omitempty"`
	// Sessions is how many were opened: one at first, and where that is quick
	// one more in every block.
	Sessions int `json:"sessions"`
	// OpenMS are the times of their openings in milliseconds, in order; a first
	// opening may also make files that later ones find.
	OpenMS []float64 `json:"open_ms,omitempty"`
	// Resident is the memory that opening and warm-up added, in bytes.
	Resident Reading `json:"resident_bytes"`
	// EnergyMissing says why slices have no energy.
	EnergyMissing string  `json:"energy_missing,omitempty"`
	Slices        []Slice `json:"slices"`
}

// TargetFacts are a backend.Description.
type TargetFacts struct {
	Threads        int    `json:"threads"`
	Provider       string `json:"provider"`
	DelegatedNodes int    `json:"delegated_nodes"`
	Nodes          int    `json:"nodes"`
	Library        string `json:"library"`
	LibraryVersion string `json:"library_version"`
	WeightBytes    int64  `json:"weight_bytes"`
	ArenaBytes     int64  `json:"arena_bytes"`
	// WorkerPID is the process that the session ran in, 0 if that was the
	// benchmark's own.
	WorkerPID int `json:"worker_pid,omitempty"`
}

func factsOf(d backend.Description) TargetFacts {
	return TargetFacts{
		Threads: d.Threads, Provider: d.Provider, DelegatedNodes: d.DelegatedNodes, Nodes: d.Nodes, Library: d.Library,
		LibraryVersion: d.LibraryVersion, WeightBytes: d.WeightBytes, ArenaBytes: d.ArenaBytes, WorkerPID: d.WorkerPID,
	}
}

// Slice is a subject's turn in one block: its raw samples, one a query.
type Slice struct {
	Block int `json:"block"`
	// Position in the order of the block, from 1.
	Position   int     `json:"position"`
	StartMS    float64 `json:"start_ms"`
	DurationMS float64 `json:"duration_ms"`
	SamplesMS  Samples `json:"samples_ms"`
	// Unanswered queries of the Server scenario are among the samples, with the
	// time that they waited in vain.
	Unanswered int `json:"unanswered,omitempty"`
	// EnergyJ is what the processor packages used, nil where that cannot be
	// measured.
	EnergyJ *float64 `json:"energy_j,omitempty"`
}

// Samples are at most MaxSamples times in milliseconds.
type Samples []float64

// UnmarshalJSON refuses too many samples before they take memory.
func (s *Samples) UnmarshalJSON(text []byte) error {
	if n := bytes.Count(text, []byte(",")); n >= MaxSamples {
		return fmt.Errorf("%d samples in one slice, at most %d", n+1, MaxSamples)
	}
	if bytes.Contains(text, []byte("null")) { // which would be read as 0
		return errors.New("a sample is null")
	}
	var values []float64
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	*s = values
	return nil
}

// Bounds of a bundle's file.
const (
	// MaxBundleBytes is the largest file.
	MaxBundleBytes = 16 << 20
	maxJSONBytes   = 32 << 20 // a million samples of 20 digits, and the rest
	maxTextBytes   = 4096     // of one string
	maxMS          = 1e9
	maxFigure      = 1e15
)

// Write writes the bundle's file.
func (b *Bundle) Write(w io.Writer) error {
	z := gzip.NewWriter(w)
	if err := errors.Join(json.NewEncoder(z).Encode(b), z.Close()); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// ReadBundle reads a bundle's file that may come from anyone: within bounds of
// size, with every field checked, and with the summary made anew from the raw
// samples. The error is ErrBundle or the reader's.
func ReadBundle(r io.Reader) (*Bundle, error) {
	bad := func(format string, args ...any) (*Bundle, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrBundle}, args...)...)
	}
	packed, err := io.ReadAll(io.LimitReader(r, MaxBundleBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	if len(packed) > MaxBundleBytes {
		return bad("longer than %d bytes", MaxBundleBytes)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return bad("not a gzip file: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxJSONBytes+1))
	if err != nil {
		return bad("damaged: %w", err)
	}
	if len(text) > maxJSONBytes {
		return bad("unpacks to more than %d bytes", maxJSONBytes)
	}
	// Most of a bundle's commas stand between samples.
	if n := bytes.Count(text, []byte(",")); n > MaxSamples+MaxSamples/4 {
		return bad("more than %d samples", MaxSamples)
	}
	// The version first: a newer form has fields that are not known here.
	var version struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(text, &version); err != nil {
		return bad("%w", err)
	}
	if version.Schema != Schema {
		return bad("its form is version %d; this program reads %d", version.Schema, Schema)
	}
	var b Bundle
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return bad("%w", err)
	}
	b.Summary = Summary{}
	if err := b.check(); err != nil {
		return bad("%w", err)
	}
	b.Summary = Summarise(&b)
	return &b, nil
}

var (
	idForm   = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	hashForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// inBrowser says whether a target is one of the runtimes that the dashboard runs
// in a browser: ort-web, litert-web, by themselves or with a device. No backend
// is named so.
func inBrowser(target string) bool {
	runtime, _, _ := strings.Cut(target, ":")
	return strings.HasSuffix(runtime, "-web")
}

// checker keeps the first thing that is wrong.
type checker struct{ err error }

func (c *checker) that(ok bool, format string, args ...any) {
	if !ok && c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

func (c *checker) number(name string, v, low, high float64) {
	c.that(low <= v && v <= high, "%s is %v, want %v to %v", name, v, low, high) // NaN is not
}

func (c *checker) text(name, s string) {
	ok := len(s) <= maxTextBytes && utf8.ValidString(s)
	for _, r := range s {
		ok = ok && (unicode.IsPrint(r) || r == '\n' || r == '\t')
	}
	c.that(ok, "%s is no printable text of at most %d bytes", name, maxTextBytes)
}

// name is text that is no markup, wherever it may be shown.
func (c *checker) name(what, s string) {
	c.text(what, s)
	c.that(!strings.ContainsAny(s, "<>"), "%s is %.80q; < and > are not for names", what, s)
}

func (c *checker) reading(name string, r Reading, high float64) {
	c.number(name, r.Value, 0, high)
	c.text(name, r.Meter)
	c.text(name, r.Missing)
}

// check looks at every field but the summary.
func (b *Bundle) check() error {
	var c checker
	c.that(idForm.MatchString(b.ID), "id %q is not of the form %s", b.ID, idForm)
	c.that(b.Origin == OriginAPI || b.Origin == OriginBrowser, "origin is %q", b.Origin)
	for name, at := range map[string]time.Time{"created": b.Created, "finished": b.Finished} {
		c.that(at.Year() >= 2000 && at.Year() < 10000, "%s is %v", name, at)
	}
	c.that(!b.Finished.Before(b.Created), "finished before it was created")
	if c.err == nil {
		c.err = b.Plan.Check()
	}
	c.that(len(b.Plan.Targets) > 0, "a plan without targets")
	for _, t := range b.Plan.Targets {
		c.that(inBrowser(t) == (b.Origin == OriginBrowser), "the target %.80q is not of the origin %s", t, b.Origin)
	}
	for _, s := range slices.Concat(b.Plan.Models, b.Plan.Targets, b.Plan.Peers) {
		c.name("a name of the plan", s)
	}
	c.that(len(b.Models) == len(b.Plan.Models), "%d models, the plan has %d", len(b.Models), len(b.Plan.Models))
	for i, m := range b.Models {
		c.that(i >= len(b.Plan.Models) || m.Name == b.Plan.Models[i], "model %d is not that of the plan", i)
		c.that(hashForm.MatchString(m.Hash), "the hash of a model is %.80q", m.Hash)
		c.number("MACs", float64(m.MACs), 0, maxFigure)
	}
	c.that(len(b.Peers) == len(b.Plan.Peers), "%d peers, the plan has %d", len(b.Peers), len(b.Plan.Peers))
	for i, p := range b.Peers {
		c.that(i >= len(b.Plan.Peers) || p.Name == b.Plan.Peers[i], "peer %d is not that of the plan", i)
		c.that(hashForm.MatchString(p.Hash), "the hash of a peer is %.80q", p.Hash)
		for _, v := range []int{p.Height, p.Width, p.Classes} {
			c.number("a peer's shape", float64(v), 0, maxFigure)
		}
	}
	b.Environment.check(&c)
	c.number("disturbances", float64(b.Disturbances), 0, maxFigure)
	c.that(len(b.Probes) <= len(precisions)*(maxBlocks+1), "%d probes", len(b.Probes))
	for _, p := range b.Probes {
		c.that(slices.Contains(precisions, p.Precision), "the precision of a probe is %.80q", p.Precision)
		c.text("a probe's instructions", p.Instructions)
		c.number("start of a probe", p.StartMS, 0, maxMS)
		c.number("peak of one core", p.OneCore, 0, maxFigure)
		c.number("peak of all cores", p.AllCores, 0, maxFigure)
		c.number("cores of a probe", float64(p.Cores), 0, maxThreads)
	}
	c.that(len(b.Subjects) == b.Plan.subjects(), "%d subjects, the plan has %d", len(b.Subjects), b.Plan.subjects())
	if c.err != nil {
		return c.err
	}
	total := 0
	for i := range b.Subjects {
		s := &b.Subjects[i]
		model, target, _ := b.Plan.subject(i)
		c.that(s.Model == model && s.Target == target, "subject %d is not that of the plan", i)
		total += s.check(&c, b.Plan)
	}
	c.that(total <= MaxSamples, "%d samples, at most %d", total, MaxSamples)
	return c.err
}

func (e *Environment) check(c *checker) {
	for _, s := range append([]string{e.OS, e.Arch, e.Kernel, e.CPU, e.Governor, e.Go, e.Version, e.Browser}, e.CPUFlags...) {
		c.text("the environment", s)
	}
	c.that(len(e.CPUFlags) <= 4096, "%d CPU flags", len(e.CPUFlags))
	c.number("cores", float64(e.Cores), 0, maxThreads)
	c.number("GOMAXPROCS", float64(e.GoMaxProcs), 0, maxThreads)
	c.number("memory", float64(e.MemoryBytes), 0, math.MaxInt64)
	c.number("CPU quota", e.Quota, 0, maxThreads)
	c.that(len(e.LoadBefore) <= 3 && len(e.LoadAfter) <= 3, "more than three load averages")
	for _, v := range append(e.LoadBefore, e.LoadAfter...) {
		c.number("load", v, 0, maxFigure)
	}
	c.reading("load of others", e.Others, 1)
	c.reading("stolen time", e.Stolen, 1)
	c.reading("resident memory", e.PeakResident, maxFigure)
}

// check returns the number of samples.
func (s *Subject) check(c *checker, p Plan) (total int) {
	c.name("a label", s.Label)
	c.that(s.Label != "", "a subject without a label")
	c.text("an error", s.Error)
	c.text("a reason", s.EnergyMissing)
	c.reading("resident memory", s.Resident, maxFigure)
	c.number("sessions", float64(s.Sessions), 0, maxBlocks+1)
	c.that(len(s.OpenMS) <= maxBlocks+1, "%s was opened %d times, at most %d", s.Label, len(s.OpenMS), maxBlocks+1)
	for _, v := range s.OpenMS {
		c.number(s.Label+": an opening in ms", v, 0, maxMS)
	}
	if d := s.Description; d != nil {
		for _, text := range []string{d.Provider, d.Library, d.LibraryVersion} {
			c.text("a target's description", text)
		}
		for _, v := range []int64{int64(d.Threads), int64(d.Nodes), int64(d.DelegatedNodes), d.WeightBytes, d.ArenaBytes, int64(d.WorkerPID)} {
			c.number("a target's description", float64(v), 0, maxFigure)
		}
	}
	c.that(len(s.Slices) <= p.Blocks, "%s has %d slices of %d blocks", s.Label, len(s.Slices), p.Blocks)
	c.that(s.Error != "" || len(s.Slices) == p.Blocks, "%s has %d slices of %d blocks and no error", s.Label, len(s.Slices), p.Blocks)
	none := len(s.Slices) > 0
	for i, l := range s.Slices {
		where := s.Label + ", slice " + strconv.Itoa(i)
		c.that(l.Block == i, "%s is of block %d", where, l.Block)
		c.number(where+": position", float64(l.Position), 1, maxSubjects)
		c.number(where+": start in ms", l.StartMS, 0, maxMS)
		c.number(where+": duration in ms", l.DurationMS, 0, maxMS)
		c.that(l.DurationMS > 0, "%s lasted no time", where)
		c.that(len(l.SamplesMS) > 0, "%s has no samples", where)
		c.number(where+": unanswered queries", float64(l.Unanswered), 0, float64(len(l.SamplesMS)))
		if l.EnergyJ != nil {
			c.number(where+": energy in J", *l.EnergyJ, 0, maxFigure)
		}
		sum := 0.0
		for _, v := range l.SamplesMS {
			c.number(where+": a time in ms", v, 0, maxMS)
			sum += v
		}
		if p.Scenario != Server { // where queries follow one another
			c.that(sum <= l.DurationMS*(1+1e-9), "%s: its queries took %v ms, the slice %v", where, sum, l.DurationMS)
		}
		none = none && sum == 0
		total += len(l.SamplesMS)
	}
	c.that(!none, "%s: no query took any time", s.Label)
	return total
}

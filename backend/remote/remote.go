// Package remote runs a graph on another machine: on any server of the Open
// Inference Protocol v2, such as Triton, OpenVINO Model Server, KServe, or
// another copy of this service. The server has the model already; what is sent is
// input tensors, and what comes back is logits, so that a comparison reaches
// devices that are not here.
//
//	backend.Default.Register(remote.New([]remote.Server{gpu}))
//	c, err := backend.Open(ctx, "remote:gpu", g, backend.Options{Model: "edgevit-xxs"})
//
// remote.go finds servers and opens models, session.go runs them, client.go is
// the HTTP.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"edgevit/backend"
	"edgevit/graph"
	"edgevit/oip"
)

const (
	backendName = "remote"
	precision   = "fp32" // of the tensors; what the server computes in is its affair

	// probeTimeout bounds how long a server that does not answer holds up Probe.
	probeTimeout = 2 * time.Second
)

// Server is where a model may run.
type Server struct {
	// Name is the target's device: remote:NAME.
	Name string
	// Base is the URL above /v2, without a slash at its end.
	Base string
	// Model is the model's name there; empty: Options.Model.
	Model string
}

var (
	serverName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	modelPath  = regexp.MustCompile(`^(.*?)/v2(?:/models/([^/]+))?/?$`)
)

// Parse reads NAME=URL, where URL is a server's address, http or https, and may go
// on with /v2/models/MODEL.
func Parse(flag string) (Server, error) {
	name, address, ok := strings.Cut(flag, "=")
	bad := func(why string) (Server, error) {
		return Server{}, fmt.Errorf("remote %q: %s; write NAME=URL, as gpu=http://gpu.example:8000 or gpu=http://gpu.example:8000/v2/models/edgevit", flag, why)
	}
	if !ok {
		return bad("it has no =")
	}
	if !serverName.MatchString(name) || slices.Contains(backend.Precisions, name) {
		return bad("the name is to be lower-case letters, digits, - and _, and no precision")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return bad("the URL cannot be read")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return bad("the URL is to begin with http:// or https:// and a host")
	case u.User != nil:
		return bad("the URL may not hold a password")
	case u.RawQuery != "" || u.Fragment != "":
		return bad("the URL may not hold a query or a fragment")
	}
	s := Server{Name: name, Base: strings.TrimSuffix(u.Scheme+"://"+u.Host+u.EscapedPath(), "/")}
	if m := modelPath.FindStringSubmatch(u.EscapedPath()); m != nil {
		s.Base = u.Scheme + "://" + u.Host + m[1]
		if s.Model, err = url.PathUnescape(m[2]); err != nil {
			return bad("the model's name cannot be read")
		}
	}
	return s, nil
}

// Backend runs graphs on the servers that it was made with.
type Backend struct{ servers []Server }

// New makes a backend of at least one server. The error names a server that is
// there twice.
func New(servers []Server) (Backend, error) {
	if len(servers) == 0 {
		return Backend{}, errors.New("remote: no server")
	}
	for i, s := range servers {
		if slices.ContainsFunc(servers[:i], func(other Server) bool { return other.Name == s.Name }) {
			return Backend{}, fmt.Errorf("remote %s is given twice", s.Name)
		}
	}
	return Backend{slices.Clone(servers)}, nil
}

// Name is remote.
func (Backend) Name() string { return backendName }

// NamedDevices says that no server is the default one.
func (Backend) NamedDevices() {}

// Targets are the servers.
func (b Backend) Targets() []backend.Target {
	var all []backend.Target
	for _, s := range b.servers {
		all = append(all, backend.Target{Backend: backendName, Device: s.Name, Precision: precision})
	}
	return all
}

// Probe asks every server at once whether it is ready, and for its model where
// one is configured.
func (b Backend) Probe(ctx context.Context) []backend.TargetStatus {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	all := make([]backend.TargetStatus, len(b.servers))
	var wg sync.WaitGroup
	for i, t := range b.Targets() {
		wg.Go(func() {
			err := b.servers[i].probe(ctx)
			all[i] = backend.TargetStatus{Target: t, Available: err == nil}
			if err != nil {
				all[i].Reason = err.Error()
			}
		})
	}
	wg.Wait()
	return all
}

func (s Server) probe(ctx context.Context) error {
	c := newClient(s)
	defer c.close()
	if err := c.get(ctx, "/v2/health/ready", nil); err != nil {
		return err
	}
	if s.Model == "" {
		return nil
	}
	var m oip.ModelMetadata
	return c.get(ctx, modelURL(s.Model), &m)
}

func modelURL(model string) string { return "/v2/models/" + url.PathEscape(model) }

// Open asks the server for the model and holds it against g, whose weights it does
// not need.
func (b Backend) Open(ctx context.Context, g *graph.Graph, o backend.Options) (backend.Session, error) {
	i := slices.IndexFunc(b.servers, func(s Server) bool { return s.Name == o.Device })
	if i < 0 {
		return nil, fmt.Errorf("%w: remote has no server %q", backend.ErrUnsupported, o.Device)
	}
	if o.Precision != "" && o.Precision != precision {
		return nil, fmt.Errorf("%w: remote has no precision %q", backend.ErrUnsupported, o.Precision)
	}
	server := b.servers[i]
	if server.Model == "" {
		server.Model = o.Model
	}
	if server.Model == "" {
		return nil, fmt.Errorf("%w: which model of %s? Give the remote as %s=%s/v2/models/MODEL", backend.ErrUnsupported, server.Name, server.Name, server.Base)
	}
	c := newClient(server)
	s, err := openModel(ctx, c, server.Model, g)
	if err != nil {
		c.close()
		return nil, err
	}
	return s, nil
}

func openModel(ctx context.Context, c *client, model string, g *graph.Graph) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	var server oip.ServerMetadata
	if err := c.get(ctx, "/v2", &server); err != nil {
		return nil, err
	}
	var m oip.ModelMetadata
	if err := c.get(ctx, modelURL(model), &m); err != nil {
		return nil, err
	}
	var config oip.ModelConfig
	if slices.Contains(server.Extensions, oip.ModelConfiguration) {
		if err := c.get(ctx, modelURL(model)+"/config", &config); err != nil {
			return nil, err
		}
	}
	s := &session{client: c, model: model, classes: g.Classes(), image: g.Input()}
	s.binary = slices.Contains(server.Extensions, oip.BinaryTensorData)
	if err := s.fit(m, config); err != nil {
		return nil, fmt.Errorf("%w: model %s of %s: %w", backend.ErrUnsupported, model, c.server.Base, err)
	}
	identity := "identity not checked: the server tells no model_hash"
	switch hash := m.Properties["model_hash"]; {
	case hash != "" && g.ID == "":
		identity = "identity not checked: the model here has no hash"
	case hash != "" && hash != g.ID:
		return nil, fmt.Errorf("%w: model %s of %s is another one: its hash is %s, here it is %s", backend.ErrUnsupported, model, c.server.Base, clip(hash), g.ID)
	case hash != "":
		identity = "same model_hash"
	}
	s.description = backend.Description{
		Provider:       fmt.Sprintf("%s, model %s; %s", c.server.Base, clip(model), identity),
		LibraryVersion: strings.TrimSpace(clip(server.Name) + " " + clip(server.Version)),
	}
	return s, nil
}

// fit chooses input, layout, batches and output of the server's model. Its
// configuration may be empty.
func (s *session) fit(m oip.ModelMetadata, config oip.ModelConfig) error {
	if len(m.Inputs) != 1 {
		return fmt.Errorf("it has %d inputs, want one", len(m.Inputs))
	}
	in := m.Inputs[0]
	if in.Datatype != oip.FP32 {
		return fmt.Errorf("input %s is %s, want FP32", clip(in.Name), clip(string(in.Datatype)))
	}
	s.input = in.Name
	shape := in.Shape
	switch len(shape) {
	case 4:
		s.batched = true
		if n := shape[0]; n > 1 {
			return fmt.Errorf("input %s has batches of %d only, want any number or 1", clip(in.Name), n)
		} else if n == 1 {
			s.maxBatch = 1
		} else {
			s.maxBatch = max(0, config.MaxBatchSize)
		}
		shape = shape[1:]
	case 3:
		s.maxBatch = 1
	default:
		return fmt.Errorf("input %s has the shape %v, want [N H W 3] or [N 3 H W]", clip(in.Name), clipShape(shape))
	}
	h, w, c := int64(s.image.H), int64(s.image.W), int64(s.image.C)
	nhwc, nchw := fits(shape, h, w, c), fits(shape, c, h, w)
	if nhwc && nchw { // by dimensions that vary, or images of 3 x 3
		format := ""
		if len(config.Input) == 1 {
			format = config.Input[0].Format
		}
		nhwc = format == "FORMAT_NHWC" || format != "FORMAT_NCHW" && shape[2] == c && shape[0] != c
		nchw = format == "FORMAT_NCHW" || format != "FORMAT_NHWC" && shape[0] == c && shape[2] != c
	}
	if !nhwc && !nchw {
		return fmt.Errorf("input %s has the shape %v, which is not that of images of %v with channels last or first", clip(in.Name), clipShape(in.Shape), s.image)
	}
	s.channelsFirst = nchw

	var found []string
	for _, out := range m.Outputs {
		shape := out.Shape
		if s.batched && len(shape) == 2 && (shape[0] == -1 || shape[0] == 1) {
			shape = shape[1:]
		}
		if out.Datatype == oip.FP32 && fits(shape, int64(s.classes)) {
			found = append(found, out.Name)
		}
	}
	switch {
	case slices.Contains(found, "logits"):
		s.output = "logits"
	case len(found) == 1:
		s.output = found[0]
	case len(found) == 0:
		return fmt.Errorf("no output is FP32 of %d classes", s.classes)
	default:
		return fmt.Errorf("%d outputs are FP32 of %d classes and none is named logits", len(found), s.classes)
	}
	return nil
}

// fits says whether a shape whose dimensions of -1 vary is the wanted one.
func fits(shape []int64, want ...int64) bool {
	return slices.EqualFunc(shape, want, func(d, w int64) bool { return d == w || d == -1 })
}

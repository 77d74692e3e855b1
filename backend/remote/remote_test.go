package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"edgevit/backend"
	"edgevit/graph"
	"edgevit/oip"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		flag string
		want Server
	}{
		{"gpu=http://10.0.0.1:8000", Server{"gpu", "http://10.0.0.1:8000", ""}},
		{"gpu=https://host/", Server{"gpu", "https://host", ""}},
		{"a-1=http://host/triton/v2/", Server{"a-1", "http://host/triton", ""}},
		{"a=http://host/v2/models/edgevit", Server{"a", "http://host", "edgevit"}},
		{"a=http://host/x/v2/models/demo%40onnx/", Server{"a", "http://host/x", "demo@onnx"}},
		{"a=http://host/x", Server{"a", "http://host/x", ""}},
	} {
		if got, err := Parse(c.flag); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.flag, got, err, c.want)
		}
	}
	for _, flag := range []string{
		"", "gpu", "http://host", "GPU=http://host", "a:b=http://host", "int8=http://host", "=http://host", "a=", "a=host:8000", "a=ftp://host",
		"a=file:///etc/passwd", "a=http://", "a=http://me:secret@host", "a=http://host/?x=1", "a=http://host/#x", "a=http://host\n/", "a=http://[::1",
	} {
		if got, err := Parse(flag); err == nil || !strings.Contains(err.Error(), "write NAME=URL") {
			t.Errorf("%q: %+v, %v; want an error", flag, got, err)
		}
	}
}

// server is one of the protocol whose logit k of an image is k, but logit 0 its
// first red value and logit 1 its last blue one.
type server struct {
	extensions []string
	metadata   oip.ModelMetadata
	config     oip.ModelConfig
	batches    []int64 // of the requests so far
	answer     func(*oip.InferResponse)
	before     func(w http.ResponseWriter, r *http.Request) (done bool)
}

const side, classes = 4, 5

func triton() *server {
	return &server{
		extensions: []string{oip.BinaryTensorData, oip.ModelConfiguration},
		metadata: oip.ModelMetadata{
			Name:    "m",
			Inputs:  []oip.TensorMetadata{{Name: "x", Datatype: oip.FP32, Shape: []int64{-1, 3, side, side}}},
			Outputs: []oip.TensorMetadata{{Name: "y", Datatype: oip.FP32, Shape: []int64{-1, classes}}},
		},
		config: oip.ModelConfig{MaxBatchSize: 2},
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.before != nil && s.before(w, r) {
		return
	}
	switch r.URL.Path {
	case "/v2/health/ready":
	case "/v2":
		json.NewEncoder(w).Encode(oip.ServerMetadata{Name: "triton", Version: "2.50", Extensions: s.extensions})
	case "/v2/models/m":
		json.NewEncoder(w).Encode(s.metadata)
	case "/v2/models/m/config":
		json.NewEncoder(w).Encode(s.config)
	case "/v2/models/m/infer":
		if err := s.infer(w, r); err != nil {
			w.WriteHeader(400)
			json.NewEncoder(w).Encode(oip.Error{Error: err.Error()})
		}
	default:
		w.WriteHeader(404)
		json.NewEncoder(w).Encode(oip.Error{Error: "no " + r.URL.Path})
	}
}

func (s *server) infer(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	n, err := oip.JSONLength(r.Header.Get(oip.JSONLengthHeader), len(body))
	if err != nil {
		return err
	}
	request, err := oip.ParseInferRequest(body, n)
	if err != nil {
		return err
	}
	in := request.Inputs[0]
	values, err := in.Float32s()
	if err != nil {
		return err
	}
	images := len(values) / (side * side * 3)
	s.batches = append(s.batches, int64(images))
	var logits []float32
	for i := range images {
		image := values[i*side*side*3:][:side*side*3]
		logits = append(logits, image[0], image[len(image)-1], 2, 3, 4)
	}
	shape := []int64{int64(images), classes}
	if len(in.Shape) == 3 {
		shape = shape[1:]
	}
	out := oip.Float32Tensor(request.Outputs[0].Name, logits, shape...)
	if b, _ := request.Outputs[0].Parameters.Bool("binary_data", false); !b {
		if err := out.ToJSON(); err != nil {
			return err
		}
	}
	answer := oip.InferResponse{ModelName: "m", Outputs: []oip.Tensor{out}}
	if s.answer != nil {
		s.answer(&answer)
	}
	body, n, err = answer.Encode()
	if err != nil {
		return err
	}
	w.Header().Set(oip.JSONLengthHeader, strconv.Itoa(n))
	w.Write(body)
	return nil
}

func tinyGraph(t *testing.T) *graph.Graph {
	t.Helper()
	b, x := graph.NewBuilder(graph.Shape{H: side, W: side, C: 3})
	b.Add("head", graph.Conv{Out: classes, Kernel: 1, Stride: 1, Groups: 1, Linear: true}, b.Add("pool", graph.MeanPool{}, x))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	g.ID = "the hash"
	return g
}

// target is remote:s, with s as its server.
func target(t *testing.T, s *server) *backend.Registry {
	t.Helper()
	there := httptest.NewServer(s)
	t.Cleanup(there.Close)
	b, err := New([]Server{{Name: "s", Base: there.URL}})
	if err != nil {
		t.Fatal(err)
	}
	var r backend.Registry
	r.Register(b)
	return &r
}

func open(t *testing.T, s *server) (*backend.Classifier, error) {
	c, err := target(t, s).Open(t.Context(), "remote:s", tinyGraph(t), backend.Options{Model: "m"})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// TestServers has the kinds of servers that there are: every one sees the same
// images, and gives the same logits.
func TestServers(t *testing.T) {
	const images = 5
	for _, c := range []struct {
		name    string
		change  func(*server)
		batches string
	}{
		{"channels first, batches of 2", func(*server) {}, "[2 2 1]"},
		{"channels last", func(s *server) { s.metadata.Inputs[0].Shape = []int64{-1, side, side, 3} }, "[2 2 1]"},
		{"no configuration", func(s *server) { s.extensions = s.extensions[:1] }, "[5]"},
		{"JSON only", func(s *server) { s.extensions = nil }, "[5]"},
		{"one image at a time", func(s *server) { s.metadata.Inputs[0].Shape[0], s.metadata.Outputs[0].Shape[0] = 1, 1 }, "[1 1 1 1 1]"},
		{"no batch", func(s *server) {
			s.metadata.Inputs[0].Shape, s.metadata.Outputs[0].Shape = []int64{3, side, side}, []int64{classes}
		}, "[1 1 1 1 1]"},
		{"sizes vary", func(s *server) { s.metadata.Inputs[0].Shape = []int64{-1, -1, -1, 3} }, "[2 2 1]"},
		{"all sizes vary, the configuration tells", func(s *server) {
			s.metadata.Inputs[0].Shape = []int64{-1, -1, -1, -1}
			s.config.Input = []oip.TensorConfig{{Format: "FORMAT_NCHW"}}
		}, "[2 2 1]"},
		{"several outputs", func(s *server) {
			o := s.metadata.Outputs[0]
			s.metadata.Outputs = []oip.TensorMetadata{{Name: "p", Datatype: o.Datatype, Shape: o.Shape}, {Name: "logits", Datatype: o.Datatype, Shape: o.Shape}, {Name: "i", Datatype: oip.Int64, Shape: o.Shape}}
		}, "[2 2 1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := triton()
			c.change(s)
			session, err := open(t, s)
			if err != nil {
				t.Fatal(err)
			}
			in, out := make([]float32, images*side*side*3), make([]float32, images*classes)
			for i := range in {
				in[i] = float32(i)
			}
			if err := session.Run(t.Context(), in, out); err != nil {
				t.Fatal(err)
			}
			for i := range images {
				size := side * side * 3
				want := []float32{in[i*size], in[(i+1)*size-1], 2, 3, 4}
				for k, v := range out[i*classes:][:classes] {
					if v != want[k] {
						t.Errorf("image %d: logits %v, want %v", i, out[i*classes:][:classes], want)
						break
					}
				}
			}
			if got := fmt.Sprint(s.batches); got != c.batches {
				t.Errorf("batches %s, want %s", got, c.batches)
			}
			if d := session.Describe(); session.Threads() != 0 || !strings.HasSuffix(d.Provider, "identity not checked: the server tells no model_hash") || d.LibraryVersion != "triton 2.50" {
				t.Errorf("%d threads, described as %+v", session.Threads(), d)
			}
		})
	}
}

func TestUnfit(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*server)
		is     error
		want   string
	}{
		{"two inputs", func(s *server) { s.metadata.Inputs = append(s.metadata.Inputs, s.metadata.Inputs[0]) }, backend.ErrUnsupported, "2 inputs"},
		{"bytes", func(s *server) { s.metadata.Inputs[0].Datatype = oip.Uint8 }, backend.ErrUnsupported, "UINT8, want FP32"},
		{"another size", func(s *server) { s.metadata.Inputs[0].Shape[3] = 224 }, backend.ErrUnsupported, "[-1 3 4 224]"},
		{"no image", func(s *server) { s.metadata.Inputs[0].Shape = []int64{-1, 7} }, backend.ErrUnsupported, "[-1 7]"},
		{"no layout", func(s *server) { s.metadata.Inputs[0].Shape = []int64{-1, -1, -1, -1} }, backend.ErrUnsupported, "channels last or first"},
		{"batches of 8", func(s *server) { s.metadata.Inputs[0].Shape[0] = 8 }, backend.ErrUnsupported, "batches of 8 only"},
		{"other classes", func(s *server) { s.metadata.Outputs[0].Shape[1] = 1000 }, backend.ErrUnsupported, "no output is FP32 of 5 classes"},
		{"which output", func(s *server) {
			o := s.metadata.Outputs[0]
			s.metadata.Outputs = []oip.TensorMetadata{o, {Name: "z", Datatype: o.Datatype, Shape: o.Shape}}
		}, backend.ErrUnsupported, "none is named logits"},
		{"another model", func(s *server) { s.metadata.Properties = map[string]string{"model_hash": "other"} }, backend.ErrUnsupported, "its hash is other, here it is the hash"},
		{"no such model", func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/models/m" {
					w.WriteHeader(404)
					io.WriteString(w, `{"error":"no model m"}`)
					return true
				}
				return false
			}
		}, backend.ErrUnavailable, "404: no model m"},
		{"no server of the protocol", func(s *server) {
			s.before = func(w http.ResponseWriter, _ *http.Request) bool { io.WriteString(w, "<html>"); return true }
		}, backend.ErrUnavailable, "no answer of the protocol"},
		{"redirect", func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
				return true
			}
		}, backend.ErrUnavailable, "302"},
		{"endless answer", func(s *server) {
			s.before = func(w http.ResponseWriter, _ *http.Request) bool {
				for range 3 {
					w.Write(make([]byte, maxJSON))
				}
				return true
			}
		}, backend.ErrUnavailable, "more than 1048576 bytes"},
	} {
		s := triton()
		c.change(s)
		if _, err := open(t, s); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %v with %q", c.name, err, c.is, c.want)
		}
	}
	if _, err := target(t, triton()).Open(t.Context(), "remote:s", tinyGraph(t), backend.Options{}); !errors.Is(err, backend.ErrUnsupported) || !strings.Contains(err.Error(), "which model") {
		t.Errorf("no model named: %v", err)
	}
	for _, name := range []string{"remote", "remote:other"} {
		if _, err := target(t, triton()).Resolve(name); !errors.Is(err, backend.ErrUnknownTarget) || !strings.Contains(err.Error(), "remote:s") {
			t.Errorf("%s: %v, want ErrUnknownTarget that lists remote:s", name, err)
		}
	}
}

// TestFaults: an answer that is not what was asked for is the server's fault, and
// the session goes on.
func TestFaults(t *testing.T) {
	s := triton()
	c, err := open(t, s)
	if err != nil {
		t.Fatal(err)
	}
	in, out := make([]float32, side*side*3), make([]float32, classes)
	for name, answer := range map[string]func(*oip.InferResponse){
		"another output": func(r *oip.InferResponse) { r.Outputs[0].Name = "z" },
		"no output":      func(r *oip.InferResponse) { r.Outputs = nil },
		"fewer classes":  func(r *oip.InferResponse) { r.Outputs[0] = oip.Float32Tensor("y", make([]float32, 4), 1, 4) },
		"more images":    func(r *oip.InferResponse) { r.Outputs[0] = oip.Float32Tensor("y", make([]float32, 10), 2, 5) },
		"another type":   func(r *oip.InferResponse) { r.Outputs[0] = oip.BytesTensor("y", make([][]byte, 5), 1, 5) },
		"too long":       func(r *oip.InferResponse) { r.Parameters = oip.Parameters{"x": strings.Repeat("x", 2<<20)} },
	} {
		s.answer = answer
		if err := c.Run(t.Context(), in, out); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
	s.answer = nil
	s.before = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true }
	if err := c.Run(t.Context(), in, out); !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "503: Service Unavailable") {
		t.Errorf("overloaded: %v", err)
	}
	s.before = nil
	if err := c.Run(t.Context(), in, out); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestProbe(t *testing.T) {
	good, bad := httptest.NewServer(triton()), httptest.NewServer(http.NotFoundHandler())
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, s := range []*httptest.Server{good, bad, slow} {
		t.Cleanup(s.Close)
	}
	b, err := New([]Server{{"good", good.URL, ""}, {"model", good.URL, "m"}, {"other", good.URL, "nemo"}, {"bad", bad.URL, ""}, {"slow", slow.URL, ""}, {"gone", gone.URL, ""}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"", "", "/v2/models/nemo: 404: no /v2/models/nemo", "/v2/health/ready: 404", "deadline exceeded", "connection refused"}
	for i, s := range b.Probe(t.Context()) {
		if s.Target != b.Targets()[i] || s.Available != (want[i] == "") || !strings.Contains(s.Reason, want[i]) {
			t.Errorf("%+v, want %q", s, want[i])
		}
	}
	if _, err := New(nil); err == nil {
		t.Error("no server is taken")
	}
	if _, err := New([]Server{{Name: "a"}, {Name: "a"}}); err == nil {
		t.Error("a name is taken twice")
	}
}

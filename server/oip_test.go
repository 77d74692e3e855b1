package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"edgevit/oip"
)

// v2 sends a request of the protocol and returns status, header and body. An
// error must have the protocol's form.
func (s *testServer) v2(t testing.TB, method, path string, header map[string]string, body []byte) (int, http.Header, []byte) {
	t.Helper()
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	for name, v := range header {
		r.Header.Set(name, v)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	answer := w.Body.Bytes()
	if w.Code >= 400 {
		var e oip.Error
		if err := json.Unmarshal(answer, &e); err != nil || e.Error == "" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d is no error of the protocol: %s, %v", method, path, w.Code, answer, err)
		}
	}
	return w.Code, w.Header(), answer
}

// inferV2 sends a request and reads its answer.
func (s *testServer) inferV2(t testing.TB, name string, request oip.InferRequest) (*oip.InferResponse, int, string) {
	t.Helper()
	body, n, err := request.Encode()
	if err != nil {
		t.Fatal(err)
	}
	status, header, answer := s.v2(t, "POST", "/v2/models/"+name+"/infer", map[string]string{oip.JSONLengthHeader: strconv.Itoa(n)}, body)
	if status != 200 {
		return nil, status, string(answer)
	}
	length, err := oip.JSONLength(header.Get(oip.JSONLengthHeader), len(answer))
	if err != nil {
		t.Fatal(err)
	}
	r, err := oip.ParseInferResponse(answer, length)
	if err != nil {
		t.Fatalf("%v\n%s", err, answer)
	}
	return r, status, ""
}

func float32s(t testing.TB, x oip.Tensor) []float32 {
	t.Helper()
	v, err := x.Float32s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// gray is n images of one value each: i+1 for image i.
func gray(n int) oip.Tensor {
	values := make([]float32, n*side*side*3)
	for i := range values {
		values[i] = float32(i/(side*side*3) + 1)
	}
	return oip.Float32Tensor(imageInput, values, int64(n), side, side, 3)
}

func TestProtocolMetadata(t *testing.T) {
	s := newServer(t, files{"one.pth": "ok", "bad.pth": "no"}, &fake{}, func(c *Config) { c.DefaultModel = "one" })
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/v2/health/live", 200, `{"live":true}`},
		{"/v2/health/ready", 200, `{"ready":true}`},
		{"/v2", 200, `{"name":"edgevit","version":"test","extensions":["binary_tensor_data","classification","model_configuration","model_repository","statistics"]}`},
		{"/v2/models", 200, `{"models":["bad","one","one@fake","one@fake:odd","one@fake:int8","one@fake:odd:int8"]}`},
		{"/v2/models/one", 200, `{"name":"one","versions":["1"],"platform":"edgevit_fake","inputs":[{"name":"image","datatype":"FP32","shape":[-1,8,8,3]}],"outputs":[{"name":"logits","datatype":"FP32","shape":[-1,7]},{"name":"probabilities","datatype":"FP32","shape":[-1,7]}],"properties":{"model_hash":"ok","target":"fake"}}`},
		{"/v2/models/one@fake:cpu:int8/versions/1/config", 200, `{"name":"one@fake:cpu:int8","platform":"edgevit_fake","backend":"fake","max_batch_size":32,"input":[{"name":"image","data_type":"TYPE_FP32","format":"FORMAT_NHWC","dims":[8,8,3]}],"output":[{"name":"logits","data_type":"TYPE_FP32","dims":[7]},{"name":"probabilities","data_type":"TYPE_FP32","dims":[7]}],"version_policy":{"latest":{"num_versions":1}}}`},
		{"/v2/models/one%40fake%3Aint8/ready", 200, `{"name":"one@fake:int8","ready":true}`},
		{"/v2/models/one@fake:gpu/ready", 503, "no GPU"},
		{"/v2/models/one/versions/2", 404, `version \"2\"`},
		{"/v2/models/two", 404, "unknown model"},
		{"/v2/models/one@abacus", 404, "unknown target"},
		{"/v2/models/one@", 400, "malformed target"},
		{"/v2/models/bad", 422, "missing tensor head.weight"},
		{"/v2/nothing", 404, "not found"},
		{"/v2/models/one/infer", 405, "use POST"},
	} {
		status, _, body := s.v2(t, "GET", c.path, nil, nil)
		if status != c.status || c.status == 200 && string(body) != c.want || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %d %s\nwant %d %s", c.path, status, body, c.status, c.want)
		}
	}
}

// TestProtocolMaxBatch: a full batch of raw tensors fits into a body.
func TestProtocolMaxBatch(t *testing.T) {
	const limit = 10_000
	s := newServer(t, nil, &fake{}, func(c *Config) { c.Limits = defaultLimits(limit) })
	_, _, body := s.v2(t, "GET", "/v2/models/demo/config", nil, nil)
	var config oip.ModelConfig
	if err := json.Unmarshal(body, &config); err != nil || config.MaxBatchSize != (limit-maxBatchHeader)/(4*side*side*3) {
		t.Fatalf("max_batch_size %d, %v", config.MaxBatchSize, err)
	}
	if _, status, text := s.inferV2(t, "demo", oip.InferRequest{Inputs: []oip.Tensor{gray(config.MaxBatchSize)}}); status != 200 {
		t.Errorf("a full batch: %d %s", status, text)
	}
	if _, status, text := s.inferV2(t, "demo", oip.InferRequest{Inputs: []oip.Tensor{gray(config.MaxBatchSize + 1)}}); status != 400 || !strings.Contains(text, "N from 1 to 7") {
		t.Errorf("one more: %d %s", status, text)
	}
}

func TestProtocolInfer(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	logits := func(image int) []float32 { return []float32{float32(image + 1), 1, 2, 3, 4, 5, 6} } // of gray
	asJSON := gray(2)
	if err := asJSON.ToJSON(); err != nil {
		t.Fatal(err)
	}
	binary := oip.Parameters{"binary_data": true}
	for _, c := range []struct {
		name    string
		request oip.InferRequest
		raw     bool
	}{
		{"binary in and out", oip.InferRequest{Inputs: []oip.Tensor{gray(2)}, Parameters: oip.Parameters{"binary_data_output": true}}, true},
		{"JSON in and out", oip.InferRequest{Inputs: []oip.Tensor{asJSON}}, false},
		{"JSON in, binary out", oip.InferRequest{Inputs: []oip.Tensor{asJSON}, Outputs: []oip.RequestedOutput{{Name: "logits", Parameters: binary}, {Name: "probabilities", Parameters: binary}}}, true},
		{"its own binary_data wins", oip.InferRequest{Inputs: []oip.Tensor{gray(2)}, Parameters: oip.Parameters{"binary_data_output": true},
			Outputs: []oip.RequestedOutput{{Name: "logits", Parameters: oip.Parameters{"binary_data": false}}, {Name: "probabilities", Parameters: oip.Parameters{"binary_data": false}}}}, false},
	} {
		c.request.ID = "the id"
		r, status, text := s.inferV2(t, "demo", c.request)
		if status != 200 {
			t.Errorf("%s: %d %s", c.name, status, text)
			continue
		}
		if r.ModelName != "demo" || r.ModelVersion != "1" || r.ID != "the id" || len(r.Outputs) != 2 || r.Parameters["target"] != "fake" || r.Parameters["total_ms"].(float64) <= 0 {
			t.Errorf("%s: answer %+v", c.name, r)
		}
		if (r.Outputs[0].Raw != nil) != c.raw {
			t.Errorf("%s: raw is %v", c.name, r.Outputs[0].Raw != nil)
		}
		got, p := float32s(t, r.Outputs[0]), float32s(t, r.Outputs[1])
		sum := 0.0
		for _, v := range p[classes:] {
			sum += float64(v)
		}
		// A fake's run of a batch sets the first logit of it to the mean of all.
		if !slices.Equal(r.Outputs[0].Shape, []int64{2, classes}) || got[0] != 1.5 || got[classes+1] != classes+1 || math.Abs(sum-1) > 1e-6 {
			t.Errorf("%s: shape %v, logits %v, probabilities sum to %v", c.name, r.Outputs[0].Shape, got, sum)
		}
	}

	r, _, text := s.inferV2(t, "demo", oip.InferRequest{Inputs: []oip.Tensor{gray(1)}, Outputs: []oip.RequestedOutput{{Name: "logits"}}})
	if r == nil || len(r.Outputs) != 1 || !slices.Equal(float32s(t, r.Outputs[0]), logits(0)) {
		t.Errorf("one output: %+v %s", r, text)
	}
	for target, name := range map[string]string{"fake:int8": "demo", "": "demo@fake:int8", "fake:cpu:int8": "demo@fake:int8"} {
		request := oip.InferRequest{Inputs: []oip.Tensor{gray(1)}, Parameters: oip.Parameters{"target": target}}
		if r, _, text := s.inferV2(t, name, request); r == nil || r.Parameters["target"] != "fake:int8" || r.ModelName != name {
			t.Errorf("target %q of %s: %+v %s", target, name, r, text)
		}
	}
}

func TestProtocolImages(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	jpeg, png := jpegFile(t), pngFile(t)
	want := func(file []byte) float32 { // what /classify says
		p := s.post(t, "?top_k=7", file)
		var a struct {
			Predictions []struct {
				Index int
				Logit float64
			}
		}
		if err := json.Unmarshal(read(t, p), &a); err != nil {
			t.Fatal(err)
		}
		for _, p := range a.Predictions {
			if p.Index == 0 {
				return float32(p.Logit)
			}
		}
		t.Fatal("no class 0")
		return 0
	}
	one := oip.BytesTensor(imageInput, [][]byte{jpeg}, 1)
	text := oip.Tensor{Name: imageInput, Datatype: oip.Bytes, Shape: []int64{1, 1}, Data: fmt.Appendf(nil, "[[%q]]", base64.StdEncoding.EncodeToString(jpeg))}
	for name, in := range map[string]oip.Tensor{"binary": one, "base64 in JSON": text} {
		r, _, text := s.inferV2(t, "demo", oip.InferRequest{Inputs: []oip.Tensor{in}})
		if r == nil || float32s(t, r.Outputs[0])[0] != want(jpeg) {
			t.Errorf("%s: %+v %s", name, r, text)
		}
	}
	r, _, errs := s.inferV2(t, "demo", oip.InferRequest{
		Inputs: []oip.Tensor{oip.BytesTensor(imageInput, [][]byte{jpeg, png, jpeg}, 3)},
		Outputs: []oip.RequestedOutput{
			{Name: "logits", Parameters: oip.Parameters{"classification": 2}},
			{Name: "probabilities", Parameters: oip.Parameters{"classification": 1, "binary_data": true}},
		},
	})
	if r == nil {
		t.Fatal(errs)
	}
	top, err := r.Outputs[0].Elements()
	if err != nil || !slices.Equal(r.Outputs[0].Shape, []int64{3, 2}) || string(top[0]) != "6:6:gnu" || string(top[3]) != "12:5:fox" {
		t.Errorf("classification %q, %v", top, err)
	}
	if best, err := r.Outputs[1].Elements(); err != nil || len(best) != 3 || !strings.HasSuffix(string(best[2]), ":6:gnu") || !strings.HasPrefix(string(best[2]), "0.6") {
		t.Errorf("classification of probabilities %q, %v", best, err)
	}

	// A body without JSON.
	raw := gray(2)
	for name, c := range map[string]struct {
		body   []byte
		images int64
	}{"image": {jpeg, 1}, "tensors": {raw.Raw, 2}} {
		status, header, body := s.v2(t, "POST", "/v2/models/demo/infer", map[string]string{oip.JSONLengthHeader: "0"}, c.body)
		n, _ := strconv.Atoi(header.Get(oip.JSONLengthHeader))
		r, err := oip.ParseInferResponse(body, n)
		if status != 200 || err != nil || r.Outputs[0].Raw == nil || r.Outputs[0].Shape[0] != c.images {
			t.Errorf("raw %s: %d, %v, %+v", name, status, err, r)
		}
	}
}

func TestProtocolRefusals(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	bytesOf := func(files ...[]byte) oip.Tensor { return oip.BytesTensor(imageInput, files, int64(len(files))) }
	with := func(change func(*oip.InferRequest)) oip.InferRequest {
		r := oip.InferRequest{Inputs: []oip.Tensor{gray(1)}, Outputs: []oip.RequestedOutput{{Name: "logits"}}}
		change(&r)
		return r
	}
	input := func(x oip.Tensor) oip.InferRequest { return oip.InferRequest{Inputs: []oip.Tensor{x}} }
	output := func(p oip.Parameters) oip.InferRequest {
		return with(func(r *oip.InferRequest) { r.Outputs[0].Parameters = p })
	}
	other := gray(1)
	other.Name = "x"
	text := oip.Tensor{Name: imageInput, Datatype: oip.Bytes, Shape: []int64{1}, Data: []byte(`["cat.jpg"]`)}
	for _, c := range []struct {
		name    string
		model   string
		request oip.InferRequest
		status  int
		want    string
	}{
		{"no input", "demo", oip.InferRequest{Inputs: []oip.Tensor{}}, 400, "it has 0 inputs, want one"},
		{"two inputs", "demo", oip.InferRequest{Inputs: []oip.Tensor{gray(1), gray(1)}}, 400, "it has 2 inputs"},
		{"another input", "demo", input(other), 400, `there is no such input; want \"image\"`},
		{"too many", "demo", input(gray(33)), 400, "N from 1 to 32"},
		{"none", "demo", input(gray(0)), 400, "its shape is [0 8 8 3]"},
		{"NCHW", "demo", input(oip.Float32Tensor(imageInput, make([]float32, 192), 1, 3, 8, 8)), 400, "its shape is [1 3 8 8]"},
		{"INT32", "demo", input(oip.Tensor{Name: imageInput, Datatype: oip.Int32, Shape: []int64{1}, Data: []byte("[1]")}), 400, "INT32"},
		{"NaN", "demo", input(oip.Tensor{Name: imageInput, Datatype: oip.FP32, Shape: []int64{1, 8, 8, 3}, Data: []byte(`["NaN"]`)}), 400, `tensor \"image\": element 0`},
		{"images of two dimensions", "demo", input(oip.BytesTensor(imageInput, [][]byte{{1}, {2}}, 1, 2)), 400, "its shape is [1 2]"},
		{"a file name", "demo", input(text), 400, "an image in JSON is base64"},
		{"no image", "demo", input(bytesOf(jpegFile(t), []byte("text"))), 415, `image 1 of input \"image\"`},
		{"damaged image", "demo", input(bytesOf(jpegFile(t)[:200])), 422, "image 0"},
		{"image that claims too much", "demo", input(bytesOf(claimingBMP())), 413, "image 0"},
		{"shared memory", "demo", with(func(r *oip.InferRequest) { r.Inputs[0].Parameters = oip.Parameters{"shared_memory_region": "x"} }), 400, "no shared memory"},
		{"unknown output", "demo", with(func(r *oip.InferRequest) { r.Outputs[0].Name = "scores" }), 400, `\"scores\": there is no such output`},
		{"an output twice", "demo", with(func(r *oip.InferRequest) { r.Outputs = append(r.Outputs, r.Outputs[0]) }), 400, "twice"},
		{"no class", "demo", output(oip.Parameters{"classification": 0}), 400, "want 1 or more"},
		{"fewer than no class", "demo", output(oip.Parameters{"classification": -1}), 400, "want 1 or more"},
		{"binary_data of another type", "demo", output(oip.Parameters{"binary_data": "yes"}), 400, "want true or false"},
		{"two targets", "demo@fake", with(func(r *oip.InferRequest) { r.Parameters = oip.Parameters{"target": "fake:int8"} }), 400, "the parameter target says fake:int8"},
		{"unavailable target", "demo", with(func(r *oip.InferRequest) { r.Parameters = oip.Parameters{"target": "fake:gpu"} }), 503, "no GPU"},
		{"unknown target", "demo", with(func(r *oip.InferRequest) { r.Parameters = oip.Parameters{"target": "abacus"} }), 404, "unknown target"},
		{"unknown model", "nemo", with(func(*oip.InferRequest) {}), 404, "unknown model"},
	} {
		if _, status, text := s.inferV2(t, c.model, c.request); status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s\nwant %d %s", c.name, status, text, c.status, c.want)
		}
	}
	// Unknown fields are the protocol's way to grow.
	if status, _, body := s.v2(t, "POST", "/v2/models/demo/infer?x=1", nil, fmt.Appendf(nil, `{"new":1,"parameters":{"priority":3},"inputs":[{"name":"image","shape":[1,8,8,3],"datatype":"FP32","data":[%s1]}]}`, strings.Repeat("1,", 191))); status != 200 {
		t.Errorf("unknown fields: %d %s", status, body)
	}
	for name, c := range map[string]struct {
		header map[string]string
		status int
	}{
		"empty body":         {nil, 400},
		"header past body":   {map[string]string{oip.JSONLengthHeader: "9"}, 400},
		"encoding":           {map[string]string{"Content-Encoding": "br"}, 415},
		"another origin":     {map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"body is not zipped": {map[string]string{"Content-Encoding": "gzip"}, 400},
	} {
		body := []byte(nil)
		if c.header["Content-Encoding"] != "" {
			body = []byte("x")
		}
		if status, _, text := s.v2(t, "POST", "/v2/models/demo/infer", c.header, body); status != c.status {
			t.Errorf("%s: %d %s, want %d", name, status, text, c.status)
		}
	}
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d tokens in use afterwards", n)
	}
}

// TestProtocolNotFinite: what is raw goes out as the runtime gave it; JSON and an
// order of classes there are not.
func TestProtocolNotFinite(t *testing.T) {
	s := newServer(t, nil, &fake{out: func(out []float32) { out[3] = float32(math.NaN()) }}, nil)
	for _, c := range []struct {
		p      oip.Parameters
		status int
	}{{oip.Parameters{"binary_data": true}, 200}, {nil, 500}, {oip.Parameters{"binary_data": true, "classification": 1}, 500}} {
		r, status, text := s.inferV2(t, "demo", oip.InferRequest{Inputs: []oip.Tensor{gray(1)}, Outputs: []oip.RequestedOutput{{Name: "logits", Parameters: c.p}}})
		if status != c.status || status == 200 && float32s(t, r.Outputs[0])[3] == float32s(t, r.Outputs[0])[3] || status == 500 && !strings.Contains(text, "holds NaN") {
			t.Errorf("%v: %d %s", c.p, status, text)
		}
	}
}

func TestProtocolCompression(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	body, n, err := oip.InferRequest{Inputs: []oip.Tensor{gray(1)}, Parameters: oip.Parameters{"binary_data_output": true}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for encoding, pack := range map[string]func([]byte) []byte{"gzip": gzipped, "deflate": deflated} {
		header := map[string]string{oip.JSONLengthHeader: strconv.Itoa(n), "Content-Encoding": encoding, "Accept-Encoding": encoding}
		status, h, packed := s.v2(t, "POST", "/v2/models/demo/infer", header, pack(body))
		if status != 200 || h.Get("Content-Encoding") != encoding {
			t.Fatalf("%s: %d %v", encoding, status, h)
		}
		unpack, err := decoders[encoding](bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(unpack)
		if err != nil {
			t.Fatal(err)
		}
		length, _ := strconv.Atoi(h.Get(oip.JSONLengthHeader))
		if r, err := oip.ParseInferResponse(answer, length); err != nil || float32s(t, r.Outputs[0])[1] != 1 {
			t.Errorf("%s: %v", encoding, err)
		}
	}
}

func TestProtocolStatistics(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	for _, n := range []int{1, 3, 3} {
		if _, status, text := s.inferV2(t, "demo", oip.InferRequest{Inputs: []oip.Tensor{gray(n)}}); status != 200 {
			t.Fatal(text)
		}
	}
	s.inferV2(t, "demo", oip.InferRequest{Inputs: []oip.Tensor{gray(0)}})
	s.inferV2(t, "demo@fake:int8", oip.InferRequest{Inputs: []oip.Tensor{gray(1)}})
	stats := func(path string) []oip.ModelStats {
		_, _, body := s.v2(t, "GET", path, nil, nil)
		var m oip.ModelStatistics
		if err := json.Unmarshal(body, &m); err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		return m.ModelStats
	}
	m := stats("/v2/models/demo/stats")[0]
	i := m.InferenceStats
	if m.Name != "demo" || m.Version != "1" || m.InferenceCount != 7 || m.ExecutionCount != 3 || m.LastInference == 0 ||
		i.Success.Count != 3 || i.Fail.Count != 1 || i.Queue.Count != 3 || i.ComputeInfer.Count != 3 || i.ComputeInfer.NS <= 0 || i.Success.NS < i.ComputeInfer.NS {
		t.Errorf("statistics %+v", m)
	}
	if len(m.BatchStats) != 2 || m.BatchStats[1].BatchSize != 3 || m.BatchStats[1].ComputeInfer.Count != 2 || m.BatchStats[0].ComputeInfer.Count != 1 {
		t.Errorf("batches %+v", m.BatchStats)
	}
	if all := stats("/v2/models/stats"); len(all) != 2 || all[0].Name != "demo@fake" || all[0].InferenceCount != 7 || all[1].Name != "demo@fake:int8" || all[1].InferenceCount != 1 {
		t.Errorf("all statistics %+v", all)
	}
}

func TestProtocolRepository(t *testing.T) {
	dir := t.TempDir()
	f := &fake{}
	s := newServer(t, files{"one.pth": "ok", "bad.pth": "no"}, f, func(c *Config) {
		c.ModelsDir, c.Token, c.DefaultModel = dir, strings.Repeat("t", MinToken), "one"
	})
	token := map[string]string{"Authorization": "Bearer " + strings.Repeat("t", MinToken)}
	index := func(body string) map[string]string {
		status, _, answer := s.v2(t, "POST", "/v2/repository/index", nil, []byte(body))
		var models []oip.RepositoryModel
		if err := json.Unmarshal(answer, &models); status != 200 || err != nil {
			t.Fatalf("%d %s: %v", status, answer, err)
		}
		states := map[string]string{}
		for _, m := range models {
			states[m.Name] = m.State
		}
		return states
	}
	post := func(path string, header map[string]string, body string) (int, string) {
		status, _, answer := s.v2(t, "POST", "/v2/repository/models/"+path, header, []byte(body))
		return status, string(answer)
	}
	if got := index(""); got["one"] != "READY" || got["one@fake:int8"] != "READY" || got["bad"] != "UNAVAILABLE" || got["one@fake:gpu"] != "" {
		t.Errorf("index %v", got)
	}
	if got := index(`{"ready":true}`); got["bad"] != "" || got["one"] != "READY" {
		t.Errorf("index of what is ready %v", got)
	}
	for _, path := range []string{"one/load", "one/unload"} {
		if status, text := post(path, nil, ""); status != 401 {
			t.Errorf("%s without the token: %d %s", path, status, text)
		}
	}
	if status, text := post("one/unload", token, `{"parameters":{"unload_dependents":false}}`); status != 200 || text != "{}" {
		t.Fatalf("unload: %d %s", status, text)
	}
	eventually(t, "closed", func() bool { return f.closed.get() == f.opens.get() })
	if status, _, text := s.v2(t, "GET", "/v2/models/one/ready", nil, nil); status != 503 || !strings.Contains(string(text), "was unloaded") {
		t.Errorf("ready once unloaded: %d %s", status, text)
	}
	if status, _, text := s.v2(t, "GET", "/v2/health/ready", nil, nil); status != 503 || !strings.Contains(string(text), "was unloaded") {
		t.Errorf("the server's readiness once its default is unloaded: %d %s", status, text)
	}
	if resp := s.post(t, "?model=one", jpegFile(t)); resp.StatusCode != 503 {
		t.Errorf("/classify once unloaded: %d", resp.StatusCode)
	}
	if got := index(""); got["one"] != "UNAVAILABLE" {
		t.Errorf("index once unloaded %v", got)
	}
	if status, text := post("one/load", token, ""); status != 200 {
		t.Errorf("load: %d %s", status, text)
	}
	if _, status, text := s.inferV2(t, "one", oip.InferRequest{Inputs: []oip.Tensor{gray(1)}}); status != 200 {
		t.Errorf("once loaded again: %d %s", status, text)
	}

	// What is new or mended in the folder is found.
	writeFiles(t, dir, files{"two.pth": "ok", "bad.pth": "ok now"})
	for _, name := range []string{"two", "bad"} {
		if status, text := post(name+"/load", token, "{}"); status != 200 {
			t.Errorf("load %s: %d %s", name, status, text)
		}
	}
	for path, want := range map[string]int{"nemo/load": 404, "nemo/unload": 404, "one@fake/load": 400, "one@fake/unload": 400} {
		if status, text := post(path, token, ""); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, text, want)
		}
	}
	if status, text := post("one/load", token, `{"parameters":{"config":"{}"}}`); status != 400 {
		t.Errorf("load with another configuration: %d %s", status, text)
	}
}

// FuzzProtocol sends any body and header. No answer is an internal error, and
// every error has the protocol's form.
func FuzzProtocol(f *testing.F) {
	full, n, err := oip.InferRequest{Inputs: []oip.Tensor{gray(2)}, Outputs: []oip.RequestedOutput{{Name: "logits", Parameters: oip.Parameters{"classification": 3}}}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(strconv.Itoa(n), "", full)
	image, n, err := oip.InferRequest{Inputs: []oip.Tensor{oip.BytesTensor(imageInput, [][]byte{jpegFile(f)}, 1)}}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(strconv.Itoa(n), "", image)
	f.Add("0", "", jpegFile(f))
	f.Add("0", "gzip", gzipped(full))
	f.Add("", "", []byte(`{"inputs":[{"name":"image","shape":[1,1],"datatype":"BYTES","data":["/9j/"]}]}`))
	f.Add("", "", []byte(`{"inputs":[{"name":"image","shape":[-1,8,8,3],"datatype":"FP32","data":[[]]}],"outputs":[{"name":"logits","parameters":{"classification":1e300}}]}`))
	s := newServer(f, nil, &fake{}, func(c *Config) { c.Limits = defaultLimits(1 << 16) })
	f.Fuzz(func(t *testing.T, length, encoding string, body []byte) {
		status, _, answer := s.v2(t, "POST", "/v2/models/demo/infer", map[string]string{oip.JSONLengthHeader: length, "Content-Encoding": encoding}, body)
		if status == 500 && !bytes.Contains(answer, []byte("output not finite")) {
			t.Errorf("internal error: %s", answer)
		}
		if n := s.admission.inUse(); n != 0 {
			t.Errorf("%d tokens in use afterwards", n)
		}
	})
}

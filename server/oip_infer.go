package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"edgevit/api"
	"edgevit/backend"
	"edgevit/model"
	"edgevit/oip"
	"edgevit/preprocess"
)

// inferred is the way of a request, as Classify is: names are resolved and a full
// queue refuses before the body is read, the body is read before CPU tokens are
// taken, and they are taken before tensors or images are decoded. A batch is one
// run.
func (p protocol) inferred(ctx context.Context, r *http.Request) (answer *oip.InferResponse, err error) {
	s, err := p.served(r)
	if err != nil {
		return nil, err
	}
	session, err := p.queued(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { p.store.release(session) }()
	info := infoOf(ctx)
	run := &inferRun{}
	defer func() {
		p.store.statistics(session.entry, session.target).record(run, time.Since(info.start), err)
	}()

	request, err := p.readRequest(r, session.entry.model)
	if err != nil {
		return nil, err
	}
	other, err := p.otherTarget(s, request)
	if err != nil {
		return nil, err
	}
	if other != s.target {
		s.target = other
		info.target = other.String()
		second, err := p.queued(ctx, s)
		if err != nil {
			return nil, err
		}
		p.store.release(session)
		session = second
	}
	m := session.entry.model
	outputs, err := requestedOutputs(request, m.Graph.Classes())
	if err != nil {
		return nil, err
	}
	if run.batch, err = p.batchOf(request, m); err != nil {
		return nil, err
	}
	classifier, err := session.wait(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.runBatch(ctx, session, classifier, run); err != nil {
		return nil, err
	}
	begin := time.Now()
	answer = &oip.InferResponse{ModelName: s.name, ModelVersion: modelVersion, ID: request.ID}
	for _, o := range outputs {
		t, err := o.tensor(session, run)
		if err != nil {
			return nil, err
		}
		answer.Outputs = append(answer.Outputs, t)
	}
	run.output = time.Since(begin)
	timing := run.timing(time.Since(info.start))
	info.timing = &timing
	p.metrics.stages(info.target, timing)
	answer.Parameters = oip.Parameters{
		"target": info.target, "model_hash": m.Hash, "queue_ms": timing.QueueMs, "decode_ms": timing.DecodeMs,
		"preprocess_ms": timing.PreprocessMs, "inference_ms": timing.InferenceMs, "total_ms": timing.TotalMs,
	}
	return answer, nil
}

// queued returns the session of the model, unless its queue is full.
func (p protocol) queued(ctx context.Context, s served) (*session, error) {
	session, err := p.store.acquire(ctx, s.model, s.target)
	if err != nil {
		return nil, err
	}
	if err := p.admission.check(ctx, &session.lane); err != nil {
		p.store.release(session)
		return nil, err
	}
	return session, nil
}

// readRequest reads the body. One without JSON is the raw data of the input: of
// as many images as it has bytes for, else of one image file; its outputs are raw
// too.
func (p protocol) readRequest(r *http.Request, m *model.Model) (*oip.InferRequest, error) {
	b := infoOf(r.Context()).body
	body, err := io.ReadAll(b)
	if err != nil {
		return nil, err
	}
	if err := b.finish(); err != nil {
		return nil, err
	}
	jsonLength, err := oip.JSONLength(r.Header.Get(oip.JSONLengthHeader), len(body))
	if err != nil {
		return nil, err
	}
	if jsonLength > 0 || len(body) == 0 {
		return oip.ParseInferRequest(body, jsonLength)
	}
	shape := m.Graph.Input()
	input := oip.Tensor{Name: imageInput, Datatype: oip.FP32, Raw: body}
	if size := 4 * shape.Len(); len(body)%size == 0 {
		input.Shape = []int64{int64(len(body) / size), int64(shape.H), int64(shape.W), int64(shape.C)}
	} else {
		input = oip.BytesTensor(imageInput, [][]byte{body}, 1)
	}
	return &oip.InferRequest{Inputs: []oip.Tensor{input}, Parameters: oip.Parameters{"binary_data_output": true}}, nil
}

// otherTarget is the target that the request asks for by its parameter.
func (p protocol) otherTarget(s served, request *oip.InferRequest) (backend.Target, error) {
	name, err := request.Parameters.Text("target")
	if err != nil || name == "" {
		return s.target, err
	}
	t, err := p.registry.Resolve(name)
	if err == nil && s.named && t != s.target {
		err = fmt.Errorf("%w: the model's name says %s, the parameter target says %s", oip.ErrMessage, s.target, t)
	}
	return t, err
}

// inferRun is one batch on its way.
type inferRun struct {
	batch
	logits []float32 // [images classes]

	queueMs, decodeMs, preprocessMs, inferenceMs float64
	output                                       time.Duration
}

func (r *inferRun) timing(total time.Duration) api.Timing {
	return api.Timing{QueueMs: r.queueMs, DecodeMs: r.decodeMs, PreprocessMs: r.preprocessMs, InferenceMs: r.inferenceMs, TotalMs: ms(total)}
}

// batch is a request's images: a tensor, or files where that is nil.
type batch struct {
	images int
	tensor *oip.Tensor // FP32 [images H W 3]
	files  [][]byte
}

// batchOf is the request's one input. It decodes no tensor and no image.
func (p protocol) batchOf(request *oip.InferRequest, m *model.Model) (batch, error) {
	if n := len(request.Inputs); n != 1 {
		return batch{}, fmt.Errorf("%w: it has %d inputs, want one, %q", oip.ErrMessage, n, imageInput)
	}
	t := &request.Inputs[0]
	shape := m.Graph.Input()
	wrong := func(format string, args ...any) (batch, error) {
		return batch{}, fmt.Errorf("%w: input %q: %w; want %q, FP32 [N %d %d %d] or BYTES [N] of image files, N from 1 to %d",
			oip.ErrMessage, clip(t.Name, 100), fmt.Errorf(format, args...), imageInput, shape.H, shape.W, shape.C, p.maxBatch(m))
	}
	if t.Name != imageInput {
		return wrong("there is no such input")
	}
	if t.Parameters["shared_memory_region"] != nil {
		return wrong("there is no shared memory")
	}
	if len(t.Shape) == 0 || t.Shape[0] < 1 || t.Shape[0] > int64(p.maxBatch(m)) {
		return wrong("its shape is %v", t.Shape)
	}
	b := batch{images: int(t.Shape[0])}
	switch t.Datatype {
	case oip.FP32:
		if !slices.Equal(t.Shape[1:], []int64{int64(shape.H), int64(shape.W), int64(shape.C)}) {
			return wrong("its shape is %v", t.Shape)
		}
		b.tensor = t
		return b, nil
	case oip.Bytes:
		if len(t.Shape) != 1 && !(len(t.Shape) == 2 && t.Shape[1] == 1) { // [N 1], as clients of Triton batch strings
			return wrong("its shape is %v", t.Shape)
		}
	default:
		return wrong("its datatype is %q", clip(string(t.Datatype), 20))
	}
	inJSON := t.Data != nil
	var err error
	if b.files, err = t.Elements(); err != nil {
		return batch{}, err
	}
	for i, text := range b.files {
		if !inJSON {
			break
		}
		if b.files[i], err = base64.StdEncoding.DecodeString(string(text)); err != nil {
			return wrong("image %d: %w; an image in JSON is base64", i, err)
		}
	}
	return b, nil
}

// runBatch decodes and runs with the session's CPU tokens held.
func (p protocol) runBatch(ctx context.Context, s *session, c *backend.Classifier, r *inferRun) error {
	stages := startStages(ctx)
	release, err := p.admission.acquire(ctx, &s.lane, c.Threads())
	r.queueMs = stages.end("queue", err)
	if err != nil {
		return err
	}
	defer release()

	m := s.entry.model
	var input []float32
	if r.tensor != nil {
		input, err = r.tensor.Float32s()
		r.decodeMs = stages.end("decode", err)
		if err != nil {
			return err
		}
	} else {
		size := m.Graph.Input().Len()
		input = make([]float32, r.images*size)
		for i, file := range r.files {
			if err := p.prepareImage(ctx, stages, file, m, input[i*size:][:size], r); err != nil {
				return fmt.Errorf("image %d of input %q: %w", i, imageInput, err)
			}
		}
	}
	r.logits = make([]float32, r.images*m.Graph.Classes())
	err = c.Run(ctx, input, r.logits)
	r.inferenceMs = stages.end("inference", err)
	return err
}

// prepareImage decodes an image file into input, [H W 3].
func (p protocol) prepareImage(ctx context.Context, stages *stages, file []byte, m *model.Model, input []float32, r *inferRun) error {
	image, free, err := p.decode(ctx, file, m)
	r.decodeMs += stages.end("decode", err)
	if err != nil {
		return err
	}
	defer free()
	err = image.Tensor(preprocess.Spec(m.Preprocess), input)
	r.preprocessMs += stages.end("preprocess", err)
	return err
}

// requestedOutput is an output in the form that a request wants.
type requestedOutput struct {
	name   string
	top    int // classes in the form "value:index:label"; 0: all values
	binary bool
}

func requestedOutputs(request *oip.InferRequest, classes int) ([]requestedOutput, error) {
	binary, err := request.Parameters.Bool("binary_data_output", false)
	if err != nil {
		return nil, err
	}
	if len(request.Outputs) == 0 {
		return []requestedOutput{{logitsOutput, 0, binary}, {probabilitiesOutput, 0, binary}}, nil
	}
	var outputs []requestedOutput
	for _, o := range request.Outputs {
		wrong := func(format string, args ...any) ([]requestedOutput, error) {
			return nil, fmt.Errorf("%w: output %q: %w", oip.ErrMessage, clip(o.Name, 100), fmt.Errorf(format, args...))
		}
		if o.Name != logitsOutput && o.Name != probabilitiesOutput {
			return wrong("there is no such output; there are %q and %q", logitsOutput, probabilitiesOutput)
		}
		if slices.ContainsFunc(outputs, func(other requestedOutput) bool { return other.name == o.Name }) {
			return wrong("it is requested twice")
		}
		if o.Parameters["shared_memory_region"] != nil {
			return wrong("there is no shared memory")
		}
		asBinary, err := o.Parameters.Bool("binary_data", binary)
		if err != nil {
			return wrong("%w", err)
		}
		top, err := o.Parameters.Int("classification", 0)
		if err != nil {
			return wrong("%w", err)
		}
		if top < 0 || top == 0 && o.Parameters["classification"] != nil {
			return wrong("classification is %d, want 1 or more", top)
		}
		outputs = append(outputs, requestedOutput{o.Name, int(min(top, int64(classes))), asBinary})
	}
	return outputs, nil
}

// tensor is the output of a run. Raw values may be any, as the runtime gave them;
// NaN and infinities have no order and no form in JSON.
func (o requestedOutput) tensor(s *session, r *inferRun) (oip.Tensor, error) {
	if o.top > 0 || !o.binary {
		if err := checkFinite(s, r.logits); err != nil {
			return oip.Tensor{}, err
		}
	}
	m := s.entry.model
	classes := m.Graph.Classes()
	var t oip.Tensor
	if o.top > 0 {
		var elements [][]byte
		for i := range r.images {
			for _, p := range m.Top(r.logits[i*classes:][:classes], o.top) {
				elements = append(elements, o.class(m, p))
			}
		}
		t = oip.BytesTensor(o.name, elements, int64(r.images), int64(o.top))
	} else {
		values := r.logits
		if o.name == probabilitiesOutput {
			values = make([]float32, 0, len(r.logits))
			for i := range r.images {
				for _, p := range model.Softmax(r.logits[i*classes:][:classes]) {
					values = append(values, float32(p))
				}
			}
		}
		t = oip.Float32Tensor(o.name, values, int64(r.images), int64(classes))
	}
	if o.binary {
		return t, nil
	}
	return t, t.ToJSON()
}

// class is value:index:label, without the label where there is none.
func (o requestedOutput) class(m *model.Model, p model.Prediction) []byte {
	value := p.Logit
	if o.name == probabilitiesOutput {
		value = p.Probability
	}
	text := strconv.AppendFloat(nil, value, 'g', -1, 32)
	text = append(text, ':')
	text = strconv.AppendInt(text, int64(p.Index), 10)
	if m.Labels != nil {
		text = append(append(text, ':'), p.Label...)
	}
	return text
}

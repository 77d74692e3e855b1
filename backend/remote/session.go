package remote

import (
	"context"
	"fmt"
	"slices"

	"edgevit/backend"
	"edgevit/graph"
	"edgevit/oip"
)

// session is a model of a server. It holds nothing but what its metadata said and
// its idle connections.
type session struct {
	client        *client
	model         string
	input, output string // names of the tensors
	image         graph.Shape
	classes       int
	channelsFirst bool
	batched       bool // tensors have the batch's dimension
	maxBatch      int  // images of one request; 0: any number
	binary        bool // the server takes and gives raw tensors
	description   backend.Description
}

// Run sends as many images at once as the server takes.
func (s *session) Run(ctx context.Context, in, out []float32) error {
	size := s.image.Len()
	n := len(in) / size
	most := n
	if s.maxBatch > 0 {
		most = s.maxBatch
	}
	for first := 0; first < n; first += most {
		count := min(most, n-first)
		if err := s.infer(ctx, in[first*size:][:count*size], out[first*s.classes:][:count*s.classes]); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) infer(ctx context.Context, in, out []float32) error {
	n := int64(len(out) / s.classes)
	h, w, c := int64(s.image.H), int64(s.image.W), int64(s.image.C)
	shape, outShape := []int64{n, h, w, c}, []int64{n, int64(s.classes)}
	if s.channelsFirst {
		in = channelsFirst(in, s.image)
		shape = []int64{n, c, h, w}
	}
	if !s.batched {
		shape, outShape = shape[1:], outShape[1:]
	}
	tensor := oip.Float32Tensor(s.input, in, shape...)
	request := oip.InferRequest{Outputs: []oip.RequestedOutput{{Name: s.output}}}
	if s.binary {
		request.Outputs[0].Parameters = oip.Parameters{"binary_data": true}
	} else if err := tensor.ToJSON(); err != nil {
		return fmt.Errorf("%w: %s takes JSON only: %w", backend.ErrUnsupported, s.client.server.Base, err)
	}
	request.Inputs = []oip.Tensor{tensor}
	answer, err := s.client.infer(ctx, modelURL(s.model)+"/infer", request, 40*len(out))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(answer.Outputs, func(t oip.Tensor) bool { return t.Name == s.output })
	if i < 0 {
		return s.client.fault("its answer has no output %s", s.output)
	}
	t := &answer.Outputs[i]
	if !slices.Equal(t.Shape, outShape) {
		return s.client.fault("its output %s has the shape %v, want %v", s.output, clipShape(t.Shape), outShape)
	}
	logits, err := t.Float32s()
	if err != nil {
		return s.client.fault("%w", err)
	}
	copy(out, logits)
	return nil
}

// channelsFirst is images [N H W C] as [N C H W].
func channelsFirst(in []float32, s graph.Shape) []float32 {
	out := make([]float32, len(in))
	pixels := s.H * s.W
	for image := 0; image < len(in); image += s.Len() {
		for i := range pixels {
			for c := range s.C {
				out[image+c*pixels+i] = in[image+i*s.C+c]
			}
		}
	}
	return out
}

// Threads is none: the other machine computes.
func (s *session) Threads() int { return 0 }

// Describe says which server, and whether its model is known to be the same.
func (s *session) Describe() backend.Description { return s.description }

func (s *session) Close() error {
	s.client.close()
	return nil
}

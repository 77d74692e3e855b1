// Package oip is the wire form of the Open Inference Protocol v2 over HTTP, as
// KServe, Triton and OpenVINO Model Server speak it: the JSON messages, and the
// binary tensor data extension, in which raw tensors follow the JSON. Server
// and remote backend share it; it opens no connection itself.
//
//	request, err := oip.ParseInferRequest(body, jsonLength)
//	pixels, err := request.Inputs[0].Float32s()
//
// oip.go holds the messages, tensor.go a tensor's two forms, infer.go how a
// request and its answer become bytes. The specifications are
// github.com/kserve/open-inference-protocol (specification/protocol) and, for
// the extensions, github.com/triton-inference-server/server (docs/protocol).
package oip

import (
	"errors"
	"fmt"
	"math"
)

// Errors of messages. Each is wrapped with the tensor and what is wrong with it.
var (
	// ErrMessage: the bytes are no message of the protocol, or one that
	// contradicts itself.
	ErrMessage = errors.New("malformed inference message")
	// ErrNotFinite: a NaN or an infinity, which JSON has no number for.
	ErrNotFinite = errors.New("not a finite number")
)

// JSONLengthHeader gives the length in bytes of the JSON at the start of a body
// that goes on with raw tensors. 0 says that the body is the raw data of the one
// input, without JSON.
const JSONLengthHeader = "Inference-Header-Content-Length"

// Extensions that a server lists in its metadata.
const (
	BinaryTensorData   = "binary_tensor_data"
	Classification     = "classification"
	ModelConfiguration = "model_configuration"
	ModelRepository    = "model_repository"
	Statistics         = "statistics"
)

// ServerMetadata is the answer of GET /v2.
type ServerMetadata struct {
	Name       string   `json:"name"`
	Version    string   `json:"version"`
	Extensions []string `json:"extensions"`
}

// ModelMetadata is the answer of GET /v2/models/MODEL.
type ModelMetadata struct {
	Name     string           `json:"name"`
	Versions []string         `json:"versions,omitempty"`
	Platform string           `json:"platform"`
	Inputs   []TensorMetadata `json:"inputs"`
	Outputs  []TensorMetadata `json:"outputs"`
	// Properties are a server's own, as in the protocol's gRPC form.
	Properties map[string]string `json:"properties,omitempty"`
}

// TensorMetadata describes an input or output. A dimension of -1 varies.
type TensorMetadata struct {
	Name     string   `json:"name"`
	Datatype Datatype `json:"datatype"`
	Shape    []int64  `json:"shape"`
}

// ModelList is the answer of GET /v2/models, which is KServe's.
type ModelList struct {
	Models []string `json:"models"`
}

// ModelReady is the answer of GET /v2/models/MODEL/ready.
type ModelReady struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
}

// Error is the answer of whatever fails.
type Error struct {
	Error string `json:"error"`
}

// ModelConfig is the part of Triton's model configuration that clients read.
// Dims are without the batch's dimension; MaxBatchSize 0 says that a tensor has
// none.
type ModelConfig struct {
	Name          string         `json:"name"`
	Platform      string         `json:"platform"`
	Backend       string         `json:"backend"`
	MaxBatchSize  int            `json:"max_batch_size"`
	Input         []TensorConfig `json:"input"`
	Output        []TensorConfig `json:"output"`
	VersionPolicy map[string]any `json:"version_policy,omitempty"`
}

// TensorConfig describes an input or output in a ModelConfig; its DataType is a
// Datatype behind TYPE_.
type TensorConfig struct {
	Name     string  `json:"name"`
	DataType string  `json:"data_type"`
	Format   string  `json:"format,omitempty"`
	Dims     []int64 `json:"dims"`
}

// RepositoryModel is an element of the answer of POST /v2/repository/index. Its
// State is READY, LOADING or UNAVAILABLE.
type RepositoryModel struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	State   string `json:"state"`
	Reason  string `json:"reason"`
}

// RepositoryIndexRequest is the body of POST /v2/repository/index, which may
// also be empty.
type RepositoryIndexRequest struct {
	// Ready leaves out what is not READY.
	Ready bool `json:"ready"`
}

// ModelStatistics is the answer of GET /v2/models/MODEL/stats.
type ModelStatistics struct {
	ModelStats []ModelStats `json:"model_stats"`
}

// ModelStats are the counts of one model since it was loaded.
type ModelStats struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// LastInference is in milliseconds since 1970.
	LastInference int64 `json:"last_inference"`
	// InferenceCount counts images, ExecutionCount the runs of batches of them.
	InferenceCount int64          `json:"inference_count"`
	ExecutionCount int64          `json:"execution_count"`
	InferenceStats InferenceStats `json:"inference_stats"`
	BatchStats     []BatchStats   `json:"batch_stats"`
}

// InferenceStats are sums over all requests.
type InferenceStats struct {
	Success       Duration `json:"success"`
	Fail          Duration `json:"fail"`
	Queue         Duration `json:"queue"`
	ComputeInput  Duration `json:"compute_input"`
	ComputeInfer  Duration `json:"compute_infer"`
	ComputeOutput Duration `json:"compute_output"`
	CacheHit      Duration `json:"cache_hit"`
	CacheMiss     Duration `json:"cache_miss"`
}

// BatchStats are sums over the runs of one size of batch.
type BatchStats struct {
	BatchSize     int64    `json:"batch_size"`
	ComputeInput  Duration `json:"compute_input"`
	ComputeInfer  Duration `json:"compute_infer"`
	ComputeOutput Duration `json:"compute_output"`
}

// Duration is how often something happened, and how long it took in all, in
// nanoseconds.
type Duration struct {
	Count int64 `json:"count"`
	NS    int64 `json:"ns"`
}

// Parameters of a request, a tensor or an answer: strings, numbers and booleans
// by name.
type Parameters map[string]any

// Bool returns the parameter of that name, def where it is not given.
func (p Parameters) Bool(name string, def bool) (bool, error) {
	switch v := p[name].(type) {
	case nil:
		return def, nil
	case bool:
		return v, nil
	default:
		return false, fmt.Errorf("%w: parameter %s is %v, want true or false", ErrMessage, name, v)
	}
}

// Int returns the parameter of that name, def where it is not given.
func (p Parameters) Int(name string, def int64) (int64, error) {
	switch v := p[name].(type) {
	case nil:
		return def, nil
	case float64: // what encoding/json makes of a number
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), nil
		}
	}
	return 0, fmt.Errorf("%w: parameter %s is %v, want a whole number", ErrMessage, name, p[name])
}

// Text returns the parameter of that name, empty where it is not given.
func (p Parameters) Text(name string) (string, error) {
	switch v := p[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	default:
		return "", fmt.Errorf("%w: parameter %s is %v, want a string", ErrMessage, name, v)
	}
}

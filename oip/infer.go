package oip

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
)

// InferRequest is the body of POST /v2/models/MODEL/infer.
type InferRequest struct {
	ID         string            `json:"id,omitempty"`
	Parameters Parameters        `json:"parameters,omitempty"`
	Inputs     []Tensor          `json:"inputs"`
	Outputs    []RequestedOutput `json:"outputs,omitempty"`
}

// RequestedOutput is an output that a request wants; none stands for all.
type RequestedOutput struct {
	Name       string     `json:"name"`
	Parameters Parameters `json:"parameters,omitempty"`
}

// InferResponse is the answer to an InferRequest.
type InferResponse struct {
	ModelName    string     `json:"model_name"`
	ModelVersion string     `json:"model_version,omitempty"`
	ID           string     `json:"id,omitempty"`
	Parameters   Parameters `json:"parameters,omitempty"`
	Outputs      []Tensor   `json:"outputs"`
}

// JSONLength reads the value of a JSONLengthHeader, empty where there is none,
// of a body of that many bytes.
func JSONLength(header string, body int) (int, error) {
	if header == "" {
		return body, nil
	}
	n, err := strconv.ParseUint(header, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is %q, want the length of the JSON in bytes", ErrMessage, JSONLengthHeader, clip(header))
	}
	if n > uint64(body) {
		return 0, fmt.Errorf("%w: %s is %d, the body has %d bytes", ErrMessage, JSONLengthHeader, n, body)
	}
	return int(n), nil
}

// ParseInferRequest reads a body whose first jsonLength bytes are JSON. Raw
// tensors stay parts of body. Every input has data that its shape does not
// contradict if it is raw; Float32s and Elements check what is JSON.
func ParseInferRequest(body []byte, jsonLength int) (*InferRequest, error) {
	var r InferRequest
	if err := parse(body, jsonLength, &r, &r.Inputs); err != nil {
		return nil, err
	}
	return &r, nil
}

// ParseInferResponse reads an answer as ParseInferRequest does a request.
func ParseInferResponse(body []byte, jsonLength int) (*InferResponse, error) {
	var r InferResponse
	if err := parse(body, jsonLength, &r, &r.Outputs); err != nil {
		return nil, err
	}
	return &r, nil
}

func parse(body []byte, jsonLength int, message any, tensors *[]Tensor) error {
	if err := json.Unmarshal(body[:jsonLength], message); err != nil {
		return fmt.Errorf("%w: the JSON: %w", ErrMessage, err)
	}
	rest := body[jsonLength:]
	for i := range *tensors {
		t := &(*tensors)[i]
		size, err := t.Parameters.Int("binary_data_size", -1)
		switch {
		case err != nil:
			return t.errorf("%w", err)
		case t.Parameters["binary_data_size"] == nil && t.Data == nil:
			return t.errorf("it has neither data nor binary_data_size")
		case t.Parameters["binary_data_size"] == nil:
			continue
		case t.Data != nil:
			return t.errorf("it has both data and binary_data_size")
		case size < 0 || size > int64(len(rest)):
			return t.errorf("its binary_data_size is %d, %d bytes follow", size, len(rest))
		}
		t.Raw, rest = rest[:size:size], rest[size:]
		if err := t.checkRaw(); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes are left behind the JSON and its tensors", ErrMessage, len(rest))
	}
	return nil
}

// Encode returns the request as bytes, of which the first jsonLength are JSON.
func (r InferRequest) Encode() (body []byte, jsonLength int, err error) {
	var tail []byte
	r.Inputs, tail = announce(r.Inputs)
	return encode(r, tail)
}

// Encode returns the answer as bytes, of which the first jsonLength are JSON.
func (r InferResponse) Encode() (body []byte, jsonLength int, err error) {
	var tail []byte
	r.Outputs, tail = announce(r.Outputs)
	return encode(r, tail)
}

// announce returns the tensors as they stand in JSON, and what follows it.
func announce(tensors []Tensor) (announced []Tensor, tail []byte) {
	announced = make([]Tensor, len(tensors))
	for i, t := range tensors {
		if t.Raw != nil {
			tail = append(tail, t.Raw...)
			p := Parameters{}
			maps.Copy(p, t.Parameters)
			p["binary_data_size"] = len(t.Raw)
			t.Parameters = p
		}
		announced[i] = t
	}
	return announced, tail
}

func encode(message any, tail []byte) (body []byte, jsonLength int, err error) {
	text, err := json.Marshal(message)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return append(text, tail...), len(text), nil
}

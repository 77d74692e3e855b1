package oip

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// TestBinaryRequest is the example of Triton's binary tensor data extension.
func TestBinaryRequest(t *testing.T) {
	text := `{"model_name":"mymodel","inputs":[
		{"name":"input0","shape":[2,2],"datatype":"UINT32","parameters":{"binary_data_size":16}},
		{"name":"input1","shape":[3],"datatype":"BOOL","parameters":{"binary_data_size":3}}],
		"outputs":[{"name":"output0","parameters":{"binary_data":true}}]}`
	tail := "\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\xff\xff\xff\xff\x01\x00\x01"
	r, err := ParseInferRequest([]byte(text+tail), len(text))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"[1,2,3,4294967295]", "[true,false,true]"} {
		if err := r.Inputs[i].ToJSON(); err != nil || string(r.Inputs[i].Data) != want {
			t.Errorf("input %d is %s, %v; want %s", i, r.Inputs[i].Data, err, want)
		}
	}
	if b, err := r.Outputs[0].Parameters.Bool("binary_data", false); !b || err != nil {
		t.Errorf("binary_data is %v, %v", b, err)
	}
}

// TestJSONData holds every datatype to its raw form and back.
func TestJSONData(t *testing.T) {
	for _, c := range []struct {
		datatype Datatype
		shape    []int64
		data     string
		raw      string
		back     string // where it is not data
	}{
		{Bool, []int64{2}, `[true,false]`, "\x01\x00", ""},
		{Uint8, []int64{2}, `[0,255]`, "\x00\xff", ""},
		{Int8, []int64{2}, `[-128,127]`, "\x80\x7f", ""},
		{Uint16, []int64{1}, `[65535]`, "\xff\xff", ""},
		{Int16, []int64{1}, `[-2]`, "\xfe\xff", ""},
		{Int32, []int64{1}, `[-2147483648]`, "\x00\x00\x00\x80", ""},
		{Uint64, []int64{1}, `[18446744073709551615]`, strings.Repeat("\xff", 8), ""},
		{Int64, []int64{1}, `[-9223372036854775808]`, "\x00\x00\x00\x00\x00\x00\x00\x80", ""},
		{FP32, []int64{2, 2}, "[ [1, 2.5],\n\t[-0, 1e-45] ]", "\x00\x00\x80\x3f\x00\x00\x20\x40\x00\x00\x00\x80\x01\x00\x00\x00", "[1,2.5,-0,1e-45]"},
		{FP32, []int64{2, 1}, `[0.1,16777217]`, "\xcd\xcc\xcc\x3d\x00\x00\x80\x4b", "[0.1,1.6777216e+07]"},
		{FP64, []int64{1}, `[0.1]`, "\x9a\x99\x99\x99\x99\x99\xb9\x3f", ""},
		{Bytes, []int64{3}, `["a,]\"b","","é"]`, "\x05\x00\x00\x00a,]\"b\x00\x00\x00\x00\x02\x00\x00\x00é", ""},
		{FP32, []int64{2, 0}, `[[],[]]`, "", "[]"},
		{FP32, nil, `[7]`, "\x00\x00\xe0\x40", ""},
	} {
		name := string(c.datatype) + " " + c.data
		in := Tensor{Name: "x", Shape: c.shape, Datatype: c.datatype, Data: json.RawMessage(c.data)}
		raw, err := in.raw(c.datatype)
		if err != nil || string(raw) != c.raw {
			t.Errorf("%s: raw %q, %v; want %q", name, raw, err, c.raw)
			continue
		}
		back := Tensor{Name: "x", Shape: c.shape, Datatype: c.datatype, Raw: raw}
		if c.back == "" {
			c.back = c.data
		}
		if err := back.ToJSON(); err != nil || string(back.Data) != c.back || back.Raw != nil {
			t.Errorf("%s: back as %s, %v; want %s", name, back.Data, err, c.back)
		}
	}
}

// TestLies has messages that contradict themselves. Every error names what it is
// about.
func TestLies(t *testing.T) {
	input := func(shape, datatype, rest string) string {
		return fmt.Sprintf(`{"inputs":[{"name":"x","shape":%s,"datatype":"%s",%s}]}`, shape, datatype, rest)
	}
	binary := func(size int) string { return fmt.Sprintf(`"parameters":{"binary_data_size":%d}`, size) }
	for _, c := range []struct{ name, json, tail, want string }{
		{"no JSON", "", "", "the JSON"},
		{"not an object", "[]", "", "the JSON"},
		{"nothing", input("[1]", "FP32", `"y":1`), "", `"x": it has neither data nor binary_data_size`},
		{"both", input("[1]", "FP32", `"data":[1],`+binary(4)), "1234", "it has both"},
		{"size of another tensor", input("[2]", "FP32", binary(4)), "1234", "its data has 4 bytes, FP32 [2] has 8"},
		{"size past the end", input("[1]", "FP32", binary(4)), "123", "its binary_data_size is 4, 3 bytes follow"},
		{"negative size", input("[1]", "FP32", binary(-4)), "1234", "its binary_data_size is -4"},
		{"half a byte", input("[1]", "FP32", `"parameters":{"binary_data_size":3.5}`), "1234", "want a whole number"},
		{"size as a string", input("[1]", "FP32", `"parameters":{"binary_data_size":"4"}`), "1234", "want a whole number"},
		{"bytes left", input("[1]", "FP32", `"data":[1]`), "1234", "4 bytes are left"},
		{"shape that overflows", input("[4294967296,4294967296]", "FP32", binary(0)), "", "more elements than there can be"},
		{"negative shape", input("[-1]", "FP32", binary(0)), "", "negative dimension"},
		{"many dimensions", input("["+strings.Repeat("1,", 20)+"1]", "FP32", binary(4)), "1234", "21 dimensions"},
		{"unknown datatype", input("[1]", "FP8", binary(1)), "1", `"FP8" is none of the protocol`},
		{"element longer than what follows", input("[1]", "BYTES", binary(5)), "\x02\x00\x00\x00a", "element 0 has 2 bytes by its length, 1 follow"},
		{"length of 4 GB", input("[1]", "BYTES", binary(5)), "\xff\xff\xff\xffa", "element 0 has 4294967295 bytes"},
		{"cut length", input("[2]", "BYTES", binary(6)), "\x00\x00\x00\x00\x00\x00", "element 1 ends within its length"},
		{"fewer elements", input("[3]", "BYTES", binary(5)), "\x01\x00\x00\x00a", "has 1 elements, its shape [3] makes 3"},
	} {
		_, err := ParseInferRequest([]byte(c.json+c.tail), len(c.json))
		if !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want ErrMessage with %q", c.name, err, c.want)
		}
	}

	for _, c := range []struct{ shape, datatype, data, want string }{
		{"[2]", "FP32", "[1]", "has 1 elements where its shape [2] wants 2"},
		{"[1]", "FP32", "[1,2]", "more elements than its shape [1] wants"},
		{"[1000000000000]", "FP32", "[1]", "has 1 elements where"},
		{"[2,2]", "FP32", "[[1,2],[3]]", "has 1 elements where its shape [2 2] wants 2"},
		{"[2,2]", "FP32", "[[1,2],[3,4],[5,6]]", "has 3 elements where"},
		{"[2,2]", "FP32", "[[1,2],3]", "not nested evenly"},
		{"[2,2]", "FP32", "[[1,2],[[3]]]", "not nested evenly"},
		{"[2,2]", "FP32", "[[[1]]]", "3 arrays deep"},
		{"[1]", "FP32", "1", "0 arrays deep"},
		{"[]", "FP32", "1", "0 arrays deep"},
		{"[]", "FP32", "null", "0 arrays deep"},
		{"[1]", "FP32", "[null]", "element 0: null"},
		{"[1]", "FP32", "[{}]", "element 0 is an object"},
		{"[2]", "FP32", "[1,1e39]", "element 1: 1e39: value out of range"},
		{"[1]", "FP32", `["1"]`, `element 0: "1"`},
	} {
		text := input(c.shape, c.datatype, `"data":`+c.data)
		r, err := ParseInferRequest([]byte(text), len(text))
		if err == nil {
			_, err = r.Inputs[0].Float32s()
		}
		if !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want ErrMessage with %q", c.shape, c.data, err, c.want)
		}
	}
	for _, c := range []struct {
		datatype Datatype
		data     string
	}{
		{Uint8, "[256]"}, {Uint8, "[-1]"}, {Int8, "[128]"}, {Int32, "[1.5]"}, {Bool, "[1]"}, {Bytes, "[1]"}, {FP16, "[1]"}, {BF16, "[1]"}, {"FP8", "[1]"},
	} {
		in := Tensor{Name: "x", Shape: []int64{1}, Datatype: c.datatype, Data: json.RawMessage(c.data)}
		if raw, err := in.parse(); !errors.Is(err, ErrMessage) || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("%s %s: %q, %v; want ErrMessage that names the tensor", c.datatype, c.data, raw, err)
		}
	}
}

func TestWrongDatatype(t *testing.T) {
	f, b := Float32Tensor("x", []float32{1}, 1), BytesTensor("y", nil, 0)
	if _, err := f.Elements(); !errors.Is(err, ErrMessage) {
		t.Errorf("BYTES of FP32: %v", err)
	}
	if _, err := b.Float32s(); !errors.Is(err, ErrMessage) {
		t.Errorf("FP32 of BYTES: %v", err)
	}
}

func TestNotJSON(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		x := Float32Tensor("x", []float32{1, float32(v)}, 2)
		if err := x.ToJSON(); !errors.Is(err, ErrNotFinite) || x.Raw == nil {
			t.Errorf("%v as JSON: %v, want ErrNotFinite and the tensor as it was", v, err)
		}
	}
	x := BytesTensor("x", [][]byte{{0xff}}, 1)
	if err := x.ToJSON(); !errors.Is(err, ErrMessage) {
		t.Errorf("bytes that are no text: %v, want ErrMessage", err)
	}
}

// TestRoundTrip: what Encode writes, Parse reads, to the bit.
func TestRoundTrip(t *testing.T) {
	values := []float32{0, 1, float32(math.NaN()), float32(math.Inf(-1)), -0.1, math.MaxFloat32}
	elements := [][]byte{{}, {0, 1, 2}, []byte("text")}
	asJSON := Float32Tensor("json", []float32{1, 2}, 2)
	if err := asJSON.ToJSON(); err != nil {
		t.Fatal(err)
	}
	r := InferRequest{
		ID: "7", Parameters: Parameters{"target": "onnx"},
		Inputs:  []Tensor{Float32Tensor("a", values, 2, 3), asJSON, BytesTensor("b", elements, 3)},
		Outputs: []RequestedOutput{{"logits", Parameters{"classification": 3}}},
	}
	body, n, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseInferRequest(body, n)
	if err != nil {
		t.Fatal(err)
	}
	a, err := got.Inputs[0].Float32s()
	same := slices.EqualFunc(a, values, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
	if err != nil || !same {
		t.Errorf("got %v, %v; want %v", a, err, values)
	}
	if j, err := got.Inputs[1].Float32s(); err != nil || !slices.Equal(j, []float32{1, 2}) {
		t.Errorf("the JSON tensor is %v, %v", j, err)
	}
	if b, err := got.Inputs[2].Elements(); err != nil || !slices.EqualFunc(b, elements, bytes.Equal) {
		t.Errorf("the BYTES tensor is %q, %v", b, err)
	}
	if target, err := got.Parameters.Text("target"); got.ID != "7" || target != "onnx" || err != nil {
		t.Errorf("id %q, target %q, %v", got.ID, target, err)
	}
	if k, err := got.Outputs[0].Parameters.Int("classification", 0); k != 3 || err != nil {
		t.Errorf("classification %d, %v", k, err)
	}
	if r.Inputs[0].Parameters != nil {
		t.Error("Encode changes the request")
	}

	answer := InferResponse{ModelName: "m", Outputs: []Tensor{Float32Tensor("y", values, 6)}}
	if body, n, err = answer.Encode(); err != nil {
		t.Fatal(err)
	}
	back, err := ParseInferResponse(body, n)
	if err != nil || back.ModelName != "m" || !bytes.Equal(back.Outputs[0].Raw, answer.Outputs[0].Raw) {
		t.Errorf("answer %+v, %v", back, err)
	}
}

func TestJSONLength(t *testing.T) {
	for _, c := range []struct {
		header string
		want   int
		ok     bool
	}{{"", 10, true}, {"0", 0, true}, {"10", 10, true}, {"11", 0, false}, {"-1", 0, false}, {"4294967296", 0, false}, {"+1", 0, false}, {" 1", 0, false}, {"x", 0, false}} {
		n, err := JSONLength(c.header, 10)
		if n != c.want || (err == nil) != c.ok || err != nil && !errors.Is(err, ErrMessage) {
			t.Errorf("%q: %d, %v", c.header, n, err)
		}
	}
}

func TestParameters(t *testing.T) {
	p := Parameters{"bool": true, "int": 3.0, "text": "x", "half": 0.5}
	for _, name := range []string{"int", "text"} {
		if _, err := p.Bool(name, false); !errors.Is(err, ErrMessage) {
			t.Errorf("%s as bool: %v", name, err)
		}
	}
	for _, name := range []string{"bool", "text", "half"} {
		if _, err := p.Int(name, 0); !errors.Is(err, ErrMessage) {
			t.Errorf("%s as int: %v", name, err)
		}
	}
	if _, err := p.Text("int"); !errors.Is(err, ErrMessage) {
		t.Errorf("int as text: %v", err)
	}
	if b, err := p.Bool("none", true); !b || err != nil {
		t.Errorf("default %v, %v", b, err)
	}
}

// FuzzParse: no body panics, none makes much of little, and what is read can be
// written and read again.
func FuzzParse(f *testing.F) {
	r := InferRequest{Inputs: []Tensor{Float32Tensor("a", []float32{1, 2}, 2), BytesTensor("b", [][]byte{[]byte("x")}, 1)}}
	body, n, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body, n)
	for _, data := range []string{"[[1,2],[3,4]]", "[1,2,3,4]", `["a"]`, "[[[]]]", "[{}]", "null", "[true, 1e400]", `["\u00e9\\\""]`} {
		for _, d := range []Datatype{FP32, Bytes, Int8, Bool} {
			text := fmt.Sprintf(`{"inputs":[{"name":"x","shape":[2,2],"datatype":"%s","data":%s}]}`, d, data)
			f.Add([]byte(text), len(text))
		}
	}
	f.Add([]byte(`{"inputs":[{"shape":[9223372036854775807,2],"datatype":"FP32","parameters":{"binary_data_size":0}}]}`), 96)
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		if n < 0 || n > len(body) {
			return
		}
		r, err := ParseInferRequest(body, n)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Errorf("%v is no ErrMessage", err)
			}
			return
		}
		for i := range r.Inputs {
			in := &r.Inputs[i]
			raw, err := in.raw(in.Datatype)
			if err != nil {
				if !errors.Is(err, ErrMessage) {
					t.Errorf("%v is no ErrMessage", err)
				}
				return
			}
			if in.Data != nil && len(raw) > 4*len(in.Data) {
				t.Errorf("%d bytes of %d", len(raw), len(in.Data))
			}
			if datatypes[in.Datatype].kind == half {
				continue
			}
			back := *in
			back.Data, back.Raw = nil, raw
			if err := back.ToJSON(); err != nil {
				continue
			}
			again, err := back.raw(in.Datatype)
			if err != nil || in.Datatype != FP32 && in.Datatype != FP64 && in.Datatype != Bool && !bytes.Equal(again, raw) {
				t.Errorf("%q as JSON is %s, read as %q, %v", raw, back.Data, again, err)
			}
		}
		again, m, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseInferRequest(again, m); err != nil {
			t.Errorf("what Encode writes: %v\n%s", err, again)
		}
	})
}

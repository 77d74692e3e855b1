package worker

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	"edgevit/backend/purego"
	"edgevit/graph"
	"edgevit/model/modeltest"
)

// TestGraphRoundTrip: a graph arrives as it was sent, in every layout.
func TestGraphRoundTrip(t *testing.T) {
	for _, golden := range modeltest.Goldens(t) {
		g := golden.Model.Graph
		got, err := overTheWire(t, g)
		if err != nil {
			t.Fatalf("%s: %v", golden.Name, err)
		}
		if got.ID != g.ID || len(got.Nodes) != len(g.Nodes) {
			t.Fatalf("%s arrives as %q with %d nodes", golden.Name, got.ID, len(got.Nodes))
		}
		for i, want := range g.Nodes {
			n := got.Nodes[i]
			if n.Name != want.Name || n.Op != want.Op || n.Shape != want.Shape || len(n.In) != len(want.In) {
				t.Fatalf("%s: node %d is %s %+v %v, want %s %+v %v", golden.Name, i, n.Name, n.Op, n.Shape, want.Name, want.Op, want.Shape)
			}
			for k, in := range want.In {
				if n.In[k].Index != in.Index {
					t.Errorf("%s: input %d of %s is %s", golden.Name, k, n.Name, n.In[k].Name)
				}
			}
			for _, p := range want.Params() {
				if !slices.Equal(n.Weight(p.Name), want.Weight(p.Name)) || !reflect.DeepEqual(n.Weights[p.Name].Shape, want.Weights[p.Name].Shape) {
					t.Errorf("%s: %s.%s differs", golden.Name, n.Name, p.Name)
				}
			}
		}
	}
}

func overTheWire(t *testing.T, g *graph.Graph) (*graph.Graph, error) {
	wire, payload, err := encodeGraph(g)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(wire)
	if err != nil {
		t.Fatal(err)
	}
	var again wireGraph
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	all := bytes.Join(payload, nil)
	return decodeGraph(&again, bytes.NewReader(all), int64(len(all)))
}

// TestOddWeights: a tensor that is missing, or whose shape does not say how many
// values it has, is the backend's to judge.
func TestOddWeights(t *testing.T) {
	b, x := graph.NewBuilder(graph.Shape{H: 1, W: 1, C: 3})
	n := b.Add("fc", graph.Conv{Out: 2, Kernel: 1, Stride: 1, Groups: 1, Linear: true, Bias: true}, x)
	n.Weights = map[string]graph.Tensor{"weight": {Shape: []int{9, 9}, Data: []float32{1, 2, float32(math.Inf(1))}}}
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	got, err := overTheWire(t, g)
	if err != nil {
		t.Fatal(err)
	}
	if w := got.Output().Weights; len(w) != 1 || !slices.Equal(w["weight"].Data, n.Weight("weight")) || got.Output().CheckWeights() == nil {
		t.Errorf("the weights are %v", w)
	}
}

func TestBadGraphs(t *testing.T) {
	const input = `{"name":"input","kind":"Input","shape":[4,4,3]}`
	for name, nodes := range map[string]string{
		"none":                  ``,
		"only an input":         input,
		"no input":              `{"name":"a","kind":"GELU","shape":[4,4,3]},{"name":"b","kind":"GELU","shape":[4,4,3],"in":[0]}`,
		"huge feature map":      `{"name":"input","kind":"Input","shape":[16777216,16777216,16777216]},{"name":"a","kind":"GELU","shape":[4,4,3],"in":[0]}`,
		"negative feature map":  `{"name":"input","kind":"Input","shape":[-4,-4,3]},{"name":"a","kind":"GELU","shape":[-4,-4,3],"in":[0]}`,
		"unknown operation":     input + `,{"name":"a","kind":"Exec","shape":[4,4,3],"in":[0]}`,
		"unknown field":         input + `,{"name":"a","kind":"GELU","op":{"run":"rm"},"shape":[4,4,3],"in":[0]}`,
		"own input":             input + `,{"name":"a","kind":"GELU","shape":[4,4,3],"in":[1]}`,
		"negative input":        input + `,{"name":"a","kind":"GELU","shape":[4,4,3],"in":[-1]}`,
		"no inputs":             input + `,{"name":"a","kind":"GELU","shape":[4,4,3]}`,
		"second input":          input + `,{"name":"a","kind":"Input","shape":[4,4,3]}`,
		"two of a name":         input + `,{"name":"a","kind":"GELU","shape":[4,4,3],"in":[0]},{"name":"a","kind":"GELU","shape":[4,4,3],"in":[1]}`,
		"another shape":         input + `,{"name":"a","kind":"GELU","shape":[4,4,4],"in":[0]}`,
		"no groups":             input + `,{"name":"a","kind":"Conv","op":{"out":3,"kernel":1,"stride":1},"shape":[4,4,3],"in":[0]}`,
		"kernel out of range":   input + `,{"name":"a","kind":"Deconv","op":{"kernel":4611686018427387904},"shape":[4,4,3],"in":[0]}`,
		"kernel of none":        input + `,{"name":"a","kind":"Deconv","op":{"kernel":0},"shape":[4,4,3],"in":[0]}`,
		"weights that overflow": input + `,{"name":"a","kind":"GELU","shape":[4,4,3],"in":[0],"weights":[{"name":"w","shape":[16777216,16777216,16777216]}]}`,
		"weights not there":     input + `,{"name":"a","kind":"GELU","shape":[4,4,3],"in":[0],"weights":[{"name":"w","shape":[2]}]}`,
	} {
		var w wireGraph
		if err := json.Unmarshal([]byte(`{"nodes":[`+nodes+`]}`), &w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := decodeGraph(&w, strings.NewReader(""), 0); !errors.Is(err, graph.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

// frame is a message as it stands on the socket, of claimed lengths.
func frame(text string, length uint64, payload string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	return append(binary.LittleEndian.AppendUint64(b, length), text+payload...)
}

// FuzzWorker: whatever a worker is sent, it ends in an error or with the socket.
func FuzzWorker(f *testing.F) {
	f.Add(frame(`{"id":1,"op":"probe"}`, 0, ""))
	f.Add(frame(`{"id":1,"op":"run","slot":3,"images":1}`, 0, ""))
	f.Add(frame(`{"id":1,"op":"run"}`, 1<<62, "abc"))
	f.Add(frame(`{"id":1,"op":"export","graph":{"nodes":[{"name":"input","kind":"Input","shape":[1,1,3]},{"name":"a","kind":"GELU","shape":[1,1,3],"in":[0]}]}}`, 0, ""))
	f.Add(frame(`{"id":1,"op":"export","graph":{"nodes":[]}}`, 3, "abc"))
	f.Add(append(frame(`{"id":1,"op":"cancel"}`, 0, ""), frame(`{"id":1,"op":"trace"`, 0, "")...))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if bytes.Contains(sent, []byte("open")) {
			return // needs the files that a process inherits
		}
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, ours)
		go func() {
			ours.Write(sent)
			ours.Close()
		}()
		s := newServer(purego.Backend{}, newConn(theirs))
		_ = s.run()
		theirs.Close()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzAnswers: whatever a worker says, receiving it takes memory for what comes
// only, and ends.
func FuzzAnswers(f *testing.F) {
	f.Add(frame(`{"hello":{"protocol":1,"name":"x","targets":[{"device":"cpu","precision":"fp32"}]}}`, 0, ""))
	f.Add(frame(`{"id":1,"nodes":[{"node":"input"}]}`, 12, "123456789012"))
	f.Add(frame(`{}`, maxPayload+1, ""))
	f.Fuzz(func(t *testing.T, said []byte) {
		ours, theirs := net.Pipe()
		go func() {
			theirs.Write(said)
			theirs.Close()
		}()
		c := newConn(ours)
		for {
			m, payload, err := c.receive()
			if err != nil {
				break
			}
			if m == nil || payload.N > maxPayload {
				t.Fatalf("a message %v with %d bytes", m, payload.N)
			}
			if _, err := readAll(payload, int(payload.N)); err != nil {
				break
			}
		}
		ours.Close()
	})
}

package worker

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"edgevit/backend"
	"edgevit/graph"
)

// Version is that of the protocol. A worker is told it in its environment,
// EDGEVIT_WORKER, and says it in its hello: both must be this one.
//
// A worker finds a stream socket as file 3 and, in a session, shared memory as
// file 4. Each message on the socket is
//
//	uint32  length of the JSON, little-endian
//	uint64  length of the payload, little-endian
//	JSON    a message
//	payload what the message says: weights, outputs of nodes, a file
//
// The worker's first message is its hello. From then on it answers requests, in
// any order, each by a message of the request's id. Requests are
//
//	probe    → statuses, one a target, in the order of the hello's
//	open     graph, options, slots; payload: weights → description
//	run      slot, images → nothing; the logits are in the slot
//	trace    slot, graph; payload: weights → nodes; payload: their outputs, but of folded ones
//	profile  slot, runs → steps
//	export   graph, metadata; payload: weights → the file in parts: payloads of messages with more, then one without
//	cancel   of the run, trace or profile with that id; has no answer of its own
//
// An answer with an error has nothing else. The shared memory is slots.count
// slots, each of slots.images inputs [H W 3] and then as many logits [classes],
// all float32 in the machine's byte order. A slot is the worker's from a request
// to its answer. A worker ends when the socket is closed.
const Version = 1

const versionVariable = "EDGEVIT_WORKER"

const (
	opProbe   = "probe"
	opOpen    = "open"
	opRun     = "run"
	opTrace   = "trace"
	opProfile = "profile"
	opExport  = "export"
	opCancel  = "cancel"
)

// Bounds of what is read.
const (
	maxHeader  = 8 << 20 // bytes of a message's JSON
	maxPayload = 1 << 30 // bytes
	maxPart    = 1 << 20 // bytes of a file in one message
	maxText    = 4 << 10 // bytes of an error, a reason, a description
	maxName    = 200     // bytes of a name in an error
	maxTargets = 64
	maxSlots   = 1 << 10
	maxRuns    = 1 << 16 // of a profile
)

// errProtocol: the other side says what it should not.
var errProtocol = errors.New("against the protocol of workers")

// message is a request or an answer.
type message struct {
	ID    uint64     `json:"id,omitempty"`
	Op    string     `json:"op,omitempty"`
	Error *wireError `json:"error,omitempty"`

	Hello *hello `json:"hello,omitempty"`

	Graph    *wireGraph        `json:"graph,omitempty"`
	Options  *wireOptions      `json:"options,omitempty"`
	Slots    *slots            `json:"slots,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Slot     int               `json:"slot,omitempty"`
	Images   int               `json:"images,omitempty"`
	Runs     int               `json:"runs,omitempty"`

	Statuses    []wireStatus     `json:"statuses,omitempty"`
	Description *wireDescription `json:"description,omitempty"`
	Nodes       []wireTrace      `json:"nodes,omitempty"`
	Steps       []wireStep       `json:"steps,omitempty"`
	More        bool             `json:"more,omitempty"`
}

// hello is what a worker says first.
type hello struct {
	Protocol int          `json:"protocol"`
	Name     string       `json:"name"`
	Targets  []wireTarget `json:"targets"`
	// Format is that of its exports; empty where it has none.
	Format string `json:"format,omitempty"`
}

type wireTarget struct {
	Device    string `json:"device"`
	Precision string `json:"precision"`
}

type wireStatus struct {
	Target    wireTarget `json:"target"`
	Available bool       `json:"available"`
	Reason    string     `json:"reason,omitempty"`
}

type wireOptions struct {
	Threads   int    `json:"threads"`
	Device    string `json:"device"`
	Precision string `json:"precision"`
	Strict    bool   `json:"strict,omitempty"`
}

// slots say how the shared memory is divided.
type slots struct {
	Count  int `json:"count"`
	Images int `json:"images"`
}

type wireDescription struct {
	Threads        int    `json:"threads"`
	Provider       string `json:"provider"`
	DelegatedNodes int    `json:"delegated_nodes"`
	Nodes          int    `json:"nodes"`
	Library        string `json:"library"`
	LibraryVersion string `json:"library_version"`
	WeightBytes    int64  `json:"weight_bytes"`
	ArenaBytes     int64  `json:"arena_bytes"`
}

type wireTrace struct {
	Node   string  `json:"node"`
	Folded bool    `json:"folded,omitempty"`
	TimeMS float64 `json:"time_ms,omitempty"`
}

type wireStep struct {
	Nodes   []string  `json:"nodes"`
	TimesMS []float64 `json:"times_ms"`
}

func toMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func fromMS(ms float64) time.Duration {
	if !(ms >= 0 && ms < 1e12) {
		return 0
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// wireError is an error with what a caller decides on.
type wireError struct {
	Kind string `json:"kind,omitempty"`
	Text string `json:"text"`
}

// errorKinds are the errors that keep their identity.
var errorKinds = []struct {
	name string
	err  error
}{
	{"unavailable", backend.ErrUnavailable},
	{"unsupported", backend.ErrUnsupported},
	{"shape", backend.ErrShape},
	{"closed", backend.ErrClosed},
	{"invalid_graph", graph.ErrInvalid},
	{"canceled", context.Canceled},
	{"deadline", context.DeadlineExceeded},
}

func encodeError(err error) *wireError {
	w := &wireError{Text: clip(err.Error(), maxText)}
	for _, k := range errorKinds {
		if errors.Is(err, k.err) {
			w.Kind = k.name
			break
		}
	}
	return w
}

func (w *wireError) decode() error {
	e := remoteError{text: clip(w.Text, maxText)}
	for _, k := range errorKinds {
		if k.name == w.Kind {
			e.kind = k.err
		}
	}
	if e.text == "" {
		e.text = "an error without a text"
	}
	return e
}

// remoteError is an error of a worker.
type remoteError struct {
	kind error // nil: none of errorKinds
	text string
}

func (e remoteError) Error() string { return e.text }
func (e remoteError) Unwrap() error { return e.kind }

// conn is one side's end of the socket.
type conn struct {
	socket net.Conn
	r      *bufio.Reader
	mu     sync.Mutex // held for writing
}

func newConn(socket net.Conn) *conn {
	return &conn{socket: socket, r: bufio.NewReaderSize(socket, 64<<10)}
}

// send writes a message with its payload within the given time; 0: whatever it
// takes.
func (c *conn) send(m *message, within time.Duration, payload ...[]byte) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	length := 0
	for _, p := range payload {
		length += len(p)
	}
	if len(text) > maxHeader || length > maxPayload {
		return fmt.Errorf("%w: a message of %d bytes with %d of payload; at most %d and %d go", errProtocol, len(text), length, maxHeader, maxPayload)
	}
	head := binary.LittleEndian.AppendUint32(make([]byte, 0, 12+len(text)), uint32(len(text)))
	head = binary.LittleEndian.AppendUint64(head, uint64(length))
	c.mu.Lock()
	defer c.mu.Unlock()
	var end time.Time
	if within > 0 {
		end = time.Now().Add(within)
	}
	if err := c.socket.SetWriteDeadline(end); err != nil {
		return err
	}
	if _, err := c.socket.Write(append(head, text...)); err != nil {
		return err
	}
	for _, p := range payload {
		if _, err := c.socket.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// receive reads a message and returns its payload unread. Whoever calls it reads
// all of that before the next receive. io.EOF is the other side's end.
func (c *conn) receive() (*message, *io.LimitedReader, error) {
	var head [12]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, nil, err
	}
	size, length := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint64(head[4:])
	if size > maxHeader || length > maxPayload {
		return nil, nil, fmt.Errorf("%w: a message of %d bytes with %d of payload; at most %d and %d are taken", errProtocol, size, length, maxHeader, maxPayload)
	}
	text, err := readAll(c.r, int(size))
	if err != nil {
		return nil, nil, err
	}
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	return &m, &io.LimitedReader{R: c.r, N: int64(length)}, nil
}

// readAll reads n bytes, and takes memory as they come: a length is easily
// claimed.
func readAll(r io.Reader, n int) ([]byte, error) {
	const step = 1 << 20
	var all []byte
	for len(all) < n {
		part := make([]byte, min(n-len(all), max(step, len(all))))
		if _, err := io.ReadFull(r, part); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if all == nil {
			all = part
		} else {
			all = append(all, part...)
		}
	}
	return all, nil
}

// clip shortens s to n bytes without cutting a character.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}

package server

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"edgevit/api"
)

// TestServerTiming: the header has the numbers of the answer.
func TestServerTiming(t *testing.T) {
	s := newServer(t, nil, &fake{}, nil)
	file := jpegFile(t)
	send := func(path string, body []byte) *http.Response {
		return s.do(t, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
	}

	resp := send("/classify", file)
	c := decode[api.Classification](t, resp).Timing
	want := fmt.Sprintf("queue;dur=%v, decode;dur=%v, preprocess;dur=%v, inference;dur=%v, total;dur=%v", c.QueueMs, c.DecodeMs, c.PreprocessMs, c.InferenceMs, c.TotalMs)
	if got := resp.Header.Get("Server-Timing"); got != want || c.DecodeMs <= 0 || c.TotalMs < c.DecodeMs {
		t.Errorf("/classify: %q, want %q", got, want)
	}

	resp = send("/compare?targets=fake,fake:gpu,fake:int8", file)
	m := decode[api.Comparison](t, resp)
	want = fmt.Sprintf("decode;dur=%v, preprocess;dur=%v", m.Timing.DecodeMs, m.Timing.PreprocessMs)
	for _, r := range m.Targets {
		if r.Timing != nil {
			want += fmt.Sprintf(`, queue;desc="%s";dur=%v, inference;desc="%[1]s";dur=%[3]v`, r.Target, r.Timing.QueueMs, r.Timing.InferenceMs)
		}
	}
	want += fmt.Sprintf(", total;dur=%v", m.Timing.TotalMs)
	if got := resp.Header.Get("Server-Timing"); got != want || len(m.Targets) != 3 {
		t.Errorf("/compare: %q, want %q", got, want)
	}

	const dur = `;dur=\d+(\.\d+)?`
	for _, c := range []struct {
		path string
		body []byte
		want string
	}{
		{"/preprocess", file, "queue" + dur + ", decode" + dur + ", preprocess" + dur + ", total" + dur},
		{"/classify", []byte("no image"), "total" + dur},
		{"/classify?top_k=0", file, "total" + dur},
		{"/compare?targets=none", file, "total" + dur},
	} {
		got := send(c.path, c.body).Header.Get("Server-Timing")
		if !regexp.MustCompile("^" + c.want + "$").MatchString(got) {
			t.Errorf("%s: %q, want %s", c.path, got, c.want)
		}
	}
}

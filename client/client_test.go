package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"edgevit/api"
	"edgevit/backend"
	_ "edgevit/backend/purego"
	"edgevit/client"
	"edgevit/model/demo"
	"edgevit/server"
)

const token = "a token for tests"

// serve is the service with the demo model.
func serve(models string) (address string, stop func()) {
	s, err := server.New(server.Config{Registry: &backend.Default, ModelsDir: models, Demo: demo.Model, Token: token})
	if err != nil {
		log.Fatal(err)
	}
	<-s.Start()
	h := httptest.NewServer(s.Handler())
	return h.URL, func() { h.Close(); s.Close() }
}

func Example() {
	address, stop := serve("")
	defer stop()

	c, err := client.New(address)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	photo, err := os.Open("../docs/cat.jpg")
	if err != nil {
		log.Fatal(err)
	}
	defer photo.Close()
	answer, err := c.ClassifyWithBodyWithResponse(ctx, &api.ClassifyParams{TopK: new(1)}, "application/octet-stream", photo)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range answer.JSON200.Predictions {
		fmt.Printf("%s %.2f on %s\n", p.Label, p.Probability, answer.JSON200.Target)
	}

	_, err = c.ClassifyWithBodyWithResponse(ctx, &api.ClassifyParams{Model: new("dogs")}, "application/octet-stream", strings.NewReader(""))
	var refusal *client.Error
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Problem.Status, refusal.Problem.Title)
	}
	fmt.Println(errors.Is(err, client.Refused("unknown-model")), errors.Is(err, client.Refused("queue-full")))
	// Output:
	// cat 0.93 on purego
	// 404 Unknown model
	// true false
}

// TestToken: what changes the folder needs the token, which WithToken sends.
func TestToken(t *testing.T) {
	address, stop := serve(t.TempDir())
	defer stop()
	upload := func(options ...client.ClientOption) error {
		c, err := client.New(address, options...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.UploadModelWithBodyWithResponse(t.Context(), &api.UploadModelParams{Name: "net"}, "application/octet-stream", strings.NewReader("no checkpoint"))
		return err
	}
	if err := upload(); !errors.Is(err, client.Refused("token-required")) {
		t.Errorf("without a token: %v", err)
	}
	if err := upload(client.WithToken("another token, which is wrong")); !errors.Is(err, client.Refused("token-required")) {
		t.Errorf("with a wrong token: %v", err)
	}
	err := upload(client.WithToken(token))
	var refusal *client.Error
	if !errors.Is(err, client.Refused("invalid-checkpoint")) || !errors.As(err, &refusal) || len(refusal.Problem.Findings) == 0 {
		t.Errorf("with the token: %v, want an invalid checkpoint with findings", err)
	}
}

// TestError has answers that are none of the service's.
func TestError(t *testing.T) {
	for _, c := range []struct {
		name, media, body, retry string
		status                   int
		want                     client.Error
		text                     string
	}{
		{"problem", "application/problem+json", `{"type":"/problems/queue-full","title":"Too many","status":429,"detail":"64 for demo","instance":"/classify","request_id":"x"}`, "7", 429,
			client.Error{Problem: api.Problem{Type: "/problems/queue-full", Title: "Too many", Status: 429, Detail: "64 for demo", Instance: "/classify", RequestId: "x"}, RetryAfter: 7 * time.Second},
			"429 Too many: 64 for demo (request x)"},
		{"a proxy's page", "text/html", "<h1>Bad Gateway</h1>", "", 502, client.Error{Problem: api.Problem{Title: "Bad Gateway", Status: 502}}, "502 Bad Gateway"},
		{"no problem", "application/problem+json; charset=utf-8", "nonsense", "soon", 500, client.Error{Problem: api.Problem{Title: "Internal Server Error", Status: 500}}, "500 Internal Server Error"},
		{"endless", "application/problem+json", `{"title":"` + strings.Repeat("x", 2<<20), "-1", 503, client.Error{Problem: api.Problem{Title: "Service Unavailable", Status: 503}}, "503 Service Unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.media)
				w.Header().Set("Retry-After", c.retry)
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body)) // the endless one is not read to its end
			}))
			defer h.Close()
			service, err := client.New(h.URL)
			if err != nil {
				t.Fatal(err)
			}
			_, err = service.ClassifyWithBodyWithResponse(t.Context(), nil, "", bytes.NewReader(nil))
			var refusal *client.Error
			if !errors.As(err, &refusal) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if got := fmt.Sprintf("%+v %v", refusal.Problem, refusal.RetryAfter); got != fmt.Sprintf("%+v %v", c.want.Problem, c.want.RetryAfter) || err.Error() != c.text {
				t.Errorf("got %s, %q\nwant %+v, %q", got, err, c.want, c.text)
			}
		})
	}
	service, err := client.New("://")
	if err == nil {
		_, err = service.LivezWithResponse(t.Context())
	}
	if err == nil {
		t.Error("an address that is none is taken")
	}
}

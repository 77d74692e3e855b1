package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// root is the folder of the repository.
const root = ".."

// freeAddress is an address on which nothing listens just now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serve starts a command that is to listen on an address, and waits until it is
// ready. Its log is shown if the test fails.
func serve(t *testing.T, command *exec.Cmd, address string) (url string) {
	t.Helper()
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatalf("start %s: %v", command.Path, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait() // killed below
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("log of %s:\n%s", command.Path, log.String())
		}
	})
	url = "http://" + address
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if code, _ := get(url + "/readyz"); code == http.StatusOK {
			return url
		}
		select {
		case <-ended:
			t.Fatalf("%s has ended", command.Path)
		case <-ctx.Done():
			t.Fatalf("%s is not ready in time", command.Path)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(url string) (code int, body string) {
	answer, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(text)
}

// classify returns what the service sees in the photograph of a cat.
func classify(url, query string) (string, error) {
	image, err := os.ReadFile(filepath.Join(root, "docs", "cat.jpg"))
	if err != nil {
		return "", err
	}
	answer, err := http.Post(url+"/classify"+query, "image/jpeg", bytes.NewReader(image))
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", answer.Status, text)
	}
	// The form of an answer is held elsewhere; here the best label will do.
	var o map[string]any
	if err := json.Unmarshal(text, &o); err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(text), `"label":`)
	_, rest, _ = strings.Cut(rest, `"`)
	label, _, _ := strings.Cut(rest, `"`)
	return label, nil
}

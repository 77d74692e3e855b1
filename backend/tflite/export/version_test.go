package export

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"

	"edgevit/model/modeltest"
)

// TestVersionNamesTheBytes: files are cached by Version, so that it must change
// with what is written.
func TestVersionNamesTheBytes(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("other processors round folded weights otherwise")
	}
	var b bytes.Buffer
	if err := Write(&b, modeltest.Tiny(t).Model.Graph, Options{Batch: 1}); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%s %x", Version, sha256.Sum256(b.Bytes()))
	const want = "1 5a87ca99afd3ff0b889148c5b43268d5025a974e90c23de5893b55ee23069cb5"
	if got != want {
		t.Errorf("version and sum are\n%s, want\n%s\nIf the file is meant to differ, raise Version.", got, want)
	}
}

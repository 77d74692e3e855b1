package server

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"edgevit/preprocess"
)

func defaultLimits(bytes int64) preprocess.Limits {
	l := preprocess.DefaultLimits()
	l.Bytes = bytes
	return l
}

// FuzzClassify sends any query, content type, content encoding and body, to
// /preprocess too. Every answer must be one of the contract, and none an
// internal error.
func FuzzClassify(f *testing.F) {
	jpeg := jpegFile(f)
	multi, multiType := form(f, "image", string(jpeg))
	f.Add("", "", "", jpeg)
	f.Add("top_k=3&model=demo&target=fake:int8", "image/png", "", pngFile(f))
	f.Add("top_k=0", "", "", jpeg[:30])
	f.Add("model=&target=a:b:c:d", "", "", []byte{})
	f.Add("%zz&&;==", "text/plain", "br", []byte("text"))
	f.Add("", multiType, "", multi)
	f.Add("", multiType, "gzip", gzipped(multi))
	f.Add("", "multipart/form-data", "", multi)
	f.Add("", "", "deflate", deflated(jpeg))
	f.Add("", "", "gzip", gzipped(make([]byte, 1<<20)))
	f.Add("", "", "", claimingBMP())
	f.Add("target=fake:gpu", "", "", jpeg)
	s := newServer(f, nil, &fake{}, func(c *Config) { c.Limits = defaultLimits(1 << 16) })
	f.Fuzz(func(t *testing.T, query, contentType, encoding string, body []byte) {
		for _, path := range []string{"/classify", "/preprocess"} {
			r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			r.URL = &url.URL{Path: path, RawQuery: query}
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("Content-Encoding", encoding)
			resp := s.do(t, r)
			if resp.StatusCode == http.StatusInternalServerError {
				t.Errorf("%s: internal error: %s", path, read(t, resp))
			}
		}
		if n := s.admission.inUse(); n != 0 {
			t.Errorf("%d tokens in use afterwards", n)
		}
	})
}

// FuzzCompare sends any query and body. Every answer must be one of the
// contract, and none an internal error.
func FuzzCompare(f *testing.F) {
	jpeg := jpegFile(f)
	f.Add("", jpeg)
	f.Add("targets=fake,fake:int8&layers=true&threshold_db=60&repeat=2&top_k=3", jpeg)
	f.Add("targets=fake,fake:cpu", jpeg)
	f.Add("targets=,&repeat=0", []byte{})
	f.Add("targets=%2C%2C&layers=1", pngFile(f))
	f.Add("repeat=101&threshold_db=NaN", jpeg[:30])
	f.Add("targets=fake:gpu", jpeg)
	s := newServer(f, nil, &fake{}, func(c *Config) { c.Limits = defaultLimits(1 << 16) })
	f.Fuzz(func(t *testing.T, query string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/compare", bytes.NewReader(body))
		r.URL = &url.URL{Path: "/compare", RawQuery: query}
		if resp := s.do(t, r); resp.StatusCode == http.StatusInternalServerError {
			t.Errorf("internal error: %s", read(t, resp))
		}
		if n := s.admission.inUse(); n != 0 {
			t.Errorf("%d tokens in use afterwards", n)
		}
	})
}

// FuzzUpload sends any name, encoding and body. Whatever is refused leaves
// nothing in the folder.
func FuzzUpload(f *testing.F) {
	f.Add("new", "", []byte("ok"))
	f.Add("../new", "", []byte("ok"))
	f.Add("new", "gzip", gzipped([]byte("ok")))
	f.Add("new", "gzip", []byte("ok"))
	f.Add("demo", "", []byte("no"))
	f.Add("a\x00b", "deflate", []byte{})
	s := newUploadServer(f, nil, &fake{}, func(c *Config) { c.CheckpointBytes = 1 << 12 })
	f.Fuzz(func(t *testing.T, name, encoding string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/models", bytes.NewReader(body))
		r.URL.RawQuery = url.Values{"name": {name}}.Encode()
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Encoding", encoding)
		resp := s.do(t, r)
		if resp.StatusCode == http.StatusInternalServerError {
			t.Errorf("internal error: %s", read(t, resp))
		}
		if resp.StatusCode == http.StatusCreated {
			if removed := s.remove(t, name); removed.StatusCode != http.StatusNoContent {
				t.Errorf("%q was taken in and cannot be removed: %s", name, read(t, removed))
			}
		}
		if left := s.folder(t); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

package server

import (
	"math"
	"net/http"
	"testing"

	"edgevit/api"
	"edgevit/model/modeltest"
)

func TestProfile(t *testing.T) {
	s := newCompareServer(t, bent{}, &fake{})
	m := modeltest.Tiny(t).Model
	got := decode[api.Profile](t, s.get(t, "/models/demo/profile?target=purego&runs=3"))
	var macs int64
	share := 0.0
	for _, step := range got.Steps {
		macs += step.Macs
		share += step.Share
	}
	if got.Model != "demo" || got.Target != "purego" || got.Runs != 3 || got.Threads != 1 || got.Peak.OneCore <= 0 || got.Peak.Instructions == "" || got.Provider == "" {
		t.Errorf("profile of %s on %s: %d runs, %d threads of %q, peak %+v", got.Model, got.Target, got.Runs, got.Threads, got.Provider, got.Peak)
	}
	if macs != m.MACs() || math.Abs(share-1) > 1e-6 {
		t.Errorf("the steps have %d MACs, want %d; shares sum to %v", macs, m.MACs(), share)
	}
	if n := s.admission.inUse(); n != 0 {
		t.Errorf("%d CPU tokens are still in use", n)
	}
	for path, want := range map[string]string{
		"/models/demo/profile?target=fake":          "no-profiles",
		"/models/demo/profile?runs=0":               "invalid-query",
		"/models/demo/profile?runs=201":             "invalid-query",
		"/models/demo/profile?runs=many":            "invalid-query",
		"/models/demo/profile?target=nowhere":       "unknown-target",
		"/models/none/profile":                      "unknown-model",
		"/models/demo/profile?target=fake:gpu:fp32": "target-unavailable",
	} {
		if got := decode[api.Problem](t, s.get(t, path)); got.Type != "/problems/"+want {
			t.Errorf("%s: %s, want %s", path, got.Type, want)
		}
	}
	if resp := s.send(t, http.MethodHead, "/models/demo/profile?target=purego&runs=1", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %s", resp.Status)
	}
}

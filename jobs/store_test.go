package jobs

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type plan struct {
	Model string `json:"model"`
}

type summary struct {
	Right int `json:"right"`
}

func openStore(t *testing.T, folder, kind string) *Store[plan, summary] {
	t.Helper()
	s, err := Open[plan, summary](folder, kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestKinds: two kinds share the machine and nothing else.
func TestKinds(t *testing.T) {
	ctx := t.Context()
	folder := t.TempDir()
	evaluations, benchmarks := openStore(t, folder, "evaluation"), openStore(t, folder, "benchmark")
	job, err := evaluations.Begin("api", plan{"demo"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := benchmarks.Begin("api", plan{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a benchmark beside an evaluation: %v, want ErrBusy", err)
	}
	if err := job.Done(plan{"birds"}, summary{7}, []byte("report")); err != nil {
		t.Fatal(err)
	}
	r, err := evaluations.Get(ctx, job.ID)
	if err != nil || r.State != Done || r.Plan.Model != "birds" || r.Summary.Right != 7 {
		t.Errorf("got %+v, %v", r, err)
	}
	if file, err := evaluations.File(ctx, job.ID); string(file) != "report" || err != nil {
		t.Errorf("its file: %q, %v", file, err)
	}
	if list, err := benchmarks.List(ctx, 10); err != nil || len(list) != 0 {
		t.Errorf("listed among benchmarks: %+v, %v", list, err)
	}
	if _, err := benchmarks.Get(ctx, job.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("got as a benchmark: %v", err)
	}
	if _, err := benchmarks.File(ctx, job.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("file of a benchmark: %v", err)
	}
	if err := benchmarks.Delete(ctx, job.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted as a benchmark: %v", err)
	}
	if err := evaluations.Delete(ctx, job.ID); err != nil {
		t.Error(err)
	}
}

// TestResume: what ended before it was done goes on under its id, while nobody
// else holds the machine.
func TestResume(t *testing.T) {
	ctx := t.Context()
	s := openStore(t, t.TempDir(), "evaluation")
	for _, c := range []struct {
		cause error
		state State
	}{{errors.New("no device"), Failed}, {context.Canceled, Cancelled}, {ErrInterrupted, Interrupted}} {
		job, err := s.Begin("api", plan{"demo"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Resume(ctx, job.ID); !errors.Is(err, ErrBusy) {
			t.Errorf("one that runs: %v, want ErrBusy", err)
		}
		if err := s.Delete(ctx, job.ID); !errors.Is(err, ErrBusy) {
			t.Errorf("delete one that runs: %v, want ErrBusy", err)
		}
		if err := job.Fail(c.cause); err != nil {
			t.Fatal(err)
		}
		again, err := s.Resume(ctx, job.ID)
		if err != nil || again.ID != job.ID {
			t.Fatalf("%s: %v", c.state, err)
		}
		if r, err := s.Get(ctx, job.ID); err != nil || r.State != Running || r.Error != "" || r.Plan.Model != "demo" {
			t.Errorf("%s, then resumed: %+v, %v", c.state, r, err)
		}
		if err := again.Done(plan{"demo"}, summary{1}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Resume(ctx, job.ID); !errors.Is(err, ErrDone) {
			t.Errorf("one that is done: %v, want ErrDone", err)
		}
	}
	if _, err := s.Resume(ctx, "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("none: %v, want ErrNotFound", err)
	}
	if job, err := s.Begin("api", plan{}); err != nil {
		t.Errorf("after refusals: %v", err)
	} else if err := job.Fail(nil); err != nil {
		t.Error(err)
	}
}

// TestVersions opens what an older and a newer program have left.
func TestVersions(t *testing.T) {
	folder := t.TempDir()
	db, err := open(filepath.Join(folder, "runs.db"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`
CREATE TABLE runs (
	id      TEXT PRIMARY KEY,
	created INTEGER NOT NULL,
	state   TEXT NOT NULL,
	error   TEXT NOT NULL DEFAULT '',
	origin  TEXT NOT NULL,
	plan    TEXT NOT NULL,
	summary TEXT,
	bundle  BLOB
);
CREATE INDEX runs_created ON runs (created);
INSERT INTO runs (id, created, state, origin, plan, summary, bundle) VALUES ('old', 1000, 'done', 'api', '{"model":"demo"}', '{"right":3}', x'6f6b');
INSERT INTO runs (id, created, state, origin, plan) VALUES ('cut', 2000, 'running', 'api', '{}');
PRAGMA user_version = 1;`); err != nil {
		t.Fatal(err)
	}
	benchmarks, evaluations := openStore(t, folder, "benchmark"), openStore(t, folder, "evaluation")
	list, err := benchmarks.List(t.Context(), 10)
	if err != nil || len(list) != 2 || list[0].State != Interrupted || list[1].State != Done || list[1].Plan.Model != "demo" || list[1].Summary.Right != 3 {
		t.Errorf("of version 1: %+v, %v", list, err)
	}
	if file, err := benchmarks.File(t.Context(), "old"); string(file) != "ok" || err != nil {
		t.Errorf("its file: %q, %v", file, err)
	}
	if list, err := evaluations.List(t.Context(), 10); err != nil || len(list) != 0 {
		t.Errorf("evaluations of version 1: %+v, %v", list, err)
	}

	if _, err := db.Exec("PRAGMA user_version = 3"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open[plan, summary](folder, "benchmark"); err == nil || !strings.Contains(err.Error(), "newer program") {
		t.Errorf("of version 3: %v", err)
	}
}

// TestFullStore lets the store meet a database that cannot grow, which SQLite
// reports as it does a full disk.
func TestFullStore(t *testing.T) {
	s := openStore(t, t.TempDir(), "benchmark")
	s.db.SetMaxOpenConns(1)
	if _, err := s.db.Exec("PRAGMA max_page_count = 1"); err != nil { // at least what there is
		t.Fatal(err)
	}
	insert := func() error {
		return s.Insert(Record[plan, summary]{ID: NewID(), Created: time.Now(), State: Done, Origin: "api"}, make([]byte, 1000))
	}
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		err = insert()
	}
	if !errors.Is(err, ErrStorage) {
		t.Errorf("into a full store: %v, want ErrStorage", err)
	}
	if records, err := s.List(t.Context(), 1000); err != nil || len(records) == 100 {
		t.Errorf("%d runs, %v; want those that found room", len(records), err)
	}
	if _, err := s.db.Exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if err := insert(); err != nil {
		t.Errorf("with room: %v", err)
	}
}

package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"testing"
	"time"
)

func openStore(t *testing.T, folder string) *Store {
	t.Helper()
	s, err := OpenStore(folder)
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

func TestStore(t *testing.T) {
	ctx := t.Context()
	folder := t.TempDir()
	s := openStore(t, folder)
	b := example()
	job, err := s.Begin(b.Plan)
	if err != nil {
		t.Fatal(err)
	}
	other := openStore(t, folder)
	for name, store := range map[string]*Store{"the same store": s, "another": other} {
		if _, err := store.Begin(b.Plan); !errors.Is(err, ErrBusy) {
			t.Errorf("a second run of %s: %v, want ErrBusy", name, err)
		}
	}
	if err := other.Delete(ctx, job.ID); !errors.Is(err, ErrBusy) {
		t.Errorf("delete while it runs: %v, want ErrBusy", err)
	}
	if _, err := s.Export(ctx, job.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("export while it runs: %v, want ErrNotFound", err)
	}
	if err := job.End(b, nil); err != nil {
		t.Fatal(err)
	}
	r, err := other.Get(ctx, job.ID)
	if err != nil || r.State != Done || !reflect.DeepEqual(r.Plan, b.Plan) || !reflect.DeepEqual(r.Summary, &b.Summary) {
		t.Errorf("got %+v, %v", r, err)
	}

	for cause, want := range map[error]State{errors.New("no target could run"): Failed, context.Canceled: Cancelled, ErrInterrupted: Interrupted} {
		job, err := s.Begin(b.Plan)
		if err != nil {
			t.Fatal(err)
		}
		if err := job.End(nil, cause); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Get(ctx, job.ID); err != nil || r.State != want || (r.Error != "") != (want == Failed) {
			t.Errorf("ended by %v: %+v, %v", cause, r, err)
		}
	}

	file, err := s.Export(ctx, job.ID)
	if err != nil {
		t.Fatal(err)
	}
	read, err := ReadBundle(bytes.NewReader(file))
	if err != nil || read.ID != job.ID {
		t.Fatalf("exported %+v, %v", read, err)
	}
	if err := s.Import(read); !errors.Is(err, ErrExists) {
		t.Errorf("import of what is there: %v, want ErrExists", err)
	}
	if err := s.Delete(ctx, job.ID); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(ctx, job.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("after its end: %v, want ErrNotFound", err)
	}
	if err := s.Delete(ctx, job.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v, want ErrNotFound", err)
	}
	if err := s.Import(read); err != nil {
		t.Error(err)
	}
	if list, err := s.List(ctx, 2); err != nil || len(list) != 2 {
		t.Errorf("the newest two: %+v, %v", list, err)
	}
	list, err := s.List(ctx, 100)
	if err != nil || len(list) != 4 || list[3].ID != job.ID || list[3].State != Done || !list[3].Created.Equal(b.Created) {
		t.Errorf("listed %+v, %v; want four, the imported one last", list, err)
	}
}

// TestKill kills a process in the middle of a run, as kill -9 does, after it
// has kept another.
// TestFullStore lets the store meet a database that cannot grow, which SQLite
// reports as it does a full disk.
func TestFullStore(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.db.SetMaxOpenConns(1)
	if _, err := s.db.Exec("PRAGMA max_page_count = 1"); err != nil { // at least what there is
		t.Fatal(err)
	}
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		b := example()
		b.ID = newID()
		err = s.Import(b)
	}
	if !errors.Is(err, ErrStorage) {
		t.Errorf("import into a full store: %v, want ErrStorage", err)
	}
	if records, err := s.List(t.Context(), 1000); err != nil || len(records) == 100 {
		t.Errorf("%d runs, %v; want those that found room", len(records), err)
	}
	if _, err := s.db.Exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if err := s.Import(example()); err != nil {
		t.Errorf("import with room: %v", err)
	}
}

func TestKill(t *testing.T) {
	if folder := os.Getenv("BENCH_TEST_STORE"); folder != "" {
		s, err := OpenStore(folder)
		if err != nil {
			t.Fatal(err)
		}
		done, err := s.Begin(example().Plan)
		if err == nil {
			err = done.End(example(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Begin(example().Plan); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("running\n")
		time.Sleep(time.Hour)
	}
	folder := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestKill$")
	child.Env = append(os.Environ(), "BENCH_TEST_STORE="+folder)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	s := openStore(t, folder)
	if err != nil || line != "running\n" {
		t.Errorf("the child says %q, %v", line, err)
	}
	if _, err := s.Begin(example().Plan); !errors.Is(err, ErrBusy) {
		t.Errorf("beside another process: %v, want ErrBusy", err)
	}
	if list, err := s.List(t.Context(), 100); err != nil || len(list) != 2 || list[0].State != Running {
		t.Errorf("beside another process: %+v, %v", list, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	list, err := s.List(t.Context(), 100)
	if err != nil || len(list) != 2 || list[0].State != Interrupted || list[1].State != Done || list[1].Summary == nil {
		t.Fatalf("after the kill: %+v, %v; want interrupted, done", list, err)
	}
	file, err := s.Export(t.Context(), list[1].ID)
	if err == nil {
		_, err = ReadBundle(bytes.NewReader(file))
	}
	if err != nil {
		t.Errorf("the run that was done: %v", err)
	}
	job, err := s.Begin(example().Plan)
	if err != nil {
		t.Fatalf("the machine is still held: %v", err)
	}
	if err := job.End(nil, context.Canceled); err != nil {
		t.Error(err)
	}
}

func TestNewerStore(t *testing.T) {
	folder := t.TempDir()
	s := openStore(t, folder)
	if _, err := s.db.Exec("PRAGMA user_version = 9"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(folder); err == nil {
		t.Error("opened a database of version 9")
	}
}

// Package jobs keeps long jobs, which benchmarks and evaluations are, in a
// SQLite database that survives the end of its process at any moment. One long
// job at a time holds the machine, whatever its kind and its program.
//
//	store, err := jobs.Open[Plan, Summary](folder, "benchmark")
//	job, err := store.Begin("api", plan)
//	err = job.Done(plan, summary, file) // or job.Fail(why)
package jobs

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Errors that a caller decides on.
var (
	// ErrBusy: a long job holds the machine, in this process or another.
	ErrBusy = errors.New("another benchmark or evaluation is running")
	// ErrNotFound: there is no job of that id and kind, or it has no file.
	ErrNotFound = errors.New("no such run")
	// ErrInterrupted is what a job ends by when its program ends.
	ErrInterrupted = errors.New("the program ended")
	// ErrStorage: the store cannot be written, as on a full disk.
	ErrStorage = errors.New("the store of runs cannot be written")
	// ErrDone: the job is done, so that there is nothing to resume.
	ErrDone = errors.New("the run is done")
	// ErrExists: there is a job of that id already.
	ErrExists = errors.New("a run of that id is already there")
)

// State of a job in a store.
type State string

// A job is Running until it is Done, Failed or Cancelled; Interrupted is one
// whose process ended before that.
const (
	Running     State = "running"
	Done        State = "done"
	Failed      State = "failed"
	Cancelled   State = "cancelled"
	Interrupted State = "interrupted"
)

// StateOf is what a job comes to that ends by cause; nil is Done.
func StateOf(cause error) State {
	switch {
	case cause == nil:
		return Done
	case errors.Is(cause, ErrInterrupted):
		return Interrupted
	case errors.Is(cause, context.Canceled):
		return Cancelled
	}
	return Failed
}

// Record is a job in a store: what was asked for and, in short, what came of
// it. Summary is nil unless it is Done.
type Record[Plan, Summary any] struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	State   State     `json:"state"`
	// Error says why it failed.
	Error string `json:"error,omitempty"`
	// Origin says who did it.
	Origin  string   `json:"origin"`
	Plan    Plan     `json:"plan"`
	Summary *Summary `json:"summary,omitempty"`
}

// Store keeps the jobs of one kind, with a file for each that is Done. Plan and
// Summary are kept as JSON. It is safe for concurrent use, also by several
// processes and beside stores of other kinds in the same folder.
type Store[Plan, Summary any] struct {
	db           *sql.DB
	folder, kind string
}

// schema of the database; user_version counts its changes.
const schema = `
CREATE TABLE runs (
	id      TEXT PRIMARY KEY,
	kind    TEXT NOT NULL,
	created INTEGER NOT NULL, -- ms since 1970
	state   TEXT NOT NULL,
	error   TEXT NOT NULL DEFAULT '',
	origin  TEXT NOT NULL,
	plan    TEXT NOT NULL, -- JSON
	summary TEXT,          -- JSON
	bundle  BLOB           -- the file
);
CREATE INDEX runs_created ON runs (kind, created);
PRAGMA user_version = 2;
`

// fromVersion1 adds kinds to a database that knew benchmarks only.
const fromVersion1 = `
ALTER TABLE runs ADD COLUMN kind TEXT NOT NULL DEFAULT 'benchmark';
DROP INDEX runs_created;
CREATE INDEX runs_created ON runs (kind, created);
PRAGMA user_version = 2;
`

// Open opens the store of a kind in a data folder, and makes both where they
// are absent.
func Open[Plan, Summary any](folder, kind string) (*Store[Plan, Summary], error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("store of runs: %w", err)
	}
	db, err := open(filepath.Join(folder, "runs.db"), "_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	if err := prepare(db); err != nil {
		return nil, errors.Join(fmt.Errorf("store of runs in %s: %w", folder, err), db.Close())
	}
	return &Store[Plan, Summary]{db, folder, kind}, nil
}

func open(path, options string) (*sql.DB, error) {
	name := (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: options}).String()
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

func prepare(db *sql.DB) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing once it is committed
	var version int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch version {
	case 0:
		if _, err := tx.Exec(schema); err != nil {
			return err
		}
	case 1:
		if _, err := tx.Exec(fromVersion1); err != nil {
			return err
		}
	case 2:
	default:
		return fmt.Errorf("the database is of version %d, made by a newer program", version)
	}
	return tx.Commit()
}

// Close closes the store. Jobs must have ended.
func (s *Store[Plan, Summary]) Close() error { return s.db.Close() }

// Job is one that holds the machine until it ends. Exactly one of Done and Fail
// is called.
type Job[Plan, Summary any] struct {
	ID     string
	store  *Store[Plan, Summary]
	unlock func()
}

// Begin takes the machine for a job and lists it as Running. The error is
// ErrBusy where it is taken, ErrStorage where it cannot be listed.
func (s *Store[Plan, Summary]) Begin(origin string, p Plan) (*Job[Plan, Summary], error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	// Whoever was running has ended, or it would hold the lock.
	if err = s.interrupt(); err == nil {
		j := &Job[Plan, Summary]{NewID(), s, unlock}
		if err = s.Insert(Record[Plan, Summary]{ID: j.ID, Created: time.Now(), State: Running, Origin: origin, Plan: p}, nil); err == nil {
			return j, nil
		}
	}
	unlock()
	return nil, err
}

// Resume takes the machine for a job that has ended without being Done, and
// lists it as Running again. The error is ErrBusy where the machine is taken,
// ErrNotFound, ErrDone, or ErrStorage.
func (s *Store[Plan, Summary]) Resume(ctx context.Context, id string) (*Job[Plan, Summary], error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	if err = s.resume(ctx, id); err != nil {
		unlock()
		return nil, err
	}
	return &Job[Plan, Summary]{id, s, unlock}, nil
}

// resume lists a job as Running again; the caller holds the lock.
func (s *Store[Plan, Summary]) resume(ctx context.Context, id string) error {
	if err := s.interrupt(); err != nil {
		return err
	}
	r, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if r.State == Done {
		return fmt.Errorf("resume run %s: %w", id, ErrDone)
	}
	if _, err := s.db.Exec("UPDATE runs SET state = ?, error = '' WHERE id = ?", Running, id); err != nil {
		return fmt.Errorf("resume run %s: %w", id, writeError(err))
	}
	return nil
}

// NewID returns an id that sorts by time and is no other job's.
func NewID() string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	return time.Now().UTC().Format("20060102-150405-") + hex.EncodeToString(random[:])
}

// Done gives the machine back and keeps what came out, and the plan as it was
// carried out. What cannot be kept has failed.
func (j *Job[Plan, Summary]) Done(p Plan, s Summary, file []byte) error {
	plan, err := json.Marshal(p)
	if err == nil {
		var summary []byte
		if summary, err = json.Marshal(s); err == nil {
			return j.end(Done, "", string(plan), string(summary), file)
		}
	}
	return errors.Join(fmt.Errorf("keep run: %w", err), j.Fail(err))
}

// Fail gives the machine back and keeps why there is no result.
func (j *Job[Plan, Summary]) Fail(cause error) error {
	state, text := StateOf(cause), ""
	if state == Failed {
		text = cause.Error()
	}
	return j.end(state, text, nil, nil, nil)
}

// end keeps a nil plan as it was.
func (j *Job[Plan, Summary]) end(state State, text string, plan, summary any, file []byte) error {
	defer j.unlock()
	if _, err := j.store.db.Exec("UPDATE runs SET state = ?, error = ?, plan = coalesce(?, plan), summary = ?, bundle = ? WHERE id = ?", state, text, plan, summary, file, j.ID); err != nil {
		return fmt.Errorf("keep run: %w", writeError(err))
	}
	return nil
}

// lock takes the machine. It is a database of its own that is locked as a
// whole: the system frees it when the process ends, however it ends, and it
// holds among the store's users in one process too.
func (s *Store[Plan, Summary]) lock() (unlock func(), err error) {
	db, err := open(filepath.Join(s.folder, "jobs.lock"), "_pragma=busy_timeout(0)&_txlock=exclusive")
	if err != nil {
		return nil, err
	}
	tx, err := db.Begin()
	if err != nil {
		_ = db.Close() // the first error says it
		var e *sqlite.Error
		if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY {
			return nil, ErrBusy
		}
		return nil, fmt.Errorf("lock the machine: %w", writeError(err))
	}
	return func() {
		_ = tx.Rollback() // nothing was written
		_ = db.Close()
	}, nil
}

// writeError makes ErrStorage of what the disk refuses
// (https://www.sqlite.org/rescode.html).
func writeError(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
			return fmt.Errorf("%w: %w", ErrStorage, err)
		}
	}
	return err
}

// interrupt marks jobs of all kinds whose process has ended; the caller holds the lock.
func (s *Store[Plan, Summary]) interrupt() error {
	if _, err := s.db.Exec("UPDATE runs SET state = ? WHERE state = ?", Interrupted, Running); err != nil {
		return fmt.Errorf("store of runs: %w", writeError(err))
	}
	return nil
}

// sweep marks jobs whose process has ended, if nobody holds the machine.
func (s *Store[Plan, Summary]) sweep() error {
	var running bool
	if err := s.db.QueryRow("SELECT EXISTS (SELECT 1 FROM runs WHERE state = ?)", Running).Scan(&running); err != nil || !running {
		return err
	}
	unlock, err := s.lock()
	if errors.Is(err, ErrBusy) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	return s.interrupt()
}

// Insert keeps a job that was done elsewhere, with its file. The error is
// ErrExists where there is one of its id, ErrStorage where it cannot be written.
func (s *Store[Plan, Summary]) Insert(r Record[Plan, Summary], file []byte) error {
	plan, err := json.Marshal(r.Plan)
	if err != nil {
		return fmt.Errorf("keep run: %w", err)
	}
	var summary any // NULL where there is none
	if r.Summary != nil {
		text, err := json.Marshal(r.Summary)
		if err != nil {
			return fmt.Errorf("keep run: %w", err)
		}
		summary = string(text)
	}
	_, err = s.db.Exec("INSERT INTO runs (id, kind, created, state, origin, plan, summary, bundle) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		r.ID, s.kind, r.Created.UnixMilli(), r.State, r.Origin, string(plan), summary, file)
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
		return fmt.Errorf("%w: %s", ErrExists, r.ID)
	}
	if err != nil {
		return fmt.Errorf("keep run: %w", writeError(err))
	}
	return nil
}

const columns = "id, created, state, error, origin, plan, summary"

// List returns jobs, the newest first, at most limit.
func (s *Store[Plan, Summary]) List(ctx context.Context, limit int) ([]Record[Plan, Summary], error) {
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	rows, err := s.db.QueryContext(ctx, "SELECT "+columns+" FROM runs WHERE kind = ? ORDER BY created DESC, id DESC LIMIT ?", s.kind, limit)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	defer rows.Close()
	records := []Record[Plan, Summary]{}
	for rows.Next() {
		r, err := scan[Plan, Summary](rows)
		if err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
		records = append(records, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return records, nil
}

// Get returns a job, or ErrNotFound.
func (s *Store[Plan, Summary]) Get(ctx context.Context, id string) (Record[Plan, Summary], error) {
	if err := s.sweep(); err != nil {
		return Record[Plan, Summary]{}, fmt.Errorf("run %s: %w", id, err)
	}
	r, err := scan[Plan, Summary](s.db.QueryRowContext(ctx, "SELECT "+columns+" FROM runs WHERE kind = ? AND id = ?", s.kind, id))
	return r, notFound(id, err)
}

func scan[Plan, Summary any](row interface{ Scan(...any) error }) (Record[Plan, Summary], error) {
	var r Record[Plan, Summary]
	var created int64
	var plan string
	var summary sql.NullString
	if err := row.Scan(&r.ID, &created, &r.State, &r.Error, &r.Origin, &plan, &summary); err != nil {
		return r, err
	}
	r.Created = time.UnixMilli(created).UTC()
	err := json.Unmarshal([]byte(plan), &r.Plan)
	if summary.Valid {
		err = errors.Join(err, json.Unmarshal([]byte(summary.String), &r.Summary))
	}
	return r, err
}

// notFound gives an error its place.
func notFound(id string, err error) error {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: %.80q", ErrNotFound, id)
	case err != nil:
		return fmt.Errorf("run %.80q: %w", id, err)
	}
	return nil
}

// File returns what Done or Insert has kept. The error is ErrNotFound where the
// job is not Done.
func (s *Store[Plan, Summary]) File(ctx context.Context, id string) ([]byte, error) {
	var file []byte
	err := s.db.QueryRowContext(ctx, "SELECT bundle FROM runs WHERE kind = ? AND id = ? AND bundle IS NOT NULL", s.kind, id).Scan(&file)
	return file, notFound(id, err)
}

// Delete removes a job that is not Running. The error is ErrNotFound, or
// ErrBusy where it is running.
func (s *Store[Plan, Summary]) Delete(ctx context.Context, id string) error {
	if _, err := s.Get(ctx, id); err != nil {
		return err
	}
	result, err := s.db.ExecContext(ctx, "DELETE FROM runs WHERE id = ? AND state <> ?", id, Running)
	if err != nil {
		return fmt.Errorf("delete run %s: %w", id, writeError(err))
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(fmt.Errorf("delete run %s: %w", id, ErrBusy), err)
	}
	return nil
}

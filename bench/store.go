package bench

import (
	"bytes"
	"context"
	"database/sql"
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

// Errors of a store that a caller decides on.
var (
	// ErrBusy: another benchmark holds the machine, in this process or another.
	ErrBusy = errors.New("another benchmark is running")
	// ErrNotFound: there is no run of that id, or it has no bundle.
	ErrNotFound = errors.New("no such run")
	// ErrInterrupted is what a run ends by when its program ends.
	ErrInterrupted = errors.New("the program ended")
	// ErrStorage: the store cannot be written, as on a full disk.
	ErrStorage = errors.New("the store of runs cannot be written")
	// ErrExists: there is a run of that id already.
	ErrExists = errors.New("a run of that id is already there")
)

// State of a run in a store.
type State string

// A run is Running until it is Done, Failed or Cancelled; Interrupted is one
// whose process ended before that.
const (
	Running     State = "running"
	Done        State = "done"
	Failed      State = "failed"
	Cancelled   State = "cancelled"
	Interrupted State = "interrupted"
)

// Record is a run in a store. Summary is nil unless it is Done.
type Record struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	State   State     `json:"state"`
	// Error says why it failed.
	Error   string   `json:"error,omitempty"`
	Origin  string   `json:"origin"`
	Plan    Plan     `json:"plan"`
	Summary *Summary `json:"summary,omitempty"`
}

// Store keeps runs in a SQLite database, which survives the end of its process
// at any moment. It is safe for concurrent use, also by several processes.
type Store struct {
	db     *sql.DB
	folder string
}

// schema of the database; user_version counts its changes.
const schema = `
CREATE TABLE runs (
	id      TEXT PRIMARY KEY,
	created INTEGER NOT NULL, -- ms since 1970
	state   TEXT NOT NULL,
	error   TEXT NOT NULL DEFAULT '',
	origin  TEXT NOT NULL,
	plan    TEXT NOT NULL, -- JSON
	summary TEXT,          -- JSON
	bundle  BLOB           -- its file
);
CREATE INDEX runs_created ON runs (created);
PRAGMA user_version = 1;
`

// OpenStore opens the store of a data folder and makes both where they are
// absent.
func OpenStore(folder string) (*Store, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, fmt.Errorf("store of runs: %w", err)
	}
	db, err := open(filepath.Join(folder, "runs.db"), "_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	s := &Store{db, folder}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("store of runs in %s: %w", folder, err), db.Close())
	}
	return s, nil
}

func open(path, options string) (*sql.DB, error) {
	name := (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: options}).String()
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return db, nil
}

func (s *Store) prepare() error {
	tx, err := s.db.Begin()
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
	default:
		return fmt.Errorf("the database is of version %d, made by a newer program", version)
	}
	return tx.Commit()
}

// Close closes the store. Jobs must have ended.
func (s *Store) Close() error { return s.db.Close() }

// Job is a run that holds the machine until it ends.
type Job struct {
	ID     string
	store  *Store
	unlock func()
}

// Begin takes the machine for a run and lists it as Running. The error is
// ErrBusy where it is taken, ErrStorage where it cannot be listed. Exactly one of Job's End follows.
func (s *Store) Begin(p Plan) (*Job, error) {
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	// Whoever was running has ended, or it would hold the lock.
	if err = s.interrupt(); err == nil {
		j := &Job{newID(), s, unlock}
		if err = s.insert(Record{ID: j.ID, Created: time.Now(), State: Running, Origin: OriginAPI, Plan: p}, nil); err == nil {
			return j, nil
		}
	}
	unlock()
	return nil, err
}

// End gives the machine back and keeps what came out: the bundle, which gets
// the job's id, or why there is none.
func (j *Job) End(b *Bundle, cause error) error {
	defer j.unlock()
	state, text := Failed, ""
	var summary, file []byte
	switch {
	case cause == nil:
		b.ID = j.ID
		var w bytes.Buffer
		if err := b.Write(&w); err != nil {
			return errors.Join(err, j.End(nil, err))
		}
		var err error
		if summary, err = json.Marshal(b.Summary); err != nil {
			return errors.Join(err, j.End(nil, err))
		}
		state, file = Done, w.Bytes()
	case errors.Is(cause, ErrInterrupted):
		state = Interrupted
	case errors.Is(cause, context.Canceled):
		state = Cancelled
	default:
		text = cause.Error()
	}
	plan := []byte(nil)
	if b != nil {
		var err error
		if plan, err = json.Marshal(b.Plan); err != nil { // with its defaults
			return fmt.Errorf("keep run: %w", err)
		}
	}
	if _, err := j.store.db.Exec("UPDATE runs SET state = ?, error = ?, plan = coalesce(?, plan), summary = ?, bundle = ? WHERE id = ?", state, text, nullable(plan), nullable(summary), file, j.ID); err != nil {
		return fmt.Errorf("keep run: %w", writeError(err))
	}
	return nil
}

func nullable(text []byte) any {
	if text == nil {
		return nil
	}
	return string(text)
}

// lock takes the machine. It is a database of its own that is locked as a
// whole: the system frees it when the process ends, however it ends, and it
// holds among the store's users in one process too.
func (s *Store) lock() (unlock func(), err error) {
	db, err := open(filepath.Join(s.folder, "bench.lock"), "_pragma=busy_timeout(0)&_txlock=exclusive")
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

// interrupt marks runs whose process has ended; the caller holds the lock.
func (s *Store) interrupt() error {
	if _, err := s.db.Exec("UPDATE runs SET state = ? WHERE state = ?", Interrupted, Running); err != nil {
		return fmt.Errorf("store of runs: %w", writeError(err))
	}
	return nil
}

// sweep marks runs whose process has ended, if nobody holds the machine.
func (s *Store) sweep() error {
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

func (s *Store) insert(r Record, file []byte) error {
	plan, err := json.Marshal(r.Plan)
	if err != nil {
		return fmt.Errorf("keep run: %w", err)
	}
	var summary []byte
	if r.Summary != nil {
		if summary, err = json.Marshal(r.Summary); err != nil {
			return fmt.Errorf("keep run: %w", err)
		}
	}
	_, err = s.db.Exec("INSERT INTO runs (id, created, state, origin, plan, summary, bundle) VALUES (?, ?, ?, ?, ?, ?, ?)",
		r.ID, r.Created.UnixMilli(), r.State, r.Origin, string(plan), nullable(summary), file)
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
		return fmt.Errorf("%w: %s", ErrExists, r.ID)
	}
	if err != nil {
		return fmt.Errorf("keep run: %w", writeError(err))
	}
	return nil
}

// Import keeps a bundle that was read from elsewhere. The error is ErrExists
// where there is a run of its id, ErrStorage where it cannot be written.
func (s *Store) Import(b *Bundle) error {
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		return err
	}
	return s.insert(Record{ID: b.ID, Created: b.Created, State: Done, Origin: b.Origin, Plan: b.Plan, Summary: &b.Summary}, file.Bytes())
}

const columns = "id, created, state, error, origin, plan, summary"

// List returns runs, the newest first, at most limit.
func (s *Store) List(ctx context.Context, limit int) ([]Record, error) {
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	rows, err := s.db.QueryContext(ctx, "SELECT "+columns+" FROM runs ORDER BY created DESC, id DESC LIMIT ?", limit)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	defer rows.Close()
	records := []Record{}
	for rows.Next() {
		r, err := scan(rows)
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

// Get returns a run, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (Record, error) {
	if err := s.sweep(); err != nil {
		return Record{}, fmt.Errorf("run %s: %w", id, err)
	}
	r, err := scan(s.db.QueryRowContext(ctx, "SELECT "+columns+" FROM runs WHERE id = ?", id))
	return r, notFound(id, err)
}

func scan(row interface{ Scan(...any) error }) (Record, error) {
	var r Record
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

// Export returns the file of a run's bundle, for ReadBundle. The error is
// ErrNotFound where the run is not Done.
func (s *Store) Export(ctx context.Context, id string) ([]byte, error) {
	var file []byte
	err := s.db.QueryRowContext(ctx, "SELECT bundle FROM runs WHERE id = ? AND bundle IS NOT NULL", id).Scan(&file)
	return file, notFound(id, err)
}

// Delete removes a run that is not Running. The error is ErrNotFound, or
// ErrBusy where it is running.
func (s *Store) Delete(ctx context.Context, id string) error {
	r, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if r.State == Running {
		return fmt.Errorf("delete run %s: %w", id, ErrBusy)
	}
	if _, err := s.db.ExecContext(ctx, "DELETE FROM runs WHERE id = ? AND state <> ?", id, Running); err != nil {
		return fmt.Errorf("delete run %s: %w", id, writeError(err))
	}
	return nil
}

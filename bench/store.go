package bench

import (
	"bytes"
	"errors"

	"edgevit/jobs"
)

// Record is a run in a store.
type Record = jobs.Record[Plan, Summary]

// Store keeps runs; the file of one is its bundle.
type Store struct{ *jobs.Store[Plan, Summary] }

// OpenStore opens the store of a data folder and makes both where they are
// absent.
func OpenStore(folder string) (*Store, error) {
	s, err := jobs.Open[Plan, Summary](folder, "benchmark")
	if err != nil {
		return nil, err
	}
	return &Store{s}, nil
}

// Job is a run that holds the machine until it ends.
type Job struct{ *jobs.Job[Plan, Summary] }

// Begin takes the machine for a run and lists it as running. The error is
// jobs.ErrBusy where it is taken. Exactly one call of the job's End follows.
func (s *Store) Begin(p Plan) (*Job, error) {
	j, err := s.Store.Begin(OriginAPI, p)
	if err != nil {
		return nil, err
	}
	return &Job{j}, nil
}

// End gives the machine back and keeps what came out: the bundle, which gets
// the job's id, or why there is none.
func (j *Job) End(b *Bundle, cause error) error {
	if cause != nil {
		return j.Fail(cause)
	}
	b.ID = j.ID
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		return errors.Join(err, j.Fail(err))
	}
	return j.Done(b.Plan, b.Summary, file.Bytes()) // the plan with its defaults
}

// Import keeps a bundle that was read from elsewhere. The error is
// jobs.ErrExists where there is a run of its id.
func (s *Store) Import(b *Bundle) error {
	var file bytes.Buffer
	if err := b.Write(&file); err != nil {
		return err
	}
	return s.Insert(Record{ID: b.ID, Created: b.Created, State: jobs.Done, Origin: b.Origin, Plan: b.Plan, Summary: &b.Summary}, file.Bytes())
}

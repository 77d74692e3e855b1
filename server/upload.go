package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"edgevit/api"
	"edgevit/model"
)

// MinToken is the fewest characters of a token.
const MinToken = 16

const (
	uploadRoute = "POST /models"
	maxUploads  = 2 // at once

	// uploadPrefix is that of files which still come in. They have no
	// extension of a checkpoint, so that no scan takes them for one.
	uploadPrefix = ".upload-"

	// transferTime is how long a checkpoint may take to come in or go out.
	transferTime = 10 * time.Minute
)

var (
	uploadName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9_-])?$`)
	// deviceName is what Windows takes for a device, whatever the extension
	// ("Naming Files, Paths, and Namespaces", Win32 documentation).
	deviceName = regexp.MustCompile(`^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)`)
)

// checkUploadName says what is wrong with a name that a model should get. It is
// to be a file's name on every system, one that no other case of letters or
// extension gives again.
func checkUploadName(name string) error {
	switch {
	case !uploadName.MatchString(name):
		return fmt.Errorf("%w: name is %q, want 1 to 64 of a-z 0-9 . _ -, the first a letter or digit, the last no dot", errQuery, clip(name, 100))
	case deviceName.MatchString(name):
		return fmt.Errorf("%w: name is %q, which some systems take for a device", errQuery, name)
	case model.IsCheckpoint(name), filepath.Ext(name) == ".json":
		return fmt.Errorf("%w: name is %q, want it without the file's extension", errQuery, name)
	}
	return nil
}

// UploadModel takes a checkpoint in. checkToken has let the request pass.
func (h handlers) UploadModel(ctx context.Context, req api.UploadModelRequestObject) (api.UploadModelResponseObject, error) {
	info := infoOf(ctx)
	ctx, cancel := context.WithDeadline(ctx, info.start.Add(h.transfer))
	defer cancel()
	name := req.Params.Name
	if err := checkUploadName(name); err != nil {
		return nil, err
	}
	info.model = name
	if !h.uploads.TryAcquire(1) {
		return nil, fmt.Errorf("%w: %d checkpoints come in already", errOverloaded, maxUploads)
	}
	defer h.uploads.Release(1)
	e, err := h.store.add(ctx, name, func(w io.Writer) error {
		n, err := io.Copy(w, req.Body)
		if err != nil {
			return err
		}
		if err := info.body.finish(); err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%w: send the checkpoint as the body", errEmptyBody)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return api.UploadModel201JSONResponse{
		Body:    h.describe(e),
		Headers: api.UploadModel201ResponseHeaders{Location: new("/models/" + name)},
	}, nil
}

// DeleteModel removes a model's files. checkToken has let the request pass.
func (h handlers) DeleteModel(ctx context.Context, req api.DeleteModelRequestObject) (api.DeleteModelResponseObject, error) {
	infoOf(ctx).model = clip(req.Name, 100)
	if err := h.store.remove(req.Name); err != nil {
		return nil, err
	}
	return api.DeleteModel204Response{}, nil
}

// add makes a checkpoint of what receive writes and serves it under the name.
// It is in its place only once it has been read in full; until then it is a
// file that no scan looks at, and is removed in the end.
func (st *store) add(ctx context.Context, name string, receive func(io.Writer) error) (*entry, error) {
	if st.dir == "" {
		return nil, fmt.Errorf("%w: the server was started without one", errStorage)
	}
	st.scanning.Lock()
	err := st.free(name, 0)
	st.scanning.Unlock()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(st.dir, 0o755); err != nil {
		return nil, storageError(err)
	}
	f, err := st.createUpload()
	if err != nil {
		return nil, storageError(err)
	}
	defer os.Remove(f.Name())
	defer f.Close() // only now may another server take it for one that was cut
	err = receive(f)
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync())
	}
	if err != nil {
		return nil, storageError(err)
	}
	m, err := st.verify(f.Name(), name)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return st.place(f.Name(), name, m)
}

// createUpload makes a file for an upload that removeCut of any server leaves
// alone while it is open.
func (st *store) createUpload() (*os.File, error) {
	for {
		f, err := os.CreateTemp(st.dir, uploadPrefix+"*")
		if err != nil || claim(f) {
			return f, err
		}
		f.Close() // a server that starts has found it before it was claimed
	}
}

// verify reads a checkpoint as for serving it under the name.
func (st *store) verify(path, name string) (*model.Model, error) {
	st.loading.Lock()
	defer st.loading.Unlock()
	m, err := guard(func() (*model.Model, error) { return st.open(path) })
	if err != nil {
		findings := st.findings(err)
		for i, f := range findings {
			findings[i] = strings.ReplaceAll(f, filepath.Base(path), name)
		}
		return nil, &invalidModel{name, findings}
	}
	m.Name = name
	return m, nil
}

// place gives a verified checkpoint its name in the folder, unless that is
// taken by now, and serves it.
func (st *store) place(path, name string, m *model.Model) (*entry, error) {
	file := name + ".pth"
	if m.Format == "safetensors" {
		file = name + ".safetensors"
	}
	st.scanning.Lock()
	defer st.scanning.Unlock()
	if st.ctx.Err() != nil {
		return nil, errClosing
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, storageError(err)
	}
	if err := st.free(name, info.Size()); err != nil {
		return nil, err
	}
	// Unlike a rename, a link never overwrites.
	switch err := os.Link(path, filepath.Join(st.dir, file)); {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("%w: there is a file %s", errNameTaken, file)
	case err != nil:
		return nil, storageError(err)
	}
	st.syncFolder()
	e := st.fileEntry(file)
	st.latest.Store(m)
	e.model = st.lean(e, m)
	close(e.loaded)
	st.tidyLater()
	st.mu.Lock()
	st.entries[name] = e
	st.mu.Unlock()
	st.log.Info("model added", zap.String("model", name), zap.String("file", file), zap.String("hash", m.Hash))
	st.settle()
	return e, nil
}

// free says whether an upload of that many bytes may have the name. The caller
// holds scanning.
func (st *store) free(name string, bytes int64) error {
	files, err := model.List(st.dir)
	if err != nil {
		return storageError(err)
	}
	for _, f := range files {
		if f.Name == name {
			return fmt.Errorf("%w: %s is %s; delete it first, or choose another name", errNameTaken, name, filepath.Base(f.Path))
		}
	}
	total := bytes
	for _, f := range files {
		if info, err := os.Stat(f.Path); err == nil {
			total += info.Size()
		}
	}
	if st.quota > 0 && total > st.quota {
		return fmt.Errorf("%w: the checkpoints of the folder would have %d bytes together, at most %d", errModelsFull, total, st.quota)
	}
	if len(files) >= maxModels {
		return fmt.Errorf("%w: the folder holds %d checkpoints", errModelsFull, len(files))
	}
	if _, err := os.Lstat(filepath.Join(st.dir, name+".json")); err == nil {
		return fmt.Errorf("%w: the folder has a sidecar %s.json, which would change the model", errNameTaken, name)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.entries[name] != nil {
		return fmt.Errorf("%w: %s is served already", errNameTaken, name)
	}
	return nil
}

// remove takes a model's checkpoint and sidecar out of the folder, and the
// model out of service.
func (st *store) remove(name string) error {
	st.scanning.Lock()
	defer st.scanning.Unlock()
	e, err := st.removable(name)
	if err != nil {
		return err
	}
	stem := strings.TrimSuffix(e.file, filepath.Ext(e.file))
	paths := []string{filepath.Join(st.dir, e.file)}
	if files, err := model.List(st.dir); err == nil && !slices.ContainsFunc(files, func(f model.File) bool {
		base := filepath.Base(f.Path)
		return base != e.file && strings.TrimSuffix(base, filepath.Ext(base)) == stem
	}) {
		paths = append(paths, filepath.Join(st.dir, stem+".json"))
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storageError(err)
		}
	}
	st.syncFolder()
	st.log.Info("model removed", zap.String("model", name), zap.String("file", e.file))
	st.settle()
	return nil
}

func (st *store) removable(name string) (*entry, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	e := st.entries[name]
	if i := slices.IndexFunc(st.unserved, func(e *entry) bool { return e.name == name && name != "" }); e == nil && i >= 0 {
		e = st.unserved[i]
	}
	switch {
	case st.closed:
		return nil, errClosing
	case slices.Contains(randomModels, name), e != nil && e.file == "":
		return nil, fmt.Errorf("%w: %s is part of the program", errBuiltIn, name)
	case e == nil:
		return nil, fmt.Errorf("%w %q; there are %s", errUnknownModel, clip(name, 100), st.names())
	}
	return e, nil
}

// settle looks at the folder again after a change, as a reload does. The caller
// holds scanning.
func (st *store) settle() {
	changed, err := st.look()
	if err != nil {
		st.log.Error("models not looked at", zap.Error(err))
		return
	}
	st.loadLater(changed)
}

// loadLater loads what look has found, in the background.
func (st *store) loadLater(changed []*entry) {
	st.start(func() {
		st.reloading.Lock()
		defer st.reloading.Unlock()
		st.loadAll(changed, func() {})
	})
}

// syncFolder makes a change of the folder outlast a loss of power. Not every
// system can do that to a folder, and the change is made all the same.
func (st *store) syncFolder() {
	if d, err := os.Open(st.dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}

// removeCut removes what uploads have left behind that a crash has cut short.
// Another server may share the folder and be taking one in: that one is claimed.
func (st *store) removeCut() {
	files, err := os.ReadDir(st.dir)
	if err != nil {
		return // there is no folder, so nothing is left
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || !strings.HasPrefix(f.Name(), uploadPrefix) || !info.Mode().IsRegular() {
			continue
		}
		path := filepath.Join(st.dir, f.Name())
		// Where claims cannot be seen, as on some network file systems, age tells.
		if !removeUnclaimed(path) && time.Since(info.ModTime()) > 2*transferTime {
			os.Remove(path)
		}
	}
}

// storageError makes an error of the file system errStorage, without the
// server's paths. Other errors, such as those of a body, stay what they are.
func storageError(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("%w: %v", errStorage, path.Err)
	case errors.As(err, &link):
		return fmt.Errorf("%w: %v", errStorage, link.Err)
	}
	return err
}

package server

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"edgevit/api"
	"edgevit/eval"
	"edgevit/model"
)

// surveyEvery is how often data sets are counted at most: many folders may have
// to be read for it.
const surveyEvery = 10 * time.Second

var dataSetName = regexp.MustCompile(`^[a-z0-9._-]{1,64}$`)

// dataSets are those that the server was started with. Their paths are not for
// clients.
type dataSets struct {
	paths map[string]string // absolute, by name

	mu      sync.Mutex
	counted time.Time
	all     []api.DataSet
}

func newDataSets(paths map[string]string) (*dataSets, error) {
	d := &dataSets{paths: map[string]string{}}
	for name, path := range paths {
		if !dataSetName.MatchString(name) {
			return nil, fmt.Errorf("data set %q: its name must be 1 to 64 of a-z, 0-9, '.', '_' and '-'", name)
		}
		absolute, err := filepath.Abs(path)
		if err != nil || path == "" {
			return nil, fmt.Errorf("data set %s: no folder %q", name, path)
		}
		d.paths[name] = absolute
	}
	return d, nil
}

// path is where the set is. The error is errUnknownDataSet.
func (d *dataSets) path(name string) (string, error) {
	if path, ok := d.paths[name]; ok {
		return path, nil
	}
	if len(d.paths) == 0 {
		return "", fmt.Errorf("%w %q: the server was started without --data-set", errUnknownDataSet, clip(name, 100))
	}
	return "", fmt.Errorf("%w %q; there are %s", errUnknownDataSet, clip(name, 100), strings.Join(slices.Sorted(maps.Keys(d.paths)), ", "))
}

// open reads a set with the model's classes. The set bears its name only. The
// error is errUnknownDataSet or eval.ErrSet.
func (d *dataSets) open(name string, m *model.Model) (eval.Set, error) {
	path, err := d.path(name)
	if err != nil {
		return eval.Set{}, err
	}
	set, err := eval.Open(path, "", m)
	if err != nil {
		return eval.Set{}, fmt.Errorf("%w %s: %s", eval.ErrSet, name, d.reason(name, err))
	}
	set.Data = name
	return set, nil
}

// reason is what eval says of a set, without the paths of this machine.
func (d *dataSets) reason(name string, err error) string {
	path := d.paths[name]
	text := strings.TrimPrefix(err.Error(), fmt.Sprintf("%v %s: ", eval.ErrSet, path))
	text = strings.ReplaceAll(text, path, name)
	if dir := filepath.Dir(path); len(dir) > 1 { // that of a .csv file
		text = strings.ReplaceAll(text, dir+string(filepath.Separator), "")
	}
	return text
}

// list counts all sets, or says what it has counted lately.
func (d *dataSets) list() []api.DataSet {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all != nil && time.Since(d.counted) < surveyEvery {
		return d.all
	}
	d.all = []api.DataSet{}
	for _, name := range slices.Sorted(maps.Keys(d.paths)) {
		one := api.DataSet{Name: name}
		if facts, err := eval.Survey(d.paths[name]); err != nil {
			one.Error = new(d.reason(name, err))
		} else {
			one.Images, one.Classes, one.IgnoredFiles = &facts.Images, &facts.Classes, &facts.Ignored
		}
		d.all = append(d.all, one)
	}
	d.counted = time.Now()
	return d.all
}

// ListDataSets lists what there is to evaluate on.
func (h handlers) ListDataSets(context.Context, api.ListDataSetsRequestObject) (api.ListDataSetsResponseObject, error) {
	return api.ListDataSets200JSONResponse{DataSets: h.dataSets.list()}, nil
}

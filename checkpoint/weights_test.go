package checkpoint

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// TestWeights: which dictionary of a torch file has the weights, what they're called, and what is metadata.
func TestWeights(t *testing.T) {
	one := "\x00\x00\x80?"
	tensor := pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1), pInts(1))
	dict := func(names ...string) string {
		s := "}("
		for _, n := range names {
			s += pStr(n) + tensor
		}
		return s + "u"
	}
	for _, row := range []struct {
		name     string
		object   string
		tensors  string
		metadata map[string]any
	}{
		{"alone", dict("a", "b"), "a b", nil},
		{"alone, beside plain data", pDict(pStr("a"), tensor, pStr("n"), "K\x05"), "a", map[string]any{"n": int64(5)}},
		{"state_dict", pDict(pStr("state_dict"), dict("a")), "a", nil},
		{"model", pDict(pStr("model"), dict("a")), "a", nil},
		{"state", pDict(pStr("state"), dict("a"), pStr("task"), pStr("x")), "a", map[string]any{"task": "x"}},
		{"model_state_dict", pDict(pStr("model_state_dict"), dict("a")), "a", nil},
		{"state_dict before model and ema", pDict(pStr("ema"), dict("e"), pStr("model"), dict("m"), pStr("state_dict"), dict("s")), "s", nil},
		{"model before a tensor beside it", pDict(pStr("best"), tensor, pStr("model"), dict("m")), "m", nil},
		{"nested twice", pDict(pStr("model"), pDict(pStr("state_dict"), dict("a"), pStr("v"), "K\x01")), "a", map[string]any{"model": map[string]any{"v": int64(1)}}},
		{"an empty wrapper", pDict(pStr("state_dict"), "}", pStr("model"), dict("a")), "a", map[string]any{"state_dict": map[string]any{}}},
		{"an optimizer's state is no state", pDict(pStr("state"), pDict("K\x00", dict("exp_avg")), pStr("model"), dict("a")), "a", nil},
		{"optimizer left out", pDict(pStr("model"), dict("a"), pStr("optimizer"), pDict(pStr("lr"), "K\x01"), pStr("optim_state"), "]"), "a", nil},
		{"a list with a tensor left out", pDict(pStr("model"), dict("a"), pStr("x"), "]("+tensor+"K\x01e", pStr("y"), "](K\x01e"), "a", map[string]any{"y": []any{int64(1)}}},
		{"module. of all", dict("module.a", "module.b"), "a b", nil},
		{"module. of some", dict("module.a", "b"), "module.a b", nil},
		{"module. within", dict("main.1.module.a", "main.2.module.b"), "main.1.module.a main.2.module.b", nil},
		{"module. twice", dict("module.module.a"), "module.a", nil},
		{"Namespace", pDict(pStr("model"), dict("a"), pStr("args"), pGlobal("argparse", "Namespace")+")\x81"+pDict(pStr("lr"), "K\x02")+"b"), "a", map[string]any{"args": map[string]any{"lr": int64(2)}}},
		{"Python 2 strings", pDict("U\x05model", "}(U\x01a"+tensor+"u", "T"+le(32, 1)+"x", "U\x01y"), "a", map[string]any{"x": "y"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for format, data := range map[string][]byte{
				"torch":        torchZip(t, pickle(row.object), "0", one),
				"torch-legacy": legacy(pickle(row.object), 4, "0", one),
			} {
				_, f, err := readAll(data)
				if err != nil {
					t.Fatal(err)
				}
				if f.Format != format {
					t.Errorf("format %q, want %q", f.Format, format)
				}
				var names []string
				for _, tensor := range f.Tensors {
					names = append(names, tensor.Name)
				}
				if got := strings.Join(names, " "); got != row.tensors {
					t.Errorf("%s: tensors %q, want %q", format, got, row.tensors)
				}
				want := row.metadata
				if want == nil {
					want = map[string]any{}
				}
				if !reflect.DeepEqual(f.Metadata, want) {
					t.Errorf("%s: metadata %v, want %v", format, f.Metadata, want)
				}
			}
		})
	}
}

// TestLazy: storages that no weight needs may be missing or damaged.
func TestLazy(t *testing.T) {
	tensor := func(key string) string {
		return pTensor(pStorage("FloatStorage", key, 1), 0, pInts(1), pInts(1))
	}
	data := torchZip(t, pickle(pDict(pStr("model"), pDict(pStr("a"), tensor("0")), pStr("optimizer"), pDict(pStr("exp_avg"), tensor("1")))), "0", "\x00\x00\x80?")
	values, _, err := readAll(data)
	if want := map[string][]float32{"a": {1}}; err != nil || !reflect.DeepEqual(values, want) {
		t.Errorf("values %v, error %v, want %v", values, err, want)
	}
}

// TestConcurrentReads: tensors of one storage may be read at the same time.
func TestConcurrentReads(t *testing.T) {
	f, err := Open("testdata/views_zip2.pth", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var wg sync.WaitGroup
	errs := make([]error, len(f.Tensors)*4)
	for i := range errs {
		wg.Go(func() {
			tensor := f.Tensors[i%len(f.Tensors)]
			v, err := tensor.Float32()
			if err == nil && len(v) != tensor.Len() {
				err = fmt.Errorf("%s: %d values", tensor.Name, len(v))
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
}

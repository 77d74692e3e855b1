package checkpoint

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// wrappers are the entries under which training programs put the state_dict, the one to prefer first.
var wrappers = []string{
	"state_dict", "model", "state", "module", "model_state_dict", "model_state", "net", "network", "weights",
	"ema", "model_ema", "ema_state_dict", "state_dict_ema",
}

const (
	maxWrappers = 2  // dictionaries around the state_dict
	maxNesting  = 64 // of the metadata
)

// fill sets f's tensors and metadata from what a torch file's pickle held.
func (f *File) fill(root any, mem *budget) error {
	d, ok := root.(*dict)
	if !ok {
		return fmt.Errorf("it holds %s instead of a state_dict; save with torch.save(model.state_dict(), path): %w", kindOf(root), ErrUnsupported)
	}
	weights, err := findWeights(d, 0, mem)
	if err != nil {
		return err
	}
	if weights == nil {
		return fmt.Errorf("no weights in it; expected tensors by name, or under one of %s; it has %s: %w",
			strings.Join(wrappers, ", "), keysOf(d), ErrUnsupported)
	}
	seen := make(map[string]bool)
	for _, e := range weights.entries {
		v, ok := e.value.(*tensorValue)
		if !ok {
			continue
		}
		name, ok := e.key.(string)
		if !ok {
			return fmt.Errorf("a weight is named by %s: %w", kindOf(e.key), ErrUnsupported)
		}
		if seen[name] {
			return fmt.Errorf("tensor %q is there twice: %w", name, ErrDamaged)
		}
		t, err := newTensor(name, v.shape, v.view, mem)
		if err != nil {
			return err
		}
		seen[name] = true
		f.Tensors = append(f.Tensors, t)
	}
	stripDataParallel(f.Tensors)

	kept := dict{entries: make([]entry, 0, len(d.entries))}
	for _, e := range d.entries {
		if key, ok := e.key.(string); !ok || !strings.HasPrefix(key, "optim") {
			kept.entries = append(kept.entries, e)
		}
	}
	m, _, err := plain(&kept, 0, mem)
	if err != nil {
		return err
	}
	f.Metadata, _ = m.(map[string]any)
	return nil
}

// findWeights returns the dictionary of tensors by name in d, wrapped or not, or nil.
func findWeights(d *dict, depth int, mem *budget) (*dict, error) {
	if err := mem.take(costValue * int64(len(d.entries))); err != nil {
		return nil, err
	}
	inner := make([]*dict, len(wrappers))
	direct := false
	for _, e := range d.entries {
		key, ok := e.key.(string)
		if !ok {
			continue
		}
		switch v := e.value.(type) {
		case *tensorValue:
			direct = true
		case *dict:
			for i, w := range wrappers {
				if w == key {
					inner[i] = v
				}
			}
		}
	}
	// Wrappers first: a training run may have a tensor beside them, a state_dict has no dictionary in it.
	for _, v := range inner {
		if v != nil && depth < maxWrappers {
			if w, err := findWeights(v, depth+1, mem); w != nil || err != nil {
				return w, err
			}
		}
	}
	if direct {
		return d, nil
	}
	return nil, nil
}

// keysOf lists the first keys of d, for an error.
func keysOf(d *dict) string {
	const limit = 8
	var keys []string
	for _, e := range d.entries[:min(limit, len(d.entries))] {
		if key, ok := e.key.(string); ok {
			keys = append(keys, strconv.Quote(key[:min(64, len(key))]))
		}
	}
	switch {
	case len(keys) == 0:
		return "no named entries"
	case len(d.entries) > limit:
		return strings.Join(keys, ", ") + ", ..."
	}
	return strings.Join(keys, ", ")
}

// plain returns v as File.Metadata has it, and whether it is plain data. Entries of a dictionary that aren't are left
// out, and so is a dictionary of nothing else; a sequence with one such item is left out whole.
//
// What is shared in the pickle is copied, so the budget is what ends a value that doubles itself, and maxNesting one
// that contains itself.
func plain(v any, depth int, mem *budget) (any, bool, error) {
	if err := mem.take(costValue); err != nil {
		return nil, false, err
	}
	if depth > maxNesting {
		return nil, false, fmt.Errorf("its metadata is nested more than %d deep: %w", maxNesting, ErrDamaged)
	}
	switch v := v.(type) {
	case nil, bool, int64, float64, string:
		return v, true, nil
	case *big.Int:
		if err := mem.take(costString + 4*maxLong); err != nil {
			return nil, false, err
		}
		return v.String(), true, nil
	case *dtype:
		return "torch." + v.name, true, nil
	case tuple:
		return plainItems(v, depth, mem)
	case *list:
		return plainItems(v.items, depth, mem)
	case *dict:
		if err := mem.take(costObject + costNode*int64(len(v.entries))); err != nil {
			return nil, false, err
		}
		m := make(map[string]any)
		for _, e := range v.entries {
			var key string
			switch k := e.key.(type) {
			case string:
				key = k
			case int64:
				key = strconv.FormatInt(k, 10)
			default:
				continue
			}
			item, ok, err := plain(e.value, depth+1, mem)
			if err != nil {
				return nil, false, err
			}
			if ok {
				m[key] = item
			}
		}
		return m, len(m) > 0 || len(v.entries) == 0, nil
	}
	return nil, false, nil
}

func plainItems(items []any, depth int, mem *budget) (any, bool, error) {
	if err := mem.take(costObject + costValue*int64(len(items))); err != nil {
		return nil, false, err
	}
	out := make([]any, len(items))
	for i, v := range items {
		item, ok, err := plain(v, depth+1, mem)
		if !ok || err != nil {
			return nil, false, err
		}
		out[i] = item
	}
	return out, true, nil
}

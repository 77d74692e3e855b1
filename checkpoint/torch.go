package checkpoint

import (
	"archive/zip"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
)

// storages are the storages that a pickle mentions, by key. What is mentioned needn't be in the file until a weight
// needs it.
type storages struct {
	byKey map[string]*storage
	mem   *budget
}

// load makes a storage from a persistent id: ("storage", class, key, location, length) or, in the legacy stream, one more
// for a storage within another, which torch hasn't written since 0.4.
func (s *storages) load(id tuple) (any, error) {
	if len(id) > 0 && id[0] == any("module") {
		return nil, fmt.Errorf("it holds a pickled module; save its state_dict instead: %w", ErrUnsupported)
	}
	if len(id) < 5 || len(id) > 6 || id[0] != any("storage") {
		return nil, fmt.Errorf("unexpected persistent id: %w", ErrDamaged)
	}
	class, ok1 := id[1].(storageClass)
	key, ok2 := id[2].(string)
	n, ok3 := id[4].(int64)
	if !ok1 || !ok2 || !ok3 || n < 0 {
		return nil, fmt.Errorf("unexpected persistent id: %w", ErrDamaged)
	}
	if len(id) == 6 && id[5] != nil {
		return nil, fmt.Errorf("storage %q is a view: %w", key, ErrUnsupported)
	}
	if st, ok := s.byKey[key]; ok {
		if st.dtype != class.dtype || st.len != n {
			return nil, fmt.Errorf("storage %q has two types or lengths: %w", key, ErrDamaged)
		}
		return st, nil
	}
	if err := s.mem.take(costObject + int64(len(key))); err != nil {
		return nil, err
	}
	st := &storage{
		name:  fmt.Sprintf("storage %q", key),
		dtype: class.dtype,
		len:   n,
		err:   fmt.Errorf("it is missing: %w", ErrDamaged),
	}
	s.byKey[key] = st
	return st, nil
}

// readTorchZip reads what torch.save has written since 1.6: a zip archive of NAME/data.pkl, NAME/data/KEY for each
// storage, stored and aligned, and NAME/byteorder.
func readTorchZip(file io.ReaderAt, size int64, mem *budget) (*File, error) {
	a, err := openArchive(file, size, mem)
	if err != nil {
		return nil, err
	}
	pkl, ok := a.entries[a.root+"data.pkl"]
	switch {
	case !ok:
		return nil, fmt.Errorf("a zip archive without data.pkl, so not of torch.save: %w", ErrFormat)
	case a.entries[a.root+"constants.pkl"] != nil:
		return nil, fmt.Errorf("a TorchScript archive; save its state_dict instead: %w", ErrUnsupported)
	}
	if order, ok := a.entries[a.root+"byteorder"]; ok {
		b := make([]byte, min(order.size, 8))
		if err := order.err; err != nil {
			return nil, err
		}
		if err := readFull(file, b, order.off); err != nil {
			return nil, err
		}
		if string(b) != "little" {
			return nil, fmt.Errorf("byte order %q: %w", b, ErrUnsupported)
		}
	}
	if pkl.err != nil {
		return nil, pkl.err
	}
	if pkl.size > maxPickle {
		return nil, fmt.Errorf("data.pkl of %d bytes is over the limit of %d: %w", pkl.size, maxPickle, ErrTooLarge)
	}
	if err := pkl.verify(); err != nil {
		return nil, fmt.Errorf("data.pkl: %w", err)
	}
	s := storages{byKey: make(map[string]*storage), mem: mem}
	root, err := newUnpickler(pkl.section, mem, s.load).next()
	if err != nil {
		return nil, err
	}
	for key, st := range s.byKey {
		if e, ok := a.entries[a.root+"data/"+key]; ok {
			st.data, st.err = e.section, e.err
		}
	}
	f := &File{Format: "torch"}
	return f, f.fill(root, mem)
}

// An archive is the directory of a zip file.
type archive struct {
	root    string // the folder that everything is in, "NAME/"
	entries map[string]*archiveEntry
}

type archiveEntry struct {
	section
	err error // why it can't be read
}

// maxDirectory limits what is read of a zip file for its directory, which archive/zip holds in memory at several times
// its size: 20,000 storages.
const maxDirectory = 2 << 20

func openArchive(file io.ReaderAt, size int64, mem *budget) (*archive, error) {
	r := &limitedReaderAt{file, maxDirectory}
	z, err := zip.NewReader(r, size)
	if isZipDamage(err) {
		return nil, fmt.Errorf("its zip directory is missing or broken; is the file complete? %w", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	a := &archive{entries: make(map[string]*archiveEntry)}
	sorted := make([]*archiveEntry, 0, len(z.File))
	// torch.serialization.set_crc32_options(False) makes every CRC-32 zero.
	hasCRC := slices.ContainsFunc(z.File, func(f *zip.File) bool { return f.CRC32 != 0 })
	for i, f := range z.File {
		if err := mem.take(costFile); err != nil {
			return nil, err
		}
		if i == 0 {
			folder, _, ok := strings.Cut(f.Name, "/")
			if !ok {
				return nil, fmt.Errorf("a zip archive, but not of torch.save: %w", ErrFormat)
			}
			a.root = folder + "/"
		}
		if a.entries[f.Name] != nil {
			return nil, fmt.Errorf("entry %q is there twice: %w", f.Name, ErrDamaged)
		}
		off, err := f.DataOffset()
		if isZipDamage(err) || err == nil && (f.CompressedSize64 > uint64(size) || off > size-int64(f.CompressedSize64)) {
			return nil, fmt.Errorf("entry %q is not within the file: %w", f.Name, ErrDamaged)
		}
		if err != nil {
			return nil, err
		}
		e := &archiveEntry{section: section{file, off, int64(f.CompressedSize64), f.CRC32, hasCRC}}
		switch {
		case f.Flags&1 != 0:
			e.err = fmt.Errorf("entry %q is encrypted: %w", f.Name, ErrUnsupported)
		case f.Method != zip.Store:
			e.err = fmt.Errorf("entry %q is compressed, which torch.save never does; save the file anew: %w", f.Name, ErrUnsupported)
		case f.CompressedSize64 != f.UncompressedSize64:
			e.err = fmt.Errorf("entry %q has two sizes: %w", f.Name, ErrDamaged)
		}
		a.entries[f.Name] = e
		sorted = append(sorted, e)
	}
	slices.SortFunc(sorted, func(a, b *archiveEntry) int { return cmp.Compare(a.off, b.off) })
	for i := 1; i < len(sorted); i++ {
		// What is between them is at least the local header.
		if sorted[i-1].off+sorted[i-1].size > sorted[i].off-30 {
			return nil, fmt.Errorf("entries overlap at byte %d: %w", sorted[i].off, ErrDamaged)
		}
	}
	return a, nil
}

// isZipDamage tells archive/zip's own errors from the reader's.
func isZipDamage(err error) bool {
	return errors.Is(err, zip.ErrFormat) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// limitedReaderAt gives ErrTooLarge once more than left bytes were read, and zip.ErrFormat for a negative offset, which
// archive/zip takes from a broken directory.
type limitedReaderAt struct {
	io.ReaderAt
	left int64
}

func (r *limitedReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, zip.ErrFormat
	}
	if int64(len(p)) > r.left {
		return 0, fmt.Errorf("a zip directory of more than %d bytes: %w", maxDirectory, ErrTooLarge)
	}
	r.left -= int64(len(p))
	return r.ReaderAt.ReadAt(p, off)
}

// What a legacy stream begins with; from torch/serialization.py.
var (
	legacyMagic, _       = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)
	legacyVersion  int64 = 1001
)

// readTorchLegacy reads what torch.save wrote before 1.6: the pickles of a magic number, a version, a description of
// the machine, the object and the list of storage keys; then for each key its length (8 bytes) and its elements.
func readTorchLegacy(file io.ReaderAt, size int64, mem *budget) (*File, error) {
	s := storages{byKey: make(map[string]*storage), mem: mem}
	noStorage := func(tuple) (any, error) { return nil, fmt.Errorf("a storage outside the object: %w", ErrDamaged) }
	u := newUnpickler(section{file: file, size: size}, mem, noStorage)
	magic, err := u.next()
	if n, ok := magic.(*big.Int); err != nil || !ok || n.Cmp(legacyMagic) != 0 {
		return nil, fmt.Errorf("a pickle, but not of torch.save: %w", ErrFormat)
	}
	version, err := u.next()
	if err != nil {
		return nil, err
	}
	if version != any(legacyVersion) {
		return nil, fmt.Errorf("version %v of the legacy format: %w", version, ErrUnsupported)
	}
	machine, err := u.next()
	if err != nil {
		return nil, err
	}
	if d, ok := machine.(*dict); ok {
		for _, e := range d.entries {
			if e.key == any("little_endian") && e.value == any(false) {
				return nil, fmt.Errorf("big-endian data: %w", ErrUnsupported)
			}
		}
	}
	u.load = s.load
	root, err := u.next()
	if err != nil {
		return nil, err
	}
	u.load = noStorage
	keys, err := u.next()
	if err != nil {
		return nil, err
	}
	l, ok := keys.(*list)
	if !ok {
		return nil, fmt.Errorf("%s for the storage keys: %w", kindOf(keys), ErrDamaged)
	}
	pos := u.pos
	for _, k := range l.items {
		key, _ := k.(string)
		st, ok := s.byKey[key]
		if !ok || st.data.file != nil {
			return nil, fmt.Errorf("storage key %q is unknown or there twice: %w", key, ErrDamaged)
		}
		var b [8]byte
		if err := readFull(file, b[:], pos); err != nil {
			return nil, fmt.Errorf("%s: %w", st.name, err)
		}
		pos += int64(len(b))
		if n := binary.LittleEndian.Uint64(b[:]); n != uint64(st.len) {
			return nil, fmt.Errorf("%s has %d elements instead of %d: %w", st.name, n, st.len, ErrDamaged)
		}
		elem := int64(1)
		if st.dtype != nil {
			elem = st.dtype.size
		}
		if st.len > (size-pos)/elem {
			return nil, fmt.Errorf("%s: the file ends before its %d elements do: %w", st.name, st.len, ErrDamaged)
		}
		st.data, st.err = section{file: file, off: pos, size: st.len * elem}, nil
		pos += st.data.size
	}
	f := &File{Format: "torch-legacy"}
	return f, f.fill(root, mem)
}

package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Errors that Open, Read and Tensor.Float32 wrap. Anything else they return is the operating system's.
var (
	// ErrFormat: the file is neither a torch nor a safetensors file.
	ErrFormat = errors.New("not a checkpoint")
	// ErrDamaged: the file is truncated, contradicts itself, or claims more than a file of its size can hold.
	ErrDamaged = errors.New("damaged checkpoint")
	// ErrUnsupported: the file may be valid, but uses what this package does not read: a compressed zip entry, a sparse or
	// quantised tensor, big-endian data, a pickled class.
	ErrUnsupported = errors.New("unsupported checkpoint")
	// ErrTooLarge: the file, or a part of it, is over a limit.
	ErrTooLarge = errors.New("checkpoint too large")
)

// DefaultMaxBytes is the largest file that Open and Read take when they are given no limit: 256 MiB.
const DefaultMaxBytes = 256 << 20

// File is an open checkpoint. Its methods and its tensors' may be called concurrently.
type File struct {
	// Format is "torch" (zip archive), "torch-legacy" (stream) or "safetensors".
	Format string
	// Tensors are the weights in the file's order. Names are unique; the dictionaries around the weights (state_dict,
	// model, state, ...) and a "module." that every name begins with (DataParallel) are removed.
	Tensors []Tensor
	// Metadata is everything beside the weights that is plain data, with the file's own nesting: string, bool, int64,
	// float64, nil, []any, map[string]any. Tuples and sets are []any, an argparse.Namespace is a map, keys that are
	// numbers are written in decimal, as are integers beyond int64. Whatever else the file holds (other tensors, bytes, the
	// optimizer) is left out. For safetensors the values are the strings of __metadata__.
	Metadata map[string]any

	closer io.Closer
}

// Open reads the checkpoint at path, which stays open for its tensors until Close. maxBytes limits the file's size;
// 0 stands for DefaultMaxBytes.
func Open(path string, maxBytes int64) (*File, error) {
	// Looked at before it is opened, which waits for ever on a pipe.
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("checkpoint: %s: not a regular file: %w", path, ErrFormat)
	}
	r, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	f, err := openFile(r, maxBytes)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("checkpoint: %s: %w", path, err)
	}
	f.closer = r
	return f, nil
}

func openFile(r *os.File, maxBytes int64) (*File, error) {
	info, err := r.Stat()
	if err != nil {
		return nil, err
	}
	return read(r, info.Size(), maxBytes)
}

// Read reads a checkpoint of size bytes from r, which the tensors keep using. maxBytes is as for Open.
func Read(r io.ReaderAt, size, maxBytes int64) (*File, error) {
	f, err := read(r, size, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return f, nil
}

func read(r io.ReaderAt, size, maxBytes int64) (*File, error) {
	if maxBytes == 0 {
		maxBytes = DefaultMaxBytes
	}
	if size > maxBytes {
		return nil, fmt.Errorf("%d bytes are over the limit of %d: %w", size, maxBytes, ErrTooLarge)
	}
	var head [9]byte
	if size < int64(len(head)) {
		return nil, fmt.Errorf("%d bytes are too few: %w", size, ErrFormat)
	}
	if err := readFull(r, head[:], 0); err != nil {
		return nil, err
	}
	mem := newBudget(size)
	switch {
	// First, as a safetensors file begins with a length, which may look like anything; the byte after it may not.
	case head[8] == '{':
		return readSafetensors(r, size, binary.LittleEndian.Uint64(head[:]), mem)
	case bytes.HasPrefix(head[:], []byte("PK\x03\x04")):
		return readTorchZip(r, size, mem)
	case head[0] == opProto:
		return readTorchLegacy(r, size, mem)
	case bytes.HasPrefix(head[:], []byte("version ")):
		return nil, fmt.Errorf("this looks like a Git LFS pointer instead of the file itself; fetch it with git lfs pull: %w", ErrFormat)
	}
	return nil, fmt.Errorf("neither a .pth/.pt file of PyTorch nor a .safetensors file: %w", ErrFormat)
}

// Close closes the file that Open opened; tensors can't be read afterwards. It does nothing after Read.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// stripDataParallel removes the "module." that torch.nn.DataParallel puts before every name.
func stripDataParallel(tensors []Tensor) {
	const prefix = "module."
	for _, t := range tensors {
		if !strings.HasPrefix(t.Name, prefix) {
			return
		}
	}
	for i := range tensors {
		tensors[i].Name = tensors[i].Name[len(prefix):]
	}
}

// readFull fills p from offset off of r. A file that ends too early is ErrDamaged.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == io.EOF:
		return fmt.Errorf("the file ends within bytes %d to %d: %w", off, off+int64(len(p)), ErrDamaged)
	}
	return err
}

package checkpoint

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// A tiny assembler of checkpoints, for files that no torch would write.

func le(bits int, v uint64) string {
	return string(binary.LittleEndian.AppendUint64(nil, v)[:bits/8])
}

func pickle(body ...string) string { return "\x80\x02" + strings.Join(body, "") + "." }

func pStr(s string) string { return "X" + le(32, uint64(len(s))) + s }

func pInt(v int64) string { return "\x8a\x08" + le(64, uint64(v)) }

func pInts(v ...int64) string {
	s := "("
	for _, x := range v {
		s += pInt(x)
	}
	return s + "t"
}

func pGlobal(module, name string) string { return "c" + module + "\n" + name + "\n" }

func pDict(keysAndValues ...string) string { return "}(" + strings.Join(keysAndValues, "") + "u" }

func pStorage(class, key string, n int64) string {
	return "(" + pStr("storage") + pGlobal("torch", class) + pStr(key) + pStr("cpu") + pInt(n) + "tQ"
}

func pTensor(storage string, offset int64, shape, strides string) string {
	return pGlobal("torch._utils", "_rebuild_tensor_v2") + "(" + storage + pInt(offset) + shape + strides + "\x89" +
		pGlobal("collections", "OrderedDict") + ")RtR"
}

// legacyHead is what a legacy stream begins with, up to the object.
var legacyHead = pickle("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19") + pickle("M\xe9\x03") + pickle(pDict(pStr("little_endian"), "\x88"))

// legacy is a legacy stream of the object and its storages: keys and raw elements.
func legacy(object string, elems int, keysAndData ...string) []byte {
	keys, data := "](", ""
	for i := 0; i < len(keysAndData); i += 2 {
		keys += pStr(keysAndData[i])
		data += le(64, uint64(len(keysAndData[i+1])/elems)) + keysAndData[i+1]
	}
	return []byte(legacyHead + object + pickle(keys+"e") + data)
}

type zipEntry struct {
	name, data string
	method     uint16
}

func zipFile(t testing.TB, entries ...zipEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		f, err := w.CreateHeader(&zip.FileHeader{Name: e.name, Method: e.method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// torchZip is an archive as torch writes it, of data.pkl and the storages.
func torchZip(t testing.TB, object string, keysAndData ...string) []byte {
	t.Helper()
	entries := []zipEntry{{name: "a/data.pkl", data: object}, {name: "a/byteorder", data: "little"}}
	for i := 0; i < len(keysAndData); i += 2 {
		entries = append(entries, zipEntry{name: "a/data/" + keysAndData[i], data: keysAndData[i+1]})
	}
	return zipFile(t, entries...)
}

func safetensorsFile(header, data string) []byte {
	return []byte(le(64, uint64(len(header))) + header + data)
}

// vector is a state_dict with the tensor "w" of n float32 in storage "0".
func vector(n int64) string {
	return pickle(pDict(pStr("w"), pTensor(pStorage("FloatStorage", "0", n), 0, pInts(n), pInts(1))))
}

// readAll opens data and reads each tensor.
func readAll(data []byte) (map[string][]float32, *File, error) {
	f, err := Read(bytes.NewReader(data), int64(len(data)), 0)
	if err != nil {
		return nil, nil, err
	}
	values := make(map[string][]float32)
	for _, t := range f.Tensors {
		v, err := t.Float32()
		if err != nil {
			return nil, nil, err
		}
		if len(v) != t.Len() {
			return nil, nil, fmt.Errorf("tensor %q: %d values of %d", t.Name, len(v), t.Len())
		}
		values[t.Name] = v
	}
	return values, f, nil
}

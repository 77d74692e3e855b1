package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func isSentinel(err error) bool {
	return errors.Is(err, ErrFormat) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrTooLarge)
}

type hostileRow struct {
	name string
	data []byte
	want error
	says string // in the message
}

func checkHostile(t *testing.T, rows []hostileRow) {
	t.Helper()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := readAll(row.data)
			if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v\nwant %v with %q", err, row.want, row.says)
			}
		})
	}
}

func TestHostilePickle(t *testing.T) {
	obj := func(pickle string) []byte { return legacy(pickle, 4) }
	body := func(ops ...string) []byte { return obj(pickle(ops...)) }
	huge := func(op string, bits int, v uint64) []byte { return body(op + le(bits, v) + "x") }
	double := func(n int, op string) string { return strings.Repeat(op, n) }
	meta := func(v string) []byte {
		return legacy(pickle(pDict(pStr("w"), pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1), pInts(1)), pStr("x"), v)), 4, "0", "\x00\x00\x00\x00")
	}
	one := "\x00\x00\x80?"
	view := func(n, offset int64, shape, strides string) []byte {
		return legacy(pickle(pDict(pStr("w"), pTensor(pStorage("FloatStorage", "0", n), offset, shape, strides))), 4, "0", strings.Repeat(one, int(n)))
	}
	checkHostile(t, []hostileRow{
		// Code.
		{"system protocol 0", body("cos\nsystem\n(S'true'\ntR"), ErrUnsupported, `"os.system"`},
		{"system protocol 2", body(pGlobal("os", "system") + pStr("true") + "\x85R"), ErrUnsupported, `"os.system"`},
		{"system protocol 4", obj("\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."), ErrUnsupported, `"os.system"`},
		{"system mentioned", body(pGlobal("posix", "system")), ErrUnsupported, `"posix.system"`},
		{"eval in the metadata", meta(pGlobal("builtins", "eval") + pStr("1") + "\x85R"), ErrUnsupported, `"builtins.eval"`},
		{"INST", body("(" + pStr("true") + "ios\nsystem\n"), ErrUnsupported, "opcode 0x69"},
		{"OBJ", body("(" + pGlobal("os", "system") + pStr("true") + "o"), ErrUnsupported, `"os.system"`},
		{"OBJ of what is allowed", body("(" + pGlobal("collections", "OrderedDict") + "o"), ErrUnsupported, "opcode 0x6f"},
		{"NEWOBJ", body(pGlobal("subprocess", "Popen") + pStr("true") + "\x85\x81"), ErrUnsupported, `"subprocess.Popen"`},
		{"NEWOBJ_EX", body(pGlobal("argparse", "Namespace") + ")}\x92"), ErrUnsupported, "opcode 0x92"},
		{"EXT1", body("\x82\x01"), ErrUnsupported, "opcode 0x82"},
		{"getattr", body(pGlobal("__builtin__", "getattr")), ErrUnsupported, `"__builtin__.getattr"`},
		{"dotted name", obj("\x80\x04\x8c\x0btorch.Sizex\x8c\x05y.sys\x93."), ErrUnsupported, `"torch.Sizex.y.sys"`},
		{"a storage called", body(pGlobal("torch", "FloatStorage") + ")R"), ErrUnsupported, "applied"},
		{"a class only mentioned, called", body(pGlobal("__builtin__", "list") + ")R"), ErrUnsupported, "list applied"},
		{"a string called", body(pStr("os.system") + ")R"), ErrUnsupported, "a string applied"},
		{"BUILD on a list", body("]}b"), ErrUnsupported, "state of a list"},
		{"a pickled module", body("(" + pStr("module") + "tQ"), ErrUnsupported, "state_dict"},
		{"LoadFromBytes", body(pGlobal("torch.storage", "_load_from_bytes")), ErrUnsupported, "_load_from_bytes"},
		{"sparse", body(pGlobal("torch._utils", "_rebuild_sparse_tensor")), ErrUnsupported, "_rebuild_sparse_tensor"},
		{"quantised", body(pGlobal("torch._utils", "_rebuild_qtensor")), ErrUnsupported, "_rebuild_qtensor"},
		{"rebuild from rebuild", body(pGlobal("torch._tensor", "_rebuild_from_type_v2") + "2(" + "h\x00NNNt" + "R"), ErrDamaged, ""},

		// Lengths.
		{"FRAME", huge("\x95", 64, 1<<40), ErrDamaged, "1099511627776"},
		{"FRAME 2^63", huge("\x95", 64, 1<<63), ErrDamaged, ""},
		{"BINUNICODE", huge("X", 32, math.MaxUint32), ErrDamaged, "4294967295"},
		{"BINUNICODE8", huge("\x8d", 64, 1<<40), ErrDamaged, ""},
		{"BINUNICODE8 2^64-1", huge("\x8d", 64, math.MaxUint64), ErrDamaged, ""},
		{"SHORT_BINUNICODE", obj("\x80\x02\x8c\xff"), ErrDamaged, ""},
		{"BINBYTES", huge("B", 32, math.MaxUint32), ErrDamaged, ""},
		{"BINBYTES8", huge("\x8e", 64, 1<<40), ErrDamaged, ""},
		{"BYTEARRAY8", huge("\x96", 64, 1<<40), ErrDamaged, ""},
		{"BINSTRING", huge("T", 32, math.MaxInt32), ErrDamaged, ""},
		{"LONG1", body("\x8a\xff" + strings.Repeat("\x01", 255)), ErrUnsupported, "an integer of 255 bytes"},
		{"LONG4", huge("\x8b", 32, math.MaxInt32), ErrDamaged, ""},
		{"LONG4 that is there", body("\x8b" + le(32, 1<<16) + strings.Repeat("\x01", 1<<16)), ErrUnsupported, "an integer of 65536 bytes"},
		{"LONG_BINPUT", body("Nr" + le(32, math.MaxUint32)), ErrDamaged, "memo entry"},
		{"LONG_BINGET", body("j" + le(32, math.MaxUint32)), ErrDamaged, "memo entry"},
		{"GLOBAL without an end", body("c" + strings.Repeat("a", 1000)), ErrDamaged, "a name of more than"},
		{"STACK_GLOBAL of long names", obj("\x80\x04" + pStr(strings.Repeat("a", 1000)) + pStr("b") + "\x93."), ErrDamaged, "STACK_GLOBAL"},
		{"STACK_GLOBAL of numbers", body("K\x01K\x01\x93"), ErrDamaged, "STACK_GLOBAL"},

		// The stack.
		{"POP of nothing", body("0"), ErrDamaged, "the stack is empty"},
		{"STOP of nothing", body(""), ErrDamaged, "the stack is empty"},
		{"TUPLE3 of two", body("NN\x87"), ErrDamaged, "the stack is empty"},
		{"TUPLE2 across a mark", body("N(N\x86"), ErrDamaged, "the stack is empty"},
		{"TUPLE without a mark", body("Nt"), ErrDamaged, "no mark"},
		{"POP_MARK without a mark", body("1"), ErrDamaged, "no mark"},
		{"APPEND to a dict", body("}Na"), ErrDamaged, "not a list"},
		{"SETITEM of a list", body("]NNs"), ErrDamaged, "not a dictionary"},
		{"SETITEMS of three", body("}(NNNu"), ErrDamaged, "a key without a value"},
		{"REDUCE without arguments", body(pGlobal("torch", "Size") + "NR"), ErrUnsupported, "applied to None"},
		{"DUP of nothing", body("2"), ErrDamaged, ""},
		{"MEMOIZE of nothing", body("\x94"), ErrDamaged, ""},
		{"persistent id of None", body("NQ"), ErrDamaged, "persistent id"},
		{"persistent id of nothing", body(")Q"), ErrDamaged, "persistent id"},
		{"protocol 6", obj("\x80\x06N."), ErrUnsupported, "protocol 6"},
		{"not UTF-8", body("X" + le(32, 1) + "\xff"), ErrDamaged, "UTF-8"},
		{"no end", obj("\x80\x02N"), ErrDamaged, ""},

		// Bombs.
		{"deep marks", body(strings.Repeat("(", 1<<17)), ErrDamaged, "open containers"},
		{"deep stack", body(strings.Repeat("N", 1<<17)), ErrDamaged, "values on the stack"},
		{"deep tuples as root", body("N" + strings.Repeat("\x85", 1<<14)), ErrUnsupported, "a tuple"},
		{"deep metadata", meta("]" + strings.Repeat("\x85", 1000)), ErrDamaged, "nested"},
		{"list in itself", meta("]2a"), ErrDamaged, "nested"},
		{"dict in itself", body("}q\x00" + pStr("model") + "h\x00s"), ErrUnsupported, "no weights"},
		{"doubling tuples", meta(")" + double(50, "2\x86")), ErrDamaged, "more than a file of"},
		{"doubling lists", meta("]" + double(50, "q\x000]h\x00ah\x00a")), ErrDamaged, "more than a file of"},
		{"doubling dicts", meta("}" + double(50, "q\x000}K\x01h\x00sK\x02h\x00s")), ErrDamaged, "more than a file of"},
		{"doubling what is left out", meta("C\x01x" + double(50, "q\x000}K\x01h\x00sK\x02h\x00s")), ErrDamaged, "more than a file of"},
		{"doubling a path", meta(pGlobal("pathlib", "PosixPath") + "q\x000" + pStr("abcd") + double(60, "q\x010h\x00h\x01h\x01\x86R")), ErrDamaged, "more than a file of"},

		// Views.
		{"10^9 elements of one", view(1, 0, pInts(1e9), pInts(0)), ErrDamaged, `tensor "w"`},
		{"10^9 elements with stride 1", view(1, 0, pInts(1e9), pInts(1)), ErrDamaged, `tensor "w"`},
		{"10^18 elements", view(1, 0, pInts(1e9, 1e9), pInts(0, 0)), ErrDamaged, `tensor "w"`},
		{"2^64 elements", view(1, 0, pInts(1<<32, 1<<32), pInts(0, 0)), ErrDamaged, `tensor "w"`},
		{"2^63 strides", view(4, 0, pInts(2, 2), pInts(math.MaxInt64, math.MaxInt64)), ErrDamaged, `tensor "w"`},
		{"beyond the storage", view(4, 1, pInts(4), pInts(1)), ErrDamaged, `tensor "w"`},
		{"offset", view(4, 4, pInts(1), pInts(1)), ErrDamaged, `tensor "w"`},
		{"offset of a scalar", view(4, math.MaxInt64, ")", ")"), ErrDamaged, `tensor "w"`},
		{"negative offset", view(4, -1, pInts(1), pInts(1)), ErrDamaged, `tensor "w"`},
		{"negative shape", view(4, 0, pInts(-1), pInts(1)), ErrDamaged, `tensor "w"`},
		{"negative stride", view(4, 3, pInts(4), pInts(-1)), ErrDamaged, `tensor "w"`},
		{"fewer strides", view(4, 0, pInts(2, 2), pInts(1)), ErrDamaged, `tensor "w"`},
		{"65 dimensions", view(4, 0, "("+strings.Repeat("K\x01", 65)+"t", "("+strings.Repeat("K\x01", 65)+"t"), ErrDamaged, `tensor "w"`},
		{"overlapping windows", view(4, 0, pInts(3, 2), pInts(1, 1)), ErrUnsupported, `tensor "w"`},
		{"shape of strings", body(pTensor(pStorage("FloatStorage", "0", 1), 0, pStr("a")+"\x85", pInts(1))), ErrDamaged, "_rebuild_tensor_v2"},
		{"storage of None", body(pTensor("N", 0, pInts(1), pInts(1))), ErrDamaged, "_rebuild_tensor_v2"},
		{"10,000 expanded tensors", legacy(pickle("}("+strings.Join(manyNames(10000, pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1e6), pInts(0))), "")+"u"), 4, "0", one), ErrDamaged, "tensor"},
		{"a name twice", legacy(pickle(pDict(pStr("w"), pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1), pInts(1)), pStr("w"), pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1), pInts(1)))), 4, "0", one), ErrDamaged, `"w" is there twice`},
		{"a name that is a number", legacy(pickle(pDict(pStr("w"), pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1), pInts(1)), "K\x01", pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1), pInts(1)))), 4, "0", one), ErrUnsupported, "named by an int"},

		// Legacy storages.
		{"storage missing", legacy(vector(1), 4), ErrDamaged, `tensor "w": storage "0": it is missing`},
		{"storage unknown", legacy(vector(1), 4, "0", one, "1", one), ErrDamaged, `"1"`},
		{"storage twice", legacy(vector(1), 4, "0", one, "0", one), ErrDamaged, `"0"`},
		{"storage of other length", legacy(vector(2), 4, "0", one), ErrDamaged, `storage "0" has 1 elements instead of 2`},
		{"storage cut", legacy(vector(1), 4, "0", one)[:len(legacy(vector(1), 4, "0", one))-1], ErrDamaged, `storage "0"`},
		{"storage of 2^62 elements", append(legacy(vector(1<<62), 4), (pickle("]" + pStr("0") + "a"))...), ErrDamaged, `it is missing`},
		{"storage with two types", legacy(pickle(pDict(pStr("a"), pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1), pInts(1)), pStr("b"), pTensor(pStorage("LongStorage", "0", 1), 0, pInts(1), pInts(1)))), 4, "0", one), ErrDamaged, "two types"},
		{"big-endian", []byte(pickle("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19") + pickle("M\xe9\x03") + pickle(pDict(pStr("little_endian"), "\x89")) + vector(1) + pickle("]")), ErrUnsupported, "big-endian"},
		{"version 1002", []byte(pickle("\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19") + pickle("M\xea\x03") + pickle("}") + vector(1) + pickle("]")), ErrUnsupported, "version 1002"},

		// Not weights.
		{"root is None", body("N"), ErrUnsupported, "None"},
		{"root is a list", body("]"), ErrUnsupported, "a list"},
		{"root is a tensor", legacy(pickle(pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1), pInts(1))), 4, "0", one), ErrUnsupported, "a tensor"},
		{"root is a class", body(pGlobal("edgevit", "EdgeViT") + ")\x81"), ErrUnsupported, `"edgevit.EdgeViT"`},
		{"root is empty", body("}"), ErrUnsupported, "no weights"},
		{"no tensors", body(pDict(pStr("epoch"), "K\x01")), ErrUnsupported, `it has "epoch"`},
		{"a plain pickle", []byte(pickle(pDict(pStr("some key"), "K\x01"))), ErrFormat, "not of torch.save"},
	})
}

// manyNames are n entries of a dictionary with the same value, which is memoised.
func manyNames(n int, value string) []string {
	s := []string{pStr("t"), value, "q\x00"}
	for i := range n {
		s = append(s, "X"+le(32, 4)+le(32, 0x20202020+uint64(i%64)+uint64(i/64%64)<<8+uint64(i/4096%64)<<16), "h\x00")
	}
	return s
}

func TestHostileZip(t *testing.T) {
	one := "\x00\x00\x80?"
	good := torchZip(t, vector(1), "0", one)
	if _, _, err := readAll(good); err != nil {
		t.Fatal(err)
	}
	replace := func(data []byte, old, new string) []byte {
		out := bytes.Replace(data, []byte(old), []byte(new), 1)
		if bytes.Equal(out, data) {
			t.Fatalf("%q isn't there", old)
		}
		return out
	}
	// Both entries of the central directory point to the first local header.
	overlap := zipFile(t, zipEntry{name: "a/data.pkl", data: vector(1)}, zipEntry{name: "a/data/0", data: one})
	last := bytes.LastIndex(overlap, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(overlap[last+42:], 0)
	outside := bytes.Clone(overlap)
	binary.LittleEndian.PutUint32(outside[last+42:], 1<<30)

	checkHostile(t, []hostileRow{
		{"storage damaged", replace(good, one, "\x00\x00\x80>"), ErrDamaged, `tensor "w": storage "0": its CRC-32`},
		{"pickle damaged", replace(good, "cpu", "cpv"), ErrDamaged, "data.pkl: its CRC-32"},
		{"storage missing", torchZip(t, vector(1)), ErrDamaged, `tensor "w": storage "0": it is missing`},
		{"storage short", torchZip(t, vector(2), "0", one), ErrDamaged, `tensor "w": storage "0" has 4 bytes`},
		{"storage of 2^62 elements", torchZip(t, vector(1<<62), "0", one), ErrDamaged, `tensor "w"`},
		{"storage compressed", zipFile(t, zipEntry{"a/data.pkl", vector(1 << 20), 0}, zipEntry{"a/data/0", strings.Repeat("\x00", 4<<20), 8}), ErrUnsupported, `tensor "w": storage "0": entry "a/data/0" is compressed`},
		{"pickle compressed", zipFile(t, zipEntry{"a/data.pkl", strings.Repeat("N", 1<<20), 8}), ErrUnsupported, `"a/data.pkl" is compressed`},
		{"pickle over the limit", zipFile(t, zipEntry{"a/data.pkl", strings.Repeat("N", maxPickle+1), 0}), ErrTooLarge, "data.pkl"},
		{"an entry twice", torchZip(t, vector(1), "0", one, "0", one), ErrDamaged, `entry "a/data/0" is there twice`},
		{"entries overlap", overlap, ErrDamaged, "overlap"},
		{"entry outside", outside, ErrDamaged, `entry "a/data/0" is not within the file`},
		{"big-endian", zipFile(t, zipEntry{"a/data.pkl", vector(1), 0}, zipEntry{"a/byteorder", "big", 0}), ErrUnsupported, "byte order"},
		{"TorchScript", zipFile(t, zipEntry{"a/data.pkl", vector(1), 0}, zipEntry{"a/constants.pkl", "", 0}), ErrUnsupported, "TorchScript"},
		{"another zip", zipFile(t, zipEntry{"word/document.xml", "", 0}), ErrFormat, "data.pkl"},
		{"numpy", zipFile(t, zipEntry{"arr_0.npy", "", 0}), ErrFormat, "not of torch.save"},
		{"no directory", good[:len(good)-22], ErrDamaged, "is the file complete"},
		{"huge directory", zipFile(t, manyEntries(30000, 100)...), ErrTooLarge, "zip directory"},
		{"encrypted", encrypted(zipFile(t, zipEntry{"a/data.pkl", vector(1), 0})), ErrUnsupported, "encrypted"},
	})
}

func manyEntries(n, nameLen int) []zipEntry {
	entries := make([]zipEntry, n)
	for i := range entries {
		entries[i].name = "a/" + le(32, 0x30303030+uint64(i%64)+uint64(i/64%64)<<8+uint64(i/4096)<<16) + strings.Repeat("x", nameLen)
	}
	return entries
}

func encrypted(data []byte) []byte {
	data[bytes.LastIndex(data, []byte("PK\x01\x02"))+8] |= 1
	return data
}

func TestHostileSafetensors(t *testing.T) {
	entry := func(shape, offsets string) string {
		return `{"dtype":"F32","shape":` + shape + `,"data_offsets":` + offsets + `}`
	}
	file := func(header string) []byte { return safetensorsFile(header, "12345678") }
	if _, _, err := readAll(file(`{"w":` + entry("[2]", "[0,8]") + `}`)); err != nil {
		t.Fatal(err)
	}
	checkHostile(t, []hostileRow{
		{"header longer than the file", []byte(le(64, 1000) + `{"w":1}`), ErrDamaged, "a header of 1000 bytes"},
		{"header of 2^63 bytes", []byte(le(64, 1<<63) + `{"w":1}`), ErrDamaged, "limit"},
		{"header over the limit", []byte(le(64, maxHeader+1) + `{"w":1}`), ErrDamaged, "limit"},
		{"header cut", file(`{"w":` + entry("[2]", "[0,8]")), ErrDamaged, "expected"},
		{"something follows", file(`{"w":` + entry("[2]", "[0,8]") + `} x`), ErrDamaged, "follows"},
		{"a name twice", file(`{"w":` + entry("[1]", "[0,4]") + `,"w":` + entry("[1]", "[4,8]") + `}`), ErrDamaged, `tensor "w" is there twice`},
		{"a name twice, escaped", file(`{"w":` + entry("[1]", "[0,4]") + `,"\u0077":` + entry("[1]", "[4,8]") + `}`), ErrDamaged, `tensor "w" is there twice`},
		{"a field twice", file(`{"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}`), ErrDamaged, `tensor "w"`},
		{"metadata twice", file(`{"__metadata__":{"a":"b","a":"c"},"w":` + entry("[2]", "[0,8]") + `}`), ErrDamaged, `"a" twice`},
		{"metadata of a number", file(`{"__metadata__":{"a":1},"w":` + entry("[2]", "[0,8]") + `}`), ErrDamaged, ""},
		{"overlap", file(`{"v":` + entry("[2]", "[0,8]") + `,"w":` + entry("[1]", "[4,8]") + `}`), ErrDamaged, `tensor "w" begins at byte 4`},
		{"same range", file(`{"v":` + entry("[2]", "[0,8]") + `,"w":` + entry("[2]", "[0,8]") + `}`), ErrDamaged, `tensor "w" begins at byte 0`},
		{"gap", file(`{"w":` + entry("[1]", "[4,8]") + `}`), ErrDamaged, `tensor "w" begins at byte 4`},
		{"data left over", file(`{"w":` + entry("[1]", "[0,4]") + `}`), ErrDamaged, "end at byte 4 of 8"},
		{"beyond the data", file(`{"w":` + entry("[3]", "[0,12]") + `}`), ErrDamaged, `tensor "w"`},
		{"offsets backwards", file(`{"w":` + entry("[1]", "[8,4]") + `}`), ErrDamaged, `tensor "w"`},
		{"three offsets", file(`{"w":` + entry("[1]", "[0,4,8]") + `}`), ErrDamaged, `tensor "w"`},
		{"shape is not the range", file(`{"w":` + entry("[3]", "[0,8]") + `}`), ErrDamaged, `tensor "w"`},
		{"shape overflows to the range", file(`{"w":` + entry("[4611686018427387906]", "[0,8]") + `}`), ErrDamaged, `tensor "w"`},
		{"shape's product overflows", file(`{"w":` + entry("[4294967296,4294967296]", "[0,0]") + `}`), ErrDamaged, `tensor "w"`},
		{"negative shape", file(`{"w":` + entry("[-2]", "[0,8]") + `}`), ErrDamaged, `tensor "w"`},
		{"shape of 2^64", file(`{"w":` + entry("[18446744073709551616]", "[0,8]") + `}`), ErrDamaged, `tensor "w"`},
		{"shape of 1000 digits", file(`{"w":` + entry("["+strings.Repeat("1", 1000)+"]", "[0,8]") + `}`), ErrDamaged, `tensor "w"`},
		{"fraction", file(`{"w":` + entry("[2.0]", "[0,8]") + `}`), ErrDamaged, `tensor "w"`},
		{"65 dimensions", file(`{"w":` + entry("[2"+strings.Repeat(",1", 64)+"]", "[0,8]") + `}`), ErrDamaged, `tensor "w"`},
		{"unknown dtype", file(`{"w":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}`), ErrUnsupported, `tensor "w": dtype "F8_E4M3"`},
		{"unknown field", file(`{"w":{"dtype":"F32","strides":[1]}}`), ErrDamaged, `tensor "w"`},
		{"missing field", file(`{"w":{"dtype":"F32","shape":[2]}}`), ErrDamaged, `tensor "w"`},
		{"control character", file("{\"w\n\":1}"), ErrDamaged, "control"},
		{"not UTF-8", file("{\"\xff\":1}"), ErrDamaged, "UTF-8"},
		{"unknown escape", file(`{"\q":1}`), ErrDamaged, "escape"},
		{"escape at the end", file(`{"\`), ErrDamaged, "without an end"},
		{"nested", file(`{"w":` + strings.Repeat("[", 1<<16)), ErrDamaged, `tensor "w"`},
	})
}

func TestNotACheckpoint(t *testing.T) {
	checkHostile(t, []hostileRow{
		{"empty", nil, ErrFormat, "0 bytes"},
		{"short", []byte("PK\x03\x04"), ErrFormat, "4 bytes"},
		{"text", []byte("<!DOCTYPE html><html></html>"), ErrFormat, ".safetensors"},
		{"git lfs", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), ErrFormat, "git lfs pull"},
		{"onnx", []byte("\x08\x07\x12\x07pytorch\x1a"), ErrFormat, ""},
	})
}

func TestSizeLimit(t *testing.T) {
	_, err := Open("testdata/plain.pth", 1000)
	if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "1627 bytes are over the limit of 1000") {
		t.Errorf("error %v", err)
	}
	if _, err := Read(bytes.NewReader(nil), DefaultMaxBytes+1, 0); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v for the default limit", err)
	}
	if _, err := Open("testdata", 0); !errors.Is(err, ErrFormat) {
		t.Errorf("error %v for a folder", err)
	}
	if _, err := Open("testdata/none.pth", 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v for a missing file", err)
	}
}

func TestClose(t *testing.T) {
	f, err := Open("testdata/plain.pth", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Tensors[0].Float32(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v after Close, want %v", err, os.ErrClosed)
	}
	if _, err := (Tensor{}).Float32(); err == nil {
		t.Error("the zero Tensor was read")
	}
}

// TestReadError: an error of the disk is passed on, not called damage.
func TestReadError(t *testing.T) {
	data, err := os.ReadFile("testdata/plain.pth")
	if err != nil {
		t.Fatal(err)
	}
	for fail := range len(data) {
		r := failingReader{bytes.NewReader(data), int64(fail)}
		f, err := Read(r, int64(len(data)), 0)
		if err == nil {
			_, err = f.Tensors[0].Float32()
		}
		if err != nil && !errors.Is(err, errDisk) {
			t.Fatalf("failing at byte %d: %v", fail, err)
		}
	}
}

var errDisk = errors.New("disk failure")

type failingReader struct {
	io.ReaderAt
	at int64
}

func (r failingReader) ReadAt(p []byte, off int64) (int, error) {
	if off <= r.at && r.at < off+int64(len(p)) {
		return 0, errDisk
	}
	return r.ReaderAt.ReadAt(p, off)
}

// TestDamage cuts small files at every byte and changes every byte: an error or the same values follow a cut, no
// panic and no other error than the package's a change.
func TestDamage(t *testing.T) {
	for _, name := range []string{"plain.pth", "nocrc.pth", "views_legacy2.pth", "run_legacy5.pth", "library.safetensors"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := readAll(data)
		if err != nil {
			t.Fatal(err)
		}
		for n := range data {
			got, _, err := readAll(data[:n])
			if err != nil && !isSentinel(err) {
				t.Errorf("%s cut to %d bytes: error %v", name, n, err)
			}
			if err == nil && !sameValues(got, want) {
				t.Errorf("%s cut to %d bytes: other values without an error", name, n)
			}
		}
		for i := range data {
			for _, flip := range []byte{1, 0x80} {
				changed := bytes.Clone(data)
				changed[i] ^= flip
				if _, _, err := readAll(changed); err != nil && !isSentinel(err) {
					t.Errorf("%s with byte %d changed: error %v", name, i, err)
				}
			}
		}
	}
}

// sameValues compares bit for bit, so that NaN equals itself.
func sameValues(a, b map[string][]float32) bool {
	bits := func(m map[string][]float32) map[string][]uint32 {
		out := make(map[string][]uint32)
		for k, v := range m {
			out[k] = make([]uint32, len(v))
			for i, x := range v {
				out[k][i] = math.Float32bits(x)
			}
		}
		return out
	}
	return reflect.DeepEqual(bits(a), bits(b))
}

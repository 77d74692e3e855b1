package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// childFile names the file that a child process of TestMemory reads.
const childFile = "EDGEVIT_CHECKPOINT_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		if err := memoryChild(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// memoryChild opens the file, reads each tensor once and keeps it, and prints by how many bytes the peak of the
// resident memory rose, and the error.
func memoryChild(path string) error {
	before, err := peakMemory()
	if err != nil {
		return err
	}
	var values [][]float32
	f, openErr := Open(path, 0)
	if openErr == nil {
		for _, t := range f.Tensors {
			v, err := t.Float32()
			if err != nil {
				return err
			}
			values = append(values, v)
		}
	}
	after, err := peakMemory()
	if err != nil {
		return err
	}
	fmt.Println(after-before, len(values), openErr)
	return nil
}

// peakMemory returns the process's VmHWM in bytes.
func peakMemory() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no VmHWM")
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// TestMemory: opening a file and reading every tensor once takes at most three times the file's size, and a constant.
func TestMemory(t *testing.T) {
	if raceDetector() {
		t.Skip("the race detector's own memory is in the way")
	}
	const (
		MiB  = 1 << 20
		most = 12 * MiB // of pickle
	)
	filled := func(prefix, unit string, size int) string {
		return prefix + strings.Repeat(unit, (size-len(prefix))/len(unit))
	}
	one := "\x00\x00\x80?"
	raw := strings.Repeat(one, 30*MiB/4)
	tensor := func(class string, n int64, shape, strides string) string {
		return pickle(pDict(pStr("w"), pTensor(pStorage(class, "0", n), 0, shape, strides)))
	}
	weights := pStr("w") + pTensor(pStorage("FloatStorage", "0", 1), 0, pInts(1), pInts(1))
	// in is a pickle of a good tensor "w", and of v under "x".
	in := func(v string) []byte { return legacy("\x80\x02}("+weights+pStr("x")+v+"u.", 4, "0", one) }
	entries := func(n int, entry func(i int) string) string {
		s := make([]string, n)
		for i := range s {
			s[i] = entry(i)
		}
		return strings.Join(s, ",")
	}
	emptyTensor := `:{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`

	rows := []struct {
		name string
		data func() []byte
		ok   bool // it is read
	}{
		{"float32", func() []byte {
			return torchZip(t, tensor("FloatStorage", 30*MiB/4, pInts(30*MiB/4), pInts(1)), "0", raw)
		}, true},
		{"float32 legacy", func() []byte { return legacy(tensor("FloatStorage", 30*MiB/4, pInts(30*MiB/4), pInts(1)), 4, "0", raw) }, true},
		{"float32 transposed", func() []byte {
			return torchZip(t, tensor("FloatStorage", 30*MiB/4, pInts(2048, 3840), pInts(1, 2048)), "0", raw)
		}, true},
		{"float16", func() []byte {
			return torchZip(t, tensor("HalfStorage", 30*MiB/2, pInts(30*MiB/2), pInts(1)), "0", raw)
		}, true},
		{"bfloat16 safetensors", func() []byte {
			return safetensorsFile(fmt.Sprintf(`{"w":{"dtype":"BF16","shape":[%d],"data_offsets":[0,%d]}}`, 15*MiB, 30*MiB), raw)
		}, true},
		{"float32 of 20,000 tensors", func() []byte {
			var s strings.Builder
			for i := range 20000 {
				s.WriteString(pStr(strconv.Itoa(i)) + pTensor(pStorage("FloatStorage", "0", 30*MiB/4), int64(384*i), pInts(384), pInts(1)) + "s")
			}
			return torchZip(t, pickle("}"+s.String()), "0", raw)
		}, true},
		{"bool", func() []byte { return torchZip(t, tensor("BoolStorage", 30*MiB, pInts(30*MiB), pInts(1)), "0", raw) }, false},
		{"views of the whole", func() []byte {
			return torchZip(t, pickle("}("+strings.Join(manyNames(200, pTensor(pStorage("FloatStorage", "0", 30*MiB/4), 0, pInts(30*MiB/4), pInts(1))), "")+"u"), "0", raw)
		}, false},

		{"stack", func() []byte { return in(filled("", "N", most)) }, false},
		{"lists", func() []byte { return in(filled("]", "]a", most)) }, false},
		{"items", func() []byte { return in(filled("]", "Na", most)) }, false},
		{"integers", func() []byte { return in(filled("]", "M\xff\xffa", most)) }, false},
		{"long integers", func() []byte { return in(filled("]", "\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7fa", most)) }, false},
		{"entries", func() []byte { return in(filled("}", "NNs", most)) }, false},
		{"tuples dropped", func() []byte { return in(filled("", "NNN\x870", most)) }, false},
		{"large tuples", func() []byte { return in(filled("", "("+strings.Repeat("N", 1000)+"t0", most)) }, false},
		{"memo", func() []byte { return in(filled("N", "\x94", most)) }, false},
		{"short strings", func() []byte { return in(filled("]", pStr("a")+"a", most)) }, false},
		{"a long string", func() []byte { return in(pStr(strings.Repeat("a", most))) }, true},
		{"views", func() []byte {
			args := "(" + pStorage("FloatStorage", "0", 1) + "K\x00" + pInts(1) + pInts(1) + "\x89Nt"
			return in(filled(pGlobal("torch._utils", "_rebuild_tensor_v2")+"q\x00"+args+"q\x01]", "h\x00h\x01Ra", most))
		}, false},
		{"storages", func() []byte {
			s := "]" + pGlobal("torch", "FloatStorage") + "q\x00"
			var b bytes.Buffer
			b.WriteString(s)
			for i := 0; b.Len() < most; i++ {
				b.WriteString("(" + pStr("storage") + "h\x00U\x04" + le(32, uint64(i)&0x7f7f7f7f) + "NK\x00tQ0")
			}
			return in(b.String())
		}, false},
		{"doubling", func() []byte { return in("]" + strings.Repeat("q\x000]h\x00ah\x00a", 50)) }, false},
		{"doubling numbers", func() []byte { return in("K\x01" + strings.Repeat("q\x000}K\x01h\x00sK\x02h\x00s", 50)) }, false},

		{"zip directory", func() []byte { return zipFile(t, manyEntries(20000, 0)...) }, false},
		{"zip directory over the limit", func() []byte { return zipFile(t, manyEntries(60000, 100)...) }, false},
		{"zip bomb", func() []byte {
			return zipFile(t, zipEntry{"a/data.pkl", vector(1), 0}, zipEntry{"a/data/0", strings.Repeat("\x00", 64*MiB), 8})
		}, false},

		{"safetensors of empty tensors", func() []byte {
			return safetensorsFile("{"+entries(200000, func(i int) string { return strconv.Quote(strconv.Itoa(i)) + emptyTensor })+"}", "")
		}, false},
		{"safetensors metadata", func() []byte {
			return safetensorsFile(`{"__metadata__":{`+entries(1000000, func(i int) string { return `"` + strconv.Itoa(i) + `":""` })+"}}", "")
		}, false},
		{"safetensors of a long name", func() []byte {
			return safetensorsFile(`{"`+strings.Repeat("a", 20*MiB)+`"`+emptyTensor+`}`, "")
		}, true},
		{"safetensors of a long escaped name", func() []byte {
			return safetensorsFile(`{"`+strings.Repeat(`\n`, 10*MiB)+`"`+emptyTensor+`}`, "")
		}, false},
		{"safetensors of spaces", func() []byte { return safetensorsFile("{"+strings.Repeat(" ", 20*MiB)+"}", "") }, true},
		{"safetensors of a long shape", func() []byte {
			return safetensorsFile(`{"w":{"shape":[0`+strings.Repeat(",0", 10*MiB)+`]}}`, "")
		}, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			data := row.data()
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childFile+"="+path)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			rise, rest, _ := strings.Cut(string(out), " ")
			peak, err := strconv.ParseInt(rise, 10, 64)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			limit := 3*int64(len(data)) + 16*MiB
			t.Logf("%.1f MiB file, %.1f of %.1f MiB; tensors, error: %.150s", float64(len(data))/MiB, float64(peak)/MiB, float64(limit)/MiB, rest)
			if peak > limit {
				t.Errorf("%d bytes for a file of %d, over %d", peak, len(data), limit)
			}
			if ok := strings.HasSuffix(rest, "<nil>\n"); ok != row.ok {
				t.Errorf("read: %v, want %v", ok, row.ok)
			}
		})
	}
}

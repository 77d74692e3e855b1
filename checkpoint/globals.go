package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// What the globals in a pickle stand for.
type (
	// storageClass is torch.FloatStorage and the like; the dtype is nil for an untyped storage.
	storageClass struct{ dtype *dtype }
	// constructor is a class or function that a pickle may apply to arguments. make turns them into plain data; it is
	// nil where the name may only be mentioned.
	constructor struct {
		name string
		make func(args tuple, mem *budget) (any, error)
	}
	// tensorValue is a tensor before its view is checked: only the weights' are.
	tensorValue struct {
		shape []int64
		view  view
	}
	// numpyType is a numpy.dtype, code as in "f8".
	numpyType struct {
		code      string
		bigEndian bool
	}
	// opaque is what may be there but isn't read: a numpy array.
	opaque struct{}
)

// globals is everything that a pickle may name: the whole of what reading one can do. The values are a *dtype, a
// storageClass or a *constructor.
var globals = map[string]any{
	"torch.FloatStorage":                         storageClass{typeFloat32},
	"torch.DoubleStorage":                        storageClass{typeFloat64},
	"torch.HalfStorage":                          storageClass{typeFloat16},
	"torch.BFloat16Storage":                      storageClass{typeBfloat16},
	"torch.LongStorage":                          storageClass{typeInt64},
	"torch.IntStorage":                           storageClass{typeInt32},
	"torch.ShortStorage":                         storageClass{typeInt16},
	"torch.CharStorage":                          storageClass{typeInt8},
	"torch.ByteStorage":                          storageClass{typeUint8},
	"torch.BoolStorage":                          storageClass{typeBool},
	"torch.storage.UntypedStorage":               storageClass{},
	"torch.storage._UntypedStorage":              storageClass{},
	"torch.storage.TypedStorage":                 storageClass{},
	"torch.storage._TypedStorage":                storageClass{},
	"torch.UntypedStorage":                       storageClass{},
	"torch._utils._rebuild_tensor":               &constructor{"_rebuild_tensor", rebuildTensor},
	"torch._utils._rebuild_tensor_v2":            &constructor{"_rebuild_tensor_v2", rebuildTensor},
	"torch._utils._rebuild_tensor_v3":            &constructor{"_rebuild_tensor_v3", rebuildTensorV3},
	"torch._utils._rebuild_parameter":            &constructor{"_rebuild_parameter", rebuildParameter},
	"torch._utils._rebuild_parameter_with_state": &constructor{"_rebuild_parameter_with_state", rebuildParameter},
	"torch._tensor._rebuild_from_type_v2":        &constructor{rebuildFromTypeName, rebuildFromType},
	"torch.nn.parameter.Parameter":               &constructor{"Parameter", rebuildParameter},
	"torch.nn.parameter.Buffer":                  &constructor{"Buffer", rebuildParameter},
	"torch.Tensor":                               &constructor{name: "torch.Tensor"},
	"torch.Size":                                 &constructor{"torch.Size", makeSequence},
	"torch.device":                               &constructor{"torch.device", makeDevice},

	"torch.float32":  typeFloat32,
	"torch.float64":  typeFloat64,
	"torch.float16":  typeFloat16,
	"torch.bfloat16": typeBfloat16,
	"torch.int64":    typeInt64,
	"torch.int32":    typeInt32,
	"torch.int16":    typeInt16,
	"torch.int8":     typeInt8,
	"torch.uint64":   typeUint64,
	"torch.uint32":   typeUint32,
	"torch.uint16":   typeUint16,
	"torch.uint8":    typeUint8,
	"torch.bool":     typeBool,

	"collections.OrderedDict":  &constructor{"OrderedDict", makeDict},
	"collections.defaultdict":  &constructor{"defaultdict", makeDict},
	"argparse.Namespace":       &constructor{"Namespace", makeNamespace},
	"pathlib.PosixPath":        &constructor{"PosixPath", makePath},
	"pathlib._local.PosixPath": &constructor{"PosixPath", makePath},

	// Python 2's module names are what protocol 2 writes.
	"__builtin__.set":       &constructor{"set", makeSequence},
	"__builtin__.frozenset": &constructor{"frozenset", makeSequence},
	"__builtin__.bytes":     &constructor{"bytes", makeBytes},
	"__builtin__.bytearray": &constructor{"bytearray", makeBytes},
	"__builtin__.list":      &constructor{name: "list"}, // a defaultdict's factory
	"__builtin__.dict":      &constructor{name: "dict"},
	"__builtin__.int":       &constructor{name: "int"},
	"__builtin__.float":     &constructor{name: "float"},
	"__builtin__.str":       &constructor{name: "str"},
	"_codecs.encode":        &constructor{"encode", makeBytes},

	"numpy.dtype":                         &constructor{"numpy.dtype", makeNumpyType},
	"numpy.ndarray":                       &constructor{name: "ndarray"},
	"numpy.core.multiarray.scalar":        &constructor{"scalar", makeNumpyScalar},
	"numpy._core.multiarray.scalar":       &constructor{"scalar", makeNumpyScalar},
	"numpy.core.multiarray._reconstruct":  &constructor{"_reconstruct", makeOpaque},
	"numpy.core.numeric._frombuffer":      &constructor{"_frombuffer", makeOpaque},
	"numpy._core.numeric._frombuffer":     &constructor{"_frombuffer", makeOpaque},
	"numpy._core.multiarray._reconstruct": &constructor{"_reconstruct", makeOpaque},
}

// global returns what the name stands for.
func global(name string) (any, error) {
	key := name
	if rest, ok := strings.CutPrefix(name, "builtins."); ok {
		key = "__builtin__." + rest
	}
	if v, ok := globals[key]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("it needs %q, and only tensors and plain data are read, no code or classes; "+
		"save the weights alone, with torch.save(model.state_dict(), path): %w", name, ErrUnsupported)
}

// construct applies a global to its arguments: REDUCE and NEWOBJ.
func construct(f, args any, mem *budget) (any, error) {
	c, ok1 := f.(*constructor)
	a, ok2 := args.(tuple)
	if !ok1 || !ok2 || c.make == nil {
		return nil, fmt.Errorf("%s applied to %s: %w", kindOf(f), kindOf(args), ErrUnsupported)
	}
	if err := mem.take(costObject); err != nil {
		return nil, err
	}
	v, err := c.make(a, mem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return v, nil
}

// build gives an object its state: BUILD.
func build(object, state any, mem *budget) error {
	switch o := object.(type) {
	case *dict:
		if !o.object {
			return nil // an OrderedDict's attributes: the module versions of a state_dict
		}
		s, ok := state.(*dict)
		if !ok {
			break
		}
		if err := mem.take(costEntry * int64(len(s.entries))); err != nil {
			return err
		}
		o.entries = append(o.entries, s.entries...)
		return nil
	case *numpyType:
		if s, ok := state.(tuple); ok && len(s) > 1 {
			o.bigEndian = s[1] == any(">")
			return nil
		}
	case opaque:
		return nil
	}
	return fmt.Errorf("%s for the state of %s: %w", kindOf(state), kindOf(object), ErrUnsupported)
}

// kindOf names a value's kind, for errors.
func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a bool"
	case int64, *big.Int:
		return "an int"
	case float64:
		return "a float"
	case string:
		return "a string"
	case bytesValue:
		return "bytes"
	case tuple:
		return "a tuple"
	case *list:
		return "a list"
	case *dict:
		return "a dictionary"
	case *tensorValue:
		return "a tensor"
	case *constructor:
		return v.name
	}
	return "an object"
}

var errArguments = fmt.Errorf("unexpected arguments: %w", ErrDamaged)

// rebuildTensor makes a view of: storage, offset, shape, strides, and then what training needs.
func rebuildTensor(args tuple, mem *budget) (any, error) {
	if len(args) < 4 {
		return nil, errArguments
	}
	s, ok := args[0].(*storage)
	if !ok {
		return nil, errArguments
	}
	if s.dtype == nil {
		return nil, fmt.Errorf("an untyped storage: %w", ErrDamaged)
	}
	return makeView(args, s, s.dtype, mem)
}

// rebuildTensorV3 has the dtype as its seventh argument; the storage is untyped.
func rebuildTensorV3(args tuple, mem *budget) (any, error) {
	if len(args) < 7 {
		return nil, errArguments
	}
	s, ok1 := args[0].(*storage)
	d, ok2 := args[6].(*dtype)
	if !ok1 || !ok2 || s.dtype != nil && s.dtype != d {
		return nil, errArguments
	}
	return makeView(args, s, d, mem)
}

func makeView(args tuple, s *storage, d *dtype, mem *budget) (any, error) {
	offset, ok1 := args[1].(int64)
	shape, ok2 := args[2].(tuple)
	strides, ok3 := args[3].(tuple)
	if !ok1 || !ok2 || !ok3 {
		return nil, errArguments
	}
	if err := mem.take(costValue * int64(len(shape)+len(strides))); err != nil {
		return nil, err
	}
	t := &tensorValue{make([]int64, len(shape)), view{s, d, offset, make([]int64, len(strides))}}
	for i, v := range shape {
		if t.shape[i], ok1 = v.(int64); !ok1 {
			return nil, errArguments
		}
	}
	for i, v := range strides {
		if t.view.strides[i], ok1 = v.(int64); !ok1 {
			return nil, errArguments
		}
	}
	return t, nil
}

// rebuildParameter: a parameter is its tensor.
func rebuildParameter(args tuple, _ *budget) (any, error) {
	if len(args) > 0 {
		if t, ok := args[0].(*tensorValue); ok {
			return t, nil
		}
	}
	return nil, errArguments
}

const rebuildFromTypeName = "_rebuild_from_type_v2"

// rebuildFromType makes a tensor with Python attributes, which are dropped: function, class, arguments, attributes.
func rebuildFromType(args tuple, mem *budget) (any, error) {
	if len(args) != 4 {
		return nil, errArguments
	}
	// It never nests, and must not recurse.
	if c, ok := args[0].(*constructor); ok && c.name == rebuildFromTypeName {
		return nil, errArguments
	}
	return construct(args[0], args[2], mem)
}

// makeSequence: set(list), frozenset(list), torch.Size(tuple).
func makeSequence(args tuple, _ *budget) (any, error) {
	switch {
	case len(args) == 0:
		return tuple(nil), nil
	case len(args) == 1:
		switch v := args[0].(type) {
		case tuple, *list:
			return v, nil
		}
	}
	return nil, errArguments
}

// makeDevice: torch.device("cuda", 0) is "cuda:0".
func makeDevice(args tuple, mem *budget) (any, error) {
	if len(args) == 0 || len(args) > 2 {
		return nil, errArguments
	}
	kind, ok := args[0].(string)
	if !ok {
		return nil, errArguments
	}
	if len(args) == 1 {
		return kind, nil
	}
	index, ok := args[1].(int64)
	if !ok {
		return nil, errArguments
	}
	if err := mem.take(int64(len(kind)) + costString); err != nil {
		return nil, err
	}
	return kind + ":" + strconv.FormatInt(index, 10), nil
}

// makeDict: OrderedDict(), defaultdict(factory).
func makeDict(args tuple, _ *budget) (any, error) {
	if len(args) > 0 {
		if _, ok := args[0].(*constructor); !ok || len(args) > 1 {
			return nil, errArguments
		}
	}
	return new(dict), nil
}

func makeNamespace(args tuple, _ *budget) (any, error) {
	if len(args) > 0 {
		return nil, errArguments
	}
	return &dict{object: true}, nil
}

// makePath: PosixPath("/", "a", "b") is "/a/b".
func makePath(args tuple, mem *budget) (any, error) {
	parts := make([]string, len(args))
	for i, a := range args {
		s, ok := a.(string)
		if !ok {
			return nil, errArguments
		}
		if err := mem.take(int64(len(s)) + costString); err != nil {
			return nil, err
		}
		parts[i] = s
	}
	if len(parts) > 1 && parts[0] == "/" {
		parts[0] = ""
	}
	return strings.Join(parts, "/"), nil
}

// makeBytes: _codecs.encode(text, "latin1"), which is how protocol 2 writes bytes, and bytearray(text, "latin-1").
func makeBytes(args tuple, mem *budget) (any, error) {
	if len(args) == 0 {
		return bytesValue(""), nil
	}
	s, ok := args[0].(string)
	if !ok || len(args) != 2 || args[1] != any("latin1") && args[1] != any("latin-1") {
		return nil, errArguments
	}
	if err := mem.take(2*int64(len(s)) + costString); err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > math.MaxUint8 {
			return nil, errArguments
		}
		b = append(b, byte(r))
	}
	return bytesValue(b), nil
}

func makeNumpyType(args tuple, _ *budget) (any, error) {
	if len(args) > 0 {
		if code, ok := args[0].(string); ok {
			return &numpyType{code: code}, nil
		}
	}
	return nil, errArguments
}

// numpyScalars are a kind and a number of bytes each.
var numpyScalars = []string{"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}

// makeNumpyScalar: scalar(dtype, bytes) becomes a bool, an integer or a float.
func makeNumpyScalar(args tuple, _ *budget) (any, error) {
	if len(args) != 2 {
		return nil, errArguments
	}
	t, ok1 := args[0].(*numpyType)
	raw, ok2 := args[1].(bytesValue)
	if !ok1 || !ok2 {
		return nil, errArguments
	}
	if t.bigEndian || !slices.Contains(numpyScalars, t.code) {
		return nil, fmt.Errorf("a numpy scalar of type %q: %w", t.code, ErrUnsupported)
	}
	if len(raw) != int(t.code[1]-'0') {
		return nil, errArguments
	}
	var b [8]byte
	copy(b[:], raw)
	v, bits := binary.LittleEndian.Uint64(b[:]), 8*len(raw)
	switch t.code {
	case "f8":
		return math.Float64frombits(v), nil
	case "f4":
		return float64(math.Float32frombits(uint32(v))), nil
	case "f2":
		return float64(float16(uint16(v))), nil
	case "b1":
		return v != 0, nil
	}
	if t.code[0] == 'i' {
		return int64(v<<(64-bits)) >> (64 - bits), nil
	}
	if v > math.MaxInt64 {
		return new(big.Int).SetUint64(v), nil
	}
	return int64(v), nil
}

func makeOpaque(tuple, *budget) (any, error) { return opaque{}, nil }

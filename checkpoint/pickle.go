package checkpoint

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/big"
	"unicode/utf8"
)

// The opcodes of pickle protocols 2 to 5 that torch.save writes, and what Python 2 wrote for strings. The names are
// those of Python's pickletools.
const (
	opMark           = '('
	opStop           = '.'
	opPop            = '0'
	opPopMark        = '1'
	opDup            = '2'
	opBinBytes       = 'B'
	opShortBinBytes  = 'C'
	opBinFloat       = 'G'
	opBinInt         = 'J'
	opBinInt1        = 'K'
	opBinInt2        = 'M'
	opNone           = 'N'
	opBinPersID      = 'Q'
	opReduce         = 'R'
	opBinString      = 'T'
	opShortBinString = 'U'
	opBinUnicode     = 'X'
	opEmptyList      = ']'
	opAppend         = 'a'
	opBuild          = 'b'
	opGlobal         = 'c'
	opAppends        = 'e'
	opBinGet         = 'h'
	opLongBinGet     = 'j'
	opBinPut         = 'q'
	opLongBinPut     = 'r'
	opSetItem        = 's'
	opTuple          = 't'
	opSetItems       = 'u'
	opEmptyDict      = '}'
	opEmptyTuple     = ')'
	opProto          = 0x80
	opNewObj         = 0x81
	opTuple1         = 0x85
	opTuple2         = 0x86
	opTuple3         = 0x87
	opNewTrue        = 0x88
	opNewFalse       = 0x89
	opLong1          = 0x8a
	opLong4          = 0x8b
	opShortBinUni    = 0x8c
	opBinUnicode8    = 0x8d
	opBinBytes8      = 0x8e
	opEmptySet       = 0x8f
	opAddItems       = 0x90
	opFrozenSet      = 0x91
	opStackGlobal    = 0x93
	opMemoize        = 0x94
	opFrame          = 0x95
	opByteArray8     = 0x96
)

const (
	maxPickle = 16 << 20 // bytes; a training run of the largest EdgeViT has 1 MB
	maxStack  = 64 << 10 // values; Python's own pickler puts at most 2,000 and the open containers there
	maxLine   = 256      // bytes of a module's or a class's name
	maxLong   = 64       // bytes of an integer
)

// What a pickle makes, beside nil, bool, int64, float64 and string: the types here and in globals.go.
type (
	bytesValue string
	tuple      []any // also torch.Size and frozenset
	list       struct{ items []any }
	dict       struct {
		entries []entry
		object  bool // an argparse.Namespace: BUILD adds to it
	}
	entry struct{ key, value any }
)

// unpickler reads pickles one after another from a stream. The first error sticks: later reads give zeros, so that an
// opcode needs one check.
type unpickler struct {
	r    *bufio.Reader
	pos  int64 // bytes read
	end  int64 // bytes that there are
	mem  *budget
	err  error
	load func(id tuple) (any, error) // persistent_load

	stack []any
	marks []int
	memo  []any
}

// newUnpickler reads from s. load resolves persistent ids.
func newUnpickler(s section, mem *budget, load func(tuple) (any, error)) *unpickler {
	end := min(s.size, maxPickle)
	return &unpickler{r: bufio.NewReader(io.NewSectionReader(s.file, s.off, end)), end: end, mem: mem, load: load}
}

// next reads one pickle and returns its value.
func (u *unpickler) next() (any, error) {
	u.stack, u.marks, u.memo = u.stack[:0], u.marks[:0], u.memo[:0]
	for {
		at := u.pos
		op := u.byte()
		if u.err == nil && op == opStop {
			v := u.pop()
			if u.err == nil {
				return v, nil
			}
		}
		if u.err == nil {
			u.step(op)
		}
		if u.err != nil {
			return nil, fmt.Errorf("pickle, byte %d: %w", at, u.err)
		}
	}
}

func (u *unpickler) step(op byte) {
	switch op {
	case opProto:
		if v := u.byte(); v < 2 || v > 5 {
			u.fail(ErrUnsupported, "protocol %d, not 2 to 5", v)
		}
	case opFrame:
		u.length(8) // frames only help to read ahead

	case opNone:
		u.push(nil)
	case opNewTrue:
		u.push(true)
	case opNewFalse:
		u.push(false)
	case opBinInt1:
		u.push(int64(u.byte()))
	case opBinInt2:
		u.push(int64(u.uint(2)))
	case opBinInt:
		u.push(int64(int32(u.uint(4))))
	case opLong1:
		u.push(u.long(u.length(1)))
	case opLong4:
		u.push(u.long(u.length(4)))
	case opBinFloat:
		u.push(math.Float64frombits(binary.BigEndian.Uint64(u.fixed(8))))

	case opShortBinUni:
		u.push(u.text(1))
	case opBinUnicode:
		u.push(u.text(4))
	case opBinUnicode8:
		u.push(u.text(8))
	case opShortBinString, opBinString: // Python 2's str: text or bytes
		n := 1
		if op == opBinString {
			n = 4
		}
		if s := u.bytes(u.length(n)); utf8.ValidString(s) {
			u.push(s)
		} else {
			u.push(bytesValue(s))
		}
	case opShortBinBytes:
		u.push(bytesValue(u.bytes(u.length(1))))
	case opBinBytes:
		u.push(bytesValue(u.bytes(u.length(4))))
	case opBinBytes8, opByteArray8:
		u.push(bytesValue(u.bytes(u.length(8))))

	case opMark:
		if len(u.marks) >= maxStack {
			u.fail(ErrDamaged, "more than %d open containers", maxStack)
		}
		u.marks = append(u.marks, len(u.stack))
	case opPop:
		// As in Python, POP also removes a mark that is on top.
		if n := len(u.marks); n > 0 && u.marks[n-1] == len(u.stack) {
			u.marks = u.marks[:n-1]
		} else {
			u.pop()
		}
	case opPopMark:
		u.popMark()
	case opDup:
		u.push(u.top())

	case opEmptyTuple:
		u.push(tuple(nil))
	case opTuple1:
		u.push(u.tuple(u.popN(1)))
	case opTuple2:
		u.push(u.tuple(u.popN(2)))
	case opTuple3:
		u.push(u.tuple(u.popN(3)))
	case opTuple, opFrozenSet:
		u.push(u.tuple(u.popMark()))

	case opEmptyList, opEmptySet:
		u.charge(costObject)
		u.push(new(list))
	case opAppend:
		u.appendTo(u.popN(1))
	case opAppends, opAddItems:
		u.appendTo(u.popMark())

	case opEmptyDict:
		u.charge(costObject)
		u.push(new(dict))
	case opSetItem:
		u.setItems(u.popN(2))
	case opSetItems:
		u.setItems(u.popMark())

	case opBinPut:
		u.put(u.uint(1))
	case opLongBinPut:
		u.put(u.uint(4))
	case opMemoize:
		u.put(uint64(len(u.memo)))
	case opBinGet:
		u.get(u.uint(1))
	case opLongBinGet:
		u.get(u.uint(4))

	case opGlobal:
		module := u.line()
		u.pushGlobal(module + "." + u.line())
	case opStackGlobal:
		v := u.popN(2)
		if u.err != nil {
			return
		}
		module, ok1 := v[0].(string)
		name, ok2 := v[1].(string)
		if !ok1 || !ok2 || len(module) > maxLine || len(name) > maxLine {
			u.fail(ErrDamaged, "STACK_GLOBAL without two names")
			return
		}
		u.pushGlobal(module + "." + name)
	case opReduce, opNewObj:
		v := u.popN(2)
		if u.err != nil {
			return
		}
		made, err := construct(v[0], v[1], u.mem)
		u.pushOr(made, err)
	case opBuild:
		v := u.popN(1)
		if u.err == nil {
			u.check(build(u.top(), v[0], u.mem))
		}
	case opBinPersID:
		id, ok := u.pop().(tuple)
		if !ok {
			u.fail(ErrDamaged, "a persistent id that is not a tuple")
			return
		}
		v, err := u.load(id)
		u.pushOr(v, err)

	default:
		u.fail(ErrUnsupported, "opcode 0x%02x, which torch.save does not write", op)
	}
}

func (u *unpickler) check(err error) {
	if u.err == nil {
		u.err = err
	}
}

func (u *unpickler) fail(kind error, format string, args ...any) {
	u.check(fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), kind))
}

func (u *unpickler) charge(n int64) { u.check(u.mem.take(n)) }

// available reports whether n more bytes may be read, and counts them as read.
func (u *unpickler) available(n int64) bool {
	if u.err != nil {
		return false
	}
	if n > u.end-u.pos {
		if u.end == maxPickle {
			u.fail(ErrTooLarge, "more than %d bytes of pickle", maxPickle)
		} else {
			u.fail(ErrDamaged, "%d bytes expected, %d left", n, u.end-u.pos)
		}
		return false
	}
	u.pos += n
	return true
}

// fixed reads n <= 8 bytes.
func (u *unpickler) fixed(n int) []byte {
	b := make([]byte, 8)[:n]
	if u.available(int64(n)) {
		_, err := io.ReadFull(u.r, b)
		u.check(err)
	}
	return b
}

func (u *unpickler) byte() byte {
	if !u.available(1) {
		return 0
	}
	b, err := u.r.ReadByte()
	u.check(err)
	return b
}

// uint reads a little-endian number of n <= 8 bytes.
func (u *unpickler) uint(n int) uint64 {
	var b [8]byte
	copy(b[:], u.fixed(n))
	return binary.LittleEndian.Uint64(b[:])
}

// length reads a length of n bytes; it is at most what is left.
func (u *unpickler) length(n int) int64 {
	v := u.uint(n)
	if u.err == nil && v > uint64(u.end-u.pos) {
		u.fail(ErrDamaged, "a length of %d, with %d bytes left", v, u.end-u.pos)
		return 0
	}
	return int64(v)
}

// bytes reads n bytes.
func (u *unpickler) bytes(n int64) string {
	u.charge(costString + 2*n)
	if !u.available(n) {
		return ""
	}
	b := make([]byte, n)
	_, err := io.ReadFull(u.r, b)
	u.check(err)
	return string(b)
}

// text reads UTF-8 after its length of n bytes.
func (u *unpickler) text(n int) string {
	s := u.bytes(u.length(n))
	if !utf8.ValidString(s) {
		u.fail(ErrDamaged, "a string that is not UTF-8")
	}
	return s
}

// long reads a two's complement integer of n bytes: int64, or *big.Int where it doesn't fit.
func (u *unpickler) long(n int64) any {
	if n > maxLong {
		u.fail(ErrUnsupported, "an integer of %d bytes", n)
		return nil
	}
	b := []byte(u.bytes(n))
	negative := len(b) > 0 && b[len(b)-1] >= 0x80
	if n <= 8 {
		var v uint64
		if negative {
			v = math.MaxUint64
		}
		for i := len(b) - 1; i >= 0; i-- {
			v = v<<8 | uint64(b[i])
		}
		return int64(v)
	}
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	u.charge(costObject)
	v := new(big.Int).SetBytes(b)
	if negative {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	return v
}

// line reads a name up to a newline.
func (u *unpickler) line() string {
	var b []byte
	for u.err == nil {
		c := u.byte()
		if c == '\n' {
			return string(b)
		}
		if b = append(b, c); len(b) > maxLine {
			u.fail(ErrDamaged, "a name of more than %d bytes", maxLine)
		}
	}
	return ""
}

func (u *unpickler) push(v any) {
	u.charge(costValue)
	if len(u.stack) >= maxStack {
		u.fail(ErrDamaged, "more than %d values on the stack", maxStack)
		return
	}
	u.stack = append(u.stack, v)
}

func (u *unpickler) pushOr(v any, err error) {
	u.check(err)
	u.push(v)
}

// floor is where the innermost open container begins; what lies below can't be popped.
func (u *unpickler) floor() int {
	if n := len(u.marks); n > 0 {
		return u.marks[n-1]
	}
	return 0
}

// popN takes n values off the stack. They stay valid until the next push; with an error there are none.
func (u *unpickler) popN(n int) []any {
	i := len(u.stack) - n
	if i < u.floor() {
		u.fail(ErrDamaged, "the stack is empty")
	}
	if u.err != nil {
		return nil
	}
	v := u.stack[i:]
	u.stack = u.stack[:i]
	return v
}

func (u *unpickler) pop() any {
	if v := u.popN(1); v != nil {
		return v[0]
	}
	return nil
}

func (u *unpickler) popMark() []any {
	if len(u.marks) == 0 {
		u.fail(ErrDamaged, "no mark on the stack")
		return nil
	}
	n := len(u.stack) - u.floor()
	v := u.popN(n)
	u.marks = u.marks[:len(u.marks)-1]
	return v
}

func (u *unpickler) top() any {
	if len(u.stack) <= u.floor() {
		u.fail(ErrDamaged, "the stack is empty")
		return nil
	}
	return u.stack[len(u.stack)-1]
}

func (u *unpickler) tuple(v []any) tuple {
	u.charge(costObject + costValue*int64(len(v)))
	if u.err != nil {
		return nil
	}
	return append(tuple(nil), v...)
}

func (u *unpickler) appendTo(v []any) {
	l, ok := u.top().(*list)
	if !ok {
		u.fail(ErrDamaged, "an item for what is not a list")
	}
	u.charge(costItem * int64(len(v)))
	if u.err == nil {
		l.items = append(l.items, v...)
	}
}

func (u *unpickler) setItems(v []any) {
	d, ok := u.top().(*dict)
	if !ok {
		u.fail(ErrDamaged, "an entry for what is not a dictionary")
	}
	if len(v)%2 != 0 {
		u.fail(ErrDamaged, "a key without a value")
	}
	u.charge(costEntry * int64(len(v)/2))
	if u.err != nil {
		return
	}
	for i := 0; i < len(v); i += 2 {
		d.entries = append(d.entries, entry{v[i], v[i+1]})
	}
}

// put memoises the top of the stack. Picklers number in order, from 0, Python 2's from 1.
func (u *unpickler) put(i uint64) {
	v := u.top()
	if i > uint64(len(u.memo))+1 {
		u.fail(ErrDamaged, "memo entry %d after %d", i, len(u.memo))
	}
	for u.err == nil && uint64(len(u.memo)) <= i {
		u.charge(costItem)
		u.memo = append(u.memo, nil)
	}
	if u.err == nil {
		u.memo[i] = v
	}
}

func (u *unpickler) get(i uint64) {
	if i >= uint64(len(u.memo)) {
		u.fail(ErrDamaged, "memo entry %d of %d", i, len(u.memo))
		return
	}
	u.push(u.memo[i])
}

func (u *unpickler) pushGlobal(name string) {
	if u.err != nil {
		return
	}
	v, err := global(name)
	u.pushOr(v, err)
}

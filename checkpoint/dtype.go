package checkpoint

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// A dtype is an element type of a storage. It is used by pointer and compared so.
type dtype struct {
	name string // torch's, without "torch."
	size int64  // bytes of one element
	// decode converts the little-endian elements of src; len(src) = size·len(dst).
	decode func(dst []float32, src []byte)
}

var (
	typeFloat32  = &dtype{"float32", 4, decode32(math.Float32frombits)}
	typeFloat64  = &dtype{"float64", 8, decode64(func(v uint64) float32 { return float32(math.Float64frombits(v)) })}
	typeFloat16  = &dtype{"float16", 2, decode16(float16)}
	typeBfloat16 = &dtype{"bfloat16", 2, decode16(func(v uint16) float32 { return math.Float32frombits(uint32(v) << 16) })}
	typeInt64    = &dtype{"int64", 8, decode64(func(v uint64) float32 { return float32(int64(v)) })}
	typeInt32    = &dtype{"int32", 4, decode32(func(v uint32) float32 { return float32(int32(v)) })}
	typeInt16    = &dtype{"int16", 2, decode16(func(v uint16) float32 { return float32(int16(v)) })}
	typeInt8     = &dtype{"int8", 1, decode8(func(v byte) float32 { return float32(int8(v)) })}
	typeUint64   = &dtype{"uint64", 8, decode64(func(v uint64) float32 { return float32(v) })}
	typeUint32   = &dtype{"uint32", 4, decode32(func(v uint32) float32 { return float32(v) })}
	typeUint16   = &dtype{"uint16", 2, decode16(func(v uint16) float32 { return float32(v) })}
	typeUint8    = &dtype{"uint8", 1, decode8(func(v byte) float32 { return float32(v) })}
	typeBool     = &dtype{"bool", 1, decode8(func(v byte) float32 {
		if v != 0 {
			return 1
		}
		return 0
	})}
)

// littleEndian says whether a float32 in memory is as in a file.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// bytesOf is the memory of values, which is as in a file where littleEndian.
func bytesOf(values []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
}

func decode64(f func(uint64) float32) func([]float32, []byte) {
	return func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = f(binary.LittleEndian.Uint64(src[8*i:]))
		}
	}
}

func decode32(f func(uint32) float32) func([]float32, []byte) {
	return func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = f(binary.LittleEndian.Uint32(src[4*i:]))
		}
	}
}

func decode16(f func(uint16) float32) func([]float32, []byte) {
	return func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = f(binary.LittleEndian.Uint16(src[2*i:]))
		}
	}
}

func decode8(f func(byte) float32) func([]float32, []byte) {
	return func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = f(src[i])
		}
	}
}

// float16 converts an IEEE 754 binary16; every one is exact in float32.
func float16(v uint16) float32 {
	sign, exp, frac := uint32(v>>15)<<31, uint32(v>>10)&31, uint32(v)&1023
	switch exp {
	case 0: // zero or subnormal: frac · 2⁻²⁴
		f := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 31: // infinity or NaN
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp-15+127)<<23 | frac<<13)
}

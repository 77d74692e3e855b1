//go:build !purego

package kernel

import "unsafe"

// tilePixels is how many pixels the depthwise kernels compute at once: the sums
// fit the registers beside a row of the kernel, and 7 divides the side of every
// feature map of an EdgeViT at 224 pixels.
const tilePixels = 7

// vectorsOf says whether the vector kernels take a filter, which has at least
// the channels of a vector.
func vectorsOf(kernel, c, lanes int) bool { return (kernel == 3 || kernel == 5) && c >= lanes }

func packFilterAVX512(weight, bias []float32, kernel, c int) *Filter {
	if !vectorsOf(kernel, c, lanes) {
		return packFilterAVX2(weight, bias, kernel, c)
	}
	return packFilterVectors(weight, bias, kernel, c, lanes)
}

func packFilterAVX2(weight, bias []float32, kernel, c int) *Filter {
	if !vectorsOf(kernel, c, lanesAVX2) {
		return packFilterGeneric(weight, bias, kernel, c)
	}
	return packFilterVectors(weight, bias, kernel, c, lanesAVX2)
}

// packFilterVectors lays out for each vector of channels its bias and its taps,
// [vectors][1+kernel²][lanes]; the last vector ends with the channels.
func packFilterVectors(weight, bias []float32, kernel, c, lanes int) *Filter {
	taps := kernel * kernel
	f := &Filter{Kernel: kernel, C: c, values: Floats((c + lanes - 1) / lanes * (1 + taps) * lanes)}
	to := f.values
	for first := 0; first < c; first += lanes {
		from := min(first, c-lanes)
		copy(to, bias[from:][:lanes])
		for t := range taps {
			copy(to[(1+t)*lanes:], weight[t*c+from:][:lanes])
		}
		to = to[(1+taps)*lanes:]
	}
	return f
}

// depthwiseRow is the argument of the depthwise kernels. The layout is known to
// _asm.
type depthwiseRow struct {
	dst, weight unsafe.Pointer
	c           uintptr // bytes of a pixel
	vectors     int     // of its channels
	last        uintptr // bytes to the last one
	tiles       int
	step        uintptr // bytes from a tile to the next
	lastStep    uintptr // to the last one
	lines       [5]unsafe.Pointer
}

func depthwiseRowOf(d DepthwiseArgs, lanes int) (r depthwiseRow, pixels int) {
	f := d.Filter
	pixels = tilePixels
	if d.W < tilePixels {
		pixels = 1
	}
	n, c, tiles := d.W*f.C, uintptr(f.C)*4, (d.W+pixels-1)/pixels
	r = depthwiseRow{
		dst: pointer(d.Dst[:n]), weight: pointer(f.values), c: c, vectors: (f.C + lanes - 1) / lanes, last: uintptr(f.C-lanes) * 4,
		tiles: tiles, step: uintptr(pixels) * c, lastStep: uintptr(d.W-pixels-max(tiles-2, 0)*pixels) * c,
	}
	for i, line := range d.Lines {
		r.lines[i] = pointer(line[:n+(f.Kernel-1)*f.C])
	}
	return r, pixels
}

func depthwiseRowsAVX512(d DepthwiseArgs) {
	if !vectorsOf(d.Filter.Kernel, d.Filter.C, lanes) {
		depthwiseRowsAVX2(d)
		return
	}
	r, pixels := depthwiseRowOf(d, lanes)
	p := (*byte)(unsafe.Pointer(&r))
	switch d.Filter.Kernel<<3 | pixels {
	case 3<<3 | 1:
		depthwiseAVX512x3x1(p)
	case 3<<3 | 7:
		depthwiseAVX512x3x7(p)
	case 5<<3 | 1:
		depthwiseAVX512x5x1(p)
	case 5<<3 | 7:
		depthwiseAVX512x5x7(p)
	}
}

func depthwiseRowsAVX2(d DepthwiseArgs) {
	if !vectorsOf(d.Filter.Kernel, d.Filter.C, lanesAVX2) {
		depthwiseGeneric(d)
		return
	}
	r, pixels := depthwiseRowOf(d, lanesAVX2)
	p := (*byte)(unsafe.Pointer(&r))
	switch d.Filter.Kernel<<3 | pixels {
	case 3<<3 | 1:
		depthwiseAVX2x3x1(p)
	case 3<<3 | 7:
		depthwiseAVX2x3x7(p)
	case 5<<3 | 1:
		depthwiseAVX2x5x1(p)
	case 5<<3 | 7:
		depthwiseAVX2x5x7(p)
	}
}

//go:build !purego

package kernel

import (
	"slices"
	"unsafe"
)

// Tables lists every set that this processor runs, the fastest last. NEON is
// part of every arm64.
func Tables() []*Table { return []*Table{&Generic, &neon} }

// neon has the products and the depthwise convolutions in vectors of 4; the
// rest is portable.
var neon = func() Table {
	t := Generic
	t.Name, t.Rows = "neon", rowsNEON
	t.Pack, t.Gemm = packNEON, gemmTilesNEON
	t.PackFilter, t.Depthwise = packFilterNEON, depthwiseRowsNEON
	t.Probes = map[string]Probe{"fp32": {"neon FMLA", probeNEON, 24 * 2 * lanesNEON}}
	return t
}()

const (
	rowsNEON  = 4
	panelNEON = 16
	lanesNEON = 4
	// maxTapsNEON is that of a 7x7 kernel; larger ones run the portable code.
	maxTapsNEON = 49
)

//go:noescape
func gemmNEON(t *neonTile)

//go:noescape
func depthwiseNEON(t *neonRow)

func probeNEON(rounds int)

// neonTile is the argument of gemmNEON, known to neon_arm64.s. Strides are in
// bytes.
type neonTile struct {
	dst         unsafe.Pointer
	ldDst       uintptr
	a           [rowsNEON]unsafe.Pointer
	b, bias     unsafe.Pointer
	k, segments int
	segmentStep uintptr
}

func pointer(x []float32) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(x)) }

// packNEON lays b out in panels of 16 columns, [k][16], the last one padded
// with zeros.
func packNEON(b, bias []float32, k, n int) *Matrix {
	panels := (n + panelNEON - 1) / panelNEON
	m := &Matrix{K: k, N: n, values: Floats(panels * k * panelNEON), bias: Floats(panels * panelNEON)}
	copy(m.bias, bias)
	for p := range panels {
		for i := range k {
			copy(m.values[(p*k+i)*panelNEON:][:min(panelNEON, n-p*panelNEON)], b[i*n+p*panelNEON:])
		}
	}
	return m
}

// gemmTilesNEON computes tiles in place where they are whole, else beside.
func gemmTilesNEON(g GemmArgs) {
	g.plain()
	k, n := g.B.K, g.B.N
	piece := k / g.Segments
	var beside [rowsNEON * panelNEON]float32
	t := neonTile{k: piece, segments: g.Segments, segmentStep: uintptr(g.SegmentStep-piece) * 4}
	for j := 0; j < n; j += panelNEON {
		t.bias = pointer(g.B.bias[j:])
		cols := min(panelNEON, n-j)
		for i := 0; i < g.M; i += rowsNEON {
			rows := min(rowsNEON, g.M-i)
			for r := range rowsNEON {
				// Rows past the end repeat the last one; their sums are dropped.
				row := i + min(r, rows-1)
				t.a[r] = pointer(g.A[row/g.GroupRows*g.GroupStep+row%g.GroupRows*g.LdA:][:(g.Segments-1)*g.SegmentStep+piece])
			}
			t.b = pointer(g.B.values[j*k:])
			whole := rows == rowsNEON && cols == panelNEON && !g.GELU && g.Residual == nil
			if whole {
				t.dst, t.ldDst = pointer(g.Dst[i*g.LdDst+j:][:(rowsNEON-1)*g.LdDst+panelNEON]), uintptr(g.LdDst)*4
				gemmNEON(&t)
				continue
			}
			t.dst, t.ldDst = unsafe.Pointer(&beside), panelNEON*4
			gemmNEON(&t)
			for r := range rows {
				dst := g.Dst[(i+r)*g.LdDst+j:][:cols]
				for c := range dst {
					v := beside[r*panelNEON+c]
					if g.GELU {
						v = gelu(v)
					}
					if g.Residual != nil {
						v += g.Residual[(i+r)*g.LdRes+j+c]
					}
					dst[c] = v
				}
			}
		}
	}
}

// neonRow is the argument of depthwiseNEON, known to neon_arm64.s.
type neonRow struct {
	dst, weight, lines    unsafe.Pointer
	taps, vectors, period int
}

// packFilterNEON repeats the channels until a period of whole vectors:
// [period][1+kernel²][4], the bias first.
func packFilterNEON(weight, bias []float32, kernel, c int) *Filter {
	if kernel*kernel > maxTapsNEON {
		return packFilterGeneric(weight, bias, kernel, c)
	}
	f := &Filter{Kernel: kernel, C: c}
	for p := range periodNEON(c) {
		for t := range 1 + kernel*kernel {
			for i := range lanesNEON {
				channel := (p*lanesNEON + i) % c
				if t == 0 {
					f.values = append(f.values, bias[channel])
				} else {
					f.values = append(f.values, weight[(t-1)*c+channel])
				}
			}
		}
	}
	f.values = slices.Clip(f.values)
	return f
}

// periodNEON is after how many vectors the channels repeat.
func periodNEON(c int) int {
	period := c
	for _, d := range []int{2, 2} {
		if period%d == 0 {
			period /= d
		}
	}
	return period
}

func depthwiseRowsNEON(d DepthwiseArgs) {
	f := d.Filter
	taps, n := f.Kernel*f.Kernel, d.W*f.C
	if taps > maxTapsNEON {
		depthwiseGeneric(d)
		return
	}
	var lines [maxTapsNEON]unsafe.Pointer
	for ky, line := range d.Lines {
		for kx := range f.Kernel {
			lines[ky*f.Kernel+kx] = pointer(line[kx*f.C:][:n+LineSlack/2])
		}
	}
	r := neonRow{dst: pointer(d.Dst[:n]), weight: pointer(f.values), lines: unsafe.Pointer(&lines), taps: taps, vectors: n / lanesNEON, period: periodNEON(f.C)}
	if r.vectors > 0 {
		depthwiseNEON(&r)
	}
	for i := n / lanesNEON * lanesNEON; i < n; i++ {
		at := i / lanesNEON % r.period * (1 + taps) * lanesNEON
		sum := f.values[at+i%lanesNEON]
		for t := range taps {
			sum += f.values[at+(1+t)*lanesNEON+i%lanesNEON] * d.Lines[t/f.Kernel][i+t%f.Kernel*f.C]
		}
		d.Dst[i] = sum
	}
}

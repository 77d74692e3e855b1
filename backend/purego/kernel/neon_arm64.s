//go:build !purego

#include "textflag.h"

// func gemmNEON(t *neonTile)
//
// Four rows by 16 columns: the sums are V16..V31, a row of b V0..V3, the
// values of a, each in all lanes, V4..V7.
TEXT ·gemmNEON(SB), NOSPLIT, $0-8
	MOVD t+0(FP), R0
	MOVD 0(R0), R1   // dst
	MOVD 8(R0), R2   // bytes between its rows
	MOVD 16(R0), R3  // the rows of a
	MOVD 24(R0), R4
	MOVD 32(R0), R5
	MOVD 40(R0), R6
	MOVD 48(R0), R7  // b
	MOVD 56(R0), R8  // bias
	MOVD 64(R0), R9  // values of a segment
	MOVD 72(R0), R10 // segments
	MOVD 80(R0), R11 // bytes from the end of one to the next

	VLD1 (R8), [V16.S4, V17.S4, V18.S4, V19.S4]
	VMOV V16.B16, V20.B16
	VMOV V17.B16, V21.B16
	VMOV V18.B16, V22.B16
	VMOV V19.B16, V23.B16
	VMOV V16.B16, V24.B16
	VMOV V17.B16, V25.B16
	VMOV V18.B16, V26.B16
	VMOV V19.B16, V27.B16
	VMOV V16.B16, V28.B16
	VMOV V17.B16, V29.B16
	VMOV V18.B16, V30.B16
	VMOV V19.B16, V31.B16

segment:
	MOVD R9, R12

loop:
	VLD1.P  64(R7), [V0.S4, V1.S4, V2.S4, V3.S4]
	VLD1R.P 4(R3), [V4.S4]
	VLD1R.P 4(R4), [V5.S4]
	VLD1R.P 4(R5), [V6.S4]
	VLD1R.P 4(R6), [V7.S4]
	VFMLA   V0.S4, V4.S4, V16.S4
	VFMLA   V1.S4, V4.S4, V17.S4
	VFMLA   V2.S4, V4.S4, V18.S4
	VFMLA   V3.S4, V4.S4, V19.S4
	VFMLA   V0.S4, V5.S4, V20.S4
	VFMLA   V1.S4, V5.S4, V21.S4
	VFMLA   V2.S4, V5.S4, V22.S4
	VFMLA   V3.S4, V5.S4, V23.S4
	VFMLA   V0.S4, V6.S4, V24.S4
	VFMLA   V1.S4, V6.S4, V25.S4
	VFMLA   V2.S4, V6.S4, V26.S4
	VFMLA   V3.S4, V6.S4, V27.S4
	VFMLA   V0.S4, V7.S4, V28.S4
	VFMLA   V1.S4, V7.S4, V29.S4
	VFMLA   V2.S4, V7.S4, V30.S4
	VFMLA   V3.S4, V7.S4, V31.S4
	SUBS    $1, R12, R12
	BNE     loop
	SUBS    $1, R10, R10
	BEQ     done
	ADD     R11, R3, R3
	ADD     R11, R4, R4
	ADD     R11, R5, R5
	ADD     R11, R6, R6
	B       segment

done:
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (R1)
	ADD  R2, R1, R1
	VST1 [V20.S4, V21.S4, V22.S4, V23.S4], (R1)
	ADD  R2, R1, R1
	VST1 [V24.S4, V25.S4, V26.S4, V27.S4], (R1)
	ADD  R2, R1, R1
	VST1 [V28.S4, V29.S4, V30.S4, V31.S4], (R1)
	RET

// func depthwiseNEON(t *neonRow)
//
// Vectors of 4 along a row of pixels and channels: bias, then each tap.
TEXT ·depthwiseNEON(SB), NOSPLIT, $0-8
	MOVD t+0(FP), R0
	MOVD 0(R0), R1  // dst
	MOVD 8(R0), R2  // weights
	MOVD 16(R0), R3 // where each tap's line begins
	MOVD 24(R0), R4 // taps
	MOVD 32(R0), R5 // vectors
	MOVD 40(R0), R6 // vectors of a period
	MOVD R2, R7
	MOVD R6, R8
	MOVD $0, R9     // bytes from the start of the lines

vector:
	VLD1.P 16(R7), [V0.S4]
	MOVD   R3, R10
	MOVD   R4, R11

tap:
	MOVD.P 8(R10), R12
	ADD    R9, R12, R12
	VLD1   (R12), [V1.S4]
	VLD1.P 16(R7), [V2.S4]
	VFMLA  V1.S4, V2.S4, V0.S4
	SUBS   $1, R11, R11
	BNE    tap
	VST1.P [V0.S4], 16(R1)
	ADD    $16, R9, R9
	SUBS   $1, R8, R8
	BNE    same
	MOVD   R2, R7
	MOVD   R6, R8

same:
	SUBS $1, R5, R5
	BNE  vector
	RET

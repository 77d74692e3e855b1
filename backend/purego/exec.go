package purego

import (
	"context"
	"time"

	"edgevit/backend/purego/kernel"
)

// exec is the memory and the team of goroutines of one Run at a time.
type exec struct {
	plan    *plan
	arena   []float32
	scratch [][]float32   // per worker
	lines   [][]float32   // per worker: padded input rows of a depthwise kernel
	window  [][][]float32 // per worker: the lines in the order of the kernel
	stats   []float64     // partial sums of norms over a whole feature map
	in, out []float32     // of the image in progress

	// Worker 0 is the goroutine that calls run. The others wait for the number
	// of a step, do their share of it and say so.
	start []chan int
	done  chan struct{}
}

func newExec(p *plan) *exec {
	x := &exec{
		plan: p, arena: kernel.Floats(p.arena), stats: make([]float64, 2*statChunks),
		done: make(chan struct{}, p.threads),
	}
	for w := range p.threads {
		x.scratch = append(x.scratch, kernel.Floats(p.scratch))
		x.lines = append(x.lines, kernel.Floats(p.lines))
		x.window = append(x.window, make([][]float32, p.kernel))
		if w == 0 {
			continue
		}
		start := make(chan int)
		x.start = append(x.start, start)
		go func() {
			for i := range start {
				p.steps[i].run(x, w)
				x.done <- struct{}{}
			}
		}()
	}
	return x
}

// close ends the team.
func (x *exec) close() {
	for _, c := range x.start {
		close(c)
	}
}

// run takes one image through the plan; times, if not nil, gets the duration of
// each step.
func (x *exec) run(ctx context.Context, in, out []float32, times []time.Duration) error {
	x.in, x.out = in, out
	for i, s := range x.plan.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		var begin time.Time
		if times != nil {
			begin = time.Now()
		}
		if s.serial() {
			s.run(x, 0)
		} else {
			for _, c := range x.start {
				c <- i
			}
			s.run(x, 0)
			for range x.start {
				<-x.done
			}
		}
		if times != nil {
			times[i] = time.Since(begin)
		}
	}
	return nil
}

// place says where a value lives during a run.
type place struct {
	kind   placeKind
	offset int
}

type placeKind uint8

const (
	inArena placeKind = iota
	inInput
	inOutput
	inScratch // of the worker; holds one tile of rows
)

// slice is the memory from the start of a value that is not in scratch.
func (x *exec) slice(p place) []float32 {
	switch p.kind {
	case inInput:
		return x.in
	case inOutput:
		return x.out
	}
	return x.arena[p.offset:]
}

// rows is the memory from the given row, of c values, of a value; in scratch a
// tile starts at row 0.
func (x *exec) rows(p place, worker, row, c int) []float32 {
	if p.kind == inScratch {
		return x.scratch[worker][p.offset:]
	}
	return x.slice(p)[row*c:]
}

// share splits n items among the workers: worker w does [from, to).
func share(n, workers, w int) (from, to int) {
	return n * w / workers, n * (w + 1) / workers
}

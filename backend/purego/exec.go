package purego

import (
	"context"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"edgevit/backend/purego/kernel"
)

// exec is the memory and the team of goroutines of one Run at a time. It takes
// up to room images through the plan at once: every value is [n H W C], and the
// tiles of a step are those of all images.
type exec struct {
	plan    *plan
	room    int
	images  int // in progress
	arena   []float32
	scratch [][]float32   // per worker
	lines   [][]float32   // per worker: padded input rows of a depthwise kernel
	window  [][][]float32 // per worker: the lines in the order of the kernel
	bytes   [][]uint8     // per worker: a tile of quantized rows
	scales  [][]float32   // per worker: their scales
	halves  [][]uint16    // per worker: a tile of rounded rows
	stats   []float64     // partial sums of norms over a whole feature map
	in, out []float32     // of the images in progress

	// Worker 0 is the goroutine that calls run; the others sleep between runs.
	start  []chan *round
	rounds []*round
}

// round is one run of the team: which tiles of which step are claimed and done.
// Tiles are claimed one by one, and a step ends when its tiles are done, not
// when every worker has come: a worker that the operating system has put aside
// delays nobody, as long as it holds no tile.
type round struct {
	images int
	steps  []progress
	labels []context.Context // of each step, for a profiler; nil: none
	active atomic.Int32      // workers that look at this round
	stop   atomic.Bool
}

type progress struct {
	next, done atomic.Int32
	_          [56]byte // a cache line each
}

func newExec(p *plan, room int) *exec {
	x := &exec{plan: p, room: room, arena: kernel.Floats(p.arena * room), stats: make([]float64, 2*statChunks*room)}
	for w := range p.threads {
		x.scratch = append(x.scratch, kernel.Floats(p.scratch))
		x.lines = append(x.lines, kernel.Floats(p.lines))
		x.window = append(x.window, make([][]float32, p.kernel))
		x.bytes = append(x.bytes, make([]uint8, p.bytes))
		x.scales = append(x.scales, make([]float32, p.scales))
		x.halves = append(x.halves, make([]uint16, p.halves))
		if w == 0 {
			continue
		}
		start := make(chan *round, 1)
		x.start = append(x.start, start)
		go func() {
			for {
				r := await(start)
				if r == nil {
					return
				}
				for i := range x.plan.steps {
					if !x.step(r, i, w) {
						break
					}
				}
				if r.labels != nil {
					pprof.SetGoroutineLabels(context.Background())
				}
				r.active.Add(-1)
			}
		}()
	}
	return x
}

// maxLinger is how often a worker looks for the next round before it sleeps:
// some ten microseconds. Waking it takes as long, half of the first step.
const maxLinger = 1 << 13

// await returns the next round, nil if there is none any more.
func await(start <-chan *round) *round {
	for range maxLinger {
		select {
		case r := <-start:
			return r
		default:
		}
	}
	return <-start
}

// close ends the team.
func (x *exec) close() {
	for _, c := range x.start {
		close(c)
	}
}

// begin returns a round that no worker looks at any more, and wakes the team. A
// worker that is still on its way through an earlier round is left out.
func (x *exec) begin(images int, labels []context.Context) *round {
	var r *round
	for _, old := range x.rounds {
		if old.active.Load() == 0 {
			r = old
			break
		}
	}
	if r == nil {
		r = &round{steps: make([]progress, len(x.plan.steps))}
		x.rounds = append(x.rounds, r)
	}
	for i := range r.steps {
		r.steps[i].next.Store(0)
		r.steps[i].done.Store(0)
	}
	r.images, r.labels = images, labels
	r.stop.Store(false)
	for _, c := range x.start {
		r.active.Add(1)
		select {
		case c <- r:
		default:
			r.active.Add(-1)
		}
	}
	return r
}

// watch is what a profiled run tells: the duration of each step, and to a CPU
// profile which step a goroutine is at.
type watch struct {
	times  []time.Duration
	labels []context.Context // nil: none
}

// run takes images, at most x.room, through the plan; w may be nil.
func (x *exec) run(ctx context.Context, images int, in, out []float32, w *watch) error {
	x.images, x.in, x.out = images, in, out
	var labels []context.Context
	if w != nil && w.labels != nil {
		labels = w.labels
		defer pprof.SetGoroutineLabels(ctx)
	}
	r := x.begin(images, labels)
	for i := range x.plan.steps {
		if err := ctx.Err(); err != nil {
			r.stop.Store(true)
			wait(func() bool { return r.active.Load() == 0 })
			return err
		}
		var begin time.Time
		if w != nil {
			begin = time.Now()
		}
		x.step(r, i, 0)
		if w != nil {
			w.times[i] = time.Since(begin)
		}
	}
	return nil
}

// step does tiles of step i as worker w until all are claimed, and waits until
// all are done. It returns false if the round is stopped.
func (x *exec) step(r *round, i, w int) bool {
	s, p := x.plan.steps[i], &r.steps[i]
	n := int32(s.tiles(r.images))
	if r.labels != nil {
		pprof.SetGoroutineLabels(r.labels[i])
	}
	for !r.stop.Load() {
		tile := p.next.Add(1) - 1
		if tile >= n {
			break
		}
		s.run(x, w, int(tile))
		p.done.Add(1)
	}
	wait(func() bool { return p.done.Load() >= n || r.stop.Load() })
	return !r.stop.Load()
}

// maxSpins is how often a waiting worker looks before it sleeps between looks:
// some hundred microseconds.
const maxSpins = 1 << 17

// wait spins: steps are microseconds apart, and a sleep would cost more than
// one. A longer wait means that another worker has been put aside by the
// operating system: a core left idle is where it can go on.
func wait(done func() bool) {
	for spins := 0; !done(); spins++ {
		if spins > maxSpins {
			time.Sleep(20 * time.Microsecond)
		}
	}
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
	return x.arena[p.offset*x.room:]
}

// imageSlice is slice from the start of one image's value of the given length.
func (x *exec) imageSlice(p place, image, length int) []float32 {
	return x.slice(p)[image*length:]
}

// rows is the memory from the given row, of c values, of a value; in scratch a
// tile starts at row 0.
func (x *exec) rows(p place, worker, row, c int) []float32 {
	if p.kind == inScratch {
		return x.scratch[worker][p.offset:]
	}
	return x.slice(p)[row*c:]
}

// share splits n items into equal parts: part i is [from, to).
func share(n, parts, i int) (from, to int) {
	return n * i / parts, n * (i + 1) / parts
}

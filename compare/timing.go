package compare

import (
	"context"
	"math/rand/v2"
	"time"
)

// Timed runs a target once and says how long that took.
type Timed func(ctx context.Context) (time.Duration, error)

// Interleave times every target once in each round, in an order that is drawn
// anew for each, so that drift and other load meet all targets alike. The
// order is the same for the same seed. Times are in milliseconds by target and
// round. A target that fails is not run again and has an error in place of
// times; where ctx has ended, so have all targets.
//
// There are fewer rounds where ctx has a deadline that another round, half as
// long again as the longest, would pass.
func Interleave(ctx context.Context, targets []Timed, rounds int, seed uint64) (times [][]float64, errs []error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	times, errs = make([][]float64, len(targets)), make([]error, len(targets))
	var longest time.Duration
	for round := range rounds {
		begin := time.Now()
		if end, limited := ctx.Deadline(); limited && round > 0 && begin.Add(longest*3/2).After(end) {
			break
		}
		for _, i := range rng.Perm(len(targets)) {
			if errs[i] == nil {
				errs[i] = ctx.Err()
			}
			if errs[i] != nil {
				continue
			}
			var d time.Duration
			if d, errs[i] = targets[i](ctx); errs[i] == nil {
				times[i] = append(times[i], float64(d)/float64(time.Millisecond))
			}
		}
		longest = max(longest, time.Since(begin))
	}
	for i, err := range errs {
		if err != nil {
			times[i] = nil
		}
	}
	return times, errs
}

// Timing sums up the times of one target in milliseconds.
type Timing struct {
	Median Interval
	// Ratio is the median of the target's times over the reference's, paired
	// by round.
	Ratio Interval
}

// TimingOf sums up times, which are paired with reference by round.
func TimingOf(times, reference []float64, seed uint64) Timing {
	ratios := make([]float64, min(len(times), len(reference)))
	for i := range ratios {
		// A clock may not see a run shorter than its step.
		ratios[i] = max(times[i], clockStep) / max(reference[i], clockStep)
	}
	return Timing{Median: BootstrapMedian(times, seed), Ratio: BootstrapMedian(ratios, seed)}
}

// clockStep is the shortest time that is told apart from none, 1 ns in ms.
const clockStep = 1e-6

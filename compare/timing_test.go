package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// recorder makes targets that write their index down and take (index+1) ms.
func recorder(n int, order *[]int) []Timed {
	var targets []Timed
	for i := range n {
		targets = append(targets, func(context.Context) (time.Duration, error) {
			*order = append(*order, i)
			return time.Duration(i+1) * time.Millisecond, nil
		})
	}
	return targets
}

func TestInterleave(t *testing.T) {
	const n, rounds = 3, 40
	var order []int
	times, errs := Interleave(t.Context(), recorder(n, &order), rounds, 1)
	orders := map[string]bool{}
	for r := range rounds {
		round := slices.Clone(order[r*n : (r+1)*n])
		orders[fmt.Sprint(round)] = true
		if slices.Sort(round); !slices.Equal(round, []int{0, 1, 2}) {
			t.Errorf("round %d ran %v, want each target once", r, round)
		}
	}
	if len(orders) != 6 {
		t.Errorf("%d rounds had %d orders of 6: %v", rounds, len(orders), orders)
	}
	for i := range n {
		if errs[i] != nil || len(times[i]) != rounds || times[i][0] != float64(i+1) {
			t.Errorf("target %d: %d times, %v, %v; want %d of %d ms", i, len(times[i]), times[i], errs[i], rounds, i+1)
		}
	}
	var again []int
	Interleave(t.Context(), recorder(n, &again), rounds, 1)
	if !slices.Equal(order, again) {
		t.Error("the same seed gives another order")
	}
}

func TestInterleaveFailures(t *testing.T) {
	broken, calls := errors.New("broken"), 0
	var order []int
	targets := append(recorder(1, &order), func(context.Context) (time.Duration, error) {
		if calls++; calls == 3 {
			return 0, broken
		}
		return time.Millisecond, nil
	})
	times, errs := Interleave(t.Context(), targets, 10, 1)
	if len(times[0]) != 10 || errs[0] != nil {
		t.Errorf("beside a broken target: %v, %v; want 10 times", times[0], errs[0])
	}
	if times[1] != nil || !errors.Is(errs[1], broken) || calls != 3 {
		t.Errorf("the broken target: %v, %v after %d calls; want no times, its error, 3 calls", times[1], errs[1], calls)
	}

	ctx, cancel := context.WithCancel(t.Context())
	order = nil
	targets = recorder(2, &order)
	last := targets[0]
	targets[0] = func(ctx context.Context) (time.Duration, error) {
		if len(order) > 5 {
			cancel()
		}
		return last(ctx)
	}
	if _, errs := Interleave(ctx, targets, 100, 1); !errors.Is(errs[0], context.Canceled) || !errors.Is(errs[1], context.Canceled) || len(order) > 10 {
		t.Errorf("cancelled: %v after %d runs", errs, len(order))
	}
}

func TestTimingOf(t *testing.T) {
	// The machine slows down by half after the third round; the ratio does not
	// care.
	reference := []float64{1, 1, 1, 2, 2, 2, 2}
	times := []float64{3, 3, 3, 6, 6, 6, 6}
	g := TimingOf(times, reference, 1)
	if g.Median.Value != 6 || g.Median.Low != 3 || g.Ratio != (Interval{3, 3, 3}) {
		t.Errorf("%+v, want a median of 6 from 3 and a ratio of 3 without doubt", g)
	}
	if g := TimingOf([]float64{0, 1}, []float64{0, 0}, 1); g.Ratio.Value < 1 || g.Ratio.High > 1e7 {
		t.Errorf("times of 0: %+v, want a finite ratio", g)
	}
}

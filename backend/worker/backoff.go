package worker

import "time"

// A worker that dies is started again at once at first, then after longer and
// longer, up to maxDelay. One that was up for goodWhile starts afresh.
const (
	firstDelay = 100 * time.Millisecond
	maxDelay   = 30 * time.Second
	goodWhile  = time.Minute
)

// backoff is how long to wait before the next start.
type backoff struct{ last time.Duration }

// next is the wait after a process that was up for so long.
func (b *backoff) next(up time.Duration) time.Duration {
	switch {
	case up >= goodWhile || b.last == 0:
		b.last = firstDelay
	default:
		b.last = min(2*b.last, maxDelay)
	}
	return b.last
}

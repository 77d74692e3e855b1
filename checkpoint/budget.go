package checkpoint

import "fmt"

// A budget is the account of the memory that one file may take: three times the file's size and a constant. Whatever
// is allocated on the file's behalf is charged before it is allocated, and never given back: so the peak stays below it
// whenever the garbage collector runs, and a small file that repeats itself (a "memo bomb") runs out of it. The tensors'
// float32 values are charged when the file is opened, as if each were read once.
//
// The charges are the sizes Go's allocator uses, rounded up. A slice that grows by append is copied each time it grows by
// a quarter, and all its copies together are six times its length.
type budget struct {
	size, left int64
}

const (
	budgetConst = 8 << 20

	costValue  = 16      // a number, an item of a tuple, a visit
	costString = 32      // beside the bytes
	costObject = 256     // a list, dict, view, storage and the maps they're in
	costItem   = 6 * 16  // an item of a list or the memo
	costEntry  = 6 * 32  // an entry of a dict
	costNode   = 160     // an entry of a map[string]any
	costTensor = 3 * 256 // a Tensor, its storage, its name in a set
	costFile   = 2 * 256 // an entry of a zip directory
)

func newBudget(size int64) *budget { return &budget{size: size, left: 3*size + budgetConst} }

// take charges n bytes. The error is ErrDamaged: no file that a training program writes comes near.
func (b *budget) take(n int64) error {
	if n > b.left {
		return fmt.Errorf("it claims to hold more than a file of %d bytes can: %w", b.size, ErrDamaged)
	}
	b.left -= n
	return nil
}

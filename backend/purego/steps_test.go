package purego

import "testing"

// TestTiling: the tiles of a step cover every row once and begin where they
// may, whatever the number of threads and images.
func TestTiling(t *testing.T) {
	kernels, err := choose("fp32")
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []struct{ total, align int }{{1, 1}, {49, 1}, {49, 7}, {196, 2}, {196, 14}, {3136, 8}, {3136, 56}} {
		for threads := 1; threads <= 5; threads++ {
			p := planner{plan: plan{threads: threads, kernels: kernels}}
			tiles := p.cut(size.total, size.align)
			for images := 1; images <= 3; images++ {
				seen := make([]int, size.total*images)
				for i := range tiles.tiles(images) {
					row, m := tiles.rows(images, i)
					if m < 1 || m > max(maxTile, size.align) || row%size.align != 0 || m%size.align != 0 {
						t.Fatalf("%v, %d images: tile %d is rows %d to %d", tiles, images, i, row, row+m)
					}
					for r := range m {
						seen[row+r]++
					}
				}
				for r, n := range seen {
					if n != 1 {
						t.Fatalf("%v, %d images: row %d is in %d tiles", tiles, images, r, n)
					}
				}
			}
		}
	}
}

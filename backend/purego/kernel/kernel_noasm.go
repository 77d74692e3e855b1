//go:build purego || !(amd64 || arm64)

package kernel

// Tables lists every set that this processor runs, the fastest last.
func Tables() []*Table { return []*Table{&Generic} }

package server

import "os"

// claim has nothing to do here: the system removes no file that is open.
func claim(*os.File) bool { return true }

// removeUnclaimed removes a file unless somebody has it open.
func removeUnclaimed(path string) bool { return os.Remove(path) == nil }

//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// children are the processes that a process has started, and theirs.
func children(pid int) []int {
	parents := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 2 || fields[0] == "Z" {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		parents[parent] = append(parents[parent], id)
	}
	var all []int
	for next := parents[pid]; len(next) > 0; {
		all = append(all, next...)
		var below []int
		for _, id := range next {
			below = append(below, parents[id]...)
		}
		next = below
	}
	return all
}

// memory is a line of /proc/PID/status in bytes, such as VmRSS or VmHWM; 0
// where the process has ended.
func memory(pid int, key string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == key+":" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// resident is the memory of a service and of its workers, in bytes.
func resident(pid int) int64 {
	sum := memory(pid, "VmRSS")
	for _, id := range children(pid) {
		sum += memory(id, "VmRSS")
	}
	return sum
}

// descriptors is how many files a service and its workers have open.
func descriptors(pid int) int {
	n := 0
	for _, id := range append(children(pid), pid) {
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", id))
		if err == nil {
			n += len(files)
		}
	}
	return n
}

// processors is how many seconds a process has run on processors.
func processors(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100 // USER_HZ, which is 100 on every Linux
}

// busy is how many seconds one core has worked, for whomever.
func busy(core int) float64 {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 8 && f[0] == fmt.Sprintf("cpu%d", core) {
			sum := 0.0
			for i, field := range f[1:9] {
				if x, err := strconv.ParseFloat(field, 64); err == nil && i != 3 && i != 4 { // idle, iowait
					sum += x
				}
			}
			return sum / 100
		}
	}
	return 0
}

const mib = 1 << 20

func inMiB(bytes int64) float64 { return float64(bytes) / mib }

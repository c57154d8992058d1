package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// clockTick is what the times in /proc/PID/stat count. The kernel tells user
// space 100 a second on every architecture that Go knows.
const clockTick = time.Second / 100

// ownCPU returns the processor time that this program has used.
func ownCPU() (time.Duration, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, fmt.Errorf("ask for processor time: %w", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}

// treeCPU returns the processor time that a process and all below it have
// used: of the server that is its PostgreSQL, too.
func treeCPU(root int) (time.Duration, error) {
	all, err := processTimes()
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for pid, p := range all {
		if isBelow(all, pid, root) {
			sum += p.used
		}
	}
	if sum == 0 {
		return 0, errors.New("ask for processor time: the process is gone")
	}
	return sum, nil
}

// processTime is of one process, with those of its children that have ended.
type processTime struct {
	parent int
	used   time.Duration
}

func isBelow(all map[int]processTime, pid, root int) bool {
	for pid > 1 && pid != root {
		pid = all[pid].parent
	}
	return pid == root
}

func processTimes() (map[int]processTime, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make(map[int]processTime, len(stats))
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		if all[pid], err = readStat(text); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readStat reads a line of /proc/PID/stat; proc(5) numbers its fields from 1.
func readStat(text []byte) (processTime, error) {
	const (
		state, parent        = 3, 4
		firstTime, pastTimes = 14, 18 // utime, stime, cutime, cstime
	)
	// The second field, the name, may hold anything, but is closed by the last ")".
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < pastTimes-state {
		return processTime{}, fmt.Errorf("read processor time: %q", text)
	}
	var p processTime
	var err error
	if p.parent, err = strconv.Atoi(string(fields[parent-state])); err != nil {
		return processTime{}, fmt.Errorf("read parent of process: %w", err)
	}
	for _, field := range fields[firstTime-state : pastTimes-state] {
		ticks, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return processTime{}, fmt.Errorf("read processor time: %w", err)
		}
		p.used += time.Duration(ticks) * clockTick
	}
	return p, nil
}

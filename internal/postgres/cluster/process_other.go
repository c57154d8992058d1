//go:build !linux

package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

func dieWithParent(*syscall.SysProcAttr) {}

// standsIn returns the process that the cluster's pid file names if there is
// one of that number, else 0. Where there is no /proc, a number that was given
// to somebody else meanwhile is taken for a server.
func standsIn(dir string) int {
	b, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line)))
	if err != nil || syscall.Kill(pid, 0) == syscall.ESRCH {
		return 0
	}
	return pid
}

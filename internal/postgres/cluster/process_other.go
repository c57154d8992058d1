//go:build !linux

package cluster

import "syscall"

func dieWithParent(*syscall.SysProcAttr) {}

// standing returns the process that the cluster's pid file names if there is one of
// that number. Where there is no /proc, a number that was given to somebody else
// meanwhile is taken for a server.
func standing(dir string) (pids []int) {
	if pid := postmaster(dir); pid != 0 && syscall.Kill(pid, 0) != syscall.ESRCH {
		return []int{pid}
	}
	return nil
}

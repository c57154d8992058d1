package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/romi/plantdb-go/internal/fault"
)

// ErrForeign says that a server which is not ours runs on the cluster.
var ErrForeign = fault.New(fault.Unavailable, "postgres_foreign", "another PostgreSQL server uses the cluster")

// EndOrphans kills what is left of a server whose first process has gone: the
// others end when they see that, but not where one of them waits for another that
// was killed with it. While the first one lives, it sees to them itself. It returns
// how many it killed; what they had not committed is undone at the next start.
func EndOrphans(data string) (killed int) {
	standing := standing(data)
	if slices.Contains(standing, postmaster(data)) {
		return 0
	}
	for _, pid := range standing {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// postmaster returns the process that the cluster's pid file names, 0 for none.
func postmaster(data string) int {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	pid, _ := strconv.Atoi(string(bytes.TrimSpace(line)))
	return max(pid, 0)
}

// ClearStale removes what a killed server left and the next one would stumble
// over: pid files whose number now belongs to a zombie or to somebody else.
// The caller holds Guard, so no server that we started runs; one that was
// started by hand is found by where it stands, and left alone.
func (c Cluster) ClearStale(sockets string) error {
	if standing := standing(c.Data); len(standing) > 0 {
		return ErrForeign.With("process %d, which is not ours, uses the database in %s: stop it first", standing[0], c.Data)
	}
	socket := filepath.Join(sockets, ".s.PGSQL."+Port)
	for _, path := range []string{filepath.Join(c.Data, "postmaster.pid"), socket + ".lock", socket} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove what a killed server left: %w", err)
		}
	}
	return nil
}

package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/romi/plantdb-go/internal/fault"
)

// ErrForeign says that a server which is not ours runs on the cluster.
var ErrForeign = fault.New(fault.Unavailable, "postgres_foreign", "another PostgreSQL server uses the cluster")

// ClearStale removes what a killed server left and the next one would stumble
// over: pid files whose number now belongs to a zombie or to somebody else.
// The caller holds Guard, so no server that we started runs; one that was
// started by hand is found by where it stands, and left alone.
func (c Cluster) ClearStale(sockets string) error {
	if pid := standsIn(c.Data); pid != 0 {
		return ErrForeign.With("process %d, which is not ours, uses the database in %s: stop it first", pid, c.Data)
	}
	socket := filepath.Join(sockets, ".s.PGSQL."+Port)
	for _, path := range []string{filepath.Join(c.Data, "postmaster.pid"), socket + ".lock", socket} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove what a killed server left: %w", err)
		}
	}
	return nil
}

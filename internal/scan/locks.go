package scan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/romi/plantdb-go/internal/actor"
)

// serverName is this process among all that use a database.
func serverName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
}

// maxHolder is how much PostgreSQL keeps of an application's name.
const maxHolder = 63

// holder is who holds a lock, as others read it by readHolder. PostgreSQL
// keeps printable ASCII of it.
func (s *Service) holder(ctx context.Context, operation string) string {
	a, _ := actor.FromContext(ctx)
	text := strings.Join([]string{s.config.Server, operation, a.Username}, "|")
	if over := len(text) - maxHolder; over > 0 {
		server := s.config.Server
		text = strings.Join([]string{server[min(over, len(server)):], operation, a.Username}, "|")
	}
	return text[:min(len(text), maxHolder)]
}

func readHolder(text string) (server, operation, user string) {
	parts := strings.SplitN(text, "|", 3)
	if len(parts) != 3 {
		return text, "", ""
	}
	return parts[0], parts[1], parts[2]
}

// Lock is a lock that somebody holds, or waits for.
type Lock struct {
	Scan string // or timelapse; empty for one that is being made
	// Level is scan, fileset or file; Part names the latter two.
	Level, Part string
	Shared      bool
	// Program says that a program holds it that has the tree open, and not a
	// server: then PID is its process, on its machine, and Server is empty.
	Program bool
	PID     int
	// Server is the machine and process of a server.
	Server    string
	Operation string
	User      string
	Since     time.Time // when its transaction began
	Waiting   bool
}

// Locks returns who holds or waits for which scans, on all servers of this
// database and among the programs that have the tree open: all of it to
// administrators, to others what is of scans they may read.
func (s *Service) Locks(ctx context.Context) ([]Lock, error) {
	a, err := acting(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.q.ListLocks(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("list locks: %w", err)
	}
	holders, err := s.tree.LockHolders(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Lock, 0, len(rows)+len(holders))
	for _, r := range rows {
		l := Lock{Scan: r.Name, Level: "scan", Since: r.Since, Waiting: !r.Granted}
		l.Server, l.Operation, l.User = readHolder(r.Holder)
		all = append(all, l)
	}
	for _, h := range holders {
		_, part, _ := strings.Cut(h.Resource, "/")
		all = append(all, Lock{
			Scan: h.Scan(), Level: h.Level, Part: part, Shared: h.Type == "shared",
			Program: true, PID: h.PID, User: h.User, Since: h.Since,
		})
	}
	return s.readable(ctx, a, all)
}

// readable drops the locks of what the actor may not read.
func (s *Service) readable(ctx context.Context, a actor.Actor, all []Lock) ([]Lock, error) {
	if a.Scope == nil && a.HighestRole() == actor.Admin {
		return all, nil
	}
	may := map[string]bool{}
	for _, l := range all {
		if _, asked := may[l.Scan]; asked {
			continue
		}
		r, err := s.scan(ctx, s.pool, l.Scan)
		if err != nil && !errors.Is(err, ErrUnknownScan) {
			return nil, err
		}
		may[l.Scan] = err == nil && CanRead(a, r.Access)
	}
	return slices.DeleteFunc(all, func(l Lock) bool { return !may[l.Scan] }), nil
}

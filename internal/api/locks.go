package api

import (
	"context"
	"net/http"
	"time"

	"github.com/romi/plantdb-go/internal/scan"
)

// lock is scan.Lock on the wire.
type lock struct {
	Scan      string     `json:"scan" doc:"Scan or timelapse; empty for one that is being made." example:"real_plant_analyzed"`
	Level     string     `json:"level" enum:"scan,fileset,file" doc:"What of it is locked; our servers lock whole scans."`
	Part      string     `json:"part,omitempty" doc:"The fileset, or fileset/file, that is locked." example:"images"`
	Type      string     `json:"type" enum:"exclusive,shared" doc:"exclusive: for writing; shared: for reading."`
	Holder    string     `json:"holder" enum:"server,program" doc:"program: one that has the tree open itself, such as upstream's Python."`
	Server    string     `json:"server,omitempty" doc:"Machine and process of a server." example:"lab01:4711"`
	PID       int        `json:"pid,omitempty" doc:"Process of a program, on its machine."`
	Operation string     `json:"operation,omitempty" doc:"What the holder does." example:"create_file"`
	User      string     `json:"user,omitempty" doc:"For whom." example:"alice"`
	Since     *time.Time `json:"since,omitempty" doc:"Of a server: when its transaction began. Of a program: when it took the lock."`
	Waiting   bool       `json:"waiting" doc:"It waits for the lock and does not hold it."`
}

type lockList struct {
	Locks []lock `json:"locks" doc:"By scan."`
}

func lockOf(l scan.Lock) lock {
	out := lock{
		Scan: l.Scan, Level: l.Level, Part: l.Part, Type: "exclusive", Holder: "server",
		Server: l.Server, Operation: l.Operation, User: l.User, Waiting: l.Waiting,
	}
	if l.Shared {
		out.Type = "shared"
	}
	if l.Program {
		out.Holder, out.PID = "program", l.PID
	}
	if !l.Since.IsZero() {
		since := l.Since.UTC()
		out.Since = &since
	}
	return out
}

func (s *server) registerLocks() {
	register(s, route{
		id: "list-locks", method: http.MethodGet, path: "/locks", tag: tagScans, security: required, rate: rateList,
		summary: "List who writes which scan",
		doc: "Who holds or waits for the lock of which scan: on every server of this database, and among the programs that have " +
			"the tree open. Administrators see all locks, others those of scans that they may read. A holder that is killed is gone from the list with its lock.",
	}, func(ctx context.Context, _ *struct{}) (*reply[lockList], error) {
		list, err := s.scans.Locks(ctx)
		out := lockList{Locks: make([]lock, len(list))}
		for i, l := range list {
			out.Locks[i] = lockOf(l)
		}
		return replyOf(out, err)
	})
}

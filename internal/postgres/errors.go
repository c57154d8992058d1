package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"
)

// SQLSTATEs, as appendix A of PostgreSQL's manual has them.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	diskFull             = "53100"
	tooManyConnections   = "53300"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	cannotConnectNow     = "57P03"
	connectionException  = "08" // the class
)

// Violates says whether err is the breach of the constraint of that name:
// unique, foreign key, check, not null or exclusion.
func Violates(err error, constraint string) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && strings.HasPrefix(pg.Code, "23") && pg.ConstraintName == constraint
}

// Unavailable says whether err, which a call on a DB returned, means that the
// database cannot serve now but may soon: no connection to it, or lost; it
// starts up or shuts down; it has too many connections; the deadline of ctx
// ran out, be it for an answer or for a free connection of the pool. Callers
// answer 503. A canceled ctx is not that: nobody waits for the answer.
func Unavailable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if code := sqlState(err); code != "" {
		switch code {
		case tooManyConnections, adminShutdown, crashShutdown, cannotConnectNow:
			return true
		}
		return strings.HasPrefix(code, connectionException)
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	for _, lost := range []error{
		pgconn.ErrConnClosed, puddle.ErrClosedPool, io.ErrUnexpectedEOF, net.ErrClosed, context.DeadlineExceeded,
		ErrUnreachable,
	} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}

// DiskFull says whether err means that the disk of the database has no room;
// what was to be written was not.
func DiskFull(err error) bool { return sqlState(err) == diskFull }

// sqlState returns the SQLSTATE in err, or "" if the server said nothing.
func sqlState(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

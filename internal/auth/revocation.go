package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

const (
	// pollInterval is how often revocations are asked for; what was taken
	// back on another replica is refused here within it and the time of a query,
	// whether or not notifications arrive.
	pollInterval = 500 * time.Millisecond
	// reconnectPause comes before the next connection when one was lost.
	reconnectPause = 50 * time.Millisecond
	// syncTimeout bounds one such question.
	syncTimeout = 4 * time.Second
	// sureFor is how long the last answer counts.
	sureFor = 5 * time.Second
	// hintPause bounds the notifications that one replica sends. A notifying
	// commit takes a lock on the whole instance.
	hintPause = 50 * time.Millisecond
	// revokedMargin is how long an entry outlives the token; more than any leeway.
	revokedMargin = time.Minute

	listenerName = "plantdb revocations"
)

// errUnsure: what was revoked elsewhere cannot be known just now.
var errUnsure = errors.New("revocations not known to be up to date")

// revocation is a jti or sid that no longer counts, until nothing of it could
// be alive.
type revocation struct {
	id    uuid.UUID
	until time.Time
}

// revocations is the set of what was revoked on any replica and might still be
// alive, and knows how fresh it is.
type revocations struct {
	set  tokenauth.Memory
	hint chan struct{} // something was revoked here: tell the others

	mu      sync.Mutex
	horizon int64     // where the next question begins
	asked   time.Time // when the last question that was answered was put; zero: unsure
}

func newRevocations(now func() time.Time) *revocations {
	r := &revocations{hint: make(chan struct{}, 1)}
	r.set.Now = now
	return r
}

// IsRevoked implements tokenauth.Checker without a query. What is in the set
// is revoked for certain; what is not is good only while the set is fresh,
// else the error is for a 503.
func (r *revocations) IsRevoked(ctx context.Context, c *tokenauth.Claims) (bool, string, error) {
	if revoked, reason, err := r.set.IsRevoked(ctx, c); revoked || err != nil {
		return revoked, reason, err
	}
	r.mu.Lock()
	asked := r.asked
	r.mu.Unlock()
	if asked.IsZero() || time.Since(asked) > sureFor {
		return false, "", errUnsure
	}
	return false, "", nil
}

// Checker returns the set of what was revoked, on this replica or another. It
// knows a local revocation when the call that made it returns, and one from
// elsewhere within a second. When it cannot be sure (before the first Load,
// or while the database cannot be asked) it returns an error, never "good".
func (s *Service) Checker() tokenauth.Checker { return s.revoked }

// takeBack makes committed revocations count here, and has the other replicas told.
func (s *Service) takeBack(rs []revocation) {
	if len(rs) == 0 {
		return
	}
	for _, r := range rs {
		s.revoked.set.Revoke(r.id.String(), r.until)
	}
	s.actors.forget()
	select {
	case s.revoked.hint <- struct{}{}:
	default: // one is waiting already
	}
}

// Load reads all that was revoked, and the keys. Call it once before serving.
func (s *Service) Load(ctx context.Context) error {
	return s.sync(ctx, s.db, true)
}

// sync adds what was revoked since the last time and follows the keys; everything after a lost
// connection, since the database may have failed over meanwhile.
func (s *Service) sync(ctx context.Context, from db.DBTX, everything bool) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	asked := time.Now()
	if s.rotation != nil {
		if err := s.rotation.follow(ctx, from); err != nil {
			return err
		}
	}
	// First the horizon, then the rows: what commits between is in both.
	next, err := s.q.RevocationHorizon(ctx, from)
	if err != nil {
		return fmt.Errorf("ask for revocation horizon: %w", err)
	}
	r := s.revoked
	r.mu.Lock()
	begin := r.horizon
	r.mu.Unlock()
	if everything {
		begin = 0
	}
	rows, err := s.q.ListRevoked(ctx, from, begin, s.clock())
	if err != nil {
		return fmt.Errorf("ask for revocations: %w", err)
	}
	before := r.set.Len()
	for _, row := range rows {
		r.set.Revoke(row.ID.String(), row.ExpiresAt)
	}
	if r.set.Len() > before {
		s.actors.forget()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.horizon = next
	if asked.After(r.asked) {
		r.asked = asked
	}
	return nil
}

// doubt makes the Checker unsure until the next answer.
func (r *revocations) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = time.Time{}
}

// followRevocations keeps the set fresh until ctx ends: by the connection of
// its own while there is one, else by the pool.
func (s *Service) followRevocations(ctx context.Context) error {
	failing := false // said once, not twice a second
	for {
		pause := pollInterval
		lost := s.listen(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(lost, postgres.ErrLost) {
			// It was good until now: try again soon.
			pause = reconnectPause
			s.log.WarnContext(ctx, "connection for revocations lost, polling", slog.Any("err", lost))
		}
		err := s.sync(ctx, s.db, true)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.revoked.doubt()
		}
		if err != nil && !failing {
			s.log.ErrorContext(ctx, "revocations unknown, tokens are refused", slog.Any("err", errors.Join(err, lost)))
		}
		failing = err != nil
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// listen waits for hints and asks after each, and after each pollInterval
// without one, until the connection fails, which is postgres.ErrLost. Without a way to
// connect it returns nil at once.
func (s *Service) listen(ctx context.Context) error {
	if s.connect == nil {
		return nil
	}
	everything := true
	return postgres.Listen(ctx, s.connect, syncTimeout,
		func(ctx context.Context, conn *pgx.Conn) error { return s.q.ListenRevoked(ctx, conn) },
		func(ctx context.Context, conn *pgx.Conn) (time.Duration, error) {
			err := s.sync(ctx, conn, everything)
			everything = false
			return pollInterval, err
		})
}

// sendHints tells the other replicas that there is something to ask for. A hint
// that is lost costs them no more than pollInterval.
func (s *Service) sendHints(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.revoked.hint:
		}
		if err := s.q.NotifyRevoked(ctx, s.db); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "notify of revocation failed", slog.Any("err", err))
		}
		if !sleep(ctx, hintPause) {
			return nil
		}
	}
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

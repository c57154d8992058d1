package auth

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/romi/plantdb-go/db"
)

const (
	// cleanBatch is how many rows one statement removes: few enough that no
	// other transaction waits for it noticeably.
	cleanBatch = 500
	// recordInterval is how often uses are written down.
	recordInterval = 5 * time.Second
	// lastWrite bounds what Run still writes when it is told to end.
	lastWrite = 2 * time.Second
)

// Run keeps the Checker fresh, tells other replicas of revocations, records
// uses and removes expired rows, until ctx ends; then it returns nil. Errors
// on the way are logged and the work goes on.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		s.revoked.Run(ctx)
		return nil
	})
	g.Go(func() error { return s.every(ctx, recordInterval, "record uses", s.recordUses) })
	g.Go(func() error {
		return s.every(ctx, s.c.CleanupInterval, "clean up", func(ctx context.Context) error {
			_, err := s.CleanUp(ctx)
			return err
		})
	})
	err := g.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrite)
	defer cancel()
	if err := s.recordUses(ctx); err != nil {
		s.log.WarnContext(ctx, "record uses failed", slog.Any("err", err))
	}
	return err
}

func (s *Service) every(ctx context.Context, d time.Duration, what string, do func(context.Context) error) error {
	for sleep(ctx, d) {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, what+" failed", slog.Any("err", err))
		}
	}
	return nil
}

// CleanUp removes the rows that no longer matter and returns how many that
// were: sessions, pairs, revocations and API tokens whose tokens have expired
// beyond the leeway, one-time links, and forgotten login failures. It works in
// small batches and passes over rows that somebody holds; several replicas may
// clean up at once.
func (s *Service) CleanUp(ctx context.Context) (int64, error) {
	now := s.clock()
	dead := now.Add(-s.c.Leeway - time.Second)
	type remove func(ctx context.Context, tx db.DBTX, before time.Time, batch int32) (int64, error)
	var total int64
	for _, job := range []struct {
		what   string
		remove remove
		before time.Time
	}{
		// First the pairs: a session takes what is left of its own along, and
		// a batch of them would be as large as all their pairs together.
		{"pairs", s.q.DeleteExpiredPairs, dead},
		{"sessions", s.q.DeleteExpiredSessions, dead},
		{"revocations", s.q.DeleteExpiredRevocations, now.Add(-s.revokedFor())},
		{"API tokens", s.q.DeleteExpiredAPITokens, dead},
		{"links", s.q.DeleteExpiredLinks, now},
		{"login attempts", s.deleteOldAttempts, now.Add(-s.c.LoginLockout)},
	} {
		for {
			n, err := job.remove(ctx, s.db, job.before, cleanBatch)
			total += n
			if err != nil {
				return total, fmt.Errorf("remove expired %s: %w", job.what, err)
			}
			if n < cleanBatch {
				break
			}
		}
	}
	s.revoked.Prune()
	return total, nil
}

func (s *Service) deleteOldAttempts(ctx context.Context, tx db.DBTX, before time.Time, batch int32) (int64, error) {
	return s.q.DeleteOldAttempts(ctx, tx, before, s.clock(), batch)
}

package scan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/postgres"
)

// The retentions that have a clock.
const (
	clockTrash   = "trash"
	clockUploads = "uploads"
	clockEvents  = "events"
)

const (
	// unlookedLeast is how long servers may not look at a clock and the time
	// counts all the same, however short the retention: they look once an hour.
	unlookedLeast = 2 * time.Hour
	// maxUnseen bounds what a clock may have gone on unseen.
	maxUnseen = 250 * 365 * 24 * time.Hour
)

// retentionClock counts the time for which something is kept as the time that
// servers saw pass. A clock that jumps, because a machine began in 1970 and then
// heard what time it is or was told a wrong one, makes nothing old at once: what
// was there is kept for as long as it would have been without the jump, or for a
// whole retention from then on, whichever ends first. The same holds for time in
// which no server ran, which nobody can tell from a jump.
type retentionClock struct {
	seen   time.Time     // what the clock said at the last look
	unseen time.Duration // how far it went on by jumps
	jumped time.Time     // what it said after the last of them
}

// unlooked is how far a clock may go on between two looks for the time to count.
func unlooked(keep time.Duration) time.Duration { return max(keep/4, unlookedLeast) }

// look returns the clock once it says now, and by how much it jumped: below zero
// for one that was set back.
func (c retentionClock) look(now time.Time, keep time.Duration) (next retentionClock, jump time.Duration) {
	gone, most := now.Sub(c.seen), unlooked(keep)
	switch {
	case gone > most:
		return retentionClock{now, min(c.unseen+min(gone, maxUnseen), maxUnseen), now}, gone
	case gone < -most: // what a jump added, its taking back removes
		return retentionClock{now, max(c.unseen+gone, 0), now}, gone
	case gone < 0: // clocks of servers differ
		now = c.seen
	}
	c.seen = now
	if !now.Before(c.jumped.Add(keep)) {
		c.unseen = 0
	}
	return c, 0
}

// until returns the time up to which has passed what is kept: what was made, or
// ends, before it less the retention, or before it, is over.
func (c retentionClock) until(now time.Time) time.Time { return now.Add(-c.unseen) }

// end returns when what was made at a time is over if the clock goes on evenly.
func (c retentionClock) end(made time.Time, keep time.Duration) time.Time {
	end, again := made.Add(keep), c.jumped.Add(keep)
	if c.unseen == 0 || !end.Before(again) {
		return end
	}
	if later := end.Add(c.unseen); later.Before(again) {
		return later
	}
	return again
}

// LookAtClocks says what time it is to all that is kept for a time, so that a
// jump afterwards is seen for one. It is done at a start, before the first
// request, and again with whatever purges.
func (s *Service) LookAtClocks(ctx context.Context) error {
	if _, err := acting(ctx); err != nil {
		return err
	}
	for kind, keep := range map[string]time.Duration{
		clockTrash: s.config.TrashRetention, clockUploads: s.config.UploadExpiry, clockEvents: s.config.EventRetention,
	} {
		if keep <= 0 {
			continue
		}
		if _, err := s.lookAtClock(ctx, kind, keep); err != nil {
			return err
		}
	}
	return nil
}

// lookAtClock looks at the clock of a retention and returns the time up to which
// has passed what is kept.
func (s *Service) lookAtClock(ctx context.Context, kind string, keep time.Duration) (until time.Time, err error) {
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		now := s.now()
		if err := s.q.BeginRetentionClock(ctx, tx, kind, now); err != nil {
			return err
		}
		r, err := s.q.HoldRetentionClock(ctx, tx, kind)
		if err != nil {
			return err
		}
		before := retentionClock{r.SeenAt, seconds(r.Unseen), r.JumpedAt}
		c, jump := before.look(now, keep)
		switch {
		case jump >= keep:
			s.log.WarnContext(ctx, "the clock jumped, or no server ran for long: what is kept for a time is kept longer, and can be purged by hand",
				slog.String("what", kind), slog.Time("before", before.seen), slog.Time("now", now), slog.Duration("kept_for", keep))
		case jump != 0:
			s.log.InfoContext(ctx, "the clock jumped, or no server ran: what is kept for a time is kept longer",
				slog.String("what", kind), slog.Time("before", before.seen), slog.Time("now", now), slog.Duration("kept_for", keep))
		}
		until = c.until(now)
		arg := db.SetRetentionClockParams{Kind: kind, SeenAt: c.seen, Unseen: c.unseen.Seconds(), JumpedAt: c.jumped}
		return s.q.SetRetentionClock(ctx, tx, arg)
	})
	if err != nil {
		return until, fmt.Errorf("look at the clock of what is kept (%s): %w", kind, err)
	}
	return until, nil
}

// clockOf returns the clock of a retention as servers last saw it; the zero one
// before any did.
func (s *Service) clockOf(ctx context.Context, tx db.DBTX, kind string) (retentionClock, error) {
	r, err := s.q.GetRetentionClock(ctx, tx, kind)
	if errors.Is(err, pgx.ErrNoRows) {
		return retentionClock{}, nil
	}
	if err != nil {
		return retentionClock{}, fmt.Errorf("find the clock of what is kept (%s): %w", kind, err)
	}
	return retentionClock{r.SeenAt, seconds(r.Unseen), r.JumpedAt}, nil
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

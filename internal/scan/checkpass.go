package scan

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
)

// The kinds of passes through all scans, as their rows call them.
const (
	passCheck   = "check"
	passDigests = "check --digests"
)

// CheckPass is Check of everything, which keeps how far it came, so that with
// resume it goes on where one that was cut short stopped; after is the scan after
// which it did. A pass that reads bytes and one that does not are two.
func (s *Service) CheckPass(ctx context.Context, resume bool, o CheckOptions) (seen Checked, after string, err error) {
	kind := passCheck
	if o.Digests {
		kind = passDigests
	}
	o.Scans = nil
	if o.After, err = s.beginPass(ctx, kind, resume); err != nil {
		return Checked{}, "", err
	}
	o.Passed = func(ctx context.Context, last string, fresh Checked) error { return s.movePass(ctx, kind, last, fresh) }
	seen, _, err = s.Check(ctx, o)
	return seen, o.After, err
}

// beginPass returns the last scan that the pass looked at, empty if it begins
// anew.
func (s *Service) beginPass(ctx context.Context, kind string, resume bool) (after string, err error) {
	if resume {
		if pass, err := s.pass(ctx, kind); err != nil || pass.After != "" {
			return pass.After, err
		}
	}
	if err := s.q.BeginPass(ctx, s.pool, kind); err != nil {
		return "", fmt.Errorf("begin %q: %w", kind, err)
	}
	return "", nil
}

// pass returns how far a pass came; the zero one if it never began.
func (s *Service) pass(ctx context.Context, kind string) (db.CarePass, error) {
	pass, err := s.q.GetPass(ctx, s.pool, kind)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return pass, fmt.Errorf("read how far %q came: %w", kind, err)
	}
	return pass, nil
}

// movePass keeps how far a pass came; an empty name ends it.
func (s *Service) movePass(ctx context.Context, kind, last string, fresh Checked) error {
	err := s.q.MovePass(ctx, s.pool, db.MovePassParams{
		Kind: kind, After: cleanText(last), Scans: int64(fresh.Scans), Files: int64(fresh.Files), Bytes: fresh.Bytes, Findings: int64(fresh.Findings),
	})
	if err == nil && last == "" {
		err = s.q.FinishPass(ctx, s.pool, kind)
	}
	if err != nil {
		return fmt.Errorf("keep how far %q came: %w", kind, err)
	}
	return nil
}

package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
)

// The kinds of former_names.
const (
	formerUser  = "user"
	formerGroup = "group"
)

// claim gives the name of a user or group that the transaction has just made to
// them, where somebody who was deleted had it. ErrFormerName if something is
// left of those and the new ones were not said to take it over; what they took
// over comes back in words. It has to follow the insertion, which waits for a
// deletion that is not committed yet.
func (s *Service) claim(ctx context.Context, tx pgx.Tx, kind, name string, takeOver bool) (took string, err error) {
	left, err := s.left(ctx, tx, kind, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for what is left of %s %q: %w", kind, name, err)
	}
	if took = inWords(left); took != "" && !takeOver {
		return "", ErrFormerName.With("The %s '%s' was deleted, and %s still name them. Give these to somebody else first, or take them over", kind, name, took)
	}
	if err = s.q.ForgetFormerName(ctx, tx, kind, name); err != nil {
		return "", fmt.Errorf("forget former %s %q: %w", kind, name, err)
	}
	return took, nil
}

func (s *Service) left(ctx context.Context, tx pgx.Tx, kind, name string) (db.LeftByUserRow, error) {
	if kind == formerUser {
		return s.q.LeftByUser(ctx, tx, name)
	}
	left, err := s.q.LeftByGroup(ctx, tx, name)
	return db.LeftByUserRow(left), err
}

// inWords is empty where nothing is left.
func inWords(left db.LeftByUserRow) string {
	var parts []string
	for _, p := range []struct {
		n         int64
		one, many string
	}{
		{left.Scans, "scan", "scans"},
		{left.Timelapses, "timelapse", "timelapses"},
		{left.Trashed, "entry of the trash", "entries of the trash"},
		{left.Remembered, "history of a private scan that is gone", "histories of private scans that are gone"},
	} {
		switch p.n {
		case 0:
		case 1:
			parts = append(parts, "1 "+p.one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.many))
		}
	}
	return strings.Join(parts, ", ")
}

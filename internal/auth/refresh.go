package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/tokenauth"
)

// Pair is what a login or a refresh gives: the tokens and what they say.
type Pair struct {
	Access, Refresh             string
	AccessClaims, RefreshClaims tokenauth.Claims
}

// newPair makes the row of a pair; nothing is stored yet. Neither token
// outlives the session, and the access token not the refresh token.
func (s *Service) newPair(session uuid.UUID, generation int32, now, absolute time.Time) db.RefreshToken {
	issued := now.Truncate(time.Second) // as the claims will have it
	p := db.RefreshToken{
		ID: newID(), SessionID: session, Generation: generation, AccessID: newID(), IssuedAt: issued,
		ExpiresAt: earlier(issued.Add(s.c.RefreshTimeout).Truncate(time.Second), absolute),
	}
	p.AccessExpiresAt = earlier(issued.Add(s.c.SessionTimeout).Truncate(time.Second), p.ExpiresAt)
	return p
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// mint makes the tokens of a row. The same row gives the same tokens for as
// long as the signing key is the same.
func (s *Service) mint(username string, p db.RefreshToken) (Pair, error) {
	claims := tokenauth.Claims{
		Subject: username, Issuer: s.c.Issuer, Audience: s.c.Audience, SessionID: p.SessionID.String(), IssuedAt: p.IssuedAt.UTC(),
	}
	pair := Pair{AccessClaims: claims, RefreshClaims: claims}
	a, r := &pair.AccessClaims, &pair.RefreshClaims
	a.Type, a.ID, a.ExpiresAt = tokenauth.Access, p.AccessID.String(), p.AccessExpiresAt.UTC()
	a.CSRF = s.keys.DeriveMAC("csrf", p.AccessID[:])
	r.Type, r.ID, r.ExpiresAt = tokenauth.Refresh, p.ID.String(), p.ExpiresAt.UTC()
	r.CSRF, r.Generation = s.keys.DeriveMAC("csrf", p.ID[:]), int(p.Generation)

	var err error
	if pair.Access, err = s.keys.Sign(*a); err != nil {
		return Pair{}, err
	}
	if pair.Refresh, err = s.keys.Sign(*r); err != nil {
		return Pair{}, err
	}
	return pair, nil
}

// Refresh trades a refresh token for the session's next pair; the old pair is
// dead then. A token that was traded in less than Config.RefreshGrace ago gets
// the pair that is current, again and to the byte: clients that race, or never
// saw the answer, converge on one pair, and a session never forks.
//
// Any later use of a token that was traded in means that two hold it. The
// session is ended for both, that verdict is kept, and the error is
// tokenauth.ErrRefreshReused. The other errors are those of
// tokenauth.Verifier.Verify, ErrRefreshUnknown, ErrSessionEnded and
// ErrUserInactive.
func (s *Service) Refresh(ctx context.Context, raw string) (Pair, error) {
	// Junk goes no further than this.
	claims, err := s.verifier.Verify(ctx, raw, tokenauth.Refresh)
	if err != nil {
		return Pair{}, err
	}
	ids, ok := uuids(claims.SessionID, claims.ID)
	if !ok {
		return Pair{}, tokenauth.ErrRefreshUnknown
	}
	t := &trade{s: s, now: s.clock(), token: ids[1], generation: claims.Generation}
	err = postgres.InTx(ctx, s.db, func(tx pgx.Tx) error {
		t.verdict, t.revoked = nil, nil
		return t.run(ctx, tx, ids[0])
	})
	if err != nil {
		return Pair{}, err
	}
	s.takeBack(t.revoked)
	if t.verdict != nil {
		return Pair{}, t.verdict
	}
	return s.mint(t.session.Username, t.current)
}

// trade is one refresh while its transaction runs.
type trade struct {
	s          *Service
	now        time.Time
	token      uuid.UUID // jti of the refresh token shown
	generation int       // as the token says, by our signature

	session db.LockSessionRow
	current db.RefreshToken // the pair to give
	revoked []revocation
	// verdict is a refusal that must not undo what was written for it.
	verdict error
}

// run holds the session row first: all refreshes of one session pass one
// after the other, on whatever replica.
func (t *trade) run(ctx context.Context, tx pgx.Tx, session uuid.UUID) (err error) {
	t.session, err = t.s.q.LockSession(ctx, tx, session)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return tokenauth.ErrRefreshUnknown
	case err != nil:
		return fmt.Errorf("lock session: %w", err)
	case t.session.EndedAt != nil || !t.now.Before(t.session.AbsoluteExpiresAt):
		return tokenauth.ErrSessionEnded
	case !t.session.IsActive:
		return tokenauth.ErrUserInactive
	}
	shown, err := t.s.q.GetPair(ctx, tx, t.token, session)
	switch {
	case errors.Is(err, pgx.ErrNoRows) && t.generation >= int(t.session.Generation):
		// Signed by us, and yet newer than anything stored: the database
		// was put back to an earlier state. Nobody stole anything.
		return tokenauth.ErrRefreshUnknown
	case errors.Is(err, pgx.ErrNoRows):
		return t.reuse(ctx, tx)
	case err != nil:
		return fmt.Errorf("read pair: %w", err)
	case shown.Generation == t.session.Generation:
		return t.rotate(ctx, tx, shown)
	case shown.UsedAt != nil && t.now.Before(shown.UsedAt.Add(t.s.c.RefreshGrace)):
		t.current, err = t.s.q.GetCurrentPair(ctx, tx, session, t.session.Generation)
		if err != nil {
			return fmt.Errorf("read current pair: %w", err)
		}
		return nil
	}
	return t.reuse(ctx, tx)
}

// rotate puts the next pair in place of the one shown.
func (t *trade) rotate(ctx context.Context, tx pgx.Tx, shown db.RefreshToken) error {
	next := t.s.newPair(t.session.ID, shown.Generation+1, t.now, t.session.AbsoluteExpiresAt)
	err := t.s.q.RotatePair(ctx, tx, db.RotatePairParams{
		UsedID: shown.ID, Now: t.now,
		ID: next.ID, SessionID: next.SessionID, Generation: next.Generation, AccessID: next.AccessID,
		IssuedAt: next.IssuedAt, ExpiresAt: next.ExpiresAt, AccessExpiresAt: next.AccessExpiresAt,
	})
	if err != nil {
		return fmt.Errorf("rotate pair: %w", err)
	}
	t.current = next
	if err = t.dropAccess(ctx, tx, shown); err != nil {
		return err
	}
	return t.s.record(ctx, tx, event{kind: eventRefresh, username: t.session.Username, session: &t.session.ID})
}

// dropAccess revokes the access token of the pair before, if it has not run
// out by itself, as it usually has.
func (t *trade) dropAccess(ctx context.Context, tx pgx.Tx, old db.RefreshToken) error {
	until := old.AccessExpiresAt.Add(revokedMargin)
	if !t.now.Before(old.AccessExpiresAt.Add(t.s.c.Leeway)) {
		return nil
	}
	err := t.s.q.RevokeToken(ctx, tx, db.RevokeTokenParams{
		ID: old.AccessID, Kind: "access", Username: t.session.Username, Reason: "rotated", ExpiresAt: until,
	})
	if err != nil {
		return fmt.Errorf("revoke access token: %w", err)
	}
	t.revoked = []revocation{{id: old.AccessID, until: until}}
	return nil
}

// reuse ends the session. It returns no error: the transaction must commit.
func (t *trade) reuse(ctx context.Context, tx pgx.Tx) (err error) {
	t.verdict = tokenauth.ErrRefreshReused
	t.s.log.WarnContext(ctx, "refresh token reused, session ended",
		slog.String("username", t.session.Username), slog.String("session", t.session.ID.String()))
	t.revoked, err = t.s.endSessions(ctx, tx, []uuid.UUID{t.session.ID}, endReuse, eventReuse)
	return err
}

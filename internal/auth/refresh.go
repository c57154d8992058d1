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

// newPair makes the row of a pair, of generation 0; nothing is stored yet.
// Neither token must outlive the session, nor the access token the refresh
// token: who stores the row sees to the end of the session.
func (s *Service) newPair(session uuid.UUID, now time.Time) db.RefreshToken {
	issued := now.Truncate(time.Second) // as the claims will have it
	p := db.RefreshToken{
		ID: newID(), SessionID: session, AccessID: newID(), IssuedAt: issued,
		ExpiresAt: issued.Add(s.c.RefreshTimeout).Truncate(time.Second),
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
// saw the answer, converge on one pair, and a session never forks. An access
// token that came of a refresh lives for the grace even if its pair is traded in
// before: threads that share a client without a lock do that to each other.
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
	t := &trade{s: s, now: s.clock(), claims: claims, session: ids[0], token: ids[1]}
	if err := t.run(ctx); err != nil {
		return Pair{}, err
	}
	s.takeBack(t.revoked)
	if t.verdict != nil {
		return Pair{}, t.verdict
	}
	return s.mint(claims.Subject, t.current)
}

// trade is one refresh while it runs.
type trade struct {
	s              *Service
	now            time.Time
	claims         *tokenauth.Claims // of the refresh token shown
	session, token uuid.UUID         // its sid and jti

	current db.RefreshToken // the pair to give
	revoked []tokenauth.Revocation
	// verdict is a refusal that must not undo what was written for it.
	verdict error
}

// run trades the token in if it is the current one, as it nearly always is, in
// one statement; all else is judged in a transaction.
func (t *trade) run(ctx context.Context) error {
	traded, err := t.rotate(ctx, t.s.db)
	if traded || err != nil && !postgres.LostToAnother(err) {
		return err
	}
	return postgres.InTx(ctx, t.s.db, func(tx pgx.Tx) error {
		t.verdict, t.revoked = nil, nil
		return t.judge(ctx, tx)
	})
}

// rotate puts the next pair in place of the one shown, and revokes the access
// token of that one, at the end of its grace if need be, unless it has run out by
// itself, as it usually has. It
// returns false, and nothing has changed, if the pair shown is not the current
// one of a session that lives.
func (t *trade) rotate(ctx context.Context, tx db.DBTX) (bool, error) {
	next := t.s.newPair(t.session, t.now)
	e := eventRow(ctx, t.now, event{kind: eventRefresh, username: t.claims.Subject})
	row, err := t.s.q.TradePair(ctx, tx, db.TradePairParams{
		UsedID: t.token, SessionID: t.session, Now: t.now, AliveSince: t.s.aliveSince(t.now),
		GraceSeconds: t.s.c.RefreshGrace.Seconds(), ID: next.ID, NextAccessID: next.AccessID,
		IssuedAt: next.IssuedAt, ExpiresAt: next.ExpiresAt, AccessExpiresAt: next.AccessExpiresAt,
		EventID: e.ID, EventKind: e.Kind, Address: e.Address, UserAgent: e.UserAgent, RequestID: e.RequestID, Detail: e.Detail,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("trade pair: %w", err)
	}
	t.current = db.RefreshToken{
		ID: row.ID, SessionID: row.SessionID, Generation: row.Generation, AccessID: row.AccessID,
		IssuedAt: row.IssuedAt, ExpiresAt: row.ExpiresAt, AccessExpiresAt: row.AccessExpiresAt,
	}
	if t.now.Before(row.OldAccessExpiresAt.Add(t.s.c.Leeway)) {
		t.revoked = []tokenauth.Revocation{{ID: row.OldAccessID.String(), From: orZero(row.OldAccessCountsFrom), Until: row.OldAccessExpiresAt.Add(revokedMargin)}}
	}
	return true, nil
}

// judge holds the session row first: what is decided here and all refreshes of
// one session pass one after the other, on whatever replica.
func (t *trade) judge(ctx context.Context, tx pgx.Tx) error {
	session, err := t.s.q.LockSession(ctx, tx, t.session)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return tokenauth.ErrRefreshUnknown
	case err != nil:
		return fmt.Errorf("lock session: %w", err)
	case session.EndedAt != nil || !t.now.Before(session.AbsoluteExpiresAt):
		return tokenauth.ErrSessionEnded
	case !session.IsActive:
		return tokenauth.ErrUserInactive
	}
	shown, err := t.s.q.GetPair(ctx, tx, t.token, t.session)
	switch {
	case errors.Is(err, pgx.ErrNoRows) && t.claims.Generation >= int(session.Generation):
		// Signed by us, and yet newer than anything stored: the database
		// was put back to an earlier state. Nobody stole anything.
		return tokenauth.ErrRefreshUnknown
	case errors.Is(err, pgx.ErrNoRows):
		return t.reuse(ctx, tx, session.Username)
	case err != nil:
		return fmt.Errorf("read pair: %w", err)
	case shown.Generation == session.Generation:
		// It became the current one, or the statement lost to another.
		traded, err := t.rotate(ctx, tx)
		if err == nil && !traded {
			err = fmt.Errorf("trade pair %s: it is the current one and cannot be traded", t.token)
		}
		return err
	case shown.UsedAt != nil && t.now.Before(shown.UsedAt.Add(t.s.c.RefreshGrace)):
		t.current, err = t.s.q.GetCurrentPair(ctx, tx, t.session, session.Generation)
		if err != nil {
			return fmt.Errorf("read current pair: %w", err)
		}
		return nil
	}
	return t.reuse(ctx, tx, session.Username)
}

// reuse ends the session. It returns no error: the transaction must commit.
func (t *trade) reuse(ctx context.Context, tx pgx.Tx, username string) (err error) {
	t.verdict = tokenauth.ErrRefreshReused
	t.s.log.WarnContext(ctx, "refresh token reused, session ended",
		slog.String("username", username), slog.String("session", t.session.String()))
	t.revoked, err = t.s.endSessions(ctx, tx, []uuid.UUID{t.session}, endReuse, eventReuse)
	return err
}

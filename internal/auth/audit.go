package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
)

// The kinds of event in auth_events. The reporting views and whoever reads the
// table rely on them.
const (
	eventLogin         = "login"
	eventLoginFailed   = "login_failed"
	eventLock          = "lock"
	eventUnlock        = "unlock"
	eventRefresh       = "refresh"
	eventReuse         = "reuse"
	eventLogout        = "logout"
	eventEvict         = "evict"
	eventRevoke        = "revoke"
	eventPassword      = "password"
	eventPasswordReset = "password_reset"
	eventTokenCreate   = "token_create"
	eventTokenRevoke   = "token_revoke"
	eventUserCreate    = "user_create"
	eventUserUpdate    = "user_update"
	eventUserDelete    = "user_delete"
	eventGroupCreate   = "group_create"
	eventGroupUpdate   = "group_update"
	eventGroupDelete   = "group_delete"
	eventSetup         = "setup"
	eventImport        = "import"
	eventKeyRotate     = "key_rotate"
	eventKeyRetire     = "key_retire"
)

// event is one line of the audit trail. Nothing in it may be a secret.
type event struct {
	kind     string
	username string     // whom it happened to
	session  *uuid.UUID // the one it happened to; nil: none, and the one it was done in is kept
	token    *uuid.UUID // likewise
	detail   string
}

// record writes e, with the client of the context, and who did it when that is
// somebody else. It is part of the transaction of what it tells.
func (s *Service) record(ctx context.Context, tx db.DBTX, e event) error {
	return recordEvent(ctx, s.q, tx, s.clock(), e)
}

func recordEvent(ctx context.Context, q *db.Queries, tx db.DBTX, at time.Time, e event) error {
	if err := q.InsertAuthEvent(ctx, tx, eventRow(ctx, at, e)); err != nil {
		return fmt.Errorf("record event %s: %w", e.kind, err)
	}
	return nil
}

// eventRow is the row of an event, for record and for statements that write it
// with what it tells.
func eventRow(ctx context.Context, at time.Time, e event) db.InsertAuthEventParams {
	a, ok := actor.FromContext(ctx)
	if ok && !a.Guest && a.Username != e.username {
		if e.detail != "" {
			e.detail += "; "
		}
		e.detail += "by " + a.Username
	}
	if e.session == nil && a.SessionID != uuid.Nil {
		e.session = &a.SessionID
	}
	if e.token == nil && a.TokenID != uuid.Nil {
		e.token = &a.TokenID
	}
	c := clientFrom(ctx)
	return db.InsertAuthEventParams{
		ID: newID(), At: at, Kind: e.kind, Username: storable(e.username, 255),
		SessionID: e.session, TokenID: e.token, Address: c.address(),
		UserAgent: c.UserAgent, RequestID: c.RequestID, Detail: storable(e.detail, 1024),
	}
}

package scan

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// EventView is an event in JSON: the same in the stream, in a history and in
// what is sent to a webhook.
type EventView struct {
	ID        uuid.UUID `json:"id" format:"uuid" doc:"Id of the event: the same in the stream, in a history and in what is sent to a webhook."`
	Position  string    `json:"position,omitempty" doc:"Where it stands in the stream: what after and Last-Event-ID take. Left out in a history." example:"18342-5512"`
	At        time.Time `json:"at" doc:"When it was done, in UTC."`
	Kind      string    `json:"kind" doc:"What was done, as NOUN.VERB. New kinds may come: ignore those that you do not know." example:"file.created"`
	User      string    `json:"user,omitempty" doc:"Who did it; left out for what was found to have changed on the disk."`
	Token     string    `json:"token,omitempty" doc:"By what: session, api_token, system or none. Left out where user is."`
	Request   string    `json:"request,omitempty" doc:"X-Request-Id of the request that did it."`
	Scan      string    `json:"scan,omitempty" doc:"The scan it was done to; left out for what was done to a timelapse itself."`
	Timelapse string    `json:"timelapse,omitempty" doc:"The timelapse, or that of the scan."`
	Fileset   string    `json:"fileset,omitempty" doc:"The fileset, or that of the file."`
	File      string    `json:"file,omitempty" doc:"Id of the file."`
	Detail    *Detail   `json:"detail,omitempty" doc:"What else there is to say."`
}

// View returns the event as it is told.
func (e *Event) View() EventView {
	out := EventView{
		ID: e.ID, At: e.At.UTC(), Kind: string(e.Kind), User: e.Username, Token: e.TokenKind, Request: e.RequestID,
		Scan: e.Scan, Timelapse: e.Timelapse, Fileset: e.Fileset, File: e.File,
	}
	if e.Position != (Position{}) {
		out.Position = e.Position.String()
	}
	if !e.Detail.empty() {
		out.Detail = &e.Detail
	}
	return out
}

// relay lets through who sends events on, and administrators, who say where.
func relay(ctx context.Context) error {
	a, err := acting(ctx)
	if err == nil && !may(a, opRelay, Access{}) {
		err = forbidden(a, opRelay)
	}
	return err
}

// Outbox returns up to limit events after a position, those of private scans
// too, where to go on, and whether there may be more. It is for who sends them
// on: ErrForbidden for anybody but the server itself and administrators.
func (s *Service) Outbox(ctx context.Context, after Position, limit int) (events []Event, next Position, more bool, err error) {
	if err := relay(ctx); err != nil {
		return nil, after, false, err
	}
	return s.readEvents(ctx, s.pool, after, limit)
}

// OutboxStart returns the position that a start stands for. ErrEventsGone if it
// is not kept any more; else as Outbox.
func (s *Service) OutboxStart(ctx context.Context, from Start) (Position, error) {
	if err := relay(ctx); err != nil {
		return Position{}, err
	}
	return s.startOf(ctx, from)
}

// OutboxHorizon returns the number below which all events can be told: those of
// positions whose first number is lower. Errors as Outbox.
func (s *Service) OutboxHorizon(ctx context.Context) (int64, error) {
	if err := relay(ctx); err != nil {
		return 0, err
	}
	h, err := s.horizon(ctx, s.pool)
	return h.Horizon, err
}

// PositionOf is the inverse of Pair.
func PositionOf(writtenBy, seq int64) Position { return Position{writtenBy, seq} }

// Pair returns the two numbers of a position, the more significant first.
func (p Position) Pair() (writtenBy, seq int64) { return p.tx, p.seq }

package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/jobs"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/scan"
)

// Config is what can be set.
type Config struct {
	// Networks are those to which messages may go beside the public internet,
	// also without TLS.
	Networks []netip.Prefix
}

// Outbox is where events come from; package scan has it.
type Outbox interface {
	// Outbox returns up to limit events after a position, whoever may read
	// them, and where to go on.
	Outbox(ctx context.Context, after scan.Position, limit int) (events []scan.Event, next scan.Position, more bool, err error)
	// OutboxStart returns the position that a start stands for.
	OutboxStart(ctx context.Context, from scan.Start) (scan.Position, error)
	// OutboxHorizon returns the number below which all events can be told.
	OutboxHorizon(ctx context.Context) (int64, error)
}

// Audit keeps who changed what; package auth has it.
type Audit interface {
	RecordAccess(ctx context.Context, tx db.DBTX, kind, detail string) error
}

// Queue takes jobs in a transaction; package jobs has it.
type Queue interface {
	Insert(ctx context.Context, tx pgx.Tx, jobs ...jobs.Args) error
}

// Parts are what a Service works with.
type Parts struct {
	Pool   postgres.DB
	Outbox Outbox
	Audit  Audit
	Queue  Queue
	Sealer *Sealer
	Log    *slog.Logger
}

// Service keeps webhooks and delivers to them. Its methods take who acts from the
// context: administrators only, and by no API token. Safe for concurrent use, also by
// several processes on one database.
type Service struct {
	Parts
	q      *db.Queries
	config Config
	client *http.Client
	now    func() time.Time
	rand   func() float64 // from 0 to 1
	// backoffs are the waits after the n-th failure in a row.
	backoffs []time.Duration
}

// New returns the service of a database and its tree.
func New(p Parts, c Config) *Service {
	s := &Service{Parts: p, q: db.New(), config: c, now: time.Now, rand: chance, backoffs: backoffs()}
	s.client = s.newClient()
	return s
}

// Webhook is a receiver of events.
type Webhook struct {
	ID               uuid.UUID
	URL, Description string
	Kinds            []string // none: all
	Enabled          bool
	// DisabledFor is why the server disabled it: failing, gone, or nothing.
	DisabledFor   string
	CreatedBy     string
	CreatedAt     time.Time
	Position      scan.Position // all up to here was delivered
	Failures      int           // attempts that failed since one succeeded
	FailingSince  *time.Time
	NextAttempt   *time.Time
	PreviousUntil *time.Time // until when the secret before is good
}

func webhookOf(r db.Webhook) Webhook {
	w := Webhook{
		ID: r.ID, URL: r.Url, Description: r.Description, Kinds: r.Kinds, Enabled: r.Enabled, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt,
		Position: scan.PositionOf(r.WrittenBy, r.Seq), Failures: int(r.Failures), FailingSince: r.FailingSince, NextAttempt: r.NextAttemptAt,
		PreviousUntil: r.PreviousUntil,
	}
	if r.DisabledFor != nil {
		w.DisabledFor = *r.DisabledFor
	}
	return w
}

// Change says what to set of a webhook; nil leaves it as it is.
type Change struct {
	URL, Description *string
	Kinds            *[]string
	Enabled          *bool
	// From is where to go on in the stream; nil for where it is, or for a new
	// one with what comes.
	From *scan.Start
}

const (
	// maxWebhooks bounds what one event may cost.
	maxWebhooks    = 50
	maxKinds       = 64
	maxDescription = 500
	// oldSecretFor is how long messages are signed with the secret before as
	// well, so that a receiver can change over without losing one.
	oldSecretFor = 24 * time.Hour
)

var kindForm = regexp.MustCompile(`^[a-z]+\.[a-z_]+$`)

func (s *Service) check(c Change) error {
	if c.URL != nil {
		if err := s.checkURL(*c.URL); err != nil {
			return err
		}
	}
	if d := c.Description; d != nil && (len(*d) > maxDescription || !utf8.ValidString(*d) || slices.Contains([]byte(*d), 0)) {
		return ErrText
	}
	if k := c.Kinds; k != nil && (len(*k) > maxKinds || slices.ContainsFunc(*k, func(k string) bool { return len(k) > 64 || !kindForm.MatchString(k) })) {
		return ErrKinds
	}
	return nil
}

// manager returns who acts, if they may manage webhooks.
func manager(ctx context.Context) (actor.Actor, error) {
	a, ok := actor.FromContext(ctx)
	switch {
	case !ok || a.Guest:
		return a, scan.ErrNoActor
	case !a.IsAdmin():
		return a, ErrForbidden
	}
	return a, nil
}

// Create adds a webhook, which is sent what comes from now on, and returns its
// secret: it cannot be read again. Errors: scan.ErrNoActor, ErrForbidden, ErrURL,
// ErrAddress, ErrKinds, ErrText, ErrTooMany; those of where to begin.
func (s *Service) Create(ctx context.Context, c Change) (Webhook, Secret, error) {
	a, err := manager(ctx)
	if err != nil {
		return Webhook{}, "", err
	}
	if c.URL == nil {
		return Webhook{}, "", ErrURL
	}
	if err := s.check(c); err != nil {
		return Webhook{}, "", err
	}
	from := scan.Start{Now: true}
	if c.From != nil {
		from = *c.From
	}
	at, err := s.Outbox.OutboxStart(ctx, from)
	if err != nil {
		return Webhook{}, "", err
	}
	arg := db.InsertWebhookParams{
		ID: uuid.Must(uuid.NewV7()), Url: *c.URL, Kinds: []string{}, Enabled: true, CreatedBy: a.Username, AtMost: maxWebhooks,
	}
	arg.WrittenBy, arg.Seq = at.Pair()
	if c.Description != nil {
		arg.Description = *c.Description
	}
	if c.Kinds != nil {
		arg.Kinds = append(arg.Kinds, *c.Kinds...)
	}
	if c.Enabled != nil {
		arg.Enabled = *c.Enabled
	}
	var secret Secret
	secret, arg.Secret = s.Sealer.newSecret(arg.ID)
	var made db.Webhook
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		if err := s.q.LockWebhooks(ctx, tx); err != nil {
			return fmt.Errorf("lock webhooks: %w", err)
		}
		made, err = s.q.InsertWebhook(ctx, tx, arg)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrTooMany
		}
		if err != nil {
			return fmt.Errorf("insert webhook: %w", err)
		}
		return s.Audit.RecordAccess(ctx, tx, "webhook_create", arg.ID.String())
	})
	if err != nil {
		return Webhook{}, "", err
	}
	return webhookOf(made), secret, nil
}

// List returns all webhooks, in the order they were made.
func (s *Service) List(ctx context.Context) ([]Webhook, error) {
	if _, err := manager(ctx); err != nil {
		return nil, err
	}
	rows, err := s.q.ListWebhooks(ctx, s.Pool)
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	list := make([]Webhook, len(rows))
	for i, r := range rows {
		list[i] = webhookOf(r)
	}
	return list, nil
}

// Get returns a webhook; ErrUnknown if there is none of that id.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (Webhook, error) {
	r, err := s.get(ctx, id)
	return webhookOf(r), err
}

func (s *Service) get(ctx context.Context, id uuid.UUID) (db.Webhook, error) {
	if _, err := manager(ctx); err != nil {
		return db.Webhook{}, err
	}
	r, err := s.q.GetWebhook(ctx, s.Pool, id)
	return r, found(err, "find webhook %s", id)
}

func found(err error, format string, id uuid.UUID) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrUnknown
	}
	if err != nil {
		return fmt.Errorf(format+": %w", id, err)
	}
	return nil
}

// Update changes a webhook. What failed is tried again at once, and one that was
// disabled goes on from its place if it is enabled. Errors as Create, and ErrUnknown.
func (s *Service) Update(ctx context.Context, id uuid.UUID, c Change) (Webhook, error) {
	if _, err := s.get(ctx, id); err != nil {
		return Webhook{}, err
	}
	if err := s.check(c); err != nil {
		return Webhook{}, err
	}
	var at *scan.Position
	if c.From != nil {
		p, err := s.Outbox.OutboxStart(ctx, *c.From)
		if err != nil {
			return Webhook{}, err
		}
		at = &p
	}
	var made db.Webhook
	err := postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		r, err := s.q.HoldWebhook(ctx, tx, id)
		if err := found(err, "hold webhook %s", id); err != nil {
			return err
		}
		arg := db.UpdateWebhookParams{ID: id, Url: r.Url, Description: r.Description, Kinds: r.Kinds, Enabled: r.Enabled, WrittenBy: r.WrittenBy, Seq: r.Seq}
		if c.URL != nil {
			arg.Url = *c.URL
		}
		if c.Description != nil {
			arg.Description = *c.Description
		}
		if c.Kinds != nil {
			arg.Kinds = append([]string{}, *c.Kinds...)
		}
		if c.Enabled != nil {
			arg.Enabled = *c.Enabled
		}
		if at != nil {
			arg.WrittenBy, arg.Seq = at.Pair()
		}
		if made, err = s.q.UpdateWebhook(ctx, tx, arg); err != nil {
			return fmt.Errorf("change webhook %s: %w", id, err)
		}
		return s.Audit.RecordAccess(ctx, tx, "webhook_update", id.String())
	})
	return webhookOf(made), err
}

// Rotate gives a webhook a new secret and returns it, as Create does. For a day
// messages are signed with the one before as well. Errors: ErrUnknown and those of
// who acts.
func (s *Service) Rotate(ctx context.Context, id uuid.UUID) (Webhook, Secret, error) {
	if _, err := s.get(ctx, id); err != nil {
		return Webhook{}, "", err
	}
	secret, sealed := s.Sealer.newSecret(id)
	until := s.now().Add(oldSecretFor)
	var made db.Webhook
	err := postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) (err error) {
		made, err = s.q.SetWebhookSecret(ctx, tx, &until, sealed, id)
		if err := found(err, "change secret of webhook %s", id); err != nil {
			return err
		}
		return s.Audit.RecordAccess(ctx, tx, "webhook_secret", id.String())
	})
	if err != nil {
		return Webhook{}, "", err
	}
	return webhookOf(made), secret, nil
}

// Delete removes a webhook and what is known of its deliveries. A message that is
// on its way may still arrive. Errors: ErrUnknown and those of who acts.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	if _, err := manager(ctx); err != nil {
		return err
	}
	return postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		n, err := s.q.DeleteWebhook(ctx, tx, id)
		if err != nil {
			return fmt.Errorf("delete webhook %s: %w", id, err)
		}
		if n == 0 {
			return ErrUnknown
		}
		return s.Audit.RecordAccess(ctx, tx, "webhook_delete", id.String())
	})
}

// Delivery is one attempt.
type Delivery struct {
	Event     uuid.UUID // the id of the message
	Kind      string
	At        time.Time
	Attempt   int // from 1 on; 0 for a test
	Delivered bool
	Status    int    // of the answer; 0 where there was none
	Fault     string // why it was not delivered, a word for programs
	Took      time.Duration
}

// Deliveries is a page of them, the latest first.
type Deliveries struct {
	Deliveries []Delivery
	Next       string
}

const maxDeliveries = 500

// Deliveries pages through the attempts of a webhook. Errors: ErrUnknown, ErrCursor
// and those of who acts.
func (s *Service) Deliveries(ctx context.Context, id uuid.UUID, after string, limit int) (Deliveries, error) {
	if _, err := s.get(ctx, id); err != nil {
		return Deliveries{}, err
	}
	before := int64(math.MaxInt64)
	if after != "" {
		n, err := strconv.ParseInt(after, 10, 64)
		if err != nil || n < 1 {
			return Deliveries{}, ErrCursor
		}
		before = n
	}
	limit = min(max(limit, 1), maxDeliveries)
	rows, err := s.q.ListDeliveries(ctx, s.Pool, id, before, int32(limit)) // At most maxDeliveries.
	if err != nil {
		return Deliveries{}, fmt.Errorf("list deliveries of webhook %s: %w", id, err)
	}
	page := Deliveries{Deliveries: make([]Delivery, len(rows))}
	for i, r := range rows {
		d := Delivery{Event: r.EventID, Kind: r.Kind, At: r.At, Attempt: int(r.Attempt), Delivered: r.Delivered, Took: time.Duration(r.DurationMs) * time.Millisecond}
		if r.Status != nil {
			d.Status = int(*r.Status)
		}
		if r.Fault != nil {
			d.Fault = *r.Fault
		}
		page.Deliveries[i] = d
	}
	if len(rows) == limit {
		page.Next = strconv.FormatInt(rows[limit-1].Seq, 10)
	}
	return page, nil
}

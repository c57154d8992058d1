package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/fault"
	"github.com/romi/plantdb-go/internal/postgres"
)

// The failures of quotas.
var (
	ErrQuota        = fault.New(fault.TooLarge, "quota_exceeded", "The quota of user 'carol' is 1000000000 bytes, of which 999000000 are used: 2000000 more do not fit.")
	ErrUnknownQuota = fault.New(fault.NotFound, "unknown_quota", "There is no such user, group or quota.")
	ErrQuotaBounds  = fault.New(fault.Invalid, "bad_quota", "A quota bounds bytes, files or both, by zero or more.")
)

const (
	// limitedFor is how long it is taken for known to whom quotas apply.
	limitedFor = time.Second
	// reservedFor is how long what an upload reserved counts when its server
	// is killed; one that goes on renews it in time.
	reservedFor = 15 * time.Minute
	// reserveStep is what an upload reserves at a time that does not say how
	// long it is.
	reserveStep = 32 << 20
	// releaseTime bounds the end of a reservation.
	releaseTime = 5 * time.Second
)

// The kinds of quotas.
const (
	UserQuota  = "user"
	GroupQuota = "group"
)

// Quota bounds what the scans of a user, or of all members of a group together,
// hold, in the trash too. Nil bounds nothing.
type Quota struct {
	Kind, Name         string
	MaxBytes, MaxFiles *int64
}

// QuotaUse is a quota that applies to a user, and what counts against it.
type QuotaUse struct {
	Quota
	Bytes, Files int64
}

// Amount is some bytes and files.
type Amount struct{ Bytes, Files int64 }

// Usage is what a user's scans hold, what of it lies in the trash until it is
// purged, and what uploads will take that are on their way.
type Usage struct {
	Username              string
	Held, Trash, Reserved Amount
	Quotas                []QuotaUse
}

// Usage returns what a user holds: the actor, for whom an empty name stands, or
// anybody for administrators. A user that nobody is holds nothing. Errors:
// ErrNoActor, ErrForbidden.
func (s *Service) Usage(ctx context.Context, username string) (Usage, error) {
	a, err := acting(ctx)
	if err != nil {
		return Usage{}, err
	}
	if username = actor.FoldUsername(username); username == "" {
		username = a.Username
	}
	if !may(a, opUsage, Access{Owner: &username}) || !storable(username) {
		return Usage{}, forbidden(a, opUsage)
	}
	u := Usage{Username: username}
	got, err := s.q.GetUsage(ctx, s.pool, username, s.now())
	if err != nil {
		return u, fmt.Errorf("sum up what %q holds: %w", username, err)
	}
	u.Held, u.Trash, u.Reserved = Amount{got.Bytes, got.Files}, Amount{got.TrashBytes, got.TrashFiles}, Amount{got.ReservedBytes, got.ReservedFiles}
	rows, err := s.q.ListQuotasOf(ctx, s.pool, username, s.now(), uuid.Nil)
	if err != nil {
		return u, fmt.Errorf("list quotas of %q: %w", username, err)
	}
	for _, r := range rows {
		u.Quotas = append(u.Quotas, quotaUse(r))
	}
	return u, nil
}

func quotaUse(r db.ListQuotasOfRow) QuotaUse {
	return QuotaUse{Quota{r.Kind, r.Name, r.MaxBytes, r.MaxFiles}, r.Bytes, r.Files}
}

// Quotas returns all quotas. Only administrators may ask.
func (s *Service) Quotas(ctx context.Context) ([]Quota, error) {
	if err := s.requireAdministrator(ctx, opListQuotas); err != nil {
		return nil, err
	}
	rows, err := s.q.ListQuotas(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("list quotas: %w", err)
	}
	quotas := make([]Quota, len(rows))
	for i, r := range rows {
		quotas[i] = Quota(r)
	}
	return quotas, nil
}

func (s *Service) requireAdministrator(ctx context.Context, operation string) error {
	a, err := acting(ctx)
	if err == nil && !may(a, operation, Access{}) {
		err = forbidden(a, operation)
	}
	return err
}

// SetQuota gives a user or group a quota, in place of the one before. It holds
// for what is uploaded from a second later on; what is there stays. Only
// administrators may do it. Errors: ErrForbidden, ErrUnknownQuota for an
// unknown user or group, ErrQuotaBounds. The name of a user counts in whatever
// case; the quota that is returned has it as it is kept.
func (s *Service) SetQuota(ctx context.Context, q Quota) (Quota, error) {
	if err := s.requireAdministrator(ctx, opSetQuota); err != nil {
		return q, err
	}
	q = q.folded()
	for _, most := range []*int64{q.MaxBytes, q.MaxFiles} {
		if most != nil && *most < 0 {
			return q, ErrQuotaBounds
		}
	}
	if q.MaxBytes == nil && q.MaxFiles == nil {
		return q, ErrQuotaBounds
	}
	set := s.q.SetUserQuota
	if q.Kind == GroupQuota {
		set = s.q.SetGroupQuota
	}
	return q, s.changeQuota(ctx, "quota_set", q, func(tx pgx.Tx) (int64, error) { return set(ctx, tx, q.MaxBytes, q.MaxFiles, q.Name) })
}

// folded is the quota with the name that its user is kept under.
func (q Quota) folded() Quota {
	if q.Kind == UserQuota {
		q.Name = actor.FoldUsername(q.Name)
	}
	return q
}

// DeleteQuota takes a quota away. Errors as SetQuota.
func (s *Service) DeleteQuota(ctx context.Context, kind, name string) error {
	remove := s.q.DeleteUserQuota
	if kind == GroupQuota {
		remove = s.q.DeleteGroupQuota
	}
	q := Quota{Kind: kind, Name: name}.folded()
	return s.changeQuota(ctx, "quota_deleted", q, func(tx pgx.Tx) (int64, error) { return remove(ctx, tx, q.Name) })
}

func (s *Service) changeQuota(ctx context.Context, event string, q Quota, change func(pgx.Tx) (int64, error)) error {
	if err := s.requireAdministrator(ctx, opSetQuota); err != nil {
		return err
	}
	if !storable(q.Name) {
		return ErrUnknownQuota
	}
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		n, err := change(tx)
		if err != nil {
			return fmt.Errorf("change quota of %s %q: %w", q.Kind, q.Name, err)
		}
		if n == 0 {
			return ErrUnknownQuota
		}
		return s.groups.RecordAccess(ctx, tx, event, q.String())
	})
	s.limited.forget()
	return err
}

// String says what the audit trail keeps.
func (q Quota) String() string {
	text := q.Kind + " " + q.Name
	if q.MaxBytes != nil {
		text += fmt.Sprintf(": %d bytes", *q.MaxBytes)
	}
	if q.MaxFiles != nil {
		text += fmt.Sprintf(": %d files", *q.MaxFiles)
	}
	return text
}

// limited remembers for a moment to whom quotas apply, so that an upload by
// somebody else costs nothing.
type limited struct {
	mu    sync.Mutex // not held while the database is asked
	until time.Time
	users map[string]bool
	asked int // grows when what is being asked for is no longer so
}

func (l *limited) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
	l.asked++
}

// known returns what is remembered; ok is false if that is too old.
func (l *limited) known() (users map[string]bool, asked int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.users, l.asked, time.Now().Before(l.until)
}

func (l *limited) keep(users map[string]bool, asked int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if asked == l.asked {
		l.users, l.until = users, time.Now().Add(limitedFor)
	}
}

// quotaApplies says whether a quota may apply to a user. The caller is in no
// transaction, for it may wait for a connection.
func (s *Service) quotaApplies(ctx context.Context, owner string) (bool, error) {
	users, asked, ok := s.limited.known()
	if !ok {
		names, err := s.q.ListLimitedUsers(ctx, s.pool)
		if err != nil {
			return false, fmt.Errorf("list users with quotas: %w", err)
		}
		users = make(map[string]bool, len(names))
		for _, n := range names {
			users[n] = true
		}
		s.limited.keep(users, asked)
	}
	return users[owner], nil
}

// reservation is room in the quotas of an owner that an upload holds until what
// it brings counts by itself. Nil is that of an owner without quotas.
type reservation struct {
	s       *Service
	id      uuid.UUID
	owner   string
	amount  Amount
	life    time.Duration
	renewed time.Time
}

// reserve takes room in all quotas that apply to the owner, or none: ErrQuota.
// It counts against everybody's uploads on every server from then on, until it
// is released or its life ends.
func (s *Service) reserve(ctx context.Context, id uuid.UUID, owner *string, amount Amount, life time.Duration) (*reservation, error) {
	if owner == nil {
		return nil, nil //nolint:nilnil // Nothing to hold is no failure.
	}
	if applies, err := s.quotaApplies(ctx, *owner); err != nil || !applies {
		return nil, err
	}
	r := &reservation{s: s, id: id, owner: *owner, life: life}
	if err := r.set(ctx, amount); err != nil {
		return nil, err
	}
	return r, nil
}

// set makes the reservation hold that amount; where it does not fit it stays
// as it was.
func (r *reservation) set(ctx context.Context, amount Amount) error {
	if r == nil {
		return nil
	}
	err := postgres.InTx(ctx, r.s.pool, func(tx pgx.Tx) error {
		if err := r.s.q.LockQuotas(ctx, tx, r.owner); err != nil {
			return fmt.Errorf("lock quotas of %q: %w", r.owner, err)
		}
		now := r.s.now()
		quotas, err := r.s.q.ListQuotasOf(ctx, tx, r.owner, now, r.id)
		if err != nil {
			return fmt.Errorf("list quotas of %q: %w", r.owner, err)
		}
		for _, q := range quotas {
			if err := quotaUse(q).room(amount); err != nil {
				return err
			}
		}
		arg := db.ReserveParams{ID: r.id, Owner: r.owner, Bytes: amount.Bytes, Files: amount.Files, ExpiresAt: now.Add(r.life)}
		if err := r.s.q.Reserve(ctx, tx, arg); err != nil {
			return fmt.Errorf("reserve for %q: %w", r.owner, err)
		}
		return nil
	})
	if err == nil {
		r.amount, r.renewed = amount, time.Now()
	}
	return err
}

// room says whether so much more fits.
func (q QuotaUse) room(more Amount) error {
	for _, c := range []struct {
		what       string
		most       *int64
		used, more int64
	}{{"bytes", q.MaxBytes, q.Bytes, more.Bytes}, {"files", q.MaxFiles, q.Files, more.Files}} {
		if c.most != nil && c.more > 0 && (c.used > *c.most || c.more > *c.most-c.used) {
			return ErrQuota.With("The quota of %s '%s' is %d %s, of which %d are used: %d more do not fit.", q.Kind, q.Name, *c.most, c.what, c.used, c.more)
		}
	}
	return nil
}

// roomForScan says whether a scan fits into the quotas of a user to whom it goes,
// and holds these until the transaction ends. A quota that applies to the owner
// before as well, such as that of a group of both, has the scan counted already.
func (s *Service) roomForScan(ctx context.Context, tx pgx.Tx, r row, to string) error {
	if r.Owner != nil && *r.Owner == to {
		return nil
	}
	quotas, err := s.heldQuotas(ctx, tx, to, uuid.Nil)
	if err != nil || len(quotas) == 0 {
		return err
	}
	holds, err := s.q.GetScanAmount(ctx, tx, r.id)
	if err != nil {
		return fmt.Errorf("sum up scan %q: %w", r.Name, err)
	}
	counted := map[Quota]bool{}
	if r.Owner != nil {
		before, err := s.q.ListQuotasOf(ctx, tx, *r.Owner, s.now(), uuid.Nil)
		if err != nil {
			return fmt.Errorf("list quotas of %q: %w", *r.Owner, err)
		}
		for _, q := range before {
			counted[Quota{Kind: q.Kind, Name: q.Name}] = true
		}
	}
	for _, q := range quotas {
		if counted[Quota{Kind: q.Kind, Name: q.Name}] {
			continue
		}
		if err := quotaUse(q).room(Amount{holds.Bytes, holds.Files}); err != nil {
			return err
		}
	}
	return nil
}

// heldQuotas returns the quotas of a user, with what counts but one reservation, and
// holds them until the transaction ends. It does not ask quotaApplies: who has its
// turn there may wait for the connection that the caller holds.
func (s *Service) heldQuotas(ctx context.Context, tx pgx.Tx, owner string, but uuid.UUID) ([]db.ListQuotasOfRow, error) {
	list := func() ([]db.ListQuotasOfRow, error) {
		quotas, err := s.q.ListQuotasOf(ctx, tx, owner, s.now(), but)
		if err != nil {
			return nil, fmt.Errorf("list quotas of %q: %w", owner, err)
		}
		return quotas, nil
	}
	if quotas, err := list(); err != nil || len(quotas) == 0 {
		return nil, err
	}
	if err := s.q.LockQuotas(ctx, tx, owner); err != nil {
		return nil, fmt.Errorf("lock quotas of %q: %w", owner, err)
	}
	return list() // as those before left them
}

// charge says for whom the bytes of an upload were counted before they came.
type charge struct {
	owner *string   // nil: for nobody
	held  uuid.UUID // what was reserved, if anything was
}

// roomForMoved says whether a file of that size, beside what is to come before it,
// fits into the quotas of a scan's owner where it was counted for somebody else,
// since the scan was given away while the bytes came. It returns what is to come then,
// and holds the quotas until the transaction ends.
func (s *Service) roomForMoved(ctx context.Context, tx pgx.Tx, r row, paid charge, before Amount, size int64) (Amount, error) {
	if r.Owner == nil || paid.owner != nil && *paid.owner == *r.Owner {
		return before, nil
	}
	quotas, err := s.heldQuotas(ctx, tx, *r.Owner, paid.held)
	if err != nil {
		return before, err
	}
	all := Amount{before.Bytes + size, before.Files + 1}
	for _, q := range quotas {
		if err := quotaUse(q).room(all); err != nil {
			return before, err
		}
	}
	return all, nil
}

// release lets the room go; what cannot be let go now ends by itself.
func (r *reservation) release(ctx context.Context) {
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	if err := r.s.q.DeleteReservation(ctx, r.s.pool, r.id); err != nil {
		r.s.log.WarnContext(ctx, "release reservation", slog.String("owner", r.owner), slog.Any("err", err))
	}
}

// reading is content that the reservation covers: it grows with what comes
// beyond it, and is renewed while it comes.
func (r *reservation) reading(ctx context.Context, content io.Reader) io.Reader {
	if r == nil {
		return content
	}
	return &reservedReader{ctx: ctx, r: r, content: content}
}

type reservedReader struct {
	ctx     context.Context //nolint:containedctx // It is the reader's whole purpose.
	r       *reservation
	content io.Reader
	total   int64
}

// Read implements io.Reader.
func (c *reservedReader) Read(p []byte) (int, error) {
	n, err := c.content.Read(p)
	c.total += int64(n)
	want := c.r.amount
	if c.total > want.Bytes {
		want.Bytes = c.total + reserveStep
	}
	if want == c.r.amount && time.Since(c.r.renewed) < c.r.life/3 {
		return n, err
	}
	held := c.r.set(c.ctx, want)
	if errors.Is(held, ErrQuota) && want.Bytes > c.total {
		want.Bytes = c.total // the last step may be shorter
		held = c.r.set(c.ctx, want)
	}
	if held != nil {
		return 0, held
	}
	return n, err
}

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/romi/plantdb-go/db"
	"github.com/romi/plantdb-go/internal/actor"
	"github.com/romi/plantdb-go/internal/jobs"
	"github.com/romi/plantdb-go/internal/postgres"
	"github.com/romi/plantdb-go/internal/scan"
)

const (
	// lookEvery is how often a server looks for what is to be delivered.
	lookEvery = 500 * time.Millisecond
	// lease is how long a server may say nothing before another takes its turn;
	// an attempt is shorter.
	lease = 3 * sendTimeout
	// turnTime bounds a turn, after which others have theirs.
	turnTime = 20 * time.Second
	// page is how many events are read at a time.
	page = 100

	// maxFailures disables a webhook. With the waits before each attempt that is
	// after three days and a half.
	maxFailures = 12
	// maxWait is longer than any wait before an attempt: one that is put off for
	// more was by a clock that went wrong.
	maxWait = 27 * time.Hour
	// maxRetryAfter bounds for how long a receiver can ask to be left alone.
	maxRetryAfter = time.Hour
	// keepDeliveries is how long attempts can be looked at.
	keepDeliveries = 30 * 24 * time.Hour

	userAgent = "PlantDB-Webhooks"
	// testKind is the type of a message that only tests the way.
	testKind = "webhook.test"
)

// The reasons why the server disables a webhook.
const (
	failing = "failing"
	gone    = "gone"
)

// backoffs are the waits after the n-th failure in a row.
func backoffs() []time.Duration {
	return []time.Duration{
		5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour,
		2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 24 * time.Hour,
	}
}

func chance() float64 { return rand.Float64() } //nolint:gosec // Chance, not secrecy.

// backoff is how long to wait after the n-th failure, from 1 on: up to a tenth
// more, so that receivers that fell together are not met together.
func (s *Service) backoff(n int, asked time.Duration) time.Duration {
	d := s.backoffs[min(max(n, 1), len(s.backoffs))-1]
	d += time.Duration(float64(d) * s.rand() / 10)
	return max(d, min(asked, maxRetryAfter))
}

// deliverArgs ask for a turn of a webhook.
type deliverArgs struct {
	Webhook uuid.UUID `json:"webhook"`
	Turn    int64     `json:"turn"`
}

// Kind implements jobs.Args.
func (deliverArgs) Kind() string { return "deliver_webhook" }

// InsertOpts has one job for each turn. It is not tried again: the next turn is.
func (deliverArgs) InsertOpts() jobs.InsertOpts {
	return jobs.InsertOpts{Queue: jobs.Webhooks, MaxAttempts: 1}
}

// Deliverer does the turns.
func (s *Service) Deliverer() jobs.Worker {
	return jobs.Work(func(ctx context.Context, job *jobs.Job[deliverArgs]) error {
		return s.deliver(actor.NewContext(ctx, actor.System()), job.Args.Webhook, job.Args.Turn)
	}, jobs.Bounds{Timeout: turnTime + 2*sendTimeout})
}

// forgetArgs ask for a round of forgetting old attempts.
type forgetArgs struct{}

// Kind implements jobs.Args.
func (forgetArgs) Kind() string { return "forget_deliveries" }

// InsertOpts has one round at a time over all servers.
func (forgetArgs) InsertOpts() jobs.InsertOpts {
	return jobs.InsertOpts{Queue: jobs.Background, UniqueOpts: jobs.UniqueOpts{ByArgs: true, ByState: jobs.Unfinished}}
}

// Keeper forgets old attempts, every hour.
func (s *Service) Keeper() jobs.Worker {
	return jobs.Work(func(ctx context.Context, _ *jobs.Job[forgetArgs]) error {
		for n := int64(1); n > 0; {
			var err error
			if n, err = s.q.ForgetDeliveries(ctx, s.Pool, s.now().Add(-keepDeliveries), 5000); err != nil {
				return fmt.Errorf("forget old deliveries: %w", err)
			}
		}
		return nil
	}, jobs.Bounds{Timeout: 5 * time.Minute, Every: time.Hour})
}

// Run takes turns for the webhooks that have something to be sent, until ctx
// ends.
func (s *Service) Run(ctx context.Context) error {
	ctx = actor.NewContext(ctx, actor.System())
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	failed := false // said once
	for {
		err := s.look(ctx)
		if err != nil && ctx.Err() == nil && !failed {
			s.Log.WarnContext(ctx, "looking for webhooks failed", slog.Any("err", err))
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			s.client.CloseIdleConnections()
			return nil
		case <-ticker.C:
		}
	}
}

// look takes a turn of each webhook that is due.
func (s *Service) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	horizon, err := s.Outbox.OutboxHorizon(ctx)
	if err != nil {
		return err
	}
	due, err := s.q.ListDueWebhooks(ctx, s.Pool, lease.Seconds(), maxWait.Seconds(), horizon)
	if err != nil {
		return fmt.Errorf("list webhooks that are due: %w", err)
	}
	for _, id := range due {
		err := postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
			turn, err := s.q.TakeWebhook(ctx, tx, lease.Seconds(), id, maxWait.Seconds())
			if errors.Is(err, pgx.ErrNoRows) {
				return nil // another server's
			}
			if err != nil {
				return fmt.Errorf("take turn of webhook %s: %w", id, err)
			}
			return s.Queue.Insert(ctx, tx, deliverArgs{id, turn})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deliver sends what comes after the place of a webhook while it is this turn.
func (s *Service) deliver(ctx context.Context, id uuid.UUID, turn int64) error {
	for until := time.Now().Add(turnTime); time.Now().Before(until); {
		w, err := s.q.GetWebhookTurn(ctx, s.Pool, id, turn)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read webhook %s: %w", id, err)
		}
		events, next, more, err := s.Outbox.Outbox(ctx, scan.PositionOf(w.WrittenBy, w.Seq), page)
		if err != nil {
			return err
		}
		for i := range events {
			if len(w.Kinds) > 0 && !slices.Contains(w.Kinds, string(events[i].Kind)) {
				continue
			}
			if on, err := s.deliverOne(ctx, w, &events[i]); err != nil || !on || !time.Now().Before(until) {
				return errors.Join(err, s.rest(ctx, w))
			}
			w.Failures = 0
		}
		// Also past what it is not sent.
		if on, err := s.advance(ctx, s.Pool, w, next); err != nil || !on {
			return err
		}
		if !more {
			return s.rest(ctx, w)
		}
	}
	return nil
}

// deliverOne sends one event and records the attempt. on is false if the turn
// has ended.
func (s *Service) deliverOne(ctx context.Context, w db.Webhook, e *scan.Event) (on bool, err error) {
	body, err := json.Marshal(message{string(e.Kind), e.At.UTC(), e.View()})
	if err != nil {
		return false, fmt.Errorf("encode event %s: %w", e.ID, err)
	}
	d := s.send(ctx, w, e.ID, string(e.Kind), body)
	if ctx.Err() != nil && !d.Delivered {
		return false, nil // this server stops; that is not the receiver's fault
	}
	d.Attempt = int(w.Failures) + 1
	err = postgres.InTx(ctx, s.Pool, func(tx pgx.Tx) error {
		if d.Delivered {
			on, err = s.advance(ctx, tx, w, e.Position)
		} else {
			on = false
			err = s.fail(ctx, tx, w, d)
		}
		if err != nil {
			return err
		}
		_, err = s.keep(ctx, tx, w.ID, d)
		return err
	})
	return on, err
}

func (s *Service) advance(ctx context.Context, tx db.DBTX, w db.Webhook, to scan.Position) (on bool, err error) {
	arg := db.AdvanceWebhookParams{ID: w.ID, Turn: w.Turn, Seconds: lease.Seconds()}
	arg.WrittenBy, arg.Seq = to.Pair()
	n, err := s.q.AdvanceWebhook(ctx, tx, arg)
	if err != nil {
		return false, fmt.Errorf("move webhook %s on: %w", w.ID, err)
	}
	return n == 1, nil
}

func (s *Service) rest(ctx context.Context, w db.Webhook) error {
	// Also where this server stops, so that the next need not wait.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := s.q.RestWebhook(ctx, s.Pool, w.ID, w.Turn); err != nil {
		return fmt.Errorf("end turn of webhook %s: %w", w.ID, err)
	}
	return nil
}

// fail puts the next attempt off, or disables the webhook.
func (s *Service) fail(ctx context.Context, tx db.DBTX, w db.Webhook, d attempt) error {
	failures := int(w.Failures) + 1
	next := s.now().Add(s.backoff(failures, d.retryAfter))
	arg := db.FailWebhookParams{ID: w.ID, Turn: w.Turn, NextAttemptAt: &next}
	reason := ""
	switch {
	case d.Status == http.StatusGone:
		reason = gone
	case failures >= maxFailures:
		reason = failing
	}
	if reason != "" {
		arg.Disable, arg.DisabledFor, arg.NextAttemptAt = true, &reason, nil
	}
	n, err := s.q.FailWebhook(ctx, tx, arg)
	if err != nil {
		return fmt.Errorf("record failure of webhook %s: %w", w.ID, err)
	}
	// The address may hold a secret of the receiver's.
	level, text := slog.LevelInfo, "webhook not delivered, to be tried again"
	if reason != "" {
		level, text = slog.LevelWarn, "webhook disabled"
	}
	if n == 1 {
		s.Log.LogAttrs(ctx, level, text, slog.String("webhook", w.ID.String()), slog.Int("failures", failures), slog.String("fault", d.Fault), slog.Int("status", d.Status))
	}
	return nil
}

// keep records an attempt. there is false if the webhook was removed meanwhile.
func (s *Service) keep(ctx context.Context, tx db.DBTX, id uuid.UUID, d attempt) (there bool, err error) {
	arg := db.InsertDeliveryParams{
		WebhookID: id, EventID: d.Event, Kind: d.Kind, Attempt: int32(d.Attempt), Delivered: d.Delivered, DurationMs: int32(d.Took.Milliseconds()), //nolint:gosec // Bounded by maxFailures and sendTimeout.
	}
	if d.Status != 0 {
		status := int32(d.Status) //nolint:gosec // Three digits.
		arg.Status = &status
	}
	if d.Fault != "" {
		arg.Fault = &d.Fault
	}
	n, err := s.q.InsertDelivery(ctx, tx, arg)
	if err != nil {
		return false, fmt.Errorf("record attempt of webhook %s: %w", id, err)
	}
	return n == 1, nil
}

// message is the body, as Standard Webhooks recommends it.
type message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      any       `json:"data"`
}

// Test sends a message of the type webhook.test at once, whether or not the webhook is
// enabled, and returns what became of it. Errors: ErrUnknown and those of who acts.
func (s *Service) Test(ctx context.Context, id uuid.UUID) (Delivery, error) {
	w, err := s.get(ctx, id)
	if err != nil {
		return Delivery{}, err
	}
	a, _ := actor.FromContext(ctx)
	body, err := json.Marshal(message{testKind, s.now().UTC(), map[string]string{"webhook": id.String(), "user": a.Username}})
	if err != nil {
		return Delivery{}, fmt.Errorf("encode test: %w", err)
	}
	d := s.send(ctx, w, uuid.Must(uuid.NewV7()), testKind, body)
	there, err := s.keep(ctx, s.Pool, id, d)
	if err == nil && !there {
		err = ErrUnknown
	}
	if err != nil {
		return Delivery{}, err
	}
	d.At = s.now()
	return d.Delivery, nil
}

// attempt is a delivery and what the receiver asked for.
type attempt struct {
	Delivery
	retryAfter time.Duration
}

// send makes one attempt. Its id is the same in all attempts.
func (s *Service) send(ctx context.Context, w db.Webhook, id uuid.UUID, kind string, body []byte) attempt {
	began := time.Now()
	a := attempt{Delivery: Delivery{Event: id, Kind: kind}}
	a.Status, a.retryAfter, a.Fault = s.post(ctx, w, id.String(), body)
	a.Delivered, a.Took = a.Fault == "", time.Since(began)
	return a
}

func (s *Service) post(ctx context.Context, w db.Webhook, id string, body []byte) (status int, retryAfter time.Duration, fault string) {
	secrets, err := s.secrets(w)
	if err != nil {
		return 0, 0, "secret"
	}
	ctx = context.WithValue(ctx, tlsKey{}, strings.HasPrefix(w.Url, "https:"))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.Url, bytes.NewReader(body))
	if err != nil {
		return 0, 0, "url"
	}
	now := s.now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("Webhook-Signature", sign(secrets, id, now, body))
	resp, err := s.client.Do(r)
	if err != nil {
		return 0, 0, faultOf(err)
	}
	// So that the connection can be used again; what it says is not wanted.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	_ = resp.Body.Close() // nothing was written to it
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return code, 0, ""
	case code >= 300 && code < 400:
		fault = "redirect"
	default:
		fault = "status"
	}
	return resp.StatusCode, askedFor(resp.Header.Get("Retry-After"), now), fault
}

// askedFor is how long a Retry-After asks to be left alone, in either of its forms
// (RFC 9110, 10.2.3), and no longer than maxRetryAfter; zero for what is none.
func askedFor(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// secrets are those to sign with.
func (s *Service) secrets(w db.Webhook) ([][]byte, error) {
	secret, err := s.Sealer.open(w.ID, w.Secret)
	if err != nil {
		return nil, err
	}
	list := [][]byte{secret}
	if w.PreviousUntil != nil && s.now().Before(*w.PreviousUntil) {
		if before, err := s.Sealer.open(w.ID, w.PreviousSecret); err == nil {
			list = append(list, before)
		}
	}
	return list, nil
}

// faultOf is the word for why there is no answer. The error itself tells the
// address, which may hold a secret.
func faultOf(err error) string {
	var dns *net.DNSError
	var netErr net.Error
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.Is(err, errRefused):
		return "address_refused"
	case errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.As(err, &dns):
		return "unknown_host"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &certificate), errors.As(err, &record), errors.As(err, &alert):
		return "tls"
	}
	return "connection"
}

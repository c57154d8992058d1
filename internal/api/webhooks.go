package api

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/romi/plantdb-go/internal/scan"
	"github.com/romi/plantdb-go/internal/webhook"
)

const tagWebhooks = "webhooks"

// webhookView is webhook.Webhook on the wire. It never holds a secret.
type webhookView struct {
	ID            uuid.UUID  `json:"id" format:"uuid" doc:"Id of the webhook."`
	URL           string     `json:"url" doc:"Where messages are sent." example:"https://lab.example.org/plantdb"`
	Description   string     `json:"description" doc:"For people."`
	Kinds         []string   `json:"kinds" doc:"The kinds of events that are sent; empty for all."`
	Enabled       bool       `json:"enabled" doc:"Whether messages are sent."`
	DisabledFor   string     `json:"disabled_for,omitempty" enum:"failing,gone" doc:"Why the server disabled it: failing, for too many attempts failed in a row; gone, for the receiver answered 410. Left out where it did not."`
	Position      string     `json:"position" doc:"All events up to here were delivered." example:"18342-5512"`
	Failures      int        `json:"failures" doc:"Attempts that failed since one succeeded."`
	FailingSince  *time.Time `json:"failing_since,omitempty" doc:"When the first of them failed."`
	NextAttempt   *time.Time `json:"next_attempt_at,omitempty" doc:"When the next attempt is due; left out for at once."`
	CreatedBy     string     `json:"created_by" doc:"User name of who made it."`
	CreatedAt     time.Time  `json:"created_at" doc:"When it was made, in UTC."`
	PreviousUntil *time.Time `json:"previous_secret_until,omitempty" doc:"Until when messages are signed with the secret before as well."`
}

func viewOfWebhook(w webhook.Webhook) webhookView {
	return webhookView{
		w.ID, w.URL, w.Description, append([]string{}, w.Kinds...), w.Enabled, w.DisabledFor, w.Position.String(),
		w.Failures, w.FailingSince, w.NextAttempt, w.CreatedBy, w.CreatedAt, w.PreviousUntil,
	}
}

func webhookReply(w webhook.Webhook, err error) (*reply[webhookView], error) {
	return replyOf(viewOfWebhook(w), err)
}

// webhookSecret is a webhook with the secret that is shown once.
type webhookSecret struct {
	Webhook webhookView `json:"webhook" doc:"The webhook."`
	Secret  string      `json:"secret" doc:"By which the receiver verifies signatures (Standard Webhooks). It is shown this once." example:"whsec_bm90IGEgc2VjcmV0LCBidXQgYW4gZXhhbXBsZSBvZg=="`
}

type webhookList struct {
	Webhooks []webhookView `json:"webhooks" doc:"In the order they were made."`
}

type newWebhook struct {
	URL         string    `json:"url" pattern:"^https?://[^/]" maxLength:"2048" doc:"Where messages are sent: https, or http to the networks of WEBHOOK_NETWORKS." example:"https://lab.example.org/plantdb"`
	Description *string   `json:"description,omitempty" maxLength:"500" doc:"For people."`
	Kinds       *[]string `json:"kinds,omitempty" maxItems:"64" doc:"The kinds of events that are sent; none or empty for all."`
	Enabled     *bool     `json:"enabled,omitempty" doc:"Whether messages are sent; by default they are."`
	After       *string   `json:"after,omitempty" maxLength:"64" doc:"Which events are sent: those after this position, 0 for all that are kept, now (the default) for what comes." example:"now"`
}

type webhookPatch struct {
	URL         *string   `json:"url,omitempty" pattern:"^https?://[^/]" maxLength:"2048" doc:"Where messages are sent."`
	Description *string   `json:"description,omitempty" maxLength:"500" doc:"For people."`
	Kinds       *[]string `json:"kinds,omitempty" maxItems:"64" doc:"The kinds of events that are sent; empty for all."`
	Enabled     *bool     `json:"enabled,omitempty" doc:"Whether messages are sent. One that is enabled again goes on where it stopped."`
	After       *string   `json:"after,omitempty" maxLength:"64" doc:"Go on after this position, with 0 for the oldest event that is kept, or with now: to send again, or to leave out." example:"18342-5512"`
}

func changeOf(url, description *string, kinds *[]string, enabled *bool, after *string) (webhook.Change, error) {
	c := webhook.Change{URL: url, Description: description, Kinds: kinds, Enabled: enabled}
	if after == nil {
		return c, nil
	}
	start, err := startAt(*after)
	c.From = &start
	return c, err
}

// startAt reads a position, 0 or now.
func startAt(text string) (scan.Start, error) {
	switch text {
	case "0":
		return scan.Start{Oldest: true}, nil
	case "now":
		return scan.Start{Now: true}, nil
	}
	at, err := scan.ParsePosition(text)
	return scan.Start{After: at}, err
}

// delivery is webhook.Delivery on the wire.
type delivery struct {
	Event     uuid.UUID `json:"event" format:"uuid" doc:"Id of the event, and of the message: webhook-id in its header."`
	Kind      string    `json:"kind" doc:"Kind of the event; webhook.test for a test." example:"file.created"`
	At        time.Time `json:"at" doc:"When the attempt ended, in UTC."`
	Attempt   int       `json:"attempt" doc:"Which attempt it was; 0 for a test."`
	Delivered bool      `json:"delivered" doc:"Whether the receiver took it, by a status from 200 to 299."`
	Status    int       `json:"status,omitempty" doc:"Status of the answer; left out where there was none." example:"204"`
	Fault     string    `json:"fault,omitempty" doc:"Why it was not delivered: status, redirect, timeout, connection, tls, unknown_host, address_refused, secret or url." example:"timeout"`
	Took      int64     `json:"duration_ms" doc:"How long it took, in milliseconds."`
}

func deliveryOf(d webhook.Delivery) delivery {
	return delivery{d.Event, d.Kind, d.At.UTC(), d.Attempt, d.Delivered, d.Status, d.Fault, d.Took.Milliseconds()}
}

type deliveryList struct {
	Deliveries []delivery `json:"deliveries" doc:"Attempts, the latest first."`
	Next       string     `json:"next,omitempty" doc:"Give it as after for the next page; left out after the last." example:"4711"`
}

// WebhookPath names a webhook. It is exported for Huma, which fills embedded structs only then.
type WebhookPath struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"Id of the webhook."`
}

var (
	webhookFaults = []error{webhook.ErrURL, webhook.ErrAddress, webhook.ErrKinds, webhook.ErrText, scan.ErrEventID, scan.ErrEventsGone}
	webhookErrors = []int{http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
)

const aboutWebhooks = " Administrators only, and by no API token."

func (s *server) registerWebhooks() {
	register(s, route{
		id: "create-webhook", method: http.MethodPost, path: "/webhooks", tag: tagWebhooks, security: required, needs: toAdminister, rate: rateCreate, status: http.StatusCreated,
		summary: "Have events sent to a receiver",
		doc: "Every event, those of private scans too, is sent as a POST signed as Standard Webhooks says, in the order of the stream and at least once. " +
			"The secret is shown in this answer only. See docs/events.md." + aboutWebhooks,
		errors: webhookErrors, faults: append([]error{webhook.ErrTooMany}, webhookFaults...),
	}, func(ctx context.Context, in *struct{ Payload Strict[newWebhook] }) (*reply[webhookSecret], error) {
		p := in.Payload.Value
		c, err := changeOf(&p.URL, p.Description, p.Kinds, p.Enabled, p.After)
		if err != nil {
			return nil, err
		}
		w, secret, err := s.webhooks.Create(ctx, c)
		return replyOf(webhookSecret{viewOfWebhook(w), string(secret)}, err)
	})
	register(s, route{
		id: "list-webhooks", method: http.MethodGet, path: "/webhooks", tag: tagWebhooks, security: required, needs: toAdminister, rate: rateList,
		summary: "List webhooks", doc: "All of them, without their secrets." + aboutWebhooks, errors: []int{http.StatusForbidden},
	}, func(ctx context.Context, _ *struct{}) (*reply[webhookList], error) {
		list, err := s.webhooks.List(ctx)
		out := webhookList{make([]webhookView, len(list))}
		for i, w := range list {
			out.Webhooks[i] = viewOfWebhook(w)
		}
		return replyOf(out, err)
	})
	register(s, route{
		id: "get-webhook", method: http.MethodGet, path: "/webhooks/{id}", tag: tagWebhooks, security: required, needs: toAdminister, rate: rateRead,
		summary: "Read a webhook", doc: "What it is sent, up to where it was, and whether that fails." + aboutWebhooks,
		errors: []int{http.StatusForbidden}, faults: []error{webhook.ErrUnknown},
	}, func(ctx context.Context, in *WebhookPath) (*reply[webhookView], error) {
		return webhookReply(s.webhooks.Get(ctx, in.ID))
	})
	register(s, route{
		id: "update-webhook", method: http.MethodPatch, path: "/webhooks/{id}", tag: tagWebhooks, security: required, needs: toAdminister, rate: rateCreate,
		summary: "Change a webhook",
		doc:     "What is left out stays. What failed is tried again at once; one that is enabled again goes on where it stopped." + aboutWebhooks,
		errors:  webhookErrors, faults: append([]error{webhook.ErrUnknown}, webhookFaults...),
	}, func(ctx context.Context, in *struct {
		WebhookPath
		Payload Strict[webhookPatch]
	}) (*reply[webhookView], error) {
		p := in.Payload.Value
		c, err := changeOf(p.URL, p.Description, p.Kinds, p.Enabled, p.After)
		if err != nil {
			return nil, err
		}
		return webhookReply(s.webhooks.Update(ctx, in.ID, c))
	})
	register(s, route{
		id: "delete-webhook", method: http.MethodDelete, path: "/webhooks/{id}", tag: tagWebhooks, security: required, needs: toAdminister, rate: rateCreate,
		summary: "Delete a webhook", doc: "With its deliveries. A message that is on its way may still arrive." + aboutWebhooks,
		status: http.StatusNoContent, errors: []int{http.StatusForbidden}, faults: []error{webhook.ErrUnknown},
	}, func(ctx context.Context, in *WebhookPath) (*struct{}, error) {
		return nil, s.webhooks.Delete(ctx, in.ID)
	})
	register(s, route{
		id: "rotate-webhook-secret", method: http.MethodPost, path: "/webhooks/{id}/secret", tag: tagWebhooks, security: required, needs: toAdminister, rate: rateCreate,
		summary: "Give a webhook a new secret",
		doc:     "It is shown in this answer only. For a day messages carry two signatures, by the new secret and the one before." + aboutWebhooks,
		errors:  []int{http.StatusForbidden}, faults: []error{webhook.ErrUnknown},
	}, func(ctx context.Context, in *WebhookPath) (*reply[webhookSecret], error) {
		w, secret, err := s.webhooks.Rotate(ctx, in.ID)
		return replyOf(webhookSecret{viewOfWebhook(w), string(secret)}, err)
	})
	register(s, route{
		id: "test-webhook", method: http.MethodPost, path: "/webhooks/{id}/test", tag: tagWebhooks, security: required, needs: toAdminister, rate: rateReload,
		summary: "Send a test message", doc: "Of the type webhook.test, at once and once, also to one that is disabled; the answer says what became of it." + aboutWebhooks,
		errors: []int{http.StatusForbidden}, faults: []error{webhook.ErrUnknown},
	}, func(ctx context.Context, in *WebhookPath) (*reply[delivery], error) {
		d, err := s.webhooks.Test(ctx, in.ID)
		return replyOf(deliveryOf(d), err)
	})
	register(s, route{
		id: "list-webhook-deliveries", method: http.MethodGet, path: "/webhooks/{id}/deliveries", tag: tagWebhooks, security: required, needs: toAdminister, rate: rateList,
		summary: "List what was sent", doc: "Attempts of the last thirty days, the latest first." + aboutWebhooks,
		errors: []int{http.StatusForbidden}, faults: []error{webhook.ErrUnknown, webhook.ErrCursor},
	}, func(ctx context.Context, in *struct {
		WebhookPath
		Limit int    `query:"limit" default:"100" minimum:"1" maximum:"500" doc:"How many attempts a page has."`
		After string `query:"after" maxLength:"64" doc:"Where the page begins: next of the page before." example:"4711"`
	}) (*reply[deliveryList], error) {
		page, err := s.webhooks.Deliveries(ctx, in.ID, in.After, in.Limit)
		out := deliveryList{make([]delivery, len(page.Deliveries)), page.Next}
		for i, d := range page.Deliveries {
			out.Deliveries[i] = deliveryOf(d)
		}
		return replyOf(out, err)
	})
}

-- Webhooks: receivers that are sent events, and what became of each attempt.

-- +goose Up
CREATE TABLE webhooks (
    id              uuid        NOT NULL,
    url             text        NOT NULL,
    description     text        NOT NULL DEFAULT '',
    kinds           text[]      NOT NULL DEFAULT '{}', -- none: all
    enabled         boolean     NOT NULL DEFAULT true,
    -- Why the server itself disabled it: null where nobody or a person did.
    disabled_for    text,
    -- Sealed with a key that lies in the tree; see package webhook.
    secret          bytea       NOT NULL,
    -- The one before, by which messages are signed as well for a while.
    previous_secret bytea,
    previous_until  timestamptz,
    created_by      text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- Where it is in the stream of events: all up to here was delivered.
    written_by      bigint      NOT NULL,
    seq             bigint      NOT NULL,
    -- Attempts that failed since one succeeded, and when the next is due.
    failures        integer     NOT NULL DEFAULT 0,
    failing_since   timestamptz,
    next_attempt_at timestamptz,
    -- Whose turn it is to deliver, and until when the others leave it alone.
    turn            bigint      NOT NULL DEFAULT 0,
    leased_until    timestamptz,
    CONSTRAINT webhooks_pkey PRIMARY KEY (id),
    CONSTRAINT webhooks_disabled_for_known CHECK (disabled_for IN ('failing', 'gone'))
);

CREATE TABLE webhook_deliveries (
    seq         bigint      GENERATED ALWAYS AS IDENTITY,
    webhook_id  uuid        NOT NULL,
    event_id    uuid        NOT NULL,
    kind        text        NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    attempt     integer     NOT NULL,
    delivered   boolean     NOT NULL,
    status      integer, -- null where there was no answer
    fault       text,    -- null where it was delivered
    duration_ms integer     NOT NULL,
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (seq),
    CONSTRAINT webhook_deliveries_webhook_fkey FOREIGN KEY (webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE
);
CREATE INDEX webhook_deliveries_webhook_idx ON webhook_deliveries (webhook_id, seq);
CREATE INDEX webhook_deliveries_at_idx ON webhook_deliveries (at);

-- +goose Down
DROP TABLE webhook_deliveries, webhooks;

-- What was done to scans, timelapses, filesets and files: the outbox that the
-- stream of events and the webhooks read, and the history of a scan (scan).
--
-- A row is written in the transaction of what it tells, so that there is one
-- exactly if the change is there. Nothing refers to scans: history outlives
-- them.

-- +goose Up
CREATE TABLE scan_events (
    -- In the order of writing, within a transaction; between transactions only
    -- written_by tells what a reader may have missed.
    seq        bigint      GENERATED ALWAYS AS IDENTITY,
    id         uuid        NOT NULL, -- what clients call it
    at         timestamptz NOT NULL DEFAULT now(),
    -- The transaction. What lies below the oldest transaction that still runs
    -- is complete, however late a transaction commits: a reader that goes on
    -- from (written_by, seq) and stays below misses nothing and reads nothing
    -- twice.
    written_by bigint      NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    kind       text        NOT NULL,
    -- Who did it: null for what was found to have changed outside.
    username   text,
    token_kind text,
    request_id text        NOT NULL DEFAULT '',
    scan_id    uuid,
    scan       text,
    timelapse  text,
    fileset    text,
    file       text,
    -- Who could see a scan that this event removes; null for all others, whose
    -- scan tells it.
    access     jsonb,
    detail     jsonb,
    CONSTRAINT scan_events_pkey PRIMARY KEY (seq),
    CONSTRAINT scan_events_kind_form CHECK (kind ~ '^[a-z]+[.][a-z_]+$'),
    CONSTRAINT scan_events_token_kind_known CHECK (token_kind IN ('session', 'api_token', 'guest', 'system', 'none')),
    CONSTRAINT scan_events_detail_bounded CHECK (octet_length(detail::text) <= 16384)
);
CREATE UNIQUE INDEX scan_events_order_key ON scan_events (written_by, seq);
CREATE INDEX scan_events_scan_idx ON scan_events (scan, seq) WHERE scan IS NOT NULL;
CREATE INDEX scan_events_timelapse_idx ON scan_events (timelapse, seq) WHERE timelapse IS NOT NULL;

-- +goose Down
DROP TABLE scan_events;

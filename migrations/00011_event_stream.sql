-- What the stream of events and the history of a scan ask of the outbox.

-- +goose Up
-- History is of a scan, not of a name: who makes a scan under the name of one
-- that is gone must not read what was done to that. Nothing read by name.
DROP INDEX scan_events_scan_idx;
CREATE INDEX scan_events_scan_id_idx ON scan_events (scan_id, seq) WHERE scan_id IS NOT NULL;
-- Who could see a scan that has no row any more.
CREATE INDEX scan_events_access_idx ON scan_events (scan_id, seq) WHERE access IS NOT NULL;

-- Up to where events were forgotten: a reader that goes on from before has
-- missed some, and is told so.
CREATE TABLE event_horizon (
    only_row   boolean NOT NULL DEFAULT true,
    written_by bigint  NOT NULL,
    seq        bigint  NOT NULL,
    CONSTRAINT event_horizon_pkey PRIMARY KEY (only_row),
    CONSTRAINT event_horizon_one_row CHECK (only_row)
);
INSERT INTO event_horizon (written_by, seq) VALUES (0, 0);

-- +goose Down
DROP TABLE event_horizon;
DROP INDEX scan_events_access_idx, scan_events_scan_id_idx;
CREATE INDEX scan_events_scan_idx ON scan_events (scan, seq) WHERE scan IS NOT NULL;

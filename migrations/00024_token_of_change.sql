-- By which API token a change was made: token_kind alone tells of all tokens of a
-- user together. It is the token's id, as in api_tokens, never the token. The audit
-- trail has the column already.

-- +goose Up
ALTER TABLE scan_events ADD COLUMN token_id uuid;
-- What one token did: report_changes and report_events.
CREATE INDEX scan_events_token_idx ON scan_events (token_id, seq) WHERE token_id IS NOT NULL;
CREATE INDEX auth_events_token_idx ON auth_events (token_id, at) WHERE token_id IS NOT NULL;

CREATE VIEW report_changes AS
SELECT e.at,
       e.kind,
       e.username,
       e.token_kind,
       e.token_id,
       t.name AS token_name,
       e.scan,
       e.timelapse,
       e.fileset,
       e.file,
       e.request_id,
       e.detail
FROM scan_events e
LEFT JOIN api_tokens t ON t.id = e.token_id;
COMMENT ON VIEW report_changes IS 'What was done to scans, timelapses and files, by whom and with what, for as long as events are kept. Bound token_id.';
COMMENT ON COLUMN report_changes.username IS 'Who did it; null for what was found to have changed outside.';
COMMENT ON COLUMN report_changes.token_kind IS 'session, api_token, guest, system or none; null where username is.';
COMMENT ON COLUMN report_changes.token_id IS 'Of an API token, as in report_api_tokens; null for all else, and for what was done before it was kept.';
COMMENT ON COLUMN report_changes.token_name IS 'Null once the token has expired and was removed.';
COMMENT ON COLUMN report_events.token_id IS 'The API token it happened to, else the one it was done with.';

-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'plantdb_report') THEN
        GRANT SELECT ON report_changes TO plantdb_report;
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
COMMENT ON COLUMN report_events.token_id IS NULL;
DROP VIEW report_changes;
DROP INDEX auth_events_token_idx, scan_events_token_idx;
ALTER TABLE scan_events DROP COLUMN token_id;

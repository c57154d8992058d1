-- +goose Up
-- When a revocation begins to count, by the clock of the server that made it; NULL is at once. Only the access token of a
-- pair that was traded in right after a refresh gave it is let live for a moment.
ALTER TABLE revoked_tokens ADD COLUMN counts_from timestamptz;

-- +goose Down
ALTER TABLE revoked_tokens DROP COLUMN counts_from;

-- name: RevocationHorizon :one
-- RevocationHorizon returns a number below which no transaction runs any more,
-- nor will one. Asked before ListRevoked, it is where the next ListRevoked has to
-- begin. It is not beyond the last revocation: PostgreSQL gives the numbers of
-- transactions that left nothing again after a crash.
SELECT least(pg_snapshot_xmin(pg_current_snapshot())::text::bigint, (SELECT coalesce(max(written_by) + 1, 0) FROM revoked_tokens))::bigint AS horizon;

-- name: ListRevoked :many
-- ListRevoked returns what was revoked by transactions at or above the horizon.
SELECT id, counts_from, expires_at
FROM revoked_tokens
WHERE written_by >= @horizon::bigint AND expires_at > @now::timestamptz;

-- name: DeleteExpiredRevocations :execrows
DELETE FROM revoked_tokens
WHERE id IN (SELECT r.id FROM revoked_tokens r WHERE r.expires_at < @before
             LIMIT @batch::int FOR UPDATE SKIP LOCKED);

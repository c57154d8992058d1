-- name: InsertAPIToken :exec
INSERT INTO api_tokens (id, user_id, name, datasets, created_at, expires_at)
VALUES (@id, @user_id, @name, @datasets, @created_at, @expires_at);

-- name: CountAPITokens :one
SELECT count(*) FROM api_tokens WHERE user_id = @user_id AND revoked_at IS NULL AND expires_at > @now::timestamptz;

-- name: GetAPITokenActor :one
-- GetAPITokenActor returns all that decides what the bearer of an API token may do.
SELECT t.revoked_at, t.datasets, t.last_used_at, u.id AS user_id, u.username, u.fullname, u.roles, u.is_active,
    ARRAY(SELECT g.name FROM groups g JOIN group_members m ON m.group_id = g.id
          WHERE m.user_id = u.id ORDER BY g.name COLLATE "C")::text[] AS groups
FROM api_tokens t
JOIN users u ON u.id = t.user_id
WHERE t.id = @id;

-- name: GetAPIToken :one
SELECT t.id, t.user_id, u.username
FROM api_tokens t
JOIN users u ON u.id = t.user_id
WHERE t.id = @id AND t.revoked_at IS NULL AND t.expires_at > @now::timestamptz;

-- name: ListAPITokens :many
SELECT t.id, t.name, t.datasets, t.created_at, t.expires_at, t.last_used_at
FROM api_tokens t
JOIN users u ON u.id = t.user_id
WHERE u.username = @username AND t.revoked_at IS NULL AND t.expires_at > @now::timestamptz
ORDER BY t.created_at DESC, t.id
LIMIT @page_size::int;

-- name: RevokeAPITokens :many
-- RevokeAPITokens takes back tokens of a user: those of the ids, or all when
-- there are none. The minute is more than any leeway of a clock.
WITH taken AS (
    UPDATE api_tokens SET revoked_at = @now::timestamptz
    WHERE api_tokens.user_id = @user_id AND revoked_at IS NULL
      AND (cardinality(@ids::uuid[]) = 0 OR api_tokens.id = ANY (@ids::uuid[]))
    RETURNING api_tokens.id, api_tokens.user_id, api_tokens.expires_at
)
INSERT INTO revoked_tokens (id, kind, username, reason, expires_at)
SELECT t.id, 'api', u.username, @reason::text, t.expires_at + interval '1 minute'
FROM taken t
JOIN users u ON u.id = t.user_id
ON CONFLICT ON CONSTRAINT revoked_tokens_pkey DO NOTHING
RETURNING id, username, expires_at;

-- name: TouchAPITokens :execrows
-- TouchAPITokens records use of those not seen in use since used_before.
UPDATE api_tokens SET last_used_at = @now::timestamptz
WHERE id IN (SELECT t.id FROM api_tokens t
             WHERE t.id = ANY (@ids::uuid[])
               AND coalesce(t.last_used_at, '-infinity'::timestamptz) <= @used_before::timestamptz
             FOR UPDATE SKIP LOCKED);

-- name: DeleteExpiredAPITokens :execrows
DELETE FROM api_tokens
WHERE id IN (SELECT t.id FROM api_tokens t WHERE t.expires_at < @before
             LIMIT @batch::int FOR UPDATE SKIP LOCKED);

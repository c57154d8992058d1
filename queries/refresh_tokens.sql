-- name: InsertPair :exec
INSERT INTO refresh_tokens (id, session_id, generation, access_id, issued_at, expires_at, access_expires_at)
VALUES (@id, @session_id, @generation, @access_id, @issued_at, @expires_at, @access_expires_at);

-- name: GetPair :one
-- GetPair returns the pair of a refresh token's jti. The caller holds the session.
SELECT * FROM refresh_tokens WHERE id = @id AND session_id = @session_id;

-- name: GetCurrentPair :one
-- GetCurrentPair returns the pair of a generation. The caller holds the session.
SELECT * FROM refresh_tokens WHERE session_id = @session_id AND generation = @generation;

-- name: RotatePair :exec
-- RotatePair uses one pair up and puts the next in its place, in one statement.
-- The caller holds the session.
WITH used AS (
    UPDATE refresh_tokens SET used_at = @now::timestamptz WHERE refresh_tokens.id = @used_id
), advanced AS (
    UPDATE sessions
    SET generation = @generation, last_seen_at = @now::timestamptz, expires_at = @expires_at
    WHERE sessions.id = @session_id
)
INSERT INTO refresh_tokens (id, session_id, generation, access_id, issued_at, expires_at, access_expires_at)
VALUES (@id, @session_id, @generation, @access_id, @issued_at, @expires_at, @access_expires_at);

-- name: DeleteExpiredPairs :execrows
-- DeleteExpiredPairs removes pairs whose tokens the verification of a JWT
-- refuses by itself. The pair that is current goes with its session.
DELETE FROM refresh_tokens
WHERE id IN (SELECT r.id FROM refresh_tokens r
             WHERE r.expires_at < @before AND r.access_expires_at < @before
             LIMIT @batch::int FOR UPDATE SKIP LOCKED);

-- name: GetRefreshState :one
-- GetRefreshState returns all that decides whether a refresh token could be
-- traded in now.
SELECT r.generation, s.generation AS current_generation, s.ended_at, s.absolute_expires_at, u.username, u.is_active
FROM refresh_tokens r
JOIN sessions s ON s.id = r.session_id
JOIN users u ON u.id = s.user_id
WHERE r.id = @id AND r.session_id = @session_id;

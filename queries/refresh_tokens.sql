-- name: GetPair :one
-- GetPair returns the pair of a refresh token's jti. The caller holds the session.
SELECT * FROM refresh_tokens WHERE id = @id AND session_id = @session_id;

-- name: GetCurrentPair :one
-- GetCurrentPair returns the pair of a generation. The caller holds the session.
SELECT * FROM refresh_tokens WHERE session_id = @session_id AND generation = @generation;

-- name: TradePair :one
-- TradePair uses up the pair of a refresh token if it is the current one of a
-- live session, and puts the next in its place: the old access token is revoked
-- if it may still be alive, for a minute longer, which is more than any leeway
-- of a clock, and the event is recorded. Otherwise it changes nothing and
-- returns no row. The revocation of an access token that a refresh gave less than
-- the grace ago counts from the end of that grace: of threads that share a
-- client, one may trade in what another has just got and is about to use.
--
-- One statement, so that a refresh is one journey to the database and one
-- commit. Those that race wait for the session's row and then compare the
-- generation with the row as it has become, so only one of them finds it its own.
WITH advanced AS (
    UPDATE sessions s
    SET generation = s.generation + 1, last_seen_at = @now::timestamptz,
        expires_at = least(@expires_at::timestamptz, s.absolute_expires_at)
    FROM refresh_tokens r, users u
    WHERE s.id = @session_id AND r.id = @used_id AND r.session_id = s.id AND r.generation = s.generation
      AND u.id = s.user_id AND u.is_active AND s.ended_at IS NULL AND s.absolute_expires_at > @now::timestamptz
    RETURNING s.id, s.generation, s.expires_at, u.username, r.id AS used_id, r.access_id, r.access_expires_at,
        CASE WHEN r.generation > 0 THEN nullif(greatest(r.issued_at + make_interval(secs => @grace_seconds::float8), @now::timestamptz), @now::timestamptz) END AS counts_from
), used AS (
    UPDATE refresh_tokens SET used_at = @now::timestamptz
    FROM advanced a
    WHERE refresh_tokens.id = a.used_id
), revoked AS (
    INSERT INTO revoked_tokens (id, kind, username, reason, counts_from, expires_at)
    SELECT a.access_id, 'access', a.username, 'rotated', a.counts_from, a.access_expires_at + interval '1 minute'
    FROM advanced a
    WHERE a.access_expires_at > @alive_since::timestamptz
    ON CONFLICT ON CONSTRAINT revoked_tokens_pkey DO NOTHING
    RETURNING revoked_tokens.id, revoked_tokens.counts_from
), recorded AS (
    INSERT INTO auth_events (id, at, kind, username, session_id, address, user_agent, request_id, detail)
    SELECT @event_id, @now::timestamptz, @event_kind, a.username, a.id, sqlc.narg(address), @user_agent, @request_id, @detail
    FROM advanced a
), added AS (
    INSERT INTO refresh_tokens (id, session_id, generation, access_id, issued_at, expires_at, access_expires_at)
    SELECT @id, a.id, a.generation, @next_access_id, @issued_at, a.expires_at, least(@access_expires_at::timestamptz, a.expires_at)
    FROM advanced a
    RETURNING *
)
SELECT added.*, a.username, a.access_id AS old_access_id, a.access_expires_at AS old_access_expires_at,
    v.counts_from AS old_access_counts_from
FROM added JOIN advanced a ON a.id = added.session_id LEFT JOIN revoked v ON v.id = a.access_id;

-- name: DeleteExpiredPairs :execrows
-- DeleteExpiredPairs removes pairs of which both tokens have run out, which the
-- verification of a JWT refuses by itself, also those that are current: the session
-- of such a one has run out with it. Of a session that goes before its pairs these go
-- with it.
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

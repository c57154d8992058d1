-- name: OpenSession :execrows
-- OpenSession opens a session with its first pair, records the login and
-- forgets the failures before it. Where the account is locked for the network
-- it does nothing and returns 0. The caller holds the user.
WITH opened AS (
    INSERT INTO sessions (id, user_id, created_at, last_seen_at, expires_at, absolute_expires_at, address, user_agent)
    SELECT @session_id, @user_id, @now::timestamptz, @now::timestamptz, @expires_at, @absolute_expires_at, sqlc.narg(address), @user_agent
    WHERE NOT EXISTS (SELECT FROM login_attempts l
                      WHERE l.username = @username AND l.network = @network AND l.locked_until > @now::timestamptz
                        AND l.locked_until <= @latest_lock::timestamptz)
    RETURNING sessions.id, sessions.user_id, sessions.expires_at
), logged_in AS (
    UPDATE users SET last_login_at = @now::timestamptz FROM opened o WHERE users.id = o.user_id
), cleared AS (
    DELETE FROM login_attempts l USING opened WHERE l.username = @username AND l.network = @network
), recorded AS (
    INSERT INTO auth_events (id, at, kind, username, session_id, address, user_agent, request_id, detail)
    SELECT @event_id, @now::timestamptz, @event_kind, @username, o.id, sqlc.narg(address), @user_agent, @request_id, @detail
    FROM opened o
)
INSERT INTO refresh_tokens (id, session_id, generation, access_id, issued_at, expires_at, access_expires_at)
SELECT @refresh_id, o.id, 0, @access_id, @issued_at, o.expires_at, @access_expires_at
FROM opened o;

-- name: LogIn :many
-- LogIn does what holding the user, EndSessions for the one session over the
-- cap and OpenSession do, if the account's row is still the version that was
-- read, nothing is locked for the network, and no more than that one session is
-- in the way (and evict is true); otherwise it changes nothing and returns no
-- row. max_sessions 0 is no cap. One row has no ended_id, the other is what was
-- revoked. A refresh of the session that ends may commit while this waits for
-- it, and its access token lives no longer than one given now.
--
-- One statement, so that a login is one journey to the database and one commit
-- beside reading the account. Each login changes the account's row: those that
-- race wait for it and then find another version, so the live sessions that
-- this statement sees are all there are.
WITH live AS MATERIALIZED (
    SELECT s.id, row_number() OVER (ORDER BY s.last_seen_at DESC, s.id DESC) AS place
    FROM sessions s
    WHERE s.user_id = @user_id AND s.ended_at IS NULL
      AND s.expires_at > @alive_since::timestamptz AND s.absolute_expires_at > @now::timestamptz
), surplus AS MATERIALIZED (
    SELECT l.id FROM live l WHERE @max_sessions::int > 0 AND l.place >= @max_sessions::int
), held AS (
    UPDATE users SET last_login_at = @now::timestamptz
    WHERE users.id = @user_id AND users.xmin::text = @version::text
      AND (SELECT count(*) FROM surplus) <= CASE WHEN @evict::boolean THEN 1 ELSE 0 END
      AND NOT EXISTS (SELECT FROM login_attempts l
                      WHERE l.username = users.username AND l.network = @network AND l.locked_until > @now::timestamptz
                        AND l.locked_until <= @latest_lock::timestamptz)
    RETURNING users.id, users.username
), ended AS (
    UPDATE sessions SET ended_at = @now::timestamptz, end_reason = @end_reason::text
    FROM held h, surplus x
    WHERE sessions.id = x.id AND sessions.ended_at IS NULL
    RETURNING sessions.id, h.username
), revoked AS (
    INSERT INTO revoked_tokens (id, kind, username, reason, expires_at)
    SELECT e.id, 'session', e.username, @end_reason::text,
        greatest(@access_expires_at, (SELECT max(r.access_expires_at) FROM refresh_tokens r WHERE r.session_id = e.id)) + interval '1 minute'
    FROM ended e
    ON CONFLICT ON CONSTRAINT revoked_tokens_pkey DO NOTHING
    RETURNING revoked_tokens.id, revoked_tokens.expires_at
), opened AS (
    INSERT INTO sessions (id, user_id, created_at, last_seen_at, expires_at, absolute_expires_at, address, user_agent)
    SELECT @session_id, h.id, @now::timestamptz, @now::timestamptz, @expires_at, @absolute_expires_at, sqlc.narg(address), @user_agent
    FROM held h
), paired AS (
    INSERT INTO refresh_tokens (id, session_id, generation, access_id, issued_at, expires_at, access_expires_at)
    SELECT @refresh_id, @session_id, 0, @access_id, @issued_at, @expires_at, @access_expires_at
    FROM held h
), cleared AS (
    DELETE FROM login_attempts l USING held h WHERE l.username = h.username AND l.network = @network
), evicted AS (
    INSERT INTO auth_events (id, at, kind, username, session_id, address, user_agent, request_id, detail)
    SELECT @evict_event_id, @now::timestamptz, @evict_kind, e.username, e.id, sqlc.narg(address), @user_agent, @request_id, @evict_detail
    FROM ended e
), recorded AS (
    INSERT INTO auth_events (id, at, kind, username, session_id, address, user_agent, request_id, detail)
    SELECT @event_id, @now::timestamptz, @event_kind, h.username, @session_id, sqlc.narg(address), @user_agent, @request_id, @detail
    FROM held h
)
SELECT NULL::uuid AS ended_id, NULL::timestamptz AS revoked_until FROM held
UNION ALL
SELECT r.id, r.expires_at FROM revoked r;

-- name: LockSession :one
-- LockSession holds the session until the transaction ends. Only its own
-- columns are sure to be current after a wait; what else a refresh needs it
-- reads afterwards.
SELECT s.id, s.user_id, s.generation, s.ended_at, s.absolute_expires_at, u.username, u.is_active
FROM sessions s
JOIN users u ON u.id = s.user_id
WHERE s.id = @id
FOR UPDATE OF s;

-- name: LockLiveSessions :many
-- LockLiveSessions holds the live sessions of a user, the least recently used
-- first. The caller holds the user. A session lives as long as it can be
-- refreshed: until the leeway after its idle end, which began at alive_since,
-- and not beyond its last end.
SELECT id FROM sessions
WHERE user_id = @user_id AND ended_at IS NULL
  AND expires_at > @alive_since::timestamptz AND absolute_expires_at > @now::timestamptz
ORDER BY last_seen_at, id
FOR UPDATE;

-- name: EndSessions :many
-- EndSessions ends sessions that the caller holds and revokes what access
-- tokens of them may still be alive. The minute is more than any leeway of a clock.
WITH ended AS (
    UPDATE sessions SET ended_at = @now::timestamptz, end_reason = @reason::text
    WHERE sessions.id = ANY (@ids::uuid[]) AND ended_at IS NULL
    RETURNING sessions.id, sessions.user_id, sessions.ended_at
)
INSERT INTO revoked_tokens (id, kind, username, reason, expires_at)
SELECT e.id, 'session', u.username, @reason::text,
    coalesce(max(r.access_expires_at), max(e.ended_at)) + interval '1 minute'
FROM ended e
JOIN users u ON u.id = e.user_id
LEFT JOIN refresh_tokens r ON r.session_id = e.id
GROUP BY e.id, u.username
ON CONFLICT ON CONSTRAINT revoked_tokens_pkey DO NOTHING
RETURNING id, username, expires_at;

-- name: GetSessionActor :one
-- GetSessionActor returns all that decides what the bearer of an access token
-- may do.
SELECT s.ended_at, s.last_seen_at, u.id AS user_id, u.username, u.fullname, u.roles, u.is_active,
    ARRAY(SELECT g.name FROM groups g JOIN group_members m ON m.group_id = g.id
          WHERE m.user_id = u.id ORDER BY g.name COLLATE "C")::text[] AS groups
FROM sessions s
JOIN users u ON u.id = s.user_id
WHERE s.id = @id;

-- name: GetSession :one
SELECT s.id, s.user_id, u.username
FROM sessions s
JOIN users u ON u.id = s.user_id
WHERE s.id = @id AND s.ended_at IS NULL
  AND s.expires_at > @alive_since::timestamptz AND s.absolute_expires_at > @now::timestamptz;

-- name: ListSessions :many
SELECT s.id, s.created_at, s.last_seen_at, s.expires_at, s.address, s.user_agent
FROM sessions s
JOIN users u ON u.id = s.user_id
WHERE u.username = @username AND s.ended_at IS NULL
  AND s.expires_at > @alive_since::timestamptz AND s.absolute_expires_at > @now::timestamptz
ORDER BY s.last_seen_at DESC, s.id
LIMIT @page_size::int;

-- name: TouchSessions :execrows
-- TouchSessions records use of those not seen since seen_before; a session that
-- somebody holds is left for the next time.
UPDATE sessions SET last_seen_at = @now::timestamptz
WHERE id IN (SELECT s.id FROM sessions s
             WHERE s.id = ANY (@ids::uuid[]) AND s.ended_at IS NULL
               AND s.last_seen_at <= @seen_before::timestamptz
             FOR UPDATE SKIP LOCKED);

-- name: DeleteExpiredSessions :execrows
DELETE FROM sessions
WHERE id IN (SELECT s.id FROM sessions s WHERE s.expires_at < @before
             LIMIT @batch::int FOR UPDATE SKIP LOCKED);

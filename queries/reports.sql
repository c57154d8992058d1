-- name: ReportActiveSessions :many
-- ReportActiveSessions returns who is logged in, the last seen first.
SELECT username, opened_at, last_seen_at, expires_at, refreshes, address, user_agent, session_id
FROM report_active_sessions
WHERE opened_at >= @since AND opened_at < @until
  AND (sqlc.narg(username)::text IS NULL OR username = sqlc.narg(username)::text)
ORDER BY last_seen_at DESC, session_id
LIMIT @page_size::int;

-- name: ReportSessions :many
-- ReportSessions returns the sessions that were opened in the time, the newest
-- first. ended_at is Go's zero time where there is none.
SELECT username, opened_at, last_seen_at, coalesce(ended_at, '0001-01-01 00:00Z')::timestamptz AS ended_at, state, refreshes, address, user_agent, session_id
FROM report_session_history
WHERE opened_at >= @since AND opened_at < @until
  AND (sqlc.narg(username)::text IS NULL OR username = sqlc.narg(username)::text)
ORDER BY opened_at DESC, session_id
LIMIT @page_size::int;

-- name: ReportLogins :many
-- ReportLogins returns the attempts to log in, the newest first.
SELECT at, username, succeeded, address, user_agent, session_id, request_id
FROM report_logins
WHERE at >= @since AND at < @until
  AND (sqlc.narg(username)::text IS NULL OR username = sqlc.narg(username)::text)
ORDER BY at DESC, request_id
LIMIT @page_size::int;

-- name: ReportReuse :many
-- ReportReuse returns the refresh tokens that came twice, the newest first.
SELECT at, username, address, user_agent, opened_at, opened_from, opened_with, session_state, active_sessions, session_id,
    request_id
FROM report_token_reuse
WHERE at >= @since AND at < @until
  AND (sqlc.narg(username)::text IS NULL OR username = sqlc.narg(username)::text)
ORDER BY at DESC, session_id
LIMIT @page_size::int;

-- name: ReportStorage :many
-- ReportStorage sums up the scans that changed in the time, by owner, the
-- largest first.
SELECT owner, owner_exists, count(*) AS scans,
    count(*) FILTER (WHERE visibility = 'private') AS private_scans,
    count(*) FILTER (WHERE broken IS NOT NULL) AS broken_scans,
    sum(files)::bigint AS files, sum(bytes)::bigint AS bytes, max(changed_at)::timestamptz AS last_changed_at
FROM report_scans
WHERE changed_at >= @since AND changed_at < @until
  AND (sqlc.narg(username)::text IS NULL OR owner = sqlc.narg(username)::text)
GROUP BY owner, owner_exists
ORDER BY sum(bytes) DESC, owner
LIMIT @page_size::int;

-- name: ReportScrub :many
-- ReportScrub returns what the scrub found in the time, of the scans of one owner or of all, the newest first.
SELECT found_at, kind, scan, owner, fileset, file, path, detail
FROM report_scrub_findings
WHERE found_at >= @since AND found_at < @until
  AND (sqlc.narg(username)::text IS NULL OR owner = sqlc.narg(username)::text)
ORDER BY found_at DESC, scan, path, file
LIMIT @page_size::int;

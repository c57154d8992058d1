-- What administrators ask of accounts, sessions, tokens and scans, as views
-- that SQL users read without knowing the tables: docs/sql-reporting.md.
--
-- The views are in the schema public, which is all that our role needs to be
-- allowed to write in, and run with its rights: a reader needs no right on any
-- table and sees no hash. Their columns are a promise; others are added at the
-- end.

-- +goose Up
-- All that happened to a session: its refreshes and its end.
CREATE INDEX auth_events_session_idx ON auth_events (session_id) WHERE session_id IS NOT NULL;
-- Days in UTC, for a day in the reader's time zone cannot be indexed. Refreshes,
-- which are most events, cost nothing here.
CREATE INDEX auth_events_login_day_idx ON auth_events (((at AT TIME ZONE 'UTC')::date))
    WHERE kind IN ('login', 'login_failed', 'lock');

CREATE VIEW report_users AS
SELECT u.username,
       u.fullname,
       u.roles,
       ARRAY(SELECT g.name FROM groups g JOIN group_members m ON m.group_id = g.id
             WHERE m.user_id = u.id ORDER BY g.name)::text[] AS groups,
       u.is_active,
       (u.password_hash <> '*')::boolean AS has_password,
       u.created_at,
       u.last_login_at,
       u.password_changed_at,
       (SELECT count(*) FROM sessions s
        WHERE s.user_id = u.id AND s.ended_at IS NULL AND s.expires_at > now())::bigint AS active_sessions,
       (SELECT count(*) FROM api_tokens t
        WHERE t.user_id = u.id AND t.revoked_at IS NULL AND t.expires_at > now())::bigint AS active_api_tokens
FROM users u;
COMMENT ON VIEW report_users IS 'Accounts: who they are, what they may do, what they have open now.';
COMMENT ON COLUMN report_users.has_password IS 'False for an account nobody can log in to, such as guest.';
COMMENT ON COLUMN report_users.password_changed_at IS 'Null while the first password holds.';

CREATE VIEW report_groups AS
SELECT g.name,
       g.description,
       g.created_by,
       g.created_at,
       ARRAY(SELECT u.username FROM users u JOIN group_members m ON m.user_id = u.id
             WHERE m.group_id = g.id ORDER BY u.username)::text[] AS members,
       (SELECT count(*) FROM scans s WHERE g.name = ANY (s.sharing))::bigint AS shared_scans
FROM groups g;
COMMENT ON VIEW report_groups IS 'Groups, their members and how many scans are shared with them.';

CREATE VIEW report_active_sessions AS
SELECT u.username,
       u.fullname,
       s.id AS session_id,
       s.created_at AS opened_at,
       s.last_seen_at,
       s.expires_at,
       s.absolute_expires_at,
       s.generation AS refreshes,
       s.address,
       s.user_agent
FROM sessions s
JOIN users u ON u.id = s.user_id
WHERE s.ended_at IS NULL AND s.expires_at > now();
COMMENT ON VIEW report_active_sessions IS 'Who is logged in now: one row a session that can still be refreshed.';
COMMENT ON COLUMN report_active_sessions.last_seen_at IS 'Last request or refresh, to the minute.';
COMMENT ON COLUMN report_active_sessions.expires_at IS 'When it ends if nobody refreshes it.';
COMMENT ON COLUMN report_active_sessions.absolute_expires_at IS 'When it ends whatever happens.';
COMMENT ON COLUMN report_active_sessions.address IS 'Where it was opened from, as are user_agent and opened_at.';

CREATE VIEW report_session_history AS
SELECT l.username,
       l.session_id,
       l.at AS opened_at,
       greatest(l.at, u.last_at, s.last_seen_at)::timestamptz AS last_seen_at,
       e.at AS ended_at,
       -- "revoked; by root": the reason is what comes first.
       (CASE WHEN e.at IS NOT NULL THEN split_part(e.detail, ';', 1)
             WHEN s.ended_at IS NULL AND s.expires_at > now() THEN 'active'
             ELSE 'expired' END)::text AS state,
       (CASE WHEN e.at IS NOT NULL THEN e.at
             WHEN s.ended_at IS NULL AND s.expires_at > now() THEN now()
             ELSE greatest(l.at, u.last_at, s.last_seen_at) END - l.at)::interval AS lasted,
       u.refreshes,
       l.address,
       l.user_agent
FROM auth_events l
LEFT JOIN sessions s ON s.id = l.session_id
-- Lateral, so that of the trail only what belongs to the sessions asked for is read.
CROSS JOIN LATERAL (
    SELECT count(*)::bigint AS refreshes, max(r.at)::timestamptz AS last_at
    FROM auth_events r
    WHERE r.session_id = l.session_id AND r.kind = 'refresh'
) u
LEFT JOIN LATERAL (
    SELECT r.at, r.detail
    FROM auth_events r
    WHERE r.session_id = l.session_id AND r.kind IN ('logout', 'reuse', 'evict', 'revoke')
    LIMIT 1 -- a session ends once
) e ON true
WHERE l.kind = 'login';
COMMENT ON VIEW report_session_history IS 'Every session that was ever opened, from the audit trail: it outlives the session, and the user. Bound opened_at.';
COMMENT ON COLUMN report_session_history.state IS 'active, expired, or why it ended: logout, reuse, evicted, revoked, password, deactivated.';
COMMENT ON COLUMN report_session_history.ended_at IS 'Null while active, and for one that expired unused.';
COMMENT ON COLUMN report_session_history.lasted IS 'From opened_at to the end: for an active one until now, for an expired one until it was last seen.';

CREATE VIEW report_sessions_per_day AS
SELECT username,
       ((at AT TIME ZONE 'UTC')::date) AS day,
       count(*)::bigint AS sessions,
       count(DISTINCT address)::bigint AS addresses,
       min(at)::timestamptz AS first_at,
       max(at)::timestamptz AS last_at
FROM auth_events
WHERE kind = 'login'
GROUP BY username, ((at AT TIME ZONE 'UTC')::date);
COMMENT ON VIEW report_sessions_per_day IS 'Sessions opened by each user on each day (UTC). Bound day.';

CREATE VIEW report_logins AS
SELECT at,
       username,
       (kind = 'login')::boolean AS succeeded,
       address,
       (CASE family(address) WHEN 4 THEN network(set_masklen(address, 24))
                             WHEN 6 THEN network(set_masklen(address, 56)) END)::cidr AS network,
       user_agent,
       session_id,
       request_id
FROM auth_events
WHERE kind IN ('login', 'login_failed');
COMMENT ON VIEW report_logins IS 'Every attempt to log in, also to accounts that do not exist. Bound at.';
COMMENT ON COLUMN report_logins.username IS 'As it was typed, lower-cased: there may be no such user.';
COMMENT ON COLUMN report_logins.network IS 'The unit of lockout: /24 of IPv4, /56 of IPv6.';
COMMENT ON COLUMN report_logins.session_id IS 'What a success opened.';

CREATE VIEW report_logins_per_day AS
SELECT ((at AT TIME ZONE 'UTC')::date) AS day,
       count(*) FILTER (WHERE kind = 'login')::bigint AS logins,
       count(*) FILTER (WHERE kind = 'login_failed')::bigint AS failures,
       count(*) FILTER (WHERE kind = 'lock')::bigint AS locks,
       count(DISTINCT username) FILTER (WHERE kind = 'login')::bigint AS users,
       count(DISTINCT username) FILTER (WHERE kind = 'login_failed')::bigint AS names_tried,
       count(DISTINCT address) FILTER (WHERE kind = 'login_failed')::bigint AS failing_addresses
FROM auth_events
WHERE kind IN ('login', 'login_failed', 'lock')
GROUP BY ((at AT TIME ZONE 'UTC')::date);
COMMENT ON VIEW report_logins_per_day IS 'Logins, failures and lockouts of each day (UTC). Bound day.';

CREATE VIEW report_locked_accounts AS
SELECT a.username,
       EXISTS (SELECT FROM users u WHERE u.username = a.username) AS user_exists,
       a.network,
       a.failures,
       a.last_failed_at,
       a.locked_until::timestamptz AS locked_until
FROM login_attempts a
WHERE a.locked_until > now();
COMMENT ON VIEW report_locked_accounts IS 'Accounts that cannot log in from a network now; from others they can.';

CREATE VIEW report_token_reuse AS
SELECT r.at,
       r.username,
       r.session_id,
       r.address,
       r.user_agent,
       r.request_id,
       l.at AS opened_at,
       l.address AS opened_from,
       l.user_agent AS opened_with,
       (CASE WHEN s.id IS NULL THEN 'removed'
             WHEN s.ended_at IS NULL THEN 'active'
             ELSE 'ended' END)::text AS session_state,
       (SELECT count(*) FROM report_active_sessions a WHERE a.username = r.username)::bigint AS active_sessions
FROM auth_events r
LEFT JOIN sessions s ON s.id = r.session_id
LEFT JOIN auth_events l ON l.session_id = r.session_id AND l.kind = 'login'
WHERE r.kind = 'reuse';
COMMENT ON VIEW report_token_reuse IS 'Refresh tokens that came again after they were used: two had them, and the session was ended for both. Bound at.';
COMMENT ON COLUMN report_token_reuse.address IS 'Where the used token came from; opened_from is where its session began.';
COMMENT ON COLUMN report_token_reuse.session_state IS 'ended; removed once it was cleaned up; active would be a fault.';
COMMENT ON COLUMN report_token_reuse.active_sessions IS 'What the user has open now: the other sessions live on.';

CREATE VIEW report_api_tokens AS
SELECT t.id AS token_id,
       u.username,
       u.is_active AS user_is_active,
       t.name,
       t.datasets,
       t.created_at,
       t.expires_at,
       t.last_used_at,
       t.revoked_at,
       (CASE WHEN t.revoked_at IS NOT NULL THEN 'revoked'
             WHEN t.expires_at <= now() THEN 'expired'
             ELSE 'active' END)::text AS state
FROM api_tokens t
JOIN users u ON u.id = t.user_id;
COMMENT ON VIEW report_api_tokens IS 'API tokens until they expire: whose, for which scans, when used last. The token itself is nowhere stored.';
COMMENT ON COLUMN report_api_tokens.datasets IS 'Pattern of scan names to permissions, as asked for; the owner''s own permissions bound them.';
COMMENT ON COLUMN report_api_tokens.last_used_at IS 'To the minute; null if never.';

CREATE VIEW report_signing_keys AS
SELECT kid, algorithm, status, created_at, retired_at
FROM signing_keys
WHERE status <> 'salt';
COMMENT ON VIEW report_signing_keys IS 'Which keys sign and verify tokens, by their public names.';

CREATE VIEW report_events AS
SELECT at, kind, username, session_id, token_id, address, user_agent, request_id, detail
FROM auth_events;
COMMENT ON VIEW report_events IS 'The audit trail. Bound at.';
COMMENT ON COLUMN report_events.username IS 'Whom it happened to; detail ends with "by NAME" where somebody else did it.';
COMMENT ON COLUMN report_events.request_id IS 'Finds the lines of the server''s log.';

CREATE VIEW report_scans AS
SELECT s.name,
       t.name AS timelapse,
       s.owner,
       EXISTS (SELECT FROM users u WHERE u.username = s.owner) AS owner_exists,
       s.visibility,
       s.sharing AS groups,
       s.broken,
       s.file_count AS files,
       s.byte_count AS bytes,
       -- Any text may stand there: only what begins like a date is one.
       substring(s.metadata ->> 'created' FROM '^[1-9][0-9]{3}-(?:0[1-9]|1[0-2])-.{0,64}')::text AS created,
       to_date(substring(s.metadata ->> 'created' FROM '^([1-9][0-9]{3}-(?:0[1-9]|1[0-2]))-'), 'YYYY-MM') AS created_month,
       s.changed_at,
       s.indexed_at
FROM scans s
LEFT JOIN timelapses t ON t.id = s.timelapse_id;
COMMENT ON VIEW report_scans IS 'Scans: whose, who may see them, how large, what is wrong with them.';
COMMENT ON COLUMN report_scans.owner IS 'Null where nobody is recorded: only administrators may write it.';
COMMENT ON COLUMN report_scans.broken IS 'Why it cannot be used; null for a sound one.';
COMMENT ON COLUMN report_scans.created IS 'As the metadata has it: the local time of who made it, without a zone; null for scans that tell none.';
COMMENT ON COLUMN report_scans.changed_at IS 'When its directory changed last.';

CREATE VIEW report_scans_per_month AS
SELECT owner,
       created_month AS month,
       count(*)::bigint AS scans,
       sum(files)::bigint AS files,
       sum(bytes)::bigint AS bytes
FROM report_scans
GROUP BY owner, created_month;
COMMENT ON VIEW report_scans_per_month IS 'Scans made by each owner in each month (its first day); null month: the metadata do not tell.';

CREATE VIEW report_storage AS
SELECT owner,
       owner_exists,
       count(*)::bigint AS scans,
       count(*) FILTER (WHERE visibility = 'private')::bigint AS private_scans,
       count(*) FILTER (WHERE broken IS NOT NULL)::bigint AS broken_scans,
       sum(files)::bigint AS files,
       sum(bytes)::bigint AS bytes,
       max(changed_at)::timestamptz AS last_changed_at
FROM report_scans
GROUP BY owner, owner_exists;
COMMENT ON VIEW report_storage IS 'Scans, files and bytes of each owner, as indexed.';
COMMENT ON COLUMN report_storage.owner IS 'Null: the scans of nobody.';

CREATE VIEW report_group_storage AS
SELECT g.name AS group_name,
       EXISTS (SELECT FROM groups k WHERE k.name = g.name) AS group_exists,
       count(*)::bigint AS scans,
       sum(s.file_count)::bigint AS files,
       sum(s.byte_count)::bigint AS bytes
FROM scans s
CROSS JOIN LATERAL (SELECT DISTINCT unnest(s.sharing)::text AS name) g
GROUP BY g.name;
COMMENT ON VIEW report_group_storage IS 'Scans, files and bytes shared with each group; a scan shared with two counts for both.';

-- The role is the cluster's, not the database's: it may be there already, and
-- our own role may not be allowed to make it. Who makes it is its member, to
-- see with SET ROLE what readers see.
-- +goose StatementBegin
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'plantdb_report') THEN
        CREATE ROLE plantdb_report NOLOGIN ROLE CURRENT_USER;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL; -- another database of the cluster was quicker
    WHEN insufficient_privilege THEN
        RAISE WARNING 'role plantdb_report does not exist and % may not create it: the report views are readable for % alone',
            current_user, current_user USING HINT = 'Create it and grant it the views: see docs/sql-reporting.md.';
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'plantdb_report') THEN
        GRANT SELECT ON report_users, report_groups, report_active_sessions, report_session_history,
            report_sessions_per_day, report_logins, report_logins_per_day, report_locked_accounts, report_token_reuse,
            report_api_tokens, report_signing_keys, report_events, report_scans, report_scans_per_month, report_storage,
            report_group_storage
        TO plantdb_report;
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
-- The grants go with the views; the role may serve other databases and stays.
DROP VIEW report_group_storage, report_storage, report_scans_per_month, report_scans, report_events, report_signing_keys,
    report_api_tokens, report_token_reuse, report_locked_accounts, report_logins_per_day, report_logins,
    report_sessions_per_day, report_session_history, report_active_sessions, report_groups, report_users;
DROP INDEX auth_events_login_day_idx, auth_events_session_idx;

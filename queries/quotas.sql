-- name: ListLimitedUsers :many
-- ListLimitedUsers returns the users to whom a quota applies, their own or a
-- group's.
SELECT u.username FROM user_quotas q JOIN users u ON u.id = q.user_id
UNION
SELECT u.username
FROM group_quotas q JOIN group_members m ON m.group_id = q.group_id JOIN users u ON u.id = m.user_id;

-- name: LockQuotas :exec
-- LockQuotas holds the quotas that apply to a user against other reservations
-- until the transaction ends, in the order of their keys.
SELECT pg_advisory_xact_lock(7354, k.key)
FROM (SELECT DISTINCT hashtext(n.name) AS key
      FROM (SELECT 'user ' || u.username AS name
            FROM user_quotas q JOIN users u ON u.id = q.user_id
            WHERE u.username = @owner
            UNION ALL
            SELECT 'group ' || g.name
            FROM group_quotas q
            JOIN groups g ON g.id = q.group_id
            JOIN group_members m ON m.group_id = g.id
            JOIN users u ON u.id = m.user_id
            WHERE u.username = @owner) AS n
      ORDER BY key) AS k;

-- name: ListQuotasOf :many
-- ListQuotasOf returns the quotas that apply to a user, and what counts
-- against each: scans, what is in the trash, and reservations but one.
SELECT a.kind::text AS kind, a.name::text AS name, a.max_bytes, a.max_files, used.bytes::bigint AS bytes, used.files::bigint AS files
FROM (SELECT 'user' AS kind, u.username AS name, q.max_bytes, q.max_files, ARRAY[u.username] AS owners
      FROM user_quotas q JOIN users u ON u.id = q.user_id
      WHERE u.username = @owner
      UNION ALL
      SELECT 'group', g.name, q.max_bytes, q.max_files,
             ARRAY(SELECT u.username FROM group_members m JOIN users u ON u.id = m.user_id WHERE m.group_id = g.id)
      FROM group_quotas q
      JOIN groups g ON g.id = q.group_id
      WHERE EXISTS (SELECT FROM group_members m JOIN users u ON u.id = m.user_id
                    WHERE m.group_id = g.id AND u.username = @owner)) AS a
CROSS JOIN LATERAL (
    SELECT coalesce(sum(c.bytes), 0) AS bytes, coalesce(sum(c.files), 0) AS files
    FROM (SELECT sum(s.byte_count + s.beside_bytes) AS bytes, sum(s.file_count + s.beside_files) AS files FROM scans s WHERE s.owner = ANY(a.owners)
          UNION ALL
          SELECT sum(t.byte_count), sum(t.file_count) FROM trash_contents t WHERE t.owner = ANY(a.owners)
          UNION ALL
          SELECT sum(r.bytes), sum(r.files) FROM reservations r
          WHERE r.owner = ANY(a.owners) AND r.expires_at > @now AND r.id <> @but) AS c) AS used
ORDER BY a.kind DESC, a.name COLLATE "C";

-- name: GetScanAmount :one
-- GetScanAmount returns what a scan holds, beside its filesets as well.
SELECT (s.byte_count + s.beside_bytes)::bigint AS bytes, (s.file_count + s.beside_files)::bigint AS files FROM scans s WHERE s.id = @id;

-- name: GetUsage :one
-- GetUsage returns what a user holds.
SELECT (SELECT coalesce(sum(s.byte_count + s.beside_bytes), 0) FROM scans s WHERE s.owner = @owner::text)::bigint AS bytes,
       (SELECT coalesce(sum(s.file_count + s.beside_files), 0) FROM scans s WHERE s.owner = @owner::text)::bigint AS files,
       (SELECT coalesce(sum(t.byte_count), 0) FROM trash_contents t WHERE t.owner = @owner::text)::bigint AS trash_bytes,
       (SELECT coalesce(sum(t.file_count), 0) FROM trash_contents t WHERE t.owner = @owner::text)::bigint AS trash_files,
       (SELECT coalesce(sum(r.bytes), 0) FROM reservations r WHERE r.owner = @owner::text AND r.expires_at > @now)::bigint AS reserved_bytes,
       (SELECT coalesce(sum(r.files), 0) FROM reservations r WHERE r.owner = @owner::text AND r.expires_at > @now)::bigint AS reserved_files;

-- name: Reserve :exec
-- Reserve makes a reservation, or changes it.
INSERT INTO reservations (id, owner, bytes, files, expires_at)
VALUES (@id, @owner, @bytes, @files, @expires_at)
ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, files = excluded.files, expires_at = excluded.expires_at;

-- name: DeleteReservation :exec
-- DeleteReservation lets a reservation go.
DELETE FROM reservations WHERE id = @id;

-- name: SweepReservations :exec
-- SweepReservations forgets reservations that have expired.
DELETE FROM reservations WHERE expires_at <= @now;

-- name: ListQuotas :many
-- ListQuotas returns all quotas, those of users first.
SELECT a.kind::text AS kind, a.name::text AS name, a.max_bytes, a.max_files
FROM (SELECT 'user' AS kind, u.username AS name, q.max_bytes, q.max_files
      FROM user_quotas q JOIN users u ON u.id = q.user_id
      UNION ALL
      SELECT 'group', g.name, q.max_bytes, q.max_files
      FROM group_quotas q JOIN groups g ON g.id = q.group_id) AS a
ORDER BY a.kind DESC, a.name COLLATE "C";

-- name: SetUserQuota :execrows
-- SetUserQuota gives a user a quota; no row if there is no such user.
INSERT INTO user_quotas (user_id, max_bytes, max_files)
SELECT u.id, sqlc.narg('max_bytes')::bigint, sqlc.narg('max_files')::bigint FROM users u WHERE u.username = @name
ON CONFLICT (user_id) DO UPDATE SET max_bytes = excluded.max_bytes, max_files = excluded.max_files;

-- name: SetGroupQuota :execrows
-- SetGroupQuota gives a group a quota; no row if there is no such group.
INSERT INTO group_quotas (group_id, max_bytes, max_files)
SELECT g.id, sqlc.narg('max_bytes')::bigint, sqlc.narg('max_files')::bigint FROM groups g WHERE g.name = @name
ON CONFLICT (group_id) DO UPDATE SET max_bytes = excluded.max_bytes, max_files = excluded.max_files;

-- name: DeleteUserQuota :execrows
-- DeleteUserQuota takes a user's quota away.
DELETE FROM user_quotas q USING users u WHERE u.id = q.user_id AND u.username = @name;

-- name: DeleteGroupQuota :execrows
-- DeleteGroupQuota takes a group's quota away.
DELETE FROM group_quotas q USING groups g WHERE g.id = q.group_id AND g.name = @name;

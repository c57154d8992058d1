-- name: LeftByUser :one
-- LeftByUser counts what still has the name of a user who was deleted: what
-- they own, what lies in the trash, and private scans that are gone and whose
-- history is kept. There is no row unless a user of that name was deleted.
SELECT (SELECT count(*) FROM scans s WHERE s.owner = f.name) AS scans,
       (SELECT count(*) FROM timelapses t WHERE t.owner = f.name) AS timelapses,
       (SELECT count(*) FROM trash t
        WHERE t.owner = f.name OR t.deleted_by = f.name
           OR t.id IN (SELECT c.trash_id FROM trash_contents c WHERE c.owner = f.name)) AS trashed,
       (SELECT count(DISTINCT e.scan_id) FROM scan_events e
        WHERE e.access ->> 'owner' = f.name AND e.access ->> 'visibility' = 'private'
          AND NOT EXISTS (SELECT FROM scans s WHERE s.id = e.scan_id)
          AND NOT EXISTS (SELECT FROM trash_contents c WHERE c.scan_id = e.scan_id)) AS remembered
FROM former_names f
WHERE f.kind = 'user' AND f.name = @name;

-- name: LeftByGroup :one
-- LeftByGroup counts what is still shared with a group that was deleted, as
-- LeftByUser. With whom a scan in the trash is shared tells the event of its
-- deletion.
SELECT (SELECT count(*) FROM scans s WHERE s.sharing @> ARRAY[f.name]) AS scans,
       0::bigint AS timelapses,
       (SELECT count(DISTINCT c.trash_id) FROM trash_contents c JOIN scan_events e ON e.scan_id = c.scan_id
        WHERE e.access -> 'sharing' ? f.name AND NOT EXISTS (SELECT FROM scans s WHERE s.id = e.scan_id)) AS trashed,
       (SELECT count(DISTINCT e.scan_id) FROM scan_events e
        WHERE e.access -> 'sharing' ? f.name AND e.access ->> 'visibility' = 'private'
          AND NOT EXISTS (SELECT FROM scans s WHERE s.id = e.scan_id)
          AND NOT EXISTS (SELECT FROM trash_contents c WHERE c.scan_id = e.scan_id)) AS remembered
FROM former_names f
WHERE f.kind = 'group' AND f.name = @name;

-- name: ForgetFormerName :exec
-- ForgetFormerName is for a name that somebody has again.
DELETE FROM former_names WHERE kind = @kind AND name = @name;

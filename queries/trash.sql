-- name: InsertTrash :exec
-- InsertTrash adds an entry of the trash with what it holds of each scan.
WITH entry AS (
    INSERT INTO trash (id, kind, timelapse, scan, fileset, file, owner, deleted_by, deleted_at)
    VALUES (@id, @kind, @timelapse, @scan, @fileset, @file, @owner, @deleted_by, @deleted_at)
    RETURNING id
)
INSERT INTO trash_contents (trash_id, scan, scan_id, owner, file_count, byte_count)
SELECT entry.id, i.scan, nullif(i.scan_id, '00000000-0000-0000-0000-000000000000'), nullif(i.owner, ''), i.file_count, i.byte_count
FROM entry, (SELECT unnest(@scans::text[]) AS scan,
                    unnest(@scan_ids::uuid[]) AS scan_id,
                    unnest(@owners::text[]) AS owner,
                    unnest(@file_counts::integer[]) AS file_count,
                    unnest(@byte_counts::bigint[]) AS byte_count) AS i;

-- name: GetTrash :one
-- GetTrash returns an entry of the trash; owners are those of all that it holds.
SELECT sqlc.embed(trash),
    ARRAY(SELECT coalesce(c.owner, '') FROM trash_contents c WHERE c.trash_id = trash.id ORDER BY c.scan COLLATE "C")::text[] AS owners,
    ARRAY(SELECT c.scan FROM trash_contents c WHERE c.trash_id = trash.id ORDER BY c.scan COLLATE "C")::text[] AS scans,
    ARRAY(SELECT coalesce(c.scan_id, '00000000-0000-0000-0000-000000000000') FROM trash_contents c WHERE c.trash_id = trash.id ORDER BY c.scan COLLATE "C")::uuid[] AS scan_ids,
    (SELECT coalesce(sum(c.file_count), 0) FROM trash_contents c WHERE c.trash_id = trash.id)::bigint AS file_count,
    (SELECT coalesce(sum(c.byte_count), 0) FROM trash_contents c WHERE c.trash_id = trash.id)::bigint AS byte_count
FROM trash
WHERE id = @id;

-- name: ListTrash :many
-- ListTrash pages through the trash, the youngest first: everything, or with a
-- username what that user deleted or owned.
SELECT sqlc.embed(trash),
    ARRAY(SELECT coalesce(c.owner, '') FROM trash_contents c WHERE c.trash_id = trash.id ORDER BY c.scan COLLATE "C")::text[] AS owners,
    ARRAY(SELECT c.scan FROM trash_contents c WHERE c.trash_id = trash.id ORDER BY c.scan COLLATE "C")::text[] AS scans,
    ARRAY(SELECT coalesce(c.scan_id, '00000000-0000-0000-0000-000000000000') FROM trash_contents c WHERE c.trash_id = trash.id ORDER BY c.scan COLLATE "C")::uuid[] AS scan_ids,
    (SELECT coalesce(sum(c.file_count), 0) FROM trash_contents c WHERE c.trash_id = trash.id)::bigint AS file_count,
    (SELECT coalesce(sum(c.byte_count), 0) FROM trash_contents c WHERE c.trash_id = trash.id)::bigint AS byte_count
FROM trash
WHERE (sqlc.narg(before)::uuid IS NULL OR id < sqlc.narg(before)::uuid)
  AND (sqlc.narg(username)::text IS NULL
       OR id IN (SELECT c.trash_id FROM trash_contents c WHERE c.owner = sqlc.narg(username)::text
                 UNION ALL
                 SELECT d.id FROM trash d WHERE d.deleted_by = sqlc.narg(username)::text))
ORDER BY id DESC
LIMIT @page_size::int;

-- name: ListTrashIDs :many
-- ListTrashIDs returns every entry for who compares them with the tree.
SELECT id FROM trash;

-- name: ListExpiredTrash :many
-- ListExpiredTrash returns the oldest entries that were deleted before a time.
SELECT id FROM trash WHERE deleted_at < @before ORDER BY deleted_at LIMIT @page_size::int;

-- name: DeleteTrash :execrows
-- DeleteTrash forgets an entry that was restored or purged.
DELETE FROM trash WHERE id = @id;

-- name: GetTrashUsage :one
-- GetTrashUsage returns what of a user's lies in the trash; it counts for them
-- until it is purged.
SELECT coalesce(sum(file_count), 0)::bigint AS file_count, coalesce(sum(byte_count), 0)::bigint AS byte_count
FROM trash_contents
WHERE owner = @owner::text;

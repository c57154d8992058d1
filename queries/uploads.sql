-- name: InsertUpload :exec
-- InsertUpload begins an upload that comes in pieces.
INSERT INTO uploads (id, username, scan, fileset, file, extension, document, described, size, created_at, expires_at)
VALUES (@id, @username, @scan, @fileset, @file, @extension, @document, @described, @size, @created_at, @expires_at);

-- name: GetUpload :one
-- GetUpload returns an upload that has not expired: by the time that servers saw
-- pass, of which only so much may have passed since one looked; charged is whose
-- quotas it counts for, if any do.
SELECT u.id, u.username, u.scan, u.fileset, u.file, u.extension, u.document, u.described, u.size, u.received, u.digest, u.expires_at,
       (u.finished_at IS NOT NULL)::boolean AS finished, r.owner AS charged
FROM uploads u
LEFT JOIN reservations r ON r.id = u.id
LEFT JOIN retention_clocks c ON c.kind = 'uploads'
WHERE u.id = @id
  AND u.expires_at > least(@now::timestamptz, c.seen_at + make_interval(secs => @unlooked::float8)) - coalesce(c.unseen, interval '0');

-- name: CountUploads :one
-- CountUploads counts the uploads of a user that are not finished.
SELECT count(*) FROM uploads WHERE username = @username AND finished_at IS NULL AND expires_at > @now;

-- name: AdvanceUpload :execrows
-- AdvanceUpload acknowledges bytes that are on the disk; no row if the upload
-- is gone, or somebody else advanced it. What is reserved for it stays as long.
WITH kept AS (
    UPDATE reservations SET expires_at = @expires_at WHERE reservations.id = @id
)
UPDATE uploads
SET received = @received, digest = @digest, expires_at = @expires_at
WHERE uploads.id = @id AND received = @before AND finished_at IS NULL;

-- name: FinishUpload :exec
-- FinishUpload says that the file of an upload is in its fileset, where it
-- counts from now on.
WITH settled AS (
    DELETE FROM reservations WHERE reservations.id = @id
)
UPDATE uploads SET finished_at = @finished_at::timestamptz WHERE uploads.id = @id;

-- name: DeleteUpload :exec
-- DeleteUpload forgets an upload and what is reserved for it.
WITH released AS (
    DELETE FROM reservations WHERE reservations.id = @id
)
DELETE FROM uploads WHERE uploads.id = @id;

-- name: ListExpiredUploads :many
-- ListExpiredUploads returns uploads that have expired, the oldest first.
SELECT id FROM uploads WHERE expires_at <= @now ORDER BY expires_at LIMIT @most;

-- name: ListKnownUploads :many
-- ListKnownUploads returns those of the ids that are uploads.
SELECT id FROM uploads WHERE id = ANY(@ids::uuid[]);

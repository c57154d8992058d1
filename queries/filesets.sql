-- name: GetFileset :one
-- GetFileset returns a fileset of a scan with its metadata.
SELECT id, name, document FROM filesets WHERE scan_id = @scan_id AND name = @name;

-- name: ListFilesets :many
-- ListFilesets returns the filesets of a scan in the order of files.json.
SELECT id, name, document FROM filesets WHERE scan_id = @scan_id ORDER BY position, name;

-- name: InsertFileset :execrows
-- InsertFileset adds a fileset at the end, or none where there is a row of that name.
INSERT INTO filesets (id, scan_id, name, position, document, metadata)
VALUES (@id, @scan_id, @name,
        (SELECT coalesce(max(f.position) + 1, 0) FROM filesets f WHERE f.scan_id = @scan_id),
        @document, @metadata)
ON CONFLICT (scan_id, name) DO NOTHING;

-- name: SetFilesetDocument :exec
-- SetFilesetDocument keeps new metadata of a fileset.
UPDATE filesets SET document = @document, metadata = @metadata WHERE id = @id;

-- name: GetFilesetUsage :one
-- GetFilesetUsage counts the files of a fileset and their bytes.
SELECT count(*)::integer AS file_count, coalesce(sum(size), 0)::bigint AS byte_count FROM files WHERE fileset_id = @id;

-- name: DeleteFileset :exec
-- DeleteFileset forgets a fileset and its files.
DELETE FROM filesets WHERE id = @id;

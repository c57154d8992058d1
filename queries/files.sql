-- name: GetFile :one
-- GetFile finds a file by its id, or by its file name where no id matches.
SELECT id, name, filename, size, modified_at, sha256, document
FROM files
WHERE fileset_id = @fileset_id AND (name = @name OR filename = @name)
ORDER BY (name = @name) DESC
LIMIT 1;

-- name: ListFileNames :many
-- ListFileNames returns the ids of the files of a fileset in the order of files.json.
SELECT name FROM files WHERE fileset_id = @fileset_id ORDER BY position, name;

-- name: ListScanFiles :many
-- ListScanFiles returns all files of a scan, fileset by fileset, for its info.
SELECT fs.name AS fileset, f.name, f.filename, f.document
FROM filesets fs
JOIN files f ON f.fileset_id = fs.id
WHERE fs.scan_id = @scan_id
ORDER BY fs.position, fs.name, f.position, f.name;

-- name: ListFileStates :many
-- ListFileStates returns what the index holds of the files of a scan, fileset by
-- fileset in the order of files.json, to tell what was changed outside.
SELECT fs.name AS fileset, f.name, f.filename, f.size, f.modified_at, f.inode, f.document
FROM filesets fs
JOIN files f ON f.fileset_id = fs.id
WHERE fs.scan_id = @scan_id
ORDER BY fs.position, fs.name, f.position, f.name;

-- name: ListFileDigests :many
-- ListFileDigests returns the digests of the files of a scan, null where they
-- are not known, and of which version of the files they are.
SELECT fs.name AS fileset, f.id, f.filename, f.size, f.modified_at, f.inode, f.sha256
FROM filesets fs
JOIN files f ON f.fileset_id = fs.id
WHERE fs.scan_id = @scan_id;

-- name: InsertFiles :exec
-- InsertFiles adds files at the end of a fileset, with an event for each, and
-- counts them; one statement, for it is what every upload waits for. The tree,
-- which was written first, has refused ids that are taken: a row of that id is
-- a stale one. changed_at is when files.json was written, for that changed the
-- directory; what was derived from the scan is void.
WITH i AS (
    SELECT unnest(@ids::uuid[]) AS id,
           unnest(@ordinals::integer[]) AS ordinal,
           unnest(@names::text[]) AS name,
           unnest(@filenames::text[]) AS filename,
           unnest(@sizes::bigint[]) AS size,
           unnest(@modified::timestamptz[]) AS modified_at,
           unnest(@inodes::bigint[]) AS inode,
           unnest(@sha256s::bytea[]) AS sha256,
           unnest(@documents::text[]) AS document,
           unnest(@metadatas::text[]) AS metadata,
           unnest(@event_ids::uuid[]) AS event_id,
           unnest(@usernames::text[]) AS username,
           unnest(@token_kinds::text[]) AS token_kind,
           unnest(@token_ids::uuid[]) AS token_id,
           unnest(@request_ids::text[]) AS request_id
), grown AS (
    UPDATE scans
    SET file_count = file_count + (SELECT count(*)::integer FROM i),
        byte_count = byte_count + (SELECT coalesce(sum(i.size), 0)::bigint FROM i),
        changed_at = @changed_at, info = NULL, signature = ''
    WHERE scans.id = @scan_id
    RETURNING scans.id, scans.name, scans.timelapse_id
), recorded AS (
    INSERT INTO scan_events (id, kind, username, token_kind, token_id, request_id, scan_id, scan, timelapse, fileset, file, detail)
    SELECT i.event_id, 'file.created', nullif(i.username, ''), nullif(i.token_kind, ''), nullif(i.token_id, '00000000-0000-0000-0000-000000000000'), i.request_id, grown.id, grown.name,
           (SELECT t.name FROM timelapses t WHERE t.id = grown.timelapse_id), @fileset::text, i.name,
           jsonb_build_object('filename', i.filename, 'size', i.size, 'sha256', encode(i.sha256, 'hex'))
    FROM i CROSS JOIN grown
    ORDER BY i.ordinal
)
INSERT INTO files (id, fileset_id, name, filename, position, size, modified_at, inode, sha256, document, metadata)
SELECT i.id, @fileset_id, i.name, i.filename,
       (SELECT coalesce(max(f.position), -1) FROM files f WHERE f.fileset_id = @fileset_id) + i.ordinal,
       i.size, i.modified_at, i.inode, i.sha256, i.document::json, i.metadata::jsonb
FROM i
ON CONFLICT (fileset_id, name) DO UPDATE SET
    filename = excluded.filename, size = excluded.size, modified_at = excluded.modified_at, inode = excluded.inode,
    sha256 = excluded.sha256, document = excluded.document, metadata = excluded.metadata;

-- name: FillInodes :exec
-- FillInodes completes what rows say of the version of files, for rows that have no inode:
-- those of an older version of the program. Only files that the disk says were not
-- touched since their scan was indexed are still the ones that were.
WITH k AS (
    SELECT unnest(@filesets::text[]) AS fileset, unnest(@filenames::text[]) AS filename, unnest(@sizes::bigint[]) AS size,
           unnest(@modified::timestamptz[]) AS modified_at, unnest(@inodes::bigint[]) AS inode,
           unnest(@touched::timestamptz[]) AS touched_at
)
UPDATE files SET inode = k.inode
FROM k
JOIN filesets fs ON fs.name = k.fileset
JOIN scans s ON s.id = fs.scan_id AND s.indexed_at > k.touched_at
WHERE s.name = @name AND files.fileset_id = fs.id AND files.filename = k.filename AND files.inode IS NULL
  AND files.size = k.size AND files.modified_at = k.modified_at;

-- name: SetFileDocument :exec
-- SetFileDocument keeps new metadata of a file.
UPDATE files SET document = @document, metadata = @metadata WHERE id = @id;

-- name: DeleteFile :exec
-- DeleteFile forgets a file.
DELETE FROM files WHERE id = @id;

-- name: FindFile :one
-- FindFile returns a scan, with what policy asks and where it lies, and of one
-- of its filesets a file, found by its id, or by its file name where no id
-- matches, or the other way round; null for what is not there.
SELECT s.id AS scan_id, s.name AS scan, coalesce(t.name, '')::text AS timelapse, s.owner, s.sharing, s.visibility, (s.broken IS NOT NULL)::boolean AS broken,
    fs.id AS fileset_id, fs.name AS fileset, f.id AS file_id, f.name, f.filename, f.size, f.modified_at, f.inode, f.sha256, f.document
FROM scans s
LEFT JOIN timelapses t ON t.id = s.timelapse_id
LEFT JOIN filesets fs ON fs.scan_id = s.id AND fs.name = @fileset
LEFT JOIN files f ON f.id = (SELECT c.id FROM files c
                             WHERE c.fileset_id = fs.id AND (c.name = @file OR c.filename = @file)
                             ORDER BY (CASE WHEN @by_filename::boolean THEN c.filename ELSE c.name END = @file) DESC
                             LIMIT 1)
WHERE s.name = @scan;

-- name: PageFiles :many
-- PageFiles returns files of a fileset after a place in the order of files.json.
SELECT name, position, filename, size, document
FROM files
WHERE fileset_id = @fileset_id AND (position, name) > (@position::integer, @after::text)
ORDER BY position, name
LIMIT @page_size::integer;

-- name: PageFilesDown :many
-- PageFilesDown returns files of a fileset after a place in the order of files.json, backwards.
SELECT name, position, filename, size, document
FROM files
WHERE fileset_id = @fileset_id AND (position, name) < (@position::integer, @after::text)
ORDER BY position DESC, name DESC
LIMIT @page_size::integer;

-- name: PageFilesByID :many
-- PageFilesByID returns files of a fileset after a place in the order of their ids.
SELECT name, position, filename, size, document
FROM files
WHERE fileset_id = @fileset_id AND @position::integer = @position::integer AND name > @after::text
ORDER BY name
LIMIT @page_size::integer;

-- name: PageFilesByIDDown :many
-- PageFilesByIDDown returns files of a fileset after a place in the order of their ids, backwards.
SELECT name, position, filename, size, document
FROM files
WHERE fileset_id = @fileset_id AND @position::integer = @position::integer AND name < @after::text
ORDER BY name DESC
LIMIT @page_size::integer;

-- name: CountFiles :one
-- CountFiles counts the files of a fileset.
SELECT count(*) FROM files WHERE fileset_id = @fileset_id;

-- name: ListCheckedFiles :many
-- ListCheckedFiles returns what the index holds of the files of some scans, for
-- who compares it with the disk; bare says that no metadata are known.
SELECT s.name AS scan, fs.name AS fileset, f.id, f.name, f.filename, f.size, f.modified_at, f.inode, f.sha256,
       (f.document::text = '{}')::boolean AS bare
FROM scans s
JOIN filesets fs ON fs.scan_id = s.id
JOIN files f ON f.fileset_id = fs.id
WHERE s.name = ANY(@names::text[]);

-- name: ListCheckedScans :many
-- ListCheckedScans returns what the index holds of some scans themselves.
SELECT s.name, coalesce(t.name, '')::text AS timelapse, s.signature, (s.broken IS NOT NULL)::boolean AS broken
FROM scans s
LEFT JOIN timelapses t ON t.id = s.timelapse_id
WHERE s.name = ANY(@names::text[]);

-- name: KeepDigests :exec
-- KeepDigests keeps the digests of files that had none, of those that are still
-- the files whose bytes were read, and which inode those had where only that was
-- not known. It waits for nobody: who holds a row is about
-- to change it.
WITH k AS (
    SELECT unnest(@ids::uuid[]) AS id, unnest(@sizes::bigint[]) AS size,
           unnest(@modified::timestamptz[]) AS modified_at, unnest(@inodes::bigint[]) AS inode,
           unnest(@sha256s::bytea[]) AS sha256
), held AS (
    SELECT f.id, k.inode, k.sha256
    FROM k
    JOIN files f ON f.id = k.id AND f.size = k.size AND f.modified_at = k.modified_at AND coalesce(f.inode, k.inode) = k.inode
                AND (f.sha256 IS NULL OR f.inode IS NULL AND f.sha256 = k.sha256)
    FOR NO KEY UPDATE OF f SKIP LOCKED
)
UPDATE files SET sha256 = held.sha256, inode = held.inode
FROM held
WHERE files.id = held.id;

-- name: GetPass :one
-- GetPass returns how far a pass came.
SELECT * FROM care_passes WHERE kind = @kind;

-- name: BeginPass :exec
-- BeginPass begins a pass anew.
INSERT INTO care_passes (kind, after, began_at, moved_at) VALUES (@kind, '', now(), now())
ON CONFLICT (kind) DO UPDATE SET after = '', began_at = now(), moved_at = now(), scans = 0, files = 0, bytes = 0, findings = 0;

-- name: MovePass :exec
-- MovePass keeps how far a pass came, and adds what it looked at since it was
-- last kept.
UPDATE care_passes
SET after = @after, moved_at = now(), scans = scans + @scans, files = files + @files, bytes = bytes + @bytes,
    findings = findings + @findings
WHERE kind = @kind;

-- name: FinishPass :exec
-- FinishPass says that a pass went through all scans.
UPDATE care_passes SET after = '', moved_at = now(), finished_at = now(), verified_from = began_at WHERE kind = @kind;

-- name: ForgetFindings :exec
-- ForgetFindings forgets what was found in some scans before.
DELETE FROM care_findings WHERE scan = ANY(@scans::text[]);

-- name: InsertFinding :exec
-- InsertFinding keeps something that was found.
INSERT INTO care_findings (id, kind, scan, fileset, file, path, detail, found_at)
VALUES (@id, @kind, @scan, @fileset, @file, @path, @detail, now());

-- name: ForgetLostFindings :exec
-- ForgetLostFindings forgets what was found in scans that are not there any more.
DELETE FROM care_findings c WHERE NOT EXISTS (SELECT 1 FROM scans s WHERE s.name = c.scan);

-- name: ListFindings :many
-- ListFindings returns what the scrub found, in the order of finding.
SELECT id, kind, scan, fileset, file, path, detail, found_at
FROM care_findings
WHERE id > @after
ORDER BY id
LIMIT @page_size::int;

-- name: CountFindings :one
-- CountFindings counts what the scrub found.
SELECT count(*) FROM care_findings;

-- name: GetScan :one
-- GetScan returns what policy asks of a scan, where it lies, and whether it can be used.
SELECT s.id, s.name, coalesce(t.name, '')::text AS timelapse, s.owner, s.sharing, s.visibility, (s.broken IS NOT NULL)::boolean AS broken
FROM scans s
LEFT JOIN timelapses t ON t.id = s.timelapse_id
WHERE s.name = @name;

-- name: GetScanDocument :one
-- GetScanDocument returns the metadata as it is shown, with what policy asks.
SELECT name, owner, sharing, visibility, document
FROM scans
WHERE name = @name;

-- name: GetScanInfo :one
-- GetScanInfo returns the scan-info object, null where it has to be made, with what policy asks.
SELECT id, name, owner, sharing, visibility, info
FROM scans
WHERE name = @name;

-- name: GetScanInfoSource :one
-- GetScanInfoSource returns the columns of a scan that its info is made of and
-- holds the row until the info is kept.
SELECT id, name, document, info, broken, changed_at, has_measures, voxel_floor
FROM scans
WHERE id = @id
FOR UPDATE;

-- name: SetScanInfo :exec
-- SetScanInfo keeps a scan-info object that was made of the rows read in the same transaction.
UPDATE scans SET info = @info WHERE id = @id;

-- name: ListScanNames :one
-- ListScanNames returns the ids of the scans that the caller may read and that
-- can be used, in the order of their bytes; one array, since a row for each
-- name costs several times as much.
SELECT coalesce(array_agg(s.name ORDER BY s.name COLLATE "C"), '{}')::text[] AS names
FROM scans s
LEFT JOIN timelapses t ON t.id = s.timelapse_id
WHERE (s.visibility = ANY(@visibilities::text[]) OR s.owner = @username::text OR s.sharing && @groups::text[])
  AND (sqlc.narg(timelapse)::text IS NULL OR t.name = sqlc.narg(timelapse)::text)
  AND s.broken IS NULL;

-- name: ListScanInfos :many
-- ListScanInfos returns, of these scans, the scan-info objects that the caller
-- may read, in no order; those that have to be made first are null.
SELECT id, name, info
FROM scans
WHERE name = ANY(@names::text[])
  AND (visibility = ANY(@visibilities::text[]) OR owner = @username::text OR sharing && @groups::text[]);

-- name: ListAllScanInfos :many
-- ListAllScanInfos returns the scan-info objects that the caller may read, broken
-- scans included: of so many scans that follow a name, in the order of its bytes.
-- The index has that order for each visibility alone; it is walked once for all
-- chunks together, but for the private scans of one who may not read all of them,
-- which are found by who owns and shares them.
SELECT s.id, s.name, s.info
FROM (
    (SELECT id, name, info FROM scans
     WHERE visibility = 'public' AND @public::boolean AND name COLLATE "C" > @after::text
     ORDER BY name COLLATE "C" LIMIT @size::integer)
    UNION ALL
    (SELECT id, name, info FROM scans
     WHERE visibility = 'private' AND @everything::boolean AND name COLLATE "C" > @after::text
     ORDER BY name COLLATE "C" LIMIT @size::integer)
    UNION ALL
    (SELECT id, name, info FROM scans
     WHERE visibility = 'private' AND NOT @everything::boolean AND (owner = @username::text OR sharing && @groups::text[])
        AND name COLLATE "C" > @after::text
     ORDER BY name COLLATE "C" LIMIT @size::integer)
) AS s
ORDER BY s.name COLLATE "C"
LIMIT @size::integer;

-- name: CountScans :one
-- CountScans counts the scans that can be used.
SELECT count(*) FROM scans WHERE broken IS NULL;

-- name: ListScanSignatures :many
-- ListScanSignatures returns what a reconcile compares with the tree: of so many
-- scans that follow a name, in the order of its bytes. The index has that order
-- for each visibility alone.
SELECT s.name, coalesce(t.name, '')::text AS timelapse, s.signature, (s.broken IS NOT NULL)::boolean AS broken
FROM (
    (SELECT name, timelapse_id, signature, broken FROM scans
     WHERE visibility = 'public' AND name COLLATE "C" > @after::text
     ORDER BY name COLLATE "C" LIMIT @size::integer)
    UNION ALL
    (SELECT name, timelapse_id, signature, broken FROM scans
     WHERE visibility = 'private' AND name COLLATE "C" > @after::text
     ORDER BY name COLLATE "C" LIMIT @size::integer)
) AS s
LEFT JOIN timelapses t ON t.id = s.timelapse_id
ORDER BY s.name COLLATE "C"
LIMIT @size::integer;

-- name: WriteScan :exec
-- WriteScan writes a scan with its filesets and files as they were read from
-- disk; one statement, because an index of thousands of scans is made of it.
-- With keep_access the row's owner, sharing and visibility stay, where there is
-- a row. A digest that is not given is kept while name, size, time and inode say
-- that the bytes are the same. What is no longer on disk is for ForgetParts.
WITH scan AS (
    INSERT INTO scans (id, name, timelapse_id, owner, sharing, visibility, document, metadata, info,
                       changed_at, has_measures, voxel_floor, broken, file_count, byte_count, beside_files, beside_bytes, signature,
                       search, created, last_modified, species, plant, environment, due, indexed_at)
    VALUES (@id, @name, (SELECT t.id FROM timelapses t WHERE t.name = @timelapse::text), @owner, @sharing, @visibility,
            @document, @metadata, @info, @changed_at, @has_measures, @voxel_floor, @broken, @file_count, @byte_count,
            @beside_files, @beside_bytes, @signature, @search, @created, @last_modified, @species, @plant, @environment, @due, now())
    ON CONFLICT (name) DO UPDATE SET
        timelapse_id = excluded.timelapse_id,
        owner = CASE WHEN @keep_access::boolean THEN scans.owner ELSE excluded.owner END,
        sharing = CASE WHEN @keep_access::boolean THEN scans.sharing ELSE excluded.sharing END,
        visibility = CASE WHEN @keep_access::boolean THEN scans.visibility ELSE excluded.visibility END,
        document = excluded.document,
        metadata = excluded.metadata,
        info = excluded.info,
        changed_at = excluded.changed_at,
        has_measures = excluded.has_measures,
        voxel_floor = excluded.voxel_floor,
        broken = excluded.broken,
        file_count = excluded.file_count,
        byte_count = excluded.byte_count,
        beside_files = excluded.beside_files,
        beside_bytes = excluded.beside_bytes,
        signature = excluded.signature,
        search = excluded.search,
        created = excluded.created,
        last_modified = excluded.last_modified,
        species = excluded.species,
        plant = excluded.plant,
        environment = excluded.environment,
        due = excluded.due,
        indexed_at = excluded.indexed_at
    RETURNING id
), kept AS (
    INSERT INTO filesets (id, scan_id, name, position, document, metadata)
    SELECT i.id, scan.id, i.name, i.position, i.document::json, i.metadata::jsonb
    FROM scan, (SELECT unnest(@fileset_ids::uuid[]) AS id,
                       unnest(@filesets::text[]) AS name,
                       unnest(@fileset_positions::integer[]) AS position,
                       unnest(@fileset_documents::text[]) AS document,
                       unnest(@fileset_metadatas::text[]) AS metadata) AS i
    ON CONFLICT (scan_id, name) DO UPDATE SET
        position = excluded.position, document = excluded.document, metadata = excluded.metadata
    RETURNING id, name
)
INSERT INTO files (id, fileset_id, name, filename, position, size, modified_at, inode, sha256, document, metadata)
SELECT i.id, kept.id, i.name, i.filename, i.position, i.size, i.modified_at, i.inode, i.sha256, i.document::json, i.metadata::jsonb
FROM (SELECT unnest(@file_ids::uuid[]) AS id,
             unnest(@file_filesets::text[]) AS fileset,
             unnest(@files::text[]) AS name,
             unnest(@filenames::text[]) AS filename,
             unnest(@file_positions::integer[]) AS position,
             unnest(@sizes::bigint[]) AS size,
             unnest(@modified::timestamptz[]) AS modified_at,
             unnest(@inodes::bigint[]) AS inode,
             unnest(@sha256s::bytea[]) AS sha256,
             unnest(@file_documents::text[]) AS document,
             unnest(@file_metadatas::text[]) AS metadata) AS i
JOIN kept ON kept.name = i.fileset
ON CONFLICT (fileset_id, name) DO UPDATE SET
    filename = excluded.filename, position = excluded.position, size = excluded.size,
    modified_at = excluded.modified_at, inode = excluded.inode, document = excluded.document, metadata = excluded.metadata,
    sha256 = coalesce(excluded.sha256, CASE WHEN files.size = excluded.size AND files.modified_at = excluded.modified_at
                                                 AND files.inode = excluded.inode AND files.filename = excluded.filename THEN files.sha256 END);

-- name: TrustRestored :exec
-- TrustRestored says that the files of scans that were not indexed since are those
-- of their rows, though they have other inodes now.
WITH held AS (
    UPDATE scans SET indexed_at = now() WHERE indexed_at < @since RETURNING id
)
UPDATE files SET inode = NULL
FROM filesets fs JOIN held ON held.id = fs.scan_id
WHERE files.fileset_id = fs.id AND files.inode IS NOT NULL;

-- name: ForgetParts :exec
-- ForgetParts forgets the filesets and files of a scan that are no longer on
-- disk; file_filesets and files together are the files that are. NOT IN, since
-- PostgreSQL hashes that list; NOT EXISTS it compared with each file, which took
-- a minute for ten thousand.
WITH scan AS (
    SELECT id FROM scans WHERE scans.name = @name
), gone AS (
    DELETE FROM filesets USING scan
    WHERE filesets.scan_id = scan.id AND NOT (filesets.name = ANY(@filesets::text[]))
)
DELETE FROM files
USING filesets, scan
WHERE files.fileset_id = filesets.id AND filesets.scan_id = scan.id AND filesets.name = ANY(@filesets::text[])
  AND (filesets.name, files.name) NOT IN (SELECT unnest(@file_filesets::text[]), unnest(@files::text[]));

-- name: InsertScan :exec
-- InsertScan adds a scan that was just made on disk; scans_name_key says that the name is taken.
INSERT INTO scans (id, name, timelapse_id, owner, sharing, visibility, document, metadata, changed_at, signature,
                   search, created, last_modified, species, plant, environment, due)
VALUES (@id, @name, (SELECT t.id FROM timelapses t WHERE t.name = @timelapse::text), @owner, @sharing, @visibility,
        @document, @metadata, @changed_at, '', @search, @created, @last_modified, @species, @plant, @environment, @due);

-- name: SetScanDocument :exec
-- SetScanDocument keeps new metadata; info and signature are void from then on.
UPDATE scans
SET document = @document, metadata = @metadata, owner = @owner, sharing = @sharing, visibility = @visibility,
    search = @search, created = @created, last_modified = @last_modified, species = @species, plant = @plant,
    environment = @environment, due = @due, info = NULL, signature = ''
WHERE id = @id;

-- name: VoidScan :exec
-- VoidScan voids what was derived from a scan whose parts have other metadata.
UPDATE scans SET info = NULL, signature = '' WHERE id = @id;

-- name: TouchScan :exec
-- TouchScan voids what was derived from a scan that has another fileset.
-- changed_at is when files.json was written, for that changed the directory.
UPDATE scans SET changed_at = @changed_at, info = NULL, signature = '' WHERE id = @id;

-- name: ShrinkScan :exec
-- ShrinkScan counts what was taken out of a scan and voids what was derived.
UPDATE scans
SET file_count = file_count - @files::integer, byte_count = byte_count - @bytes::bigint, changed_at = @changed_at,
    info = NULL, signature = ''
WHERE id = @id;

-- name: GetScanState :one
-- GetScanState returns what the index holds of a scan itself, to tell what was changed outside.
SELECT s.id, coalesce(t.name, '')::text AS timelapse, s.document, s.broken
FROM scans s
LEFT JOIN timelapses t ON t.id = s.timelapse_id
WHERE s.name = @name;

-- name: DeleteScan :exec
-- DeleteScan forgets a scan that is no longer in the tree.
DELETE FROM scans WHERE name = @name;

-- name: RelaxCommit :exec
-- RelaxCommit lets the transaction commit without waiting for the disk: what
-- it writes can be read from the tree again.
SELECT set_config('synchronous_commit', 'off', true);

-- name: GetScanUsage :one
-- GetScanUsage returns what a scan holds, beside its filesets as well, as last counted.
SELECT (file_count + beside_files)::integer AS file_count, (byte_count + beside_bytes)::bigint AS byte_count FROM scans WHERE id = @id;

-- name: ListTimelapseScans :many
-- ListTimelapseScans returns all scans of a timelapse, those that cannot be
-- used among them, with what policy asks and all that they hold.
SELECT s.id, s.name, s.owner, s.sharing, s.visibility,
       (s.file_count + s.beside_files)::integer AS file_count, (s.byte_count + s.beside_bytes)::bigint AS byte_count
FROM scans s
JOIN timelapses t ON t.id = s.timelapse_id
WHERE t.name = @timelapse
ORDER BY s.name COLLATE "C";

-- name: AnalyzeIndex :exec
-- AnalyzeIndex tells the planner of what the index has come to hold.
ANALYZE scans, scan_sizes, filesets, files, timelapses;

-- name: FlushIndex :exec
-- FlushIndex sorts what was added to the indexes of metadata and text, which
-- they else read through for whatever they are asked.
SELECT gin_clean_pending_list(i) FROM unnest(ARRAY[to_regclass('scans_metadata_idx'), to_regclass('scans_search_idx')]) AS i WHERE i IS NOT NULL;

-- name: RecordEvents :exec
-- RecordEvents writes what was done, in the transaction that does it. Scan and
-- timelapse are found by their names where they are there, so that an event
-- that removes a scan is written while its row still is, and keeps who could
-- see it; of what is done to a timelapse itself its id is kept, but not of one
-- that is purged, which has no row, while another may have its name. A scan_id
-- that is given is the one of the scan meant, where another may have its name
-- by now. The empty text and the zero id stand for null.
INSERT INTO scan_events (id, kind, username, token_kind, token_id, request_id, scan_id, scan, timelapse_id, timelapse, fileset, file, access, detail)
SELECT i.id, i.kind, nullif(i.username, ''), nullif(i.token_kind, ''), nullif(i.token_id, '00000000-0000-0000-0000-000000000000'), i.request_id,
       coalesce(s.id, nullif(i.scan_id, '00000000-0000-0000-0000-000000000000')), nullif(i.scan, ''), o.id, coalesce(nullif(i.timelapse, ''), t.name), nullif(i.fileset, ''), nullif(i.file, ''),
       CASE WHEN i.removes THEN jsonb_build_object('owner', s.owner, 'sharing', s.sharing, 'visibility', s.visibility) END,
       nullif(i.detail, '')::jsonb
FROM (SELECT unnest(@ids::uuid[]) AS id,
             unnest(@kinds::text[]) AS kind,
             unnest(@usernames::text[]) AS username,
             unnest(@token_kinds::text[]) AS token_kind,
             unnest(@token_ids::uuid[]) AS token_id,
             unnest(@request_ids::text[]) AS request_id,
             unnest(@scan_ids::uuid[]) AS scan_id,
             unnest(@scans::text[]) AS scan,
             unnest(@timelapses::text[]) AS timelapse,
             unnest(@filesets::text[]) AS fileset,
             unnest(@files::text[]) AS file,
             unnest(@removes::boolean[]) AS removes,
             unnest(@details::text[]) AS detail) AS i
LEFT JOIN scans s ON s.name = i.scan AND i.scan_id IN (s.id, '00000000-0000-0000-0000-000000000000')
LEFT JOIN timelapses t ON t.id = s.timelapse_id
LEFT JOIN timelapses o ON o.name = i.timelapse AND i.scan = '' AND i.kind <> 'timelapse.purged'
ORDER BY i.id;

-- name: TellsOfPart :one
-- TellsOfPart says whether history tells that a user made what a scan has, or
-- the scan itself, where fileset and file are empty.
SELECT EXISTS (
    SELECT FROM scan_events c
    JOIN scans s ON s.id = c.scan_id
    WHERE s.name = @scan::text AND c.kind = @kind::text AND c.username = @username::text
      AND c.fileset IS NOT DISTINCT FROM nullif(@fileset::text, '') AND c.file IS NOT DISTINCT FROM nullif(@file::text, '')
      AND NOT EXISTS (
          SELECT FROM scan_events d
          WHERE d.scan_id = c.scan_id AND d.seq > c.seq AND d.kind IN ('fileset.deleted', 'file.deleted')
            AND d.fileset = c.fileset AND (d.file IS NULL OR d.file = c.file)));

-- name: TellsOfTimelapse :one
-- TellsOfTimelapse is TellsOfPart for a timelapse.
SELECT EXISTS (
    SELECT FROM scan_events c
    JOIN timelapses t ON t.id = c.timelapse_id
    WHERE t.name = @timelapse::text AND c.kind = @kind::text AND c.username = @username::text);

-- name: EventHorizon :one
-- EventHorizon returns a number below which no transaction runs any more that
-- could write an event, and whether something was written at or above it that
-- cannot be told yet. Asked before ListEvents, it is where that has to end. It
-- only rises.
--
-- Numbers of transactions are those of the whole cluster. One that is known to
-- run in another database does not hold the horizon; who runs where is told by
-- the lock that each holds on its own number from its begin to its end. CASE
-- has that looked at before whether it still runs: one that ended meanwhile is
-- seen by the next statement.
WITH seen AS MATERIALIZED (
    SELECT pg_current_snapshot() AS snapshot
), running AS MATERIALIZED (
    SELECT x.id::text::bigint AS id
    FROM seen, pg_snapshot_xip(seen.snapshot) AS x (id)
    WHERE CASE
        WHEN EXISTS (SELECT FROM pg_catalog.pg_locks l
                     JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
                     JOIN pg_catalog.pg_database d ON d.oid = a.datid
                     WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
                       AND l.transactionid::text::bigint = x.id::text::bigint % 4294967296 AND d.datname <> current_database())
          OR EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts p
                     WHERE p.transaction::text::bigint = x.id::text::bigint % 4294967296 AND p.database <> current_database())
        THEN false
        ELSE pg_xact_status(x.id) = 'in progress'
    END
), horizon AS (
    SELECT coalesce((SELECT min(r.id) FROM running r), pg_snapshot_xmax(seen.snapshot)::text::bigint) AS below
    FROM seen
)
SELECT h.below::bigint AS horizon, EXISTS (SELECT FROM scan_events e WHERE e.written_by >= h.below) AS pending
FROM horizon h;

-- name: LatestEvent :one
-- LatestEvent returns the place of the last event below a horizon, or up to
-- which events were forgotten. Unlike the horizon itself it outlives a crash of
-- PostgreSQL: the number of a transaction that left nothing is given again.
SELECT coalesce(e.written_by, h.written_by)::bigint AS written_by, coalesce(e.seq, h.seq)::bigint AS seq
FROM event_horizon h
LEFT JOIN LATERAL (
    SELECT l.written_by, l.seq FROM scan_events l WHERE l.written_by < @horizon::bigint ORDER BY l.written_by DESC, l.seq DESC LIMIT 1
) e ON true;

-- name: ListEvents :many
-- ListEvents returns events in the order of the stream, after one place and
-- below a horizon, with who may read the scan of each: as it is now, or for a
-- scan that is gone as it was then.
SELECT e.written_by, e.seq, e.id, e.at, e.kind, e.username, e.token_kind, e.request_id, e.scan_id, e.scan, e.timelapse, e.fileset, e.file, e.detail,
       s.name AS scan_name, s.owner, s.sharing, s.visibility,
       (CASE WHEN s.id IS NULL THEN
           (SELECT d.access FROM scan_events d WHERE d.scan_id = e.scan_id AND d.access IS NOT NULL ORDER BY d.seq DESC LIMIT 1) END)::jsonb AS access
FROM scan_events e
LEFT JOIN scans s ON s.id = e.scan_id
WHERE (e.written_by, e.seq) > (@written_by::bigint, @seq::bigint) AND e.written_by < @horizon::bigint
ORDER BY e.written_by, e.seq
LIMIT @page_size::int;

-- name: ListHistory :many
-- ListHistory pages through what was done to a scan and its parts, the latest first.
SELECT e.seq, e.id, e.at, e.kind, e.username, e.token_kind, e.request_id, e.scan, e.timelapse, e.fileset, e.file, e.detail
FROM scan_events e
WHERE e.scan_id = @scan_id AND e.seq < @before
  AND (@kind::text = '' OR e.kind = @kind)
  AND (@fileset::text = '' OR e.fileset = @fileset)
  AND (@file::text = '' OR e.file = @file)
ORDER BY e.seq DESC
LIMIT @page_size::int;

-- name: ListTimelapseHistory :many
-- ListTimelapseHistory pages through what was done to a timelapse itself, the latest first.
SELECT e.seq, e.id, e.at, e.kind, e.username, e.token_kind, e.request_id, e.scan, e.timelapse, e.fileset, e.file, e.detail
FROM scan_events e
WHERE e.timelapse_id = @timelapse_id AND e.seq < @before AND (@kind::text = '' OR e.kind = @kind)
ORDER BY e.seq DESC
LIMIT @page_size::int;

-- name: GetForgotten :one
-- GetForgotten returns the place up to which events were forgotten, and whether
-- a place is that one or of an event that is there: of another copy of the
-- database it would not be.
SELECT h.written_by, h.seq,
       ((h.written_by, h.seq) = (@written_by::bigint, @seq::bigint)
        OR EXISTS (SELECT FROM scan_events e WHERE e.written_by = @written_by::bigint AND e.seq = @seq::bigint))::boolean AS known
FROM event_horizon h;

-- name: ForgetEvents :one
-- ForgetEvents removes the oldest events that are from before a time, a page of
-- them, and moves the place up to which they were forgotten.
WITH oldest AS (
    SELECT e.seq, e.at FROM scan_events e ORDER BY e.written_by, e.seq LIMIT @page_size::int
), gone AS (
    DELETE FROM scan_events d WHERE d.seq IN (SELECT oldest.seq FROM oldest WHERE oldest.at < @before::timestamptz)
    RETURNING d.written_by, d.seq
), last AS (
    SELECT g.written_by, g.seq FROM gone g ORDER BY g.written_by DESC, g.seq DESC LIMIT 1
), moved AS (
    UPDATE event_horizon h SET written_by = last.written_by, seq = last.seq
    FROM last WHERE (last.written_by, last.seq) > (h.written_by, h.seq)
)
SELECT count(*) FROM gone;

-- name: AdoptEvents :exec
-- AdoptEvents puts events of another cluster, from which the database was
-- copied, before all of this one, whose numbers of transactions begin anew; and
-- with them the place up to which they were forgotten and those of webhooks. A
-- webhook goes on before the first that it may not have been sent: what was
-- written here meanwhile has a higher seq, but a lower number of transaction.
WITH foreign_numbers AS MATERIALIZED (
    SELECT greatest((SELECT max(e.written_by) FROM scan_events e), (SELECT max(w.written_by) FROM webhooks w), h.written_by)
           >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS found
    FROM event_horizon h
), told AS (
    UPDATE scan_events SET written_by = 0 WHERE written_by > 0 AND (SELECT f.found FROM foreign_numbers f)
), placed AS (
    UPDATE webhooks w
    SET written_by = 0,
        seq = coalesce((SELECT min(e.seq) - 1 FROM scan_events e WHERE e.seq > w.seq OR (e.written_by, e.seq) > (w.written_by, w.seq)),
                       (SELECT max(e.seq) FROM scan_events e), w.seq)
    WHERE w.written_by > 0 AND (SELECT f.found FROM foreign_numbers f)
)
UPDATE event_horizon h
SET written_by = 0, seq = coalesce((SELECT min(e.seq) - 1 FROM scan_events e), h.seq)
WHERE h.written_by > 0 AND (SELECT f.found FROM foreign_numbers f);

-- name: NotifyEvents :exec
SELECT pg_notify('plantdb_events', '');

-- name: ListenEvents :exec
LISTEN plantdb_events;

-- name: ListUploads :many
-- ListUploads returns what became of the files that were uploaded into a scan
-- since a time, in order: uploads with what they were, deletions, restorations.
SELECT e.kind, e.at, coalesce(e.fileset, '')::text AS fileset, coalesce(e.file, '')::text AS file,
       coalesce(e.detail ->> 'filename', '')::text AS filename, coalesce((e.detail ->> 'size')::bigint, 0)::bigint AS size
FROM scans s
JOIN scan_events e ON e.scan_id = s.id
WHERE s.name = @scan AND e.at > @since AND e.username IS NOT NULL
  AND e.kind IN ('file.created', 'file.deleted', 'file.restored', 'fileset.deleted', 'fileset.restored')
ORDER BY e.seq;

-- Lists of scans in pages. A walk goes along the index of its order, over the
-- scans of one visibility: all of them, or with everything false those that
-- are the user's or shared with a group. A page merges the walks of both.
-- Names are compared by their bytes, as Go does.
--
-- They say of each scan whether it is what indexes can look up: contained is
-- all of it but the word, worded the word, or that the text may have been cut
-- before it. What is not need not be read, and a walk leaves it out unless it is
-- to tell of the unfit too, but for the last one of so many, which tells how far
-- it came; nth is the how manieth each was. Of the others it brings the document
-- where it is asked to, so that nothing has to be looked up again. The word is
-- found by strpos, which takes a third of the time of LIKE.

-- name: WalkScansByID :many
-- WalkScansByID walks by id.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (''::text)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND @key::text = @key::text AND s.name COLLATE "C" > @after::text
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.name COLLATE "C"
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansByIDDown :many
-- WalkScansByIDDown walks by id, the last first.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (''::text)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND @key::text = @key::text AND s.name COLLATE "C" < @after::text
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.name COLLATE "C" DESC
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansByCreated :many
-- WalkScansByCreated walks by when they were made.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (s.created)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND (s.created, s.name COLLATE "C") > (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.created, s.name COLLATE "C"
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansByCreatedDown :many
-- WalkScansByCreatedDown walks by when they were made, the last first.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (s.created)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND (s.created, s.name COLLATE "C") < (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.created DESC, s.name COLLATE "C" DESC
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansByLastModified :many
-- WalkScansByLastModified walks by when their metadata changed last.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (s.last_modified)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND (s.last_modified, s.name COLLATE "C") > (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.last_modified, s.name COLLATE "C"
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansByLastModifiedDown :many
-- WalkScansByLastModifiedDown walks by when their metadata changed last, the last first.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (s.last_modified)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND (s.last_modified, s.name COLLATE "C") < (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.last_modified DESC, s.name COLLATE "C" DESC
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansByOwner :many
-- WalkScansByOwner walks by owner.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (coalesce(s.owner, ''))::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND ((coalesce(s.owner, '') COLLATE "C"), s.name COLLATE "C") > (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY (coalesce(s.owner, '') COLLATE "C"), s.name COLLATE "C"
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansByOwnerDown :many
-- WalkScansByOwnerDown walks by owner, the last first.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (coalesce(s.owner, ''))::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND ((coalesce(s.owner, '') COLLATE "C"), s.name COLLATE "C") < (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY (coalesce(s.owner, '') COLLATE "C") DESC, s.name COLLATE "C" DESC
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansBySpecies :many
-- WalkScansBySpecies walks by species.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (s.species)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND (s.species, s.name COLLATE "C") > (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.species, s.name COLLATE "C"
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansBySpeciesDown :many
-- WalkScansBySpeciesDown walks by species, the last first.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (s.species)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND (s.species, s.name COLLATE "C") < (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.species DESC, s.name COLLATE "C" DESC
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansByDue :many
-- WalkScansByDue walks by when they were due.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (s.due)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND (s.due, s.name COLLATE "C") > (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.due, s.name COLLATE "C"
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansByDueDown :many
-- WalkScansByDueDown walks by when they were due, the last first.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (s.due)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scans s
    WHERE s.visibility = @visibility AND (s.due, s.name COLLATE "C") < (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY s.due DESC, s.name COLLATE "C" DESC
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansBySize :many
-- WalkScansBySize walks by size.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (z.key)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scan_sizes z
    JOIN scans s ON s.id = z.scan_id
    WHERE z.visibility = @visibility AND (z.key, z.name COLLATE "C") > (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY z.key, z.name COLLATE "C"
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: WalkScansBySizeDown :many
-- WalkScansBySizeDown walks by size, the last first.
SELECT w.id, w.name, w.key, w.contained, w.worded, w.nth,
       (CASE WHEN @with_document::boolean AND w.contained AND w.worded THEN w.document END)::json AS document
FROM (
  SELECT v.*, row_number() OVER (ROWS UNBOUNDED PRECEDING) AS nth FROM (
    SELECT s.id, s.name, (z.key)::text AS key,
           coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
            AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
            AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
            AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
           (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded,
           s.document
    FROM scan_sizes z
    JOIN scans s ON s.id = z.scan_id
    WHERE z.visibility = @visibility AND (z.key, z.name COLLATE "C") < (@key::text, @after::text)
      AND (@everything::boolean OR s.owner = @username::text OR s.sharing && @groups::text[])
      AND (@with_broken::boolean OR s.broken IS NULL)
    ORDER BY z.key DESC, z.name COLLATE "C" DESC
    LIMIT @size::integer
  ) AS v
) AS w
WHERE @unfit::boolean OR w.contained AND w.worded OR w.nth = @size::integer;

-- name: ListPrivateScans :many
-- ListPrivateScans returns the private scans that are the user's or shared with a group, in no order.
SELECT s.id, s.name, (CASE @sort::text WHEN 'created' THEN s.created WHEN 'last_modified' THEN s.last_modified
            WHEN 'owner' THEN coalesce(s.owner, '') WHEN 'species' THEN s.species WHEN 'timelapse.scheduled' THEN s.due
            WHEN 'size' THEN (SELECT z.key FROM scan_sizes z WHERE z.scan_id = s.id) ELSE '' END)::text AS key,
       coalesce((sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
        AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
        AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
        AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[])), false)::boolean AS contained,
       (sqlc.narg(word)::text IS NULL OR strpos(s.search, sqlc.narg(word)::text) > 0 OR octet_length(s.search) > @whole::integer)::boolean AS worded, 0::bigint AS nth, NULL::json AS document
FROM scans s
WHERE s.visibility = 'private' AND (s.owner = @username::text OR s.sharing && @groups::text[])
  AND (@with_broken::boolean OR s.broken IS NULL)
LIMIT @size::integer;

-- name: FindScans :many
-- FindScans returns scans that can match, found by the indexes of the
-- conditions that are given, in no order; it runs after AvoidTableScans.
SELECT s.id, s.name, (CASE @sort::text WHEN 'created' THEN s.created WHEN 'last_modified' THEN s.last_modified
            WHEN 'owner' THEN coalesce(s.owner, '') WHEN 'species' THEN s.species WHEN 'timelapse.scheduled' THEN s.due
            WHEN 'size' THEN (SELECT z.key FROM scan_sizes z WHERE z.scan_id = s.id) ELSE '' END)::text AS key, true AS contained, true AS worded, 0::bigint AS nth, NULL::json AS document
FROM scans s
WHERE (s.visibility = ANY(@visibilities::text[]) OR s.owner = @username::text OR s.sharing && @groups::text[])
  AND (@with_broken::boolean OR s.broken IS NULL)
  AND (sqlc.narg(timelapse)::text IS NULL OR s.timelapse_id = (SELECT t.id FROM timelapses t WHERE t.name = sqlc.narg(timelapse)::text))
  AND (sqlc.narg(contains)::jsonb[] IS NULL OR s.metadata @> ANY(sqlc.narg(contains)::jsonb[]))
  AND (sqlc.narg(word)::text IS NULL OR s.search LIKE sqlc.narg(word)::text)
  AND (sqlc.narg(owners)::text[] IS NULL OR s.owner = ANY(sqlc.narg(owners)::text[]))
  AND (sqlc.narg(species)::text[] IS NULL OR s.species = ANY(sqlc.narg(species)::text[]))
LIMIT @size::integer;

-- name: AvoidTableScans :exec
-- AvoidTableScans keeps the rest of the transaction from reading a whole table where an index will do.
SELECT set_config('enable_seqscan', 'off', true);

-- name: SeeOneMoment :exec
-- SeeOneMoment has all that the transaction reads be as it is now; it comes first.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: ReadScans :many
-- ReadScans returns what filters look at, of scans that were found before, in
-- no order, and of the search text the beginning.
SELECT s.id, s.name, coalesce(s.owner, '')::text AS owner, s.visibility, coalesce(t.name, '')::text AS timelapse,
       s.created, s.last_modified, s.species, s.plant, s.environment, s.file_count, s.byte_count,
       (CASE WHEN @text_size::integer > 0 THEN left(s.search, @text_size::integer) ELSE '' END)::text AS text,
       (CASE WHEN @with_document::boolean THEN s.document ELSE 'null' END)::json AS document,
       (CASE WHEN @with_tasks::boolean THEN ARRAY(SELECT split_part(f.name, '_', 1) FROM filesets f WHERE f.scan_id = s.id)
             ELSE '{}' END)::text[] AS tasks
FROM scans s
LEFT JOIN timelapses t ON t.id = s.timelapse_id
WHERE s.id = ANY(@ids::uuid[]);

-- name: EstimateScans :one
-- EstimateScans returns about how many scans there are, without counting them.
SELECT (CASE WHEN c.reltuples > 0 AND c.relpages > 0 THEN c.reltuples / c.relpages ELSE 8 END
        * (pg_relation_size(c.oid) / current_setting('block_size')::integer))::bigint AS scans
FROM pg_catalog.pg_class c
WHERE c.oid = 'scans'::regclass;

-- name: CountVisibleScans :one
-- CountVisibleScans counts the public scans if asked to, and the private ones
-- that the user may see, with everything all of them, and stops at size.
SELECT count(*) FROM (
    (SELECT 1 FROM scans WHERE visibility = 'public' AND @public::boolean AND (@with_broken::boolean OR broken IS NULL)
     ORDER BY name COLLATE "C" LIMIT @size::integer)
    UNION ALL
    (SELECT 1 FROM scans WHERE visibility = 'private' AND @everything::boolean AND (@with_broken::boolean OR broken IS NULL)
     ORDER BY name COLLATE "C" LIMIT @size::integer)
    UNION ALL
    (SELECT 1 FROM scans WHERE visibility = 'private' AND NOT @everything::boolean
        AND (owner = @username::text OR sharing && @groups::text[]) AND (@with_broken::boolean OR broken IS NULL)
     LIMIT @size::integer)
) AS seen;

-- name: CanFindText :one
-- CanFindText says whether free text has an index.
SELECT (to_regclass('scans_search_idx') IS NOT NULL)::boolean AS indexed;

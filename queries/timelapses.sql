-- name: GetTimelapse :one
-- GetTimelapse returns a timelapse by name.
SELECT id, name, owner, created_at, document, members, signature FROM timelapses WHERE name = @name;

-- name: NameTaken :one
-- NameTaken says whether a scan or a timelapse has the name: they share one name space.
SELECT (EXISTS (SELECT 1 FROM scans s WHERE s.name = @name)
     OR EXISTS (SELECT 1 FROM timelapses t WHERE t.name = @name))::boolean AS taken;

-- name: ListTimelapses :many
-- ListTimelapses returns every timelapse in the order of the bytes of its name.
SELECT name, signature FROM timelapses ORDER BY name COLLATE "C";

-- name: ListTimelapseDocuments :many
-- ListTimelapseDocuments returns what timelapses are searched by.
SELECT name, coalesce(owner, '')::text AS owner, created_at, document FROM timelapses;

-- name: UpsertTimelapse :exec
-- UpsertTimelapse writes a timelapse as its marker says.
INSERT INTO timelapses (id, name, owner, created_at, document, metadata, signature, members, indexed_at)
VALUES (@id, @name, @owner, @created_at, @document, @metadata, @signature, @members, now())
ON CONFLICT (name) DO UPDATE SET
    owner = excluded.owner, created_at = excluded.created_at, document = excluded.document,
    metadata = excluded.metadata, signature = excluded.signature, members = excluded.members,
    indexed_at = excluded.indexed_at;

-- name: SetTimelapseMembers :exec
-- SetTimelapseMembers records the order of registration after a scan was added.
UPDATE timelapses SET members = @members, owner = @owner, signature = '' WHERE id = @id;

-- name: DeleteTimelapse :execrows
-- DeleteTimelapse forgets a timelapse that is no longer in the tree, unless a scan is still in it.
DELETE FROM timelapses t
WHERE t.name = @name AND NOT EXISTS (SELECT 1 FROM scans s WHERE s.timelapse_id = t.id);

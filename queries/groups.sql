-- name: InsertGroup :exec
INSERT INTO groups (id, name, description, created_by, created_at)
VALUES (@id, @name, @description, @created_by, @created_at);

-- name: InsertGroupIfAbsent :execrows
-- InsertGroupIfAbsent leaves a group of that name as it is.
INSERT INTO groups (id, name, description, created_by, created_at)
VALUES (@id, @name, @description, @created_by, @created_at)
ON CONFLICT ON CONSTRAINT groups_name_key DO NOTHING;

-- name: GetGroup :one
SELECT sqlc.embed(groups),
    ARRAY(SELECT u.username FROM users u JOIN group_members m ON m.user_id = u.id
          WHERE m.group_id = groups.id ORDER BY u.username COLLATE "C")::text[] AS members
FROM groups
WHERE name = @name;

-- name: ListGroups :many
-- ListGroups pages by name; with a user it returns the groups of that user only.
SELECT sqlc.embed(groups),
    ARRAY(SELECT u.username FROM users u JOIN group_members m ON m.user_id = u.id
          WHERE m.group_id = groups.id ORDER BY u.username COLLATE "C")::text[] AS members
FROM groups
WHERE name COLLATE "C" > @after::text
  AND (sqlc.narg(member)::uuid IS NULL
       OR EXISTS (SELECT FROM group_members m WHERE m.group_id = groups.id AND m.user_id = sqlc.narg(member)::uuid))
ORDER BY name COLLATE "C"
LIMIT @page_size::int;

-- name: DeleteGroup :execrows
-- DeleteGroup removes a group and keeps its name among the former ones.
WITH gone AS (
    DELETE FROM groups WHERE groups.name = @name RETURNING groups.name
)
INSERT INTO former_names (kind, name, deleted_at)
SELECT 'group', gone.name, @now FROM gone
ON CONFLICT ON CONSTRAINT former_names_pkey DO UPDATE SET deleted_at = excluded.deleted_at;

-- name: AddGroupMembers :execrows
-- AddGroupMembers adds those of the named users that exist and are not members.
INSERT INTO group_members (group_id, user_id)
SELECT g.id, u.id
FROM groups g, users u
WHERE g.name = @name AND u.username = ANY (@usernames::text[])
ON CONFLICT ON CONSTRAINT group_members_pkey DO NOTHING;

-- name: RemoveGroupMember :execrows
DELETE FROM group_members m
USING groups g, users u
WHERE m.group_id = g.id AND m.user_id = u.id AND g.name = @name AND u.username = @username;

-- name: ListGroupsNamed :many
-- ListGroupsNamed returns those of the names that are groups.
SELECT name FROM groups WHERE name = ANY(@names::text[]);

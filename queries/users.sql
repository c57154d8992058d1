-- name: InsertUser :exec
INSERT INTO users (id, username, fullname, password_hash, roles, is_active, created_at, updated_at)
VALUES (@id, @username, @fullname, @password_hash, @roles, @is_active, @created_at, @created_at);

-- name: InsertUserIfAbsent :execrows
-- InsertUserIfAbsent leaves an account of that name as it is.
INSERT INTO users (id, username, fullname, password_hash, roles, is_active, created_at, updated_at, last_login_at)
VALUES (@id, @username, @fullname, @password_hash, @roles, @is_active, @created_at, @created_at, @last_login_at)
ON CONFLICT ON CONSTRAINT users_username_key DO NOTHING;

-- name: GetUser :one
SELECT sqlc.embed(users),
    ARRAY(SELECT g.name FROM groups g JOIN group_members m ON m.group_id = g.id
          WHERE m.user_id = users.id ORDER BY g.name COLLATE "C")::text[] AS groups
FROM users
WHERE username = @username;

-- name: GetLogin :one
-- GetLogin returns all that decides on a login but the password. version is
-- another one after every change of the account's row.
SELECT sqlc.embed(users), users.xmin::text AS version,
    ARRAY(SELECT g.name FROM groups g JOIN group_members m ON m.group_id = g.id
          WHERE m.user_id = users.id ORDER BY g.name COLLATE "C")::text[] AS groups,
    EXISTS(SELECT FROM login_attempts l
           WHERE l.username = users.username AND l.network = @network AND l.locked_until > @now::timestamptz
                        AND l.locked_until <= @latest_lock::timestamptz)::boolean AS locked
FROM users
WHERE users.username = @username;

-- name: ListUsers :many
-- ListUsers pages by name, so an account added meanwhile moves no page.
SELECT sqlc.embed(users),
    ARRAY(SELECT g.name FROM groups g JOIN group_members m ON m.group_id = g.id
          WHERE m.user_id = users.id ORDER BY g.name COLLATE "C")::text[] AS groups
FROM users
WHERE username COLLATE "C" > @after::text
ORDER BY username COLLATE "C"
LIMIT @page_size::int;

-- name: UserExists :one
SELECT EXISTS (SELECT FROM users WHERE username = @username);

-- name: LockUser :one
-- LockUser holds the account until the transaction ends. Whoever opens or ends
-- several sessions of a user holds it, so that the cap is counted by one at a
-- time and sessions are locked in one order.
SELECT * FROM users WHERE id = @id FOR NO KEY UPDATE;

-- name: LockUserByName :one
SELECT * FROM users WHERE username = @username FOR NO KEY UPDATE;

-- name: LockAdmins :many
-- LockAdmins returns the administrators who can log in and holds them all: of
-- two who each remove another, the second sees what the first did.
SELECT id FROM users
WHERE 'admin' = ANY (roles) AND is_active AND password_hash <> '*'
ORDER BY id
FOR NO KEY UPDATE;

-- name: AdminExists :one
SELECT EXISTS (SELECT FROM users WHERE 'admin' = ANY (roles) AND is_active AND password_hash <> '*');

-- name: UpdateUser :exec
UPDATE users
SET fullname = @fullname, roles = @roles, is_active = @is_active, updated_at = @now
WHERE id = @id;

-- name: SetPassword :exec
UPDATE users
SET password_hash = @password_hash, password_changed_at = @now, updated_at = @now
WHERE id = @id;

-- name: RenewHash :exec
-- RenewHash stores another hash of the same password; it does nothing when the
-- stored one is no longer the one that was verified.
UPDATE users SET password_hash = @renewed WHERE id = @id AND password_hash = @verified;

-- name: DeleteUser :exec
-- DeleteUser removes an account and keeps its name among the former ones.
WITH gone AS (
    DELETE FROM users WHERE id = @id RETURNING username
)
INSERT INTO former_names (kind, name, deleted_at)
SELECT 'user', gone.username, @now FROM gone
ON CONFLICT ON CONSTRAINT former_names_pkey DO UPDATE SET deleted_at = excluded.deleted_at;

-- name: LockBootstrap :exec
-- LockBootstrap lets one replica at a time look for and make the first accounts.
SELECT pg_advisory_xact_lock(hashtext('plantdb bootstrap'));

-- name: InsertLink :exec
INSERT INTO one_time_links (id, secret_hash, purpose, user_id, created_by, created_at, expires_at)
VALUES (@id, @secret_hash, @purpose, sqlc.narg(user_id), @created_by, @created_at, @expires_at);

-- name: TakeLink :one
-- TakeLink uses a link up: of two who come with it, one gets the row.
DELETE FROM one_time_links
WHERE secret_hash = @secret_hash AND purpose = @purpose AND expires_at > @now::timestamptz
RETURNING user_id;

-- name: DropLinks :exec
-- DropLinks takes back the password links of a user.
DELETE FROM one_time_links WHERE user_id = @user_id::uuid;

-- name: DeleteExpiredLinks :execrows
DELETE FROM one_time_links
WHERE id IN (SELECT l.id FROM one_time_links l WHERE l.expires_at < @before
             LIMIT @batch::int FOR UPDATE SKIP LOCKED);

-- name: InsertAuthEvent :exec
INSERT INTO auth_events (id, at, kind, username, session_id, token_id, address, user_agent, request_id, detail)
VALUES (@id, @at, @kind, @username, sqlc.narg(session_id), sqlc.narg(token_id), sqlc.narg(address),
    @user_agent, @request_id, @detail);

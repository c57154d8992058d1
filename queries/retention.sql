-- name: BeginRetentionClock :exec
-- BeginRetentionClock makes the clock of a retention that has none; that a server
-- ran before is known by the newest event.
INSERT INTO retention_clocks (kind, seen_at, jumped_at)
SELECT @kind, coalesce((SELECT e.at FROM scan_events e ORDER BY e.written_by DESC, e.seq DESC LIMIT 1), @now::timestamptz), @now::timestamptz
ON CONFLICT (kind) DO NOTHING;

-- name: HoldRetentionClock :one
-- HoldRetentionClock returns the clock of a retention for who is about to set it.
SELECT seen_at, extract(epoch FROM unseen)::float8 AS unseen, jumped_at
FROM retention_clocks
WHERE kind = @kind
FOR NO KEY UPDATE;

-- name: GetRetentionClock :one
-- GetRetentionClock returns the clock of a retention.
SELECT seen_at, extract(epoch FROM unseen)::float8 AS unseen, jumped_at
FROM retention_clocks
WHERE kind = @kind;

-- name: SetRetentionClock :exec
-- SetRetentionClock keeps what the clock said.
UPDATE retention_clocks
SET seen_at = @seen_at, unseen = make_interval(secs => @unseen::float8), jumped_at = @jumped_at
WHERE kind = @kind;

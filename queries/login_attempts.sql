-- name: RecordLoginFailure :one
-- RecordLoginFailure counts a failure and locks at the last one allowed. While
-- a lock holds it changes nothing and returns no row; after a lock, and after
-- failures before window_start, counting begins anew. A lock that ends after
-- latest_lock is of a clock that went wrong, and holds nobody up.
INSERT INTO login_attempts AS a (username, network, failures, last_failed_at, locked_until)
VALUES (@username, @network, 1, @now::timestamptz,
    CASE WHEN @max_failures::int <= 1 THEN @lock_until::timestamptz END)
ON CONFLICT ON CONSTRAINT login_attempts_pkey DO UPDATE SET
    failures = CASE WHEN a.locked_until IS NOT NULL OR a.last_failed_at < @window_start::timestamptz
                    THEN 1 ELSE a.failures + 1 END,
    last_failed_at = @now::timestamptz,
    locked_until = CASE WHEN @max_failures::int <= 1
                          OR (a.locked_until IS NULL AND a.last_failed_at >= @window_start::timestamptz
                              AND a.failures + 1 >= @max_failures::int)
                        THEN @lock_until::timestamptz END
WHERE a.locked_until IS NULL OR a.locked_until <= @now::timestamptz OR a.locked_until > @latest_lock::timestamptz
RETURNING (a.locked_until IS NOT NULL)::boolean AS locked;

-- name: UnlockUser :exec
-- UnlockUser forgets the failures of an account from every network.
DELETE FROM login_attempts WHERE username = @username;

-- name: DeleteOldAttempts :execrows
DELETE FROM login_attempts
WHERE (username, network) IN (
    SELECT l.username, l.network FROM login_attempts l
    WHERE l.last_failed_at < @before AND (l.locked_until IS NULL OR l.locked_until < @now::timestamptz)
    LIMIT @batch::int FOR UPDATE SKIP LOCKED);

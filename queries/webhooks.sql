-- name: InsertWebhook :one
-- InsertWebhook adds a webhook, if there are fewer than so many.
INSERT INTO webhooks (id, url, description, kinds, enabled, secret, created_by, written_by, seq)
SELECT @id, @url, @description, @kinds::text[], @enabled, @secret, @created_by, @written_by, @seq
WHERE (SELECT count(*) FROM webhooks) < @at_most::int
RETURNING *;

-- name: LockWebhooks :exec
-- LockWebhooks has webhooks be added one after the other.
LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE;

-- name: ListWebhooks :many
-- ListWebhooks returns all webhooks in the order they were made.
SELECT * FROM webhooks ORDER BY id;

-- name: GetWebhook :one
SELECT * FROM webhooks WHERE id = @id;

-- name: HoldWebhook :one
-- HoldWebhook returns a webhook and holds its row until the end of the transaction.
SELECT * FROM webhooks WHERE id = @id FOR UPDATE;

-- name: UpdateWebhook :one
-- UpdateWebhook changes what people set. The next attempt is due at once, in a new turn.
UPDATE webhooks
SET url = @url, description = @description, kinds = @kinds::text[], enabled = @enabled, disabled_for = NULL,
    written_by = @written_by, seq = @seq, failures = 0, failing_since = NULL, next_attempt_at = NULL, turn = turn + 1, leased_until = NULL
WHERE id = @id
RETURNING *;

-- name: SetWebhookSecret :one
-- SetWebhookSecret gives a webhook a new secret, beside which the one before is good until a time.
UPDATE webhooks
SET previous_secret = secret, previous_until = @previous_until, secret = @secret
WHERE id = @id
RETURNING *;

-- name: DeleteWebhook :execrows
DELETE FROM webhooks WHERE id = @id;

-- name: ListDueWebhooks :many
-- ListDueWebhooks returns those for which there may be events below a horizon and nobody
-- delivers. A lease that ends later than one of now could is of a clock that went wrong;
-- now() will not do for it, which is when this transaction began: a lease that was
-- renewed since then ends later, too. Nor counts an attempt that is put off for
-- longer than any is.
SELECT w.id
FROM webhooks w
WHERE w.enabled AND (w.leased_until IS NULL OR w.leased_until NOT BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => @seconds::float8)) AND (w.next_attempt_at IS NULL OR w.next_attempt_at NOT BETWEEN now() AND now() + make_interval(secs => @longest::float8))
  AND EXISTS (SELECT FROM scan_events e WHERE (e.written_by, e.seq) > (w.written_by, w.seq) AND e.written_by < @horizon::bigint);

-- name: TakeWebhook :one
-- TakeWebhook begins a turn to deliver, unless somebody else has meanwhile.
UPDATE webhooks
SET turn = turn + 1, leased_until = now() + make_interval(secs => @seconds::float8)
WHERE id = @id AND enabled
  AND (leased_until IS NULL OR leased_until NOT BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => @seconds::float8)) AND (next_attempt_at IS NULL OR next_attempt_at NOT BETWEEN now() AND now() + make_interval(secs => @longest::float8))
RETURNING turn;

-- name: GetWebhookTurn :one
-- GetWebhookTurn returns a webhook if it is still that turn.
SELECT * FROM webhooks WHERE id = @id AND turn = @turn AND enabled;

-- name: AdvanceWebhook :execrows
-- AdvanceWebhook says that everything up to a place was delivered, by whose turn it is.
UPDATE webhooks
SET written_by = @written_by, seq = @seq, failures = 0, failing_since = NULL, next_attempt_at = NULL,
    leased_until = now() + make_interval(secs => @seconds::float8)
WHERE id = @id AND turn = @turn AND enabled;

-- name: RestWebhook :execrows
-- RestWebhook ends a turn.
UPDATE webhooks SET leased_until = NULL WHERE id = @id AND turn = @turn;

-- name: FailWebhook :execrows
-- FailWebhook ends a turn in which an attempt failed.
UPDATE webhooks
SET failures = failures + 1, failing_since = coalesce(failing_since, now()), next_attempt_at = @next_attempt_at,
    enabled = NOT @disable::boolean, disabled_for = sqlc.narg(disabled_for), leased_until = NULL
WHERE id = @id AND turn = @turn AND enabled;

-- name: InsertDelivery :execrows
-- InsertDelivery keeps what became of an attempt, unless the webhook was removed meanwhile.
INSERT INTO webhook_deliveries (webhook_id, event_id, kind, attempt, delivered, status, fault, duration_ms)
SELECT w.id, @event_id, @kind, @attempt, @delivered, @status, @fault, @duration_ms
FROM webhooks w
WHERE w.id = @webhook_id
FOR KEY SHARE;

-- name: ListDeliveries :many
-- ListDeliveries pages through the attempts of a webhook, the latest first.
SELECT * FROM webhook_deliveries
WHERE webhook_id = @webhook_id AND seq < @before
ORDER BY seq DESC
LIMIT @page_size::int;

-- name: ForgetDeliveries :execrows
-- ForgetDeliveries removes old attempts, a page of them.
DELETE FROM webhook_deliveries
WHERE seq IN (SELECT d.seq FROM webhook_deliveries d WHERE d.at < @before LIMIT @page_size::int FOR UPDATE SKIP LOCKED);

-- name: InsertSalt :exec
-- InsertSalt keeps the first salt that any replica comes with.
INSERT INTO signing_keys (kid, algorithm, status, salt)
VALUES ('salt', 'argon2id', 'salt', @salt)
ON CONFLICT ON CONSTRAINT signing_keys_pkey DO NOTHING;

-- name: GetSalt :one
SELECT salt FROM signing_keys WHERE kid = 'salt';

-- name: LockKeys :exec
-- LockKeys lets one at a time compare the keys in use with this table, until
-- the transaction ends.
SELECT pg_advisory_xact_lock(hashtext('plantdb signing keys'));

-- name: RecordKey :exec
INSERT INTO signing_keys (kid, algorithm, status)
VALUES (@kid, @algorithm, @status)
ON CONFLICT ON CONSTRAINT signing_keys_pkey DO UPDATE SET status = excluded.status, retired_at = NULL;

-- name: RetireKey :exec
UPDATE signing_keys SET status = 'retired', retired_at = now() WHERE kid = @kid AND status <> 'salt';

-- name: RetireOtherKeys :exec
-- RetireOtherKeys marks the keys that are in use no longer.
UPDATE signing_keys SET status = 'retired', retired_at = now()
WHERE status IN ('active', 'verifying') AND kid <> ALL (@kept::text[]);

-- name: ListKeys :many
SELECT kid, algorithm, status, created_at, retired_at
FROM signing_keys
WHERE status <> 'salt'
ORDER BY created_at, kid;

-- name: KeysInUse :one
-- KeysInUse is a text that changes whenever a key comes into use, begins to
-- sign or is retired.
SELECT coalesce(string_agg(kid || ' ' || status, ',' ORDER BY kid), '')::text AS state
FROM signing_keys
WHERE status IN ('active', 'verifying');

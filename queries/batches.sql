-- name: InsertBatch :exec
-- InsertBatch says, in the transaction of a batch, that it was committed.
INSERT INTO batches (id) VALUES (@id);

-- name: BatchCommitted :one
SELECT EXISTS (SELECT FROM batches WHERE id = @id) AS committed;

-- name: ForgetBatches :execrows
-- ForgetBatches removes those from before a time of which nothing is left on the disk.
DELETE FROM batches WHERE at < @before AND NOT id = ANY(@standing::uuid[]);

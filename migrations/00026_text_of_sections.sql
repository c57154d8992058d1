-- Free text finds what the older object of a scan says in the words of the MIAPPE sections too.

-- +goose Up
-- Each scan that has one is read again by the next reconcile, which writes its text.
UPDATE scans SET signature = '' WHERE jsonb_exists_any(metadata, ARRAY['object', 'Metadata']);

-- +goose Down
SELECT 1;

-- What lies in a scan beside the files that its filesets list counts for quotas too.

-- +goose Up
ALTER TABLE scans
    ADD COLUMN beside_files integer NOT NULL DEFAULT 0,
    ADD COLUMN beside_bytes bigint  NOT NULL DEFAULT 0;

-- Each scan is read again by the next reconcile, which counts it.
UPDATE scans SET signature = '';

-- +goose Down
ALTER TABLE scans DROP COLUMN beside_files, DROP COLUMN beside_bytes;

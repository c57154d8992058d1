-- Ids are listed in the order of their bytes, whatever the order of the database is.
-- Those of scans and timelapses, which views read, have indexes and queries of that order.

-- +goose Up
ALTER TABLE filesets ALTER COLUMN name TYPE text COLLATE "C";
ALTER TABLE files ALTER COLUMN name TYPE text COLLATE "C";

-- +goose Down
ALTER TABLE files ALTER COLUMN name TYPE text COLLATE "default";
ALTER TABLE filesets ALTER COLUMN name TYPE text COLLATE "default";

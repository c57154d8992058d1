-- Size and time alone do not tell a file from another that took its name: programs
-- that unpack or copy give many files one time. The inode goes with the bytes when a
-- file is renamed.

-- +goose Up
ALTER TABLE files ADD COLUMN inode bigint; -- its 64 bits; null until the scan is read again

-- +goose Down
ALTER TABLE files DROP COLUMN inode;

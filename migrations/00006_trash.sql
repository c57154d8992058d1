-- The index of the trash: what was deleted and can be brought back. The
-- directory .plantdb/trash of the tree is the truth; every row here can be
-- made again from it.

-- +goose Up
CREATE TABLE trash (
    id         uuid        NOT NULL, -- UUIDv7: in order of deletion; also the directory's name
    kind       text        NOT NULL,
    timelapse  text        NOT NULL DEFAULT '', -- the scan's, or the one deleted
    scan       text        NOT NULL DEFAULT '',
    fileset    text        NOT NULL DEFAULT '',
    file       text        NOT NULL DEFAULT '',
    owner      text,
    deleted_by text        NOT NULL,
    deleted_at timestamptz NOT NULL,
    CONSTRAINT trash_pkey PRIMARY KEY (id),
    CONSTRAINT trash_kind_known CHECK (kind IN ('scan', 'timelapse', 'fileset', 'file'))
);
CREATE INDEX trash_deleted_at_idx ON trash (deleted_at);
CREATE INDEX trash_deleted_by_idx ON trash (deleted_by, id);

-- What an entry holds of each scan: one row, but for timelapses. It counts for
-- the owner until it is purged.
CREATE TABLE trash_contents (
    trash_id   uuid    NOT NULL,
    scan       text    NOT NULL,
    scan_id    uuid, -- which it has again when it is restored, for its history
    owner      text,
    file_count integer NOT NULL,
    byte_count bigint  NOT NULL,
    CONSTRAINT trash_contents_pkey PRIMARY KEY (trash_id, scan),
    CONSTRAINT trash_contents_trash_fkey FOREIGN KEY (trash_id) REFERENCES trash (id) ON DELETE CASCADE
);
CREATE INDEX trash_contents_owner_idx ON trash_contents (owner, trash_id) INCLUDE (file_count, byte_count);

-- +goose Down
DROP TABLE trash_contents, trash;

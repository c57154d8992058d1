-- Uploads that come in pieces (tus). The bytes lie below .plantdb/uploads of
-- the tree, under the id; what is acknowledged of them is here.

-- +goose Up
CREATE TABLE uploads (
    id          uuid        NOT NULL,
    username    text        NOT NULL, -- of who may go on with it
    scan        text        NOT NULL,
    fileset     text        NOT NULL,
    file        text        NOT NULL,
    extension   text        NOT NULL,
    document    json        NOT NULL, -- metadata of the file to be
    described   text        NOT NULL, -- the header Upload-Metadata, as it came
    size        bigint      NOT NULL,
    -- Bytes that are on the disk for good, and the state of their SHA-256.
    received    bigint      NOT NULL DEFAULT 0,
    digest      bytea       NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    finished_at timestamptz, -- since when the file is in its fileset
    CONSTRAINT uploads_pkey PRIMARY KEY (id),
    CONSTRAINT uploads_received_bounded CHECK (received BETWEEN 0 AND size)
);
CREATE INDEX uploads_expires_at_idx ON uploads (expires_at);
CREATE INDEX uploads_username_idx ON uploads (username) WHERE finished_at IS NULL;

-- +goose Down
DROP TABLE uploads;

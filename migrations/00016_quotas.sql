-- What users and groups may hold: bytes and files of the scans that they own,
-- in the trash too. A group's is for all its members together.

-- +goose Up
CREATE TABLE user_quotas (
    user_id   uuid   NOT NULL,
    max_bytes bigint, -- null: any number
    max_files bigint,
    CONSTRAINT user_quotas_pkey PRIMARY KEY (user_id),
    CONSTRAINT user_quotas_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT user_quotas_positive CHECK (max_bytes >= 0 AND max_files >= 0)
);

CREATE TABLE group_quotas (
    group_id  uuid   NOT NULL,
    max_bytes bigint,
    max_files bigint,
    CONSTRAINT group_quotas_pkey PRIMARY KEY (group_id),
    CONSTRAINT group_quotas_group_fkey FOREIGN KEY (group_id) REFERENCES groups (id) ON DELETE CASCADE,
    CONSTRAINT group_quotas_positive CHECK (max_bytes >= 0 AND max_files >= 0)
);

-- What uploads will take that are not in their scans yet. One whose server was
-- killed counts until it expires.
CREATE TABLE reservations (
    id         uuid        NOT NULL, -- of an upload in pieces, its own
    owner      text        NOT NULL,
    bytes      bigint      NOT NULL,
    files      bigint      NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT reservations_pkey PRIMARY KEY (id)
);
CREATE INDEX reservations_owner_idx ON reservations (owner);
CREATE INDEX reservations_expires_at_idx ON reservations (expires_at);

-- +goose Down
DROP TABLE reservations, group_quotas, user_quotas;

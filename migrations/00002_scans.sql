-- The index of the scan tree. The tree on disk is the truth; every row here
-- can be made again from it.
--
-- document is the metadata as it lies on disk (json: key order and numbers
-- kept) and is what clients get; metadata is the same for searching (jsonb,
-- without what jsonb cannot hold).

-- +goose Up
CREATE TABLE timelapses (
    id         uuid        NOT NULL,
    name       text        NOT NULL,
    owner      text,
    -- As the marker file has it: a naive local ISO time, by upstream's habit.
    created_at text        NOT NULL DEFAULT '',
    document   json        NOT NULL,
    metadata   jsonb       NOT NULL,
    signature  bytea       NOT NULL,
    -- Scan names in order of registration, as the marker has them; advisory.
    members    text[]      NOT NULL DEFAULT '{}',
    indexed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT timelapses_pkey PRIMARY KEY (id),
    CONSTRAINT timelapses_name_key UNIQUE (name),
    CONSTRAINT timelapses_metadata_object CHECK (jsonb_typeof(metadata) = 'object')
);

CREATE TABLE scans (
    id           uuid        NOT NULL,
    name         text        NOT NULL,
    timelapse_id uuid,
    -- From the metadata: null where nobody is recorded.
    owner        text,
    sharing      text[]      NOT NULL DEFAULT '{}',
    visibility   text        NOT NULL DEFAULT 'public',
    document     json        NOT NULL,
    metadata     jsonb       NOT NULL,
    -- The scan-info object of the REST API, made at index time or by the first
    -- reader after a write (null until then); its URIs begin with the escape
    -- \u0001, which the base of the one who asks replaces.
    info         json,
    -- What info needs and no other column has: the directory's time, the
    -- presence of measures.json and the lowest z of pipeline.toml's voxels.
    changed_at   timestamptz NOT NULL,
    has_measures boolean     NOT NULL DEFAULT false,
    voxel_floor  double precision,
    -- Why the scan cannot be used; null for a sound one.
    broken       text,
    file_count   integer     NOT NULL DEFAULT 0,
    byte_count   bigint      NOT NULL DEFAULT 0,
    -- Of what was on disk when it was last read: sizes, times, inodes. Empty
    -- after a write of ours: the next reconcile reads the scan again.
    signature    bytea       NOT NULL,
    indexed_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT scans_pkey PRIMARY KEY (id),
    CONSTRAINT scans_name_key UNIQUE (name),
    CONSTRAINT scans_timelapse_fkey FOREIGN KEY (timelapse_id) REFERENCES timelapses (id),
    CONSTRAINT scans_metadata_object CHECK (jsonb_typeof(metadata) = 'object'),
    CONSTRAINT scans_visibility_known CHECK (visibility IN ('public', 'private'))
);
CREATE INDEX scans_timelapse_idx ON scans (timelapse_id) WHERE timelapse_id IS NOT NULL;
CREATE INDEX scans_owner_idx ON scans (owner);
CREATE INDEX scans_metadata_idx ON scans USING gin (metadata jsonb_path_ops);

CREATE TABLE filesets (
    id       uuid    NOT NULL,
    scan_id  uuid    NOT NULL,
    name     text    NOT NULL,
    position integer NOT NULL, -- order in files.json
    document json    NOT NULL,
    metadata jsonb   NOT NULL,
    CONSTRAINT filesets_pkey PRIMARY KEY (id),
    CONSTRAINT filesets_scan_fkey FOREIGN KEY (scan_id) REFERENCES scans (id) ON DELETE CASCADE,
    CONSTRAINT filesets_name_key UNIQUE (scan_id, name),
    CONSTRAINT filesets_metadata_object CHECK (jsonb_typeof(metadata) = 'object')
);

CREATE TABLE files (
    id          uuid        NOT NULL,
    fileset_id  uuid        NOT NULL,
    name        text        NOT NULL, -- the file id, without extension
    filename    text        NOT NULL,
    position    integer     NOT NULL,
    size        bigint      NOT NULL,
    modified_at timestamptz NOT NULL,
    sha256      bytea, -- null until the bytes were read
    document    json        NOT NULL,
    metadata    jsonb       NOT NULL,
    CONSTRAINT files_pkey PRIMARY KEY (id),
    CONSTRAINT files_fileset_fkey FOREIGN KEY (fileset_id) REFERENCES filesets (id) ON DELETE CASCADE,
    CONSTRAINT files_name_key UNIQUE (fileset_id, name),
    CONSTRAINT files_sha256_length CHECK (octet_length(sha256) = 32),
    CONSTRAINT files_size_positive CHECK (size >= 0),
    CONSTRAINT files_metadata_object CHECK (jsonb_typeof(metadata) = 'object')
);
-- An upload asks for the last position, a client may ask by file name.
CREATE INDEX files_position_idx ON files (fileset_id, position);
CREATE INDEX files_filename_idx ON files (fileset_id, filename);

-- +goose Down
DROP TABLE files, filesets, scans, timelapses;

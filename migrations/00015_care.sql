-- How far those who look after the tree came, and what they found.

-- +goose Up
-- A row for each kind of pass: it goes through the scans by name, in slices, and
-- goes on after a crash where it was.
CREATE TABLE care_passes (
    kind        text        NOT NULL,
    after       text        NOT NULL, -- the last scan of the running pass; empty before the first
    began_at    timestamptz NOT NULL, -- of the running pass
    moved_at    timestamptz NOT NULL,
    scans       bigint      NOT NULL DEFAULT 0, -- of the running pass, as the next three
    files       bigint      NOT NULL DEFAULT 0,
    bytes       bigint      NOT NULL DEFAULT 0,
    findings    bigint      NOT NULL DEFAULT 0,
    finished_at timestamptz, -- of the last whole pass; null before
    CONSTRAINT care_passes_pkey PRIMARY KEY (kind)
);

-- What the scrub last found in each scan; a scan that is sound has no rows.
CREATE TABLE care_findings (
    id       uuid        NOT NULL,
    kind     text        NOT NULL,
    scan     text        NOT NULL,
    fileset  text        NOT NULL DEFAULT '',
    file     text        NOT NULL DEFAULT '',
    path     text        NOT NULL DEFAULT '', -- from the scan's directory
    detail   text        NOT NULL DEFAULT '',
    found_at timestamptz NOT NULL,
    CONSTRAINT care_findings_pkey PRIMARY KEY (id)
);
CREATE INDEX care_findings_scan_idx ON care_findings (scan);

-- +goose Down
DROP TABLE care_findings, care_passes;

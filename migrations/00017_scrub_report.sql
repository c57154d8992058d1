-- What the scrub found, for people who read SQL: docs/sql-reporting.md.

-- +goose Up
-- When the last whole pass began: what was there then has been read since.
ALTER TABLE care_passes ADD COLUMN verified_from timestamptz;

CREATE VIEW report_scrub AS
SELECT p.began_at,
       p.moved_at,
       p.finished_at,
       p.verified_from,
       p.scans,
       p.files,
       p.bytes,
       (SELECT count(*) FROM care_findings)::bigint AS faults
FROM care_passes p
WHERE p.kind = 'scrub';
COMMENT ON VIEW report_scrub IS 'How far the scrub is, one row; none before it ever began.';
COMMENT ON COLUMN report_scrub.moved_at IS 'When the running pass last went on.';
COMMENT ON COLUMN report_scrub.finished_at IS 'When the last whole pass ended; null before the first.';
COMMENT ON COLUMN report_scrub.verified_from IS 'When that pass began: every file that was there then was read since.';
COMMENT ON COLUMN report_scrub.scans IS 'Of the running pass, as files and bytes.';
COMMENT ON COLUMN report_scrub.faults IS 'What was found and is not mended.';

CREATE VIEW report_scrub_findings AS
SELECT c.found_at,
       c.kind,
       c.scan,
       s.owner,
       c.fileset,
       c.file,
       c.path,
       c.detail
FROM care_findings c
LEFT JOIN scans s ON s.name = c.scan;
COMMENT ON VIEW report_scrub_findings IS 'What the scrub found wrong in each scan when it last read it; what is mended goes.';
COMMENT ON COLUMN report_scrub_findings.kind IS 'As plantdb check calls it: see docs/operating.md.';
COMMENT ON COLUMN report_scrub_findings.owner IS 'Of the scan.';

-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'plantdb_report') THEN
        GRANT SELECT ON report_scrub, report_scrub_findings TO plantdb_report;
    END IF;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP VIEW report_scrub_findings, report_scrub;
ALTER TABLE care_passes DROP COLUMN verified_from;

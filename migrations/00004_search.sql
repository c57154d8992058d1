-- What lists of scans are ordered, filtered and searched by. The columns are
-- made of the metadata when it is written (package scan, facts.go); created,
-- last_modified and due are texts that sort as what they tell.

-- +goose Up
ALTER TABLE scans
    -- Id, keys and values of the metadata in lower case, each on its own line.
    ADD COLUMN search        text             NOT NULL DEFAULT '',
    ADD COLUMN created       text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN last_modified text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN species       text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN plant         text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN environment   text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN due           text COLLATE "C" NOT NULL DEFAULT '';

-- The sizes have a table of their own: an upload changes the size of its scan,
-- and must not write a new entry into every index of the scan.
CREATE TABLE scan_sizes (
    scan_id    uuid             NOT NULL,
    visibility text             NOT NULL,
    name       text             NOT NULL,
    -- The bytes, in digits that sort as they count.
    key        text COLLATE "C" NOT NULL,
    CONSTRAINT scan_sizes_pkey PRIMARY KEY (scan_id),
    CONSTRAINT scan_sizes_scan_fkey FOREIGN KEY (scan_id) REFERENCES scans (id) ON DELETE CASCADE
);

-- +goose StatementBegin
CREATE FUNCTION scans_keep_size() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO scan_sizes (scan_id, visibility, name, key)
    VALUES (NEW.id, NEW.visibility, NEW.name, lpad(NEW.byte_count::text, 19, '0'))
    ON CONFLICT (scan_id) DO UPDATE SET visibility = excluded.visibility, key = excluded.key;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER scans_keep_size AFTER INSERT OR UPDATE OF byte_count, visibility ON scans
    FOR EACH ROW EXECUTE FUNCTION scans_keep_size();

-- The next reconcile reads every scan again and fills the columns.
UPDATE scans SET signature = '', byte_count = byte_count;

CREATE INDEX scans_by_name ON scans (visibility, name COLLATE "C");
CREATE INDEX scans_by_created ON scans (visibility, created, name COLLATE "C");
CREATE INDEX scans_by_last_modified ON scans (visibility, last_modified, name COLLATE "C");
CREATE INDEX scans_by_owner ON scans (visibility, (coalesce(owner, '') COLLATE "C"), name COLLATE "C");
CREATE INDEX scans_by_species ON scans (visibility, species, name COLLATE "C");
CREATE INDEX scans_by_due ON scans (visibility, due, name COLLATE "C");
CREATE INDEX scans_by_size ON scan_sizes (visibility, key, name COLLATE "C");
CREATE INDEX scans_species_idx ON scans (species);
CREATE INDEX scans_private_owner_idx ON scans (owner) WHERE visibility = 'private';
CREATE INDEX scans_private_sharing_idx ON scans USING gin (sharing) WHERE visibility = 'private';

-- Free text is found by its trigrams where PostgreSQL has the extension (all
-- packages of it but the barest do); without it a search looks at the scans
-- one after another.
-- +goose StatementBegin
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX scans_search_idx ON scans USING gin (search gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'free text is searched without an index: %', SQLERRM;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP INDEX IF EXISTS scans_search_idx;
DROP TRIGGER scans_keep_size ON scans;
DROP FUNCTION scans_keep_size();
DROP TABLE scan_sizes;
DROP INDEX scans_by_name, scans_by_created, scans_by_last_modified, scans_by_owner, scans_by_species, scans_by_due,
    scans_species_idx, scans_private_owner_idx, scans_private_sharing_idx;
ALTER TABLE scans DROP COLUMN search, DROP COLUMN created, DROP COLUMN last_modified, DROP COLUMN species,
    DROP COLUMN plant, DROP COLUMN environment, DROP COLUMN due;

-- Not where something else has come to need it.
-- +goose StatementBegin
DO $$
BEGIN
    DROP EXTENSION IF EXISTS pg_trgm;
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'the extension pg_trgm stays: %', SQLERRM;
END $$;
-- +goose StatementEnd

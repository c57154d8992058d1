-- Work that is done later. River keeps it in tables of its own, which it also
-- migrates itself, once this file has made their schema: see postgres.Migrate.

-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
    -- IF NOT EXISTS would ask for the right to create schemas even where
    -- somebody who has it has made this one.
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'river') THEN
        CREATE SCHEMA river;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    -- All in the message: it is what a failed start shows.
    RAISE insufficient_privilege USING MESSAGE = format(
        'role %I may not create schemas in database %I: let its owner do it once, by CREATE SCHEMA river AUTHORIZATION %I',
        current_user, current_database(), current_user);
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP SCHEMA river CASCADE;

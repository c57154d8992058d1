-- What the columns of a view say of themselves: of a name that is no account's
-- only a keyed hash is kept.

-- +goose Up
COMMENT ON COLUMN report_logins.username IS 'The account, in lower case; for a name that is no account''s a keyed hash of it, "? " and 16 characters.';
COMMENT ON COLUMN report_logins.session_id IS 'What a success opened; of a failure, the session in which a password was to be changed.';
COMMENT ON COLUMN report_locked_accounts.username IS 'As in report_logins.';

-- +goose Down
COMMENT ON COLUMN report_locked_accounts.username IS NULL;
COMMENT ON COLUMN report_logins.session_id IS 'What a success opened.';
COMMENT ON COLUMN report_logins.username IS 'As it was typed, lower-cased: there may be no such user.';

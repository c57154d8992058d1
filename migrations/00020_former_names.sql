-- Names of users and groups that were deleted. Scans and timelapses keep them,
-- so that nobody else may have one of them while they do. What was deleted
-- before this migration stands in the audit trail.

-- +goose Up
CREATE TABLE former_names (
    kind       text        NOT NULL,
    name       text        NOT NULL,
    deleted_at timestamptz NOT NULL,
    CONSTRAINT former_names_pkey PRIMARY KEY (kind, name),
    CONSTRAINT former_names_kind_known CHECK (kind IN ('user', 'group'))
);
INSERT INTO former_names (kind, name, deleted_at)
SELECT 'user', e.username, max(e.at) FROM auth_events e
WHERE e.kind = 'user_delete' AND NOT EXISTS (SELECT FROM users u WHERE u.username = e.username)
GROUP BY e.username
UNION ALL
SELECT 'group', e.detail, max(e.at) FROM auth_events e
WHERE e.kind = 'group_delete' AND NOT EXISTS (SELECT FROM groups g WHERE g.name = e.detail)
GROUP BY e.detail;

-- What columns of views say of themselves: of a name that is no account's only a
-- keyed hash is kept.
COMMENT ON COLUMN report_logins.username IS 'The account, in lower case; for a name that is no account''s a keyed hash of it, "? " and 16 characters.';
COMMENT ON COLUMN report_logins.session_id IS 'What a success opened; of a failure, the session in which a password was to be changed.';
COMMENT ON COLUMN report_locked_accounts.username IS 'As in report_logins.';

-- +goose Down
COMMENT ON COLUMN report_locked_accounts.username IS NULL;
COMMENT ON COLUMN report_logins.session_id IS 'What a success opened.';
COMMENT ON COLUMN report_logins.username IS 'As it was typed, lower-cased: there may be no such user.';
DROP TABLE former_names;

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

-- +goose Down
DROP TABLE former_names;

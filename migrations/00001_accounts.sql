-- Accounts, sessions, tokens and their audit (auth).
--
-- Times are timestamptz, ids are UUIDv7 made by the server, every constraint
-- has a name that the code can read. Nothing here holds a raw token, a
-- password or a key: identifiers and hashes only.

-- +goose Up
CREATE TABLE users (
    id                  uuid        NOT NULL,
    username            text        NOT NULL,
    fullname            text        NOT NULL,
    -- A PHC string; '*' for an account nobody can log in to with a password (guest).
    password_hash       text        NOT NULL,
    roles               text[]      NOT NULL,
    is_active           boolean     NOT NULL DEFAULT true,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    last_login_at       timestamptz,
    password_changed_at timestamptz,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_username_key UNIQUE (username),
    -- The server folds case; the C collation makes the check the same on every
    -- cluster, whatever its locale.
    CONSTRAINT users_username_lower CHECK (username = lower(username COLLATE "C") AND username <> ''),
    CONSTRAINT users_roles_known CHECK (roles <@ ARRAY['reader', 'contributor', 'admin'] AND cardinality(roles) > 0)
);

CREATE TABLE groups (
    id          uuid        NOT NULL,
    name        text        NOT NULL,
    description text        NOT NULL DEFAULT '',
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT groups_pkey PRIMARY KEY (id),
    CONSTRAINT groups_name_key UNIQUE (name),
    CONSTRAINT groups_name_present CHECK (name <> '')
);

CREATE TABLE group_members (
    group_id uuid        NOT NULL,
    user_id  uuid        NOT NULL,
    added_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT group_members_pkey PRIMARY KEY (group_id, user_id),
    CONSTRAINT group_members_group_fkey FOREIGN KEY (group_id) REFERENCES groups (id) ON DELETE CASCADE,
    CONSTRAINT group_members_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
CREATE INDEX group_members_user_idx ON group_members (user_id);

-- A session is a family of refresh tokens. generation is the number of the
-- pair that is current; the row is locked while it is advanced.
CREATE TABLE sessions (
    id                  uuid        NOT NULL,
    user_id             uuid        NOT NULL,
    generation          integer     NOT NULL DEFAULT 0,
    created_at          timestamptz NOT NULL,
    last_seen_at        timestamptz NOT NULL,
    -- Idle end: slides with each refresh, never past absolute_expires_at.
    expires_at          timestamptz NOT NULL,
    absolute_expires_at timestamptz NOT NULL,
    ended_at            timestamptz,
    end_reason          text,
    address             inet,
    user_agent          text        NOT NULL DEFAULT '',
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT sessions_end_has_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
    CONSTRAINT sessions_end_reason_known CHECK (end_reason IN
        ('logout', 'reuse', 'evicted', 'revoked', 'password', 'deactivated', 'expired')),
    CONSTRAINT sessions_expiry_bounded CHECK (expires_at <= absolute_expires_at)
);
-- The live sessions of a user, oldest use first: the cap and the list.
CREATE INDEX sessions_live_idx ON sessions (user_id, last_seen_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_expires_idx ON sessions (expires_at);
CREATE INDEX sessions_ended_idx ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- One row a pair (refresh and access token) of a session. Both tokens can be
-- made again from it and the signing key, so neither is stored.
CREATE TABLE refresh_tokens (
    id                uuid        NOT NULL, -- jti of the refresh token
    session_id        uuid        NOT NULL,
    generation        integer     NOT NULL,
    access_id         uuid        NOT NULL, -- jti of the access token of the pair
    issued_at         timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    access_expires_at timestamptz NOT NULL,
    used_at           timestamptz,
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT refresh_tokens_session_fkey FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    CONSTRAINT refresh_tokens_generation_key UNIQUE (session_id, generation)
);
CREATE INDEX refresh_tokens_expires_idx ON refresh_tokens (expires_at);

-- What no longer counts although its signature does, until it would have
-- expired by itself. kind says what id names: a token's jti or a session.
CREATE TABLE revoked_tokens (
    id         uuid        NOT NULL,
    kind       text        NOT NULL,
    username   text        NOT NULL,
    reason     text        NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    -- The transaction that wrote the row. A replica that has seen everything
    -- below the oldest transaction then running asks for what is at or above
    -- it, and so misses no row however late its transaction commits; a time or
    -- a sequence cannot promise that.
    written_by bigint      NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    CONSTRAINT revoked_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT revoked_tokens_kind_known CHECK (kind IN ('access', 'api', 'session'))
);
CREATE INDEX revoked_tokens_expires_idx ON revoked_tokens (expires_at);
CREATE INDEX revoked_tokens_written_idx ON revoked_tokens (written_by);

CREATE TABLE api_tokens (
    id           uuid        NOT NULL, -- jti
    user_id      uuid        NOT NULL,
    name         text        NOT NULL DEFAULT '',
    -- glob -> list of permissions, as asked for.
    datasets     jsonb       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT api_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT api_tokens_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT api_tokens_datasets_object CHECK (jsonb_typeof(datasets) = 'object')
);
CREATE INDEX api_tokens_user_idx ON api_tokens (user_id, created_at);
CREATE INDEX api_tokens_expires_idx ON api_tokens (expires_at);

-- Secrets that work once: the first administrator's set-up and a password
-- reset that an administrator asked for. Only the SHA-256 is kept.
CREATE TABLE one_time_links (
    id          uuid        NOT NULL,
    secret_hash bytea       NOT NULL,
    purpose     text        NOT NULL,
    user_id     uuid, -- whose password; null for the set-up
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    CONSTRAINT one_time_links_pkey PRIMARY KEY (id),
    CONSTRAINT one_time_links_secret_key UNIQUE (secret_hash),
    CONSTRAINT one_time_links_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT one_time_links_secret_length CHECK (octet_length(secret_hash) = 32),
    CONSTRAINT one_time_links_purpose_known CHECK (purpose IN ('setup', 'password')),
    CONSTRAINT one_time_links_user_named CHECK ((purpose = 'password') = (user_id IS NOT NULL))
);
CREATE INDEX one_time_links_expires_idx ON one_time_links (expires_at);
CREATE INDEX one_time_links_user_idx ON one_time_links (user_id) WHERE user_id IS NOT NULL;

-- Which keys exist and what for; the key material stays outside (settings or
-- a file only the server reads). salt is the fixed salt of a pass-phrase.
CREATE TABLE signing_keys (
    kid        text        NOT NULL,
    algorithm  text        NOT NULL,
    status     text        NOT NULL,
    salt       bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (kid),
    CONSTRAINT signing_keys_algorithm_known CHECK (algorithm IN ('HS512', 'EdDSA', 'argon2id')),
    CONSTRAINT signing_keys_status_known CHECK (status IN ('active', 'verifying', 'retired', 'salt'))
);

CREATE TABLE login_attempts (
    username       text        NOT NULL,
    network        cidr        NOT NULL,
    failures       integer     NOT NULL,
    last_failed_at timestamptz NOT NULL,
    locked_until   timestamptz,
    CONSTRAINT login_attempts_pkey PRIMARY KEY (username, network)
);
CREATE INDEX login_attempts_age_idx ON login_attempts (last_failed_at);

-- The audit trail. username is text, not a reference: it outlives its user
-- and names those who never existed.
CREATE TABLE auth_events (
    id         uuid        NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    kind       text        NOT NULL,
    username   text        NOT NULL DEFAULT '',
    session_id uuid,
    token_id   uuid,
    address    inet,
    user_agent text        NOT NULL DEFAULT '',
    request_id text        NOT NULL DEFAULT '',
    detail     text        NOT NULL DEFAULT '',
    CONSTRAINT auth_events_pkey PRIMARY KEY (id)
);
CREATE INDEX auth_events_at_idx ON auth_events (at);
CREATE INDEX auth_events_user_idx ON auth_events (username, at);
CREATE INDEX auth_events_kind_idx ON auth_events (kind, at);

-- +goose Down
DROP TABLE auth_events, login_attempts, signing_keys, one_time_links, api_tokens, revoked_tokens, refresh_tokens, sessions,
    group_members, groups, users;

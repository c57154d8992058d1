-- How far each retention counted, so that a clock that jumps takes nothing away.

-- +goose Up
-- A row for each thing that is kept for a time.
CREATE TABLE retention_clocks (
    kind       text        NOT NULL,
    seen_at    timestamptz NOT NULL, -- what the clock said when a server last looked at it
    -- Time that the clock went on and no server saw pass, and when it last did so;
    -- it does not count until a whole retention has passed since.
    unseen     interval    NOT NULL DEFAULT '0',
    jumped_at  timestamptz NOT NULL,
    CONSTRAINT retention_clocks_pkey PRIMARY KEY (kind),
    CONSTRAINT retention_clocks_unseen_positive CHECK (unseen >= '0')
);

-- +goose Down
DROP TABLE retention_clocks;

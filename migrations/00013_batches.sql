-- Which batches were committed: what a crash left of another one is undone.

-- +goose Up
CREATE TABLE batches (
    id uuid        NOT NULL, -- the name of its directory below .plantdb/batches
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT batches_pkey PRIMARY KEY (id)
);

-- +goose Down
DROP TABLE batches;

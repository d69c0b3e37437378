-- What two tables held of a row when they last agreed: a digest for each side, NULL where it held none. `intent` is a write
-- that was begun (JSON): whether it was committed is seen in the table that it is for.
CREATE TABLE sync_rows (
    tenant     text COLLATE "C" NOT NULL,
    sync       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    settled    bigint NOT NULL CHECK (settled IN (0, 1)),
    source     bytea    CHECK (source IS NULL OR length(source) = 32),
    target     bytea    CHECK (target IS NULL OR length(target) = 32),
    intent     text,
    updated_at bigint NOT NULL,
    PRIMARY KEY (tenant, sync, key)
);

-- Values that a sync did not carry over, for a person to look at.
CREATE TABLE sync_conflicts (
    id         bytea    PRIMARY KEY CHECK (length(id) = 16),
    tenant     text COLLATE "C" NOT NULL,
    sync       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    at         bigint NOT NULL,
    reason     text COLLATE "C" NOT NULL CHECK (reason IN ('conflict', 'stale')),
    winner     text COLLATE "C" NOT NULL CHECK (winner IN ('source', 'target', 'merged')),
    loser      text COLLATE "C" NOT NULL CHECK (loser IN ('source', 'target')),
    lost       text COLLATE "C" NOT NULL,
    won        text COLLATE "C" NOT NULL,
    resolved   text    CHECK (resolved IS NULL OR resolved IN ('restored'))
);
CREATE INDEX sync_conflicts_of ON sync_conflicts (tenant, sync, id);
CREATE INDEX sync_conflicts_at ON sync_conflicts (tenant, sync, at);

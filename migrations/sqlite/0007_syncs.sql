-- What two tables held of a row when they last agreed: a digest for each side, NULL where it held none. `intent` is a write
-- that was begun (JSON): whether it was committed is seen in the table that it is for.
CREATE TABLE sync_rows (
    tenant     TEXT    NOT NULL,
    sync       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    settled    INTEGER NOT NULL CHECK (settled IN (0, 1)),
    source     BLOB    CHECK (source IS NULL OR length(source) = 32),
    target     BLOB    CHECK (target IS NULL OR length(target) = 32),
    intent     TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, sync, key)
) STRICT, WITHOUT ROWID;

-- Values that a sync did not carry over, for a person to look at.
CREATE TABLE sync_conflicts (
    id         BLOB    PRIMARY KEY CHECK (length(id) = 16),
    tenant     TEXT    NOT NULL,
    sync       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    reason     TEXT    NOT NULL CHECK (reason IN ('conflict', 'stale')),
    winner     TEXT    NOT NULL CHECK (winner IN ('source', 'target', 'merged')),
    loser      TEXT    NOT NULL CHECK (loser IN ('source', 'target')),
    lost       TEXT    NOT NULL,
    won        TEXT    NOT NULL,
    resolved   TEXT    CHECK (resolved IS NULL OR resolved IN ('restored'))
) STRICT, WITHOUT ROWID;
CREATE INDEX sync_conflicts_of ON sync_conflicts (tenant, sync, id);
CREATE INDEX sync_conflicts_at ON sync_conflicts (tenant, sync, at);

-- What sources of events remember, by kind ('capture', 'installation', ...) and a key of the kind's own, as JSON.
CREATE TABLE source_state (
    tenant     TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX source_state_kind ON source_state (kind);

-- Rows that were inserted, and told of, while a trigger is run over the rows that exist: they are not run over again. `row` is
-- a digest of the table and the primary key.
CREATE TABLE backfill_seen (
    tenant   TEXT NOT NULL,
    backfill TEXT NOT NULL,
    row      BLOB NOT NULL,
    PRIMARY KEY (tenant, backfill, row)
) STRICT, WITHOUT ROWID;

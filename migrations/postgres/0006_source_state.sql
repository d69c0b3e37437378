-- What sources of events remember, by kind ('capture', 'installation', ...) and a key of the kind's own, as JSON.
CREATE TABLE source_state (
    tenant     text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    value      text COLLATE "C" NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (tenant, kind, key)
);
CREATE INDEX source_state_kind ON source_state (kind);

-- Rows that were inserted, and told of, while a trigger is run over the rows that exist: they are not run over again. `row` is
-- a digest of the table and the primary key.
CREATE TABLE backfill_seen (
    tenant   text COLLATE "C" NOT NULL,
    backfill text COLLATE "C" NOT NULL,
    "row"    bytea NOT NULL,
    PRIMARY KEY (tenant, backfill, "row")
);

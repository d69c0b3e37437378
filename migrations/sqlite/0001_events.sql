-- Accepted events. `seq` is given by the writer, in the order of acceptance; `body` is the event as JSON, `crc` its CRC-32.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY,
    id          BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    tenant      TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    source      TEXT,
    tbl         TEXT,
    accepted_at INTEGER NOT NULL,
    run_count   INTEGER NOT NULL CHECK (run_count >= 0),
    crc         INTEGER NOT NULL,
    body        TEXT    NOT NULL
) STRICT;

-- The inbox, newest first, and the backtest's time range. Other filters scan within bounds.
CREATE INDEX events_inbox ON events (tenant, accepted_at, seq);

-- The first answers to requests that carried an Idempotency-Key.
CREATE TABLE idempotency (
    tenant      TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 32),
    status      INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

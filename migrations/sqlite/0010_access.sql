-- A key may have a rate of its own, and has a successor once it was rotated.
ALTER TABLE api_keys ADD COLUMN rate_limit INTEGER CHECK (rate_limit >= 0);
ALTER TABLE api_keys ADD COLUMN replaced_by TEXT;

-- Who changed what: never the secrets.
CREATE TABLE audit (
    id      BLOB    PRIMARY KEY CHECK (length(id) = 16),
    tenant  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    key_id  TEXT    NOT NULL,
    peer    TEXT    NOT NULL,
    method  TEXT    NOT NULL,
    route   TEXT    NOT NULL,
    path    TEXT    NOT NULL,
    outcome TEXT    NOT NULL CHECK (outcome IN ('done', 'refused', 'failed', 'unknown')),
    status  INTEGER,
    before  TEXT,
    after   TEXT
) STRICT;
CREATE INDEX audit_tenant ON audit (tenant, id);
CREATE INDEX audit_at ON audit (at);

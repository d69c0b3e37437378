-- A key may have a rate of its own, and has a successor once it was rotated.
ALTER TABLE api_keys ADD COLUMN rate_limit bigint CHECK (rate_limit >= 0);
ALTER TABLE api_keys ADD COLUMN replaced_by text COLLATE "C";

-- Who changed what: never the secrets.
CREATE TABLE audit (
    id      uuid   PRIMARY KEY,
    tenant  text COLLATE "C" NOT NULL,
    at      bigint NOT NULL,
    key_id  text COLLATE "C" NOT NULL,
    peer    text COLLATE "C" NOT NULL,
    method  text COLLATE "C" NOT NULL,
    route   text COLLATE "C" NOT NULL,
    path    text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL CHECK (outcome IN ('done', 'refused', 'failed', 'unknown')),
    status  bigint,
    before  text COLLATE "C",
    after   text COLLATE "C"
);
CREATE INDEX audit_tenant ON audit (tenant, id);
CREATE INDEX audit_at ON audit (at);

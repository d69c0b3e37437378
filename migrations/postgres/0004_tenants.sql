CREATE TABLE tenants (
    id         text    PRIMARY KEY,
    name       text COLLATE "C" NOT NULL,
    rate_limit bigint NOT NULL CHECK (rate_limit >= 0),
    quotas     text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL
);

-- API keys: the digest of the whole key, never the key.
CREATE TABLE api_keys (
    id         text    PRIMARY KEY,
    tenant     text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL,
    digest     bytea    NOT NULL CHECK (length(digest) = 32),
    scopes     text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint
);
CREATE INDEX api_keys_tenant ON api_keys (tenant);

-- What one node does alone, or one task of a node: a duty (`duty:NAME`), or a row that a sync is looking after. What a dead node held
-- is nobody's. `token` tells the holds of one node apart.
CREATE TABLE holds (
    name  text COLLATE "C" NOT NULL PRIMARY KEY,
    node  bigint NOT NULL,
    token uuid   NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);

-- Rates that nodes share: when the bucket of that name will be empty again, in microseconds by this server's clock. Not logged: after a
-- crash the buckets are empty.
CREATE UNLOGGED TABLE rates (
    name     text COLLATE "C" NOT NULL PRIMARY KEY,
    empty_at bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);

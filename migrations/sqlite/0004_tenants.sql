CREATE TABLE tenants (
    id         TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL,
    rate_limit INTEGER NOT NULL CHECK (rate_limit >= 0),
    quotas     TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- API keys: the digest of the whole key, never the key.
CREATE TABLE api_keys (
    id         TEXT    PRIMARY KEY,
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    scopes     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;
CREATE INDEX api_keys_tenant ON api_keys (tenant);

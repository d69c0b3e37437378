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

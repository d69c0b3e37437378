-- Counts changes of definitions, components, resources, tenants and keys: whoever changes one counts it up first, so that
-- changes are made one after another, and a node that has seen `n` has seen all before it.
CREATE TABLE revision (
    one bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    n   bigint NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
INSERT INTO revision (one, n) VALUES (1, 0);

CREATE TABLE changes (
    n      bigint      NOT NULL PRIMARY KEY,
    kind   text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL,
    key    text COLLATE "C" NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Every version of every trigger. In force from `stored_at` until before `ended_at`; versions are never used again.
CREATE TABLE trigger_versions (
    tenant     text COLLATE "C" NOT NULL,
    tag        text COLLATE "C" NOT NULL,
    version    bigint NOT NULL CHECK (version > 0),
    definition text COLLATE "C" NOT NULL,
    stored_at  bigint NOT NULL,
    created_at bigint NOT NULL,
    ended_at   bigint,
    PRIMARY KEY (tenant, tag, version)
);
CREATE UNIQUE INDEX trigger_versions_live ON trigger_versions (tenant, tag) WHERE ended_at IS NULL;

-- Every version of every component. A deleted one keeps its rows, so that its versions are never used again.
CREATE TABLE component_versions (
    tenant      text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    version     bigint NOT NULL CHECK (version > 0),
    digest      text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    deleted_at  bigint,
    PRIMARY KEY (tenant, name, version)
);
CREATE INDEX component_versions_digest ON component_versions (tenant, digest) WHERE deleted_at IS NULL;

CREATE TABLE component_code (
    tenant text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    bytes  bytea NOT NULL,
    PRIMARY KEY (tenant, digest)
);

CREATE TABLE component_state (
    tenant     text COLLATE "C" NOT NULL,
    component  text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    value      bytea    NOT NULL,
    version    bigint NOT NULL CHECK (version > 0),
    expires_at bigint,
    PRIMARY KEY (tenant, component, key)
);
CREATE INDEX component_state_expiry ON component_state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE resources (
    tenant     text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    tag        text COLLATE "C" NOT NULL,
    settings   text COLLATE "C" NOT NULL,
    version    bigint NOT NULL CHECK (version > 0),
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (tenant, kind, tag)
);

-- Every version of every trigger. In force from `stored_at` until before `ended_at`; versions are never used again.
CREATE TABLE trigger_versions (
    tenant     TEXT    NOT NULL,
    tag        TEXT    NOT NULL,
    version    INTEGER NOT NULL CHECK (version > 0),
    definition TEXT    NOT NULL,
    stored_at  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at   INTEGER,
    PRIMARY KEY (tenant, tag, version)
) STRICT;
CREATE UNIQUE INDEX trigger_versions_live ON trigger_versions (tenant, tag) WHERE ended_at IS NULL;

-- Every version of every component. A deleted one keeps its rows, so that its versions are never used again.
CREATE TABLE component_versions (
    tenant      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL CHECK (version > 0),
    digest      TEXT    NOT NULL,
    description TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    deleted_at  INTEGER,
    PRIMARY KEY (tenant, name, version)
) STRICT;
CREATE INDEX component_versions_digest ON component_versions (tenant, digest) WHERE deleted_at IS NULL;

CREATE TABLE component_code (
    tenant TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes  BLOB NOT NULL,
    PRIMARY KEY (tenant, digest)
) STRICT;

CREATE TABLE component_state (
    tenant     TEXT    NOT NULL,
    component  TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    value      BLOB    NOT NULL,
    version    INTEGER NOT NULL CHECK (version > 0),
    expires_at INTEGER,
    PRIMARY KEY (tenant, component, key)
) STRICT;
CREATE INDEX component_state_expiry ON component_state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE resources (
    tenant     TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    tag        TEXT    NOT NULL,
    settings   TEXT    NOT NULL,
    version    INTEGER NOT NULL CHECK (version > 0),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind, tag)
) STRICT;

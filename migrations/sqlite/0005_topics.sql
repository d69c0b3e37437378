-- The embedded broker's messages: offsets from 0 without gaps; one message per delivery.
CREATE TABLE topic_messages (
    tenant      TEXT    NOT NULL,
    broker      TEXT    NOT NULL,
    topic       TEXT    NOT NULL,
    "offset"    INTEGER NOT NULL CHECK ("offset" >= 0),
    key         TEXT,
    headers     TEXT    NOT NULL,
    message     TEXT    NOT NULL,
    delivery_id TEXT,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, broker, topic, "offset")
) STRICT;
CREATE UNIQUE INDEX topic_messages_delivery ON topic_messages (tenant, broker, topic, delivery_id) WHERE delivery_id IS NOT NULL;

-- How many were taken of an action's quota in a window.
CREATE TABLE quota_windows (
    tenant       TEXT    NOT NULL,
    trigger      TEXT    NOT NULL,
    action       TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    window_start INTEGER NOT NULL,
    used         INTEGER NOT NULL CHECK (used > 0),
    expires_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, trigger, action, key, window_start)
) STRICT, WITHOUT ROWID;
CREATE INDEX quota_windows_expiry ON quota_windows (expires_at);

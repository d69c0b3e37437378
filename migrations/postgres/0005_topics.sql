-- The embedded broker's messages: offsets from 0 without gaps; one message per delivery.
CREATE TABLE topic_messages (
    tenant      text COLLATE "C" NOT NULL,
    broker      text COLLATE "C" NOT NULL,
    topic       text COLLATE "C" NOT NULL,
    "offset"    bigint NOT NULL CHECK ("offset" >= 0),
    key         text,
    headers     text COLLATE "C" NOT NULL,
    message     text COLLATE "C" NOT NULL,
    delivery_id text,
    created_at  bigint NOT NULL,
    PRIMARY KEY (tenant, broker, topic, "offset")
);
CREATE UNIQUE INDEX topic_messages_delivery ON topic_messages (tenant, broker, topic, delivery_id) WHERE delivery_id IS NOT NULL;

-- How many were taken of an action's quota in a window.
CREATE TABLE quota_windows (
    tenant       text COLLATE "C" NOT NULL,
    trigger      text COLLATE "C" NOT NULL,
    action       text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    window_start bigint NOT NULL,
    used         bigint NOT NULL CHECK (used > 0),
    expires_at   bigint NOT NULL,
    PRIMARY KEY (tenant, trigger, action, key, window_start)
);
CREATE INDEX quota_windows_expiry ON quota_windows (expires_at);

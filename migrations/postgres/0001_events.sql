-- Accepted events, partitioned by their ids, which begin with the time. `body` is the event as JSON, `crc` its CRC-32. The
-- runs of an event have ids from `first_run` to `last_run`, which lie close together.
CREATE SEQUENCE event_seq;
CREATE TABLE events (
    id          uuid   NOT NULL PRIMARY KEY,
    seq         bigint NOT NULL DEFAULT nextval('event_seq'),
    tenant      text COLLATE "C" NOT NULL,
    type        text COLLATE "C" NOT NULL,
    source      text,
    tbl         text,
    accepted_at bigint NOT NULL,
    run_count   bigint NOT NULL CHECK (run_count >= 0),
    first_run   uuid,
    last_run    uuid,
    crc         bigint NOT NULL,
    body        text COLLATE "C" NOT NULL,
    CHECK ((run_count = 0) = (first_run IS NULL) AND (run_count = 0) = (last_run IS NULL))
) PARTITION BY RANGE (id);

-- The inbox, newest first, and the backtest's time range; `seq` tells events of one millisecond apart. Other filters scan
-- within bounds.
CREATE INDEX events_inbox ON events (tenant, accepted_at, seq);

-- What came with an id from outside the other partitions' times.
CREATE TABLE events_rest PARTITION OF events DEFAULT;

-- Which partitions there are of `events` and of `runs`: the first millisecond of each, and the first after it.
CREATE TABLE partitions (
    name    text COLLATE "C" NOT NULL PRIMARY KEY,
    from_ms bigint NOT NULL,
    to_ms   bigint NOT NULL CHECK (to_ms > from_ms)
);

-- The first answers to requests that carried an Idempotency-Key.
CREATE TABLE idempotency (
    tenant      text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint bytea  NOT NULL CHECK (length(fingerprint) = 32),
    status      bigint NOT NULL,
    body        text COLLATE "C" NOT NULL,
    expires_at  bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

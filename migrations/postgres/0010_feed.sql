-- What nodes hand each other for clients that listen to the event stream; gone after a minute, and after a crash. One node's parcels
-- have ascending numbers in the order in which they become visible.
CREATE UNLOGGED TABLE feed (
    origin text        COLLATE "C" NOT NULL,
    n      bigint      GENERATED ALWAYS AS IDENTITY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    parcel text        COLLATE "C" NOT NULL,
    PRIMARY KEY (origin, n)
);
CREATE INDEX feed_at ON feed (at);

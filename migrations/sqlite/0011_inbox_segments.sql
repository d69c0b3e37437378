-- What the inbox finds events by, made behind the writer so that keeping an event costs nothing for it. A segment is 2^14 numbers
-- of events (`seq` >> 14); once the next one has begun, one step reads it through and keeps here which events of each tenant are in
-- it and which of those have which type, source or table. Newer events than the last built segment's are looked at one by one.
-- An existing store is read through after the first start: some ten seconds for ten million events, while the inbox answers as before.
CREATE TABLE inbox_built (
    segment INTEGER PRIMARY KEY
) STRICT;

-- Segments of which events have gone, or have been given runs, since they were built: they are looked at one by one until built anew.
CREATE TABLE inbox_changed (
    segment INTEGER PRIMARY KEY,
    marks   INTEGER NOT NULL
) STRICT;

-- A tenant's events in a segment: how many, from when to when, and which. `kept` says what `inbox_values` holds of them: nothing (0),
-- where there are few.
CREATE TABLE inbox_segments (
    tenant   TEXT    NOT NULL,
    segment  INTEGER NOT NULL,
    events   INTEGER NOT NULL CHECK (events > 0),
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    kept     INTEGER NOT NULL,
    bits     BLOB    NOT NULL,
    PRIMARY KEY (tenant, segment)
) STRICT, WITHOUT ROWID;

-- Those of a tenant's events in a segment whose `field` (0 type, 1 source, 2 table, 3 no trigger matched) has a value: the beginning
-- of the value's SHA-256, or a part of it where there are very many values.
CREATE TABLE inbox_values (
    segment INTEGER NOT NULL,
    tenant  TEXT    NOT NULL,
    field   INTEGER NOT NULL,
    value   INTEGER NOT NULL,
    bits    BLOB    NOT NULL,
    PRIMARY KEY (segment, tenant, field, value)
) STRICT, WITHOUT ROWID;

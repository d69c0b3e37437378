-- What fills the file's free pages while bytes of erased events are overwritten; empty otherwise.
CREATE TABLE erasing (
    pad BLOB NOT NULL
) STRICT;

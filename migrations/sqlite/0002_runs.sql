-- Runs. `seq` is the event's seq * 2^18 + the run's place among the event's runs, so that an event's runs lie together and
-- need no index, and so that a lower `seq` is an earlier event. No foreign keys: this is the hot table.
--
--   pending --claim, epoch+1--> running --> delivered | failed (the dead letter) --replay--> pending
--
-- `due_at` of a pending run is when it may be claimed, of a running one when its lease ends; ended runs have none.
-- `parked` keeps a run out of `runs_due` while an earlier one of its lane (tenant, trigger, ordering_key) has not ended. It
-- only spares the claim from looking at runs that it may not take: the claim checks the lane itself. What must
-- hold is that the first unfinished run of a lane is never parked; `runs_unpark` sees to it.
CREATE TABLE runs (
    seq             INTEGER PRIMARY KEY,
    id              BLOB    NOT NULL CHECK (length(id) = 16),
    tenant          TEXT    NOT NULL,
    trigger         TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('pending', 'running', 'delivered', 'failed')),
    epoch           INTEGER NOT NULL CHECK (epoch >= 0),
    due_at          INTEGER,
    parked          INTEGER NOT NULL DEFAULT 0 CHECK (parked IN (0, 1)),
    lost            INTEGER NOT NULL DEFAULT 0 CHECK (lost IN (0, 1)),
    replay          INTEGER NOT NULL DEFAULT 0 CHECK (replay IN (0, 1)),
    queue           TEXT,
    ordering_key    TEXT,
    created_at      INTEGER NOT NULL,
    finished_at     INTEGER,
    attempts        INTEGER NOT NULL DEFAULT 0,
    last_attempt_at INTEGER,
    error_code      TEXT,
    error           TEXT,
    progress        TEXT    NOT NULL DEFAULT '{"actions":[]}',
    CHECK ((due_at IS NULL) = (state IN ('delivered', 'failed'))),
    CHECK ((finished_at IS NOT NULL) = (state IN ('delivered', 'failed'))),
    CHECK ((error_code IS NOT NULL) = (state = 'failed')),
    CHECK (state <> 'running' OR epoch > 0),
    CHECK (parked = 0 OR (state = 'pending' AND ordering_key IS NOT NULL))
) STRICT;

-- Named, because the statements that report on many runs at once have to say that they want it.
CREATE UNIQUE INDEX runs_id ON runs (id);
CREATE INDEX runs_due  ON runs (due_at) WHERE due_at IS NOT NULL AND parked = 0;
CREATE INDEX runs_lane ON runs (tenant, trigger, ordering_key, seq) WHERE ordering_key IS NOT NULL AND due_at IS NOT NULL;
CREATE INDEX runs_dead ON runs (tenant, seq) WHERE state = 'failed';

CREATE TRIGGER runs_park AFTER INSERT ON runs
WHEN new.ordering_key IS NOT NULL AND new.state = 'pending'
BEGIN
    UPDATE runs SET parked = 1
    WHERE seq = new.seq AND EXISTS (
        SELECT 1 FROM runs AS earlier
        WHERE earlier.tenant = new.tenant AND earlier.trigger = new.trigger AND earlier.ordering_key = new.ordering_key
          AND earlier.due_at IS NOT NULL AND earlier.seq < new.seq);
END;

CREATE TRIGGER runs_unpark AFTER UPDATE OF due_at ON runs
WHEN old.ordering_key IS NOT NULL AND old.due_at IS NOT NULL AND new.due_at IS NULL
BEGIN
    UPDATE runs SET parked = 0
    WHERE parked = 1 AND seq = (
        SELECT min(next.seq) FROM runs AS next
        WHERE next.tenant = new.tenant AND next.trigger = new.trigger AND next.ordering_key = new.ordering_key
          AND next.ordering_key IS NOT NULL AND next.due_at IS NOT NULL);
END;

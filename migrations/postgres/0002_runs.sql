-- The processes that share this database. One that has not written `lease_until` anew by then is dead: another takes its runs
-- over, and what it still tries to write is refused. `low_run` is the least id of the runs that it holds and that `queue` does
-- not name; `held` how many it holds. `home` is what only one process has at a time: who has it next is the former one's heir.
CREATE TABLE nodes (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text COLLATE "C" NOT NULL,
    home        text COLLATE "C",
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL,
    low_run     uuid        NOT NULL,
    held        bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Runs, partitioned by their ids like events.
--
--   0 pending --claim, epoch+1--> 1 running --> 2 delivered | 3 failed (the dead letter) --replay--> 0 pending
--
-- No index has a column that changes, so that a report is a heap-only update; a page is left room for the reports on its
-- runs, which are larger than what was planned. What waits is found in `queue`, what has failed in `dead_letters`.
CREATE SEQUENCE lane_seq CACHE 1;
CREATE TABLE runs (
    id              uuid     NOT NULL PRIMARY KEY,
    event_id        uuid     NOT NULL,
    tenant          text COLLATE "C" NOT NULL,
    trigger         text COLLATE "C" NOT NULL,
    version         bigint   NOT NULL,
    state           smallint NOT NULL CHECK (state BETWEEN 0 AND 3),
    epoch           bigint   NOT NULL CHECK (epoch >= 0),
    holder          bigint,
    replay          boolean  NOT NULL DEFAULT false,
    queue           text,
    ordering_key    text,
    lane_seq        bigint,
    created_at      bigint   NOT NULL,
    finished_at     bigint,
    attempts        bigint   NOT NULL DEFAULT 0,
    last_attempt_at bigint,
    error_code      text,
    error           text,
    progress        text COLLATE "C" NOT NULL DEFAULT '{"actions":[]}',
    CHECK ((holder IS NOT NULL) = (state = 1)),
    CHECK ((finished_at IS NOT NULL) = (state >= 2)),
    CHECK ((error_code IS NOT NULL) = (state = 3)),
    CHECK (state <> 1 OR epoch > 0),
    CHECK ((ordering_key IS NULL) = (lane_seq IS NULL))
) PARTITION BY RANGE (id);
CREATE TABLE runs_rest PARTITION OF runs DEFAULT WITH (fillfactor = 25);

-- Unfinished runs, but for those that the node that accepted them executes at once: they are here only when they take long.
--
-- `due_at` is when a run may be claimed (milliseconds by this server's clock), NULL while `holder` has it. `lost`: its last
-- holder died with it. All unfinished runs of a lane (a digest of tenant, trigger and ordering key) are here, in the order of
-- `lane_seq`; those behind the first are `parked`, which spares the claim from looking at them. Whoever adds a run to a lane,
-- claims one of it or ends one holds the lane's advisory lock.
CREATE TABLE queue (
    run_id     uuid    NOT NULL PRIMARY KEY,
    event_id   uuid    NOT NULL,
    due_at     bigint,
    holder     bigint,
    lost       boolean NOT NULL DEFAULT false,
    parked     boolean NOT NULL DEFAULT false,
    lane       uuid,
    lane_seq   bigint,
    created_at bigint  NOT NULL,
    CHECK ((due_at IS NULL) = (holder IS NOT NULL)),
    CHECK (NOT parked OR (holder IS NULL AND lane IS NOT NULL)),
    CHECK ((lane IS NULL) = (lane_seq IS NULL))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX queue_due ON queue (due_at) WHERE holder IS NULL AND NOT parked AND lane IS NULL;
CREATE INDEX queue_lane_due ON queue (due_at) WHERE holder IS NULL AND NOT parked AND lane IS NOT NULL;
CREATE INDEX queue_lane ON queue (lane, lane_seq) WHERE lane IS NOT NULL;
CREATE INDEX queue_holder ON queue (holder) WHERE holder IS NOT NULL;
CREATE INDEX queue_event ON queue (event_id);

-- The dead letters: runs in state 3.
CREATE TABLE dead_letters (
    tenant text COLLATE "C" NOT NULL,
    run_id uuid NOT NULL,
    PRIMARY KEY (tenant, run_id)
);

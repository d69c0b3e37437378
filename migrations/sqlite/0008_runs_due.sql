-- What waits is counted for the metrics, by state and age: with both in the index a million runs take some 0.1 s instead of a
-- look at each. Built once, at the first start: about a second for a million runs that wait.
DROP INDEX runs_due;
CREATE INDEX runs_due ON runs (due_at, state, created_at) WHERE due_at IS NOT NULL AND parked = 0;

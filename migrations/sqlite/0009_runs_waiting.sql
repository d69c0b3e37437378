-- What waits, by tenant: the claim takes from each in turn. Runs that are executed at once never enter this index. Built once, at
-- the first start: about a second for a million runs that wait.
CREATE INDEX runs_waiting ON runs (tenant, due_at) WHERE state = 'pending' AND parked = 0;

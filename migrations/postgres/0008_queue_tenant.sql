-- Whose runs wait: the claim takes from each tenant in turn. Rows of before have no name here and count as one tenant's.
ALTER TABLE queue ADD COLUMN tenant text COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX queue_waiting ON queue (tenant, due_at) WHERE holder IS NULL AND NOT parked AND lane IS NULL;

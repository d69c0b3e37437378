-- The agents' side: SQLite, which keeps JSON and times as texts.
CREATE TABLE agent_jobs (
  id TEXT PRIMARY KEY, job_type TEXT, status TEXT, initiated_by TEXT, initiated_by_type TEXT, parameters TEXT, results TEXT,
  error_message TEXT, retry_count INTEGER DEFAULT 0, created_at TEXT, started_at TEXT, completed_at TEXT, updated_at TEXT
);
CREATE TABLE agent_decisions (
  id TEXT PRIMARY KEY, lead_id TEXT, decision_type TEXT, agent_name TEXT, agent_type TEXT, decision TEXT, confidence REAL,
  reasoning TEXT, metadata TEXT, overridden_by TEXT, override_reason TEXT, overridden_at TEXT, created_at TEXT
);
CREATE TABLE rate_limits (
  id TEXT PRIMARY KEY, service_name TEXT, window_start TEXT, request_count INTEGER DEFAULT 0, quota_limit INTEGER,
  reset_at TEXT, metadata TEXT, created_at TEXT, updated_at TEXT
);
CREATE TABLE audit_log (
  id TEXT PRIMARY KEY, "timestamp" TEXT, actor TEXT, actor_type TEXT, action TEXT, resource_type TEXT, resource_id TEXT,
  metadata TEXT, ip_address TEXT, user_agent TEXT, session_id TEXT, severity TEXT, data_classification TEXT,
  compliance_tags TEXT, retention_days INTEGER
);

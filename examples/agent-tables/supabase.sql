-- The durable side: PostgreSQL, as Supabase has it.
CREATE TABLE agent_jobs (
  id text PRIMARY KEY, job_type text, status text, initiated_by text, initiated_by_type text, parameters jsonb, results jsonb,
  error_message text, retry_count integer DEFAULT 0, created_at timestamptz, started_at timestamptz, completed_at timestamptz,
  updated_at timestamptz
);
CREATE TABLE agent_decisions (
  id text PRIMARY KEY, lead_id text, decision_type text, agent_name text, agent_type text, decision text,
  confidence double precision, reasoning text, metadata jsonb, overridden_by text, override_reason text,
  overridden_at timestamptz, created_at timestamptz
);
CREATE TABLE rate_limits (
  id text PRIMARY KEY, service_name text, window_start timestamptz, request_count integer DEFAULT 0, quota_limit integer,
  reset_at timestamptz, metadata jsonb, created_at timestamptz, updated_at timestamptz
);
CREATE TABLE audit_log (
  id uuid PRIMARY KEY, "timestamp" timestamptz, actor text, actor_type text, action text, resource_type text, resource_id text,
  metadata jsonb, ip_address text, user_agent text, session_id text, severity text DEFAULT 'info', data_classification text,
  compliance_tags text[], retention_days integer DEFAULT 2555
);

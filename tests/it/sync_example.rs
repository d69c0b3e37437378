//! `examples/agent-tables`: applied as people apply it, and put through its four procedures.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::sql_server::Database;
use crate::harness::{Cli, Server, Settings, eventually};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/agent-tables");

struct Stage {
    server: Server,
    tables: Database,
    supabase: Database,
}

fn cli(server: &Server) -> Cli {
    Cli { url: server.url(), key: crate::harness::ADMIN_KEY.to_owned(), tenant: None, data_dir: None }
}

async fn stage() -> Stage {
    let server = Server::with(Settings::default().set("RATE_LIMIT", "0"));
    let files = server.data_dir().join("databases");
    std::fs::create_dir_all(&files).unwrap();
    let (tables, supabase) = (Database::file(&files), Database::postgres().await);
    let sql = |name: &str| std::fs::read_to_string(Path::new(EXAMPLE).join(name)).unwrap();
    tables.run(&sql("tables.sql")).await;
    supabase.run(&sql("supabase.sql")).await;
    let api = server.api();
    api.put("/api/v1/secrets/SUPABASE_URL", json!({"value": supabase.url()})).await;
    let applied = cli(&server).run(&["apply", "-f", EXAMPLE]).await.ok();
    assert!(applied.contains("syncs/agent-jobs") && applied.contains("6 done"), "{applied}");
    // The example's file is beside the data; the test's is where the test can write it.
    api.resource("databases", "tables", tables.settings()).await;
    Stage { server, tables, supabase }
}

impl Stage {
    async fn becomes(&self, db: &Database, expression: &str, rest: &str, wanted: &str) {
        eventually(|| async {
            let found = db.text(expression, rest).await.unwrap_or_default();
            if found == wanted { Ok(()) } else { Err(format!("{expression} {rest}: {found:?}, wanted {wanted:?}")) }
        })
        .await;
    }

    async fn audit(&self, db: &Database, action: &str, id: &str) -> u64 {
        db.count(&format!("audit_log WHERE action = '{action}' AND resource_id = '{id}'")).await
    }

    async fn conflicts(&self) -> Vec<Value> {
        let list = self.server.api().get("/api/v1/syncs/agent-jobs/conflicts").await.expect(200);
        list["conflicts"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn the_four_procedures_of_the_agents_tables() {
    let stage = stage().await;
    let (tables, supabase) = (&stage.tables, &stage.supabase);

    // 1. From SQLite to PostgreSQL, JSON parsed, with an entry that follows.
    tables
        .run(
            "INSERT INTO agent_jobs (id, job_type, status, initiated_by, parameters, created_at) VALUES ('test-job-001', \
             'discovery', 'queued', 'discovery_coordinator', '{\"metro\": \"Austin\", \"radius\": 15}', '2025-12-22T10:00:00Z')",
        )
        .await;
    stage.becomes(supabase, "parameters->>'metro'", "FROM agent_jobs WHERE id = 'test-job-001'", "Austin").await;
    let created = "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')";
    stage.becomes(supabase, created, "FROM agent_jobs", "2025-12-22 10:00:00").await;
    let entry = "FROM audit_log WHERE resource_id = 'test-job-001'";
    stage
        .becomes(
            tables,
            "action || ' ' || actor || ' ' || severity",
            entry,
            "agent_job_synced discovery_coordinator debug",
        )
        .await;
    stage.becomes(supabase, "metadata->>'sync_direction'", entry, "tables_to_supabase").await;
    let told = supabase.text("metadata->>'source_timestamp'", entry).await.unwrap();
    assert!(told.parse::<jiff::Timestamp>().is_ok(), "{told}");

    // 2. From PostgreSQL to SQLite.
    supabase
        .run(
            "INSERT INTO agent_decisions (id, lead_id, decision_type, agent_name, decision, confidence, metadata) VALUES \
             ('test-decision-001', 'lead-abc-123', 'qualification', 'claude_qualifier', 'qualified', 0.87, '{\"a\": [1, 2]}')",
        )
        .await;
    stage.becomes(tables, "confidence || ' ' || metadata", "FROM agent_decisions", "0.87 {\"a\":[1,2]}").await;
    let entry = "FROM audit_log WHERE resource_id = 'test-decision-001'";
    stage.becomes(tables, "json_extract(metadata, '$.sync_direction')", entry, "supabase_to_tables").await;

    // 3. Both at once: the later one wins, and the other is there for a person to see.
    let insert = |status: &str, at: &str| {
        format!("INSERT INTO agent_jobs (id, status, updated_at) VALUES ('conflict-test', '{status}', '{at}')")
    };
    stage.server.api().patch("/api/v1/syncs/agent-jobs", json!({"enabled": false})).await.expect(200);
    tables.run(&insert("queued", "2025-12-22T10:00:00Z")).await;
    supabase.run(&insert("running", "2025-12-22T10:00:01Z")).await;
    stage.server.api().patch("/api/v1/syncs/agent-jobs", json!({"enabled": true})).await.expect(200);
    // Both are changed once more, so that each event finds the other side's row.
    supabase.run("UPDATE agent_jobs SET retry_count = 0 WHERE id = 'conflict-test'").await;
    let row = "FROM agent_jobs WHERE id = 'conflict-test'";
    stage.becomes(tables, "status", row, "running").await;
    stage.becomes(supabase, "status", row, "running").await;
    let conflicts = stage.conflicts().await;
    assert_eq!((conflicts.len(), &conflicts[0]["lost"]["status"]), (1, &json!("queued")), "{conflicts:#?}");
    let listed = cli(&stage.server).run(&["sync", "conflicts", "agent-jobs"]).await.ok();
    assert!(listed.contains("conflict-test"), "{listed}");
    // A change that is older than what it replaces is not carried over, and told.
    tables
        .run("UPDATE agent_jobs SET status = 'late', updated_at = '2025-12-22T09:00:00Z' WHERE id = 'conflict-test'")
        .await;
    eventually(|| async {
        let told = stage.audit(supabase, "sync_skipped_stale_data", "conflict-test").await;
        if told == 1 { Ok(()) } else { Err(format!("{told} entries")) }
    })
    .await;
    stage.becomes(tables, "status", row, "running").await;

    // 4. What a sync wrote goes nowhere.
    eventually(|| async {
        let inbox = stage.server.api().get("/api/v1/inbox?table=agent_jobs&limit=100").await.expect(200);
        let events = inbox["events"].as_array().unwrap().clone();
        let of = |status: &str| events.iter().filter(|event| event["status"] == status).count();
        // Written by hand: one, one while capture was off or on, two updates; by the sync: one job, two rows put right.
        if of("pending") == 0 && of("unmatched") >= 3 { Ok(()) } else { Err(format!("{events:#?}")) }
    })
    .await;
    let writes = stage.audit(tables, "agent_job_synced", "test-job-001").await;
    assert_eq!(writes, 1, "one change, one write");

    // What is no JSON becomes {}, and a bad time is a dead letter that says so.
    tables.run("INSERT INTO rate_limits (id, service_name, metadata) VALUES ('r1', 'maps', '{broken')").await;
    stage.becomes(supabase, "metadata", "FROM rate_limits WHERE id = 'r1'", "{}").await;
    tables.run("INSERT INTO rate_limits (id, reset_at) VALUES ('r2', 'tomorrow')").await;
    eventually(|| async {
        let letters = stage.server.api().get("/api/v1/dead-letters").await.expect(200);
        let error = letters["dead_letters"][0]["error"].as_str().unwrap_or_default().to_owned();
        if error.contains("`reset_at`") { Ok(()) } else { Err(format!("{letters:#}")) }
    })
    .await;
    // The audit's own table is append-only, and its lists are arrays there.
    tables.run("INSERT INTO audit_log (id, actor, compliance_tags) VALUES ('0198c0de-0000-7000-8000-000000000001', 'me', 'gdpr,soc2')").await;
    let mine = "FROM audit_log WHERE actor = 'me'";
    stage.becomes(supabase, "compliance_tags[2] || severity || retention_days", mine, "soc2info2555").await;
    let verified = cli(&stage.server).run(&["--json", "sync", "verify", "audit-log"]).await.json();
    assert_eq!(verified["same"], verified["compared"], "{verified:#}");
}

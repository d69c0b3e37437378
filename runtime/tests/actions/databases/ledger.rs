//! Each delivery takes effect once.

use serde_json::json;

use super::Place;
use crate::harness::sql_server::{Engine, PASSWORD};
use crate::harness::{dead, done, run};

async fn once(engine: Engine) {
    let place = Place::on(engine).await;
    place.db.run("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT); INSERT INTO t VALUES (1, 0)").await;
    let config = json!({"database": "db", "table": "t", "values": {"n": {"$INC": 1}}, "where": {"id": 1}});
    let cx = place.bench.context();
    let first = done(run(&cx, "database.update", config.clone()).await);
    for _ in 0..3 {
        assert_eq!(done(run(&cx, "database.update", config.clone()).await), first, "the first result");
    }
    assert_eq!(place.db.text("n", "FROM t").await.unwrap(), "1");
    assert_eq!(place.db.count("triggerd_deliveries").await, 1);
    let id = cx.delivery_id.to_string();
    assert_eq!(place.db.text("delivery_id", "FROM triggerd_deliveries").await.unwrap(), id);

    // A failure leaves no entry: the next try begins anew.
    let cx = place.bench.context();
    let taken = json!({"database": "db", "table": "t", "values": {"id": 1}});
    assert_eq!(dead(run(&cx, "database.insert", taken.clone()).await).code, "DB_CONSTRAINT");
    assert_eq!(place.db.count("triggerd_deliveries").await, 1);
    place.db.run("DELETE FROM t").await;
    assert_eq!(done(run(&cx, "database.insert", taken).await)["rowsAffected"], 1);

    // Tries at the same moment meet at the ledger.
    let cx = place.bench.context();
    let config = json!({"database": "db", "table": "t", "values": {"id": 2}});
    let tries: Vec<_> = (0..6)
        .map(|_| {
            let (cx, config) = (cx.clone(), config.clone());
            tokio::spawn(async move { run(&cx, "database.insert", config).await })
        })
        .collect();
    for tried in tries {
        match tried.await.unwrap() {
            triggerd_core::outcome::Outcome::Retry { .. } => {}
            other => assert_eq!(done(other)["rowsAffected"], 1),
        }
    }
    assert_eq!(place.db.count("t WHERE id = 2").await, 1);

    // Without a ledger every try is one.
    let mut settings = place.db.settings();
    settings["ledger"] = json!(false);
    place.bench.put("databases", "db", settings).await;
    let config = json!({"database": "db", "table": "t", "values": {"n": {"$INC": 1}}, "where": {"id": 2}});
    let cx = place.bench.context();
    for _ in 0..2 {
        done(run(&cx, "database.update", config.clone()).await);
    }
    assert_eq!(place.db.text("n", "FROM t WHERE id = 2").await.unwrap(), "2");
    old_entries_go(&place, engine).await;
}

async fn old_entries_go(place: &Place, engine: Engine) {
    let before = match engine {
        Engine::Postgres => "now() - interval '31 days'",
        Engine::MariaDb => "NOW() - INTERVAL 31 DAY",
        Engine::Sqlite => "unixepoch() - 31 * 86400",
    };
    let rows = (0..700).map(|i| format!("('old-{i}', {before}, '{{}}')")).collect::<Vec<_>>().join(", ");
    place.db.run(&format!("INSERT INTO triggerd_deliveries (delivery_id, created_at, result) VALUES {rows}")).await;
    // Changed settings are new to it: it cleans at the first write, and as long as there are many.
    let mut settings = place.db.settings();
    settings["maxConnections"] = json!(3);
    place.bench.put("databases", "db", settings).await;
    for (id, left) in [(10, 200), (11, 0)] {
        done(place.insert("t", json!({ "id": id })).await);
        assert_eq!(place.db.count("triggerd_deliveries WHERE delivery_id LIKE 'old-%'").await, left);
    }
}

#[tokio::test]
async fn a_delivery_takes_effect_once_on_postgresql() {
    once(Engine::Postgres).await;
}

#[tokio::test]
async fn a_delivery_takes_effect_once_on_mariadb() {
    once(Engine::MariaDb).await;
}

#[tokio::test]
async fn a_delivery_takes_effect_once_on_sqlite() {
    once(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_ledger_that_may_not_be_made_is_told_with_what_to_run() {
    let place = Place::on(Engine::Postgres).await;
    place
        .db
        .run(&format!(
            "CREATE TABLE t (id int); CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'; GRANT INSERT ON t TO app; \
             REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        ))
        .await;
    place.bench.put("databases", "db", json!({"url": place.db.url_of("app", PASSWORD)})).await;
    let failure = dead(place.insert("t", json!({"id": 1})).await);
    assert_eq!(failure.code, "DB_DENIED");
    assert!(failure.message.contains("CREATE TABLE IF NOT EXISTS triggerd_deliveries"), "{}", failure.message);
    let check = place.bench.services.resources.check(&place.bench.tenant(), "databases", "db", "").await.unwrap();
    assert!(!check.ok && check.detail.contains("CREATE TABLE"), "{check:?}");
    // Made by somebody else, it needs no more than these rights; a role that may not read is told no rows.
    place
        .db
        .run(
            "CREATE TABLE triggerd_deliveries (delivery_id text PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), \
             result text); GRANT SELECT, INSERT, UPDATE, DELETE ON triggerd_deliveries TO app",
        )
        .await;
    assert_eq!(done(place.insert("t", json!({"id": 1})).await), json!({"rowsAffected": 1}));
    assert_eq!(dead(place.delete("t", json!({"id": 1})).await).code, "DB_DENIED");
    let check = place.bench.services.resources.check(&place.bench.tenant(), "databases", "db", "").await.unwrap();
    assert!(check.ok && check.detail.starts_with("PostgreSQL 1"), "{check:?}");
}

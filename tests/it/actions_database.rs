//! Databases: rows written by triggers, each delivery once, also where the server is killed after the commit.

use serde_json::{Value, json};

use crate::harness::sql_server::{Database, PASSWORD};
use crate::harness::{Server, Settings, eventually, fast, guest, home, on};

fn take(database: &str) -> Value {
    json!([{"name": "take", "type": "database.update", "retry": fast(20), "config": {
        "database": database, "table": "stock",
        "values": {"amount": {"$DEC": "{{record.quantity}}"}}, "where": {"sku": "{{record.sku}}"},
    }}])
}

async fn stock() -> Database {
    let db = Database::postgres().await;
    db.run("CREATE TABLE stock (sku text PRIMARY KEY, amount bigint); INSERT INTO stock VALUES ('a', 10)").await;
    db
}

#[tokio::test]
async fn a_trigger_changes_a_row_and_a_replay_has_the_first_result() {
    let (home, db) = (home().await, stock().await);
    home.put("/api/v1/secrets/DB_PASSWORD", json!({"value": PASSWORD})).await.expect(201);
    home.resource("databases", "orders-db", json!({"url": db.url_of("owner", "{{secrets.DB_PASSWORD}}")})).await;
    let shown = home.get("/api/v1/databases/orders-db").await.expect(200);
    assert!(!shown.to_string().contains(PASSWORD), "{shown:#}");
    let check = home.post("/api/v1/databases/orders-db/check", json!({})).await.expect(200);
    assert_eq!(check["ok"], true, "{check:#}");
    home.trigger(on("take", "order.created", take("orders-db"))).await;
    let id = home.event("order.created", json!({"sku": "a", "quantity": 2})).await;
    let event = home.ended(&id).await;
    let output = json!({"rowsAffected": 1, "returning": [{"sku": "a", "amount": 8}]});
    assert_eq!(event["runs"][0]["actions"][0]["output"], output, "{event:#}");
    home.post(&format!("/api/v1/events/{id}/replay"), json!({})).await;
    eventually(|| async {
        let event = home.detail(&id).await;
        let attempts = event["runs"].to_string().matches("\"duration_ms\"").count();
        if attempts >= 2 && event["status"] == "delivered" { Ok(()) } else { Err(format!("{event:#}")) }
    })
    .await;
    assert_eq!(
        db.text("amount", "FROM stock").await.unwrap(),
        "8",
        "a replay keeps the delivery id: it took effect once"
    );
    let wrong = json!([{"type": "database.delete", "config": {"database": "d", "table": "t", "where": {}}},
        {"type": "database.insert", "config": {"database": "d", "table": "t", "values": {"n": {"$ICN": 1}}}}]);
    let problem = home.post("/api/v1/triggers", on("bad", "x", wrong)).await.problem(422);
    let places: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().filter_map(|e| e["pointer"].as_str()).collect();
    assert_eq!(places, ["/actions/0/config/where", "/actions/1/config/values/n"], "{problem:#}");
}

/// Release builds cannot be made to hang.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_written_once_where_the_server_is_killed_between_the_commit_and_its_record() {
    let db = stock().await;
    let mut server = Server::with(Settings::default().set("TEST_FAULT", "hang-after-database-commit"));
    server.api().resource("databases", "orders-db", json!({"url": db.url()})).await;
    server.api().trigger(on("take", "order.created", take("orders-db"))).await;
    let id = server.api().event("order.created", json!({"sku": "a", "quantity": 3})).await;
    eventually(|| async {
        let amount = db.text("amount", "FROM stock").await.unwrap();
        if amount == "7" { Ok(()) } else { Err(amount) }
    })
    .await;
    server.kill();
    server.set("TEST_FAULT", "none");
    server.up();
    let event = server.api().ended(&id).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let action = &event["runs"][0]["actions"][0];
    assert_eq!(action["attempts"][0]["error_code"], "NODE_LOST", "{event:#}");
    assert_eq!(action["output"]["returning"][0]["amount"], 7, "the first result: {event:#}");
    assert_eq!(db.text("amount", "FROM stock").await.unwrap(), "7");
    assert_eq!(db.count("triggerd_deliveries").await, 1);
}

#[tokio::test]
async fn a_guest_reads_and_writes_the_databases_that_it_is_granted() {
    let (home, db) = (home().await, stock().await);
    home.resource("databases", "orders-db", json!({"url": db.url()})).await;
    home.component("stock-keeper", guest("stock-keeper")).await;
    let action = |access: &str| {
        let capabilities = json!({"databases": {"orders-db": access}});
        json!([{"name": "take", "type": "custom", "config": {"component": "stock-keeper", "capabilities": capabilities}}])
    };
    home.trigger(on("take", "take", action("write"))).await;
    home.trigger(on("read", "read", action("read"))).await;
    let order = json!({"sku": "a", "quantity": 4});
    let taken = home.event_ended("take", order.clone()).await;
    assert_eq!(taken["runs"][0]["actions"][0]["output"], json!({"before": 10, "changed": 1}), "{taken:#}");
    let refused = home.event_ended("read", order).await;
    let attempt = &refused["runs"][0]["actions"][0]["attempts"][0];
    assert_eq!(attempt["error_code"], "WASM_FORBIDDEN", "{refused:#}");
    assert!(attempt["error"].as_str().unwrap().contains(r#""databases": {"orders-db": "write"}"#), "{refused:#}");
    let short = home.event_ended("take", json!({"sku": "a' OR '1'='1", "quantity": 1})).await;
    assert_eq!(short["runs"][0]["actions"][0]["attempts"][0]["error_code"], "OUT_OF_STOCK", "{short:#}");
    assert_eq!(db.text("amount", "FROM stock").await.unwrap(), "6");
}

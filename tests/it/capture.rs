//! Capture: rows that any program changes fire triggers, in order, each once, and nothing else does.

use serde_json::{Value, json};

use crate::harness::sql_server::{Database, Engine};
use crate::harness::{Home, Receiver, database, eventually, home};

const ENGINES: [Engine; 3] = [Engine::Postgres, Engine::MariaDb, Engine::Sqlite];

fn on_table(tag: &str, events: &[&str], more: Value, url: &str) -> Value {
    let body = json!({
        "event": "{{event}}", "table": "{{table}}", "record": "{{record}}", "previous": "{{previousRecord}}",
        "user": "{{user}}", "metadata": "{{metadata}}", "type": "{{type}}",
    });
    let mut definition = json!({
        "tag": tag, "database": "shop", "tables": ["orders"], "events": events, "ordering": {"key": "{{table}}"},
        "actions": [{"type": "http.post", "config": {"url": url, "body": body}}],
    });
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    definition
}

async fn states(home: &Home) -> Value {
    home.get("/api/v1/databases/shop/capture").await.expect(200)["captures"].clone()
}

#[tokio::test]
async fn every_change_of_any_program_fires_once_in_order_on_every_engine() {
    let home = home().await;
    for engine in ENGINES {
        let db = database(&home, engine).await;
        let receiver = Receiver::start().await;
        db.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, status VARCHAR(20), total DECIMAL(10,2))").await;
        home.resource("databases", "shop", db.settings()).await;
        home.trigger(on_table("all", &["afterWrite"], json!({}), &receiver.url("/all"))).await;
        let captures = states(&home).await;
        assert_eq!(captures[0]["tables"][0]["state"], "captured", "{:?}: {captures:#}", db.engine);
        db.run("INSERT INTO orders VALUES (1, 'new', 10.50), (2, 'new', 5)").await;
        db.run("UPDATE orders SET status = 'paid' WHERE id = 1").await;
        db.run("BEGIN; INSERT INTO orders VALUES (3, 'gone', 1); ROLLBACK").await;
        db.run("DELETE FROM orders WHERE id = 2").await;
        let seen = receiver.wait_for("/all", 4).await;
        let told: Vec<Value> = seen.iter().map(|seen| seen.json()).collect();
        let events: Vec<&str> = told.iter().filter_map(|body| body["event"].as_str()).collect();
        assert_eq!(events, ["afterInsert", "afterInsert", "afterUpdate", "afterDelete"], "{:?}", db.engine);
        assert_eq!(told[0]["record"]["status"], "new");
        assert_eq!(told[0]["type"], "orders.created");
        assert_eq!((&told[2]["previous"]["status"], &told[2]["record"]["status"]), (&json!("new"), &json!("paid")));
        assert_eq!((&told[3]["record"], &told[3]["previous"]["id"]), (&Value::Null, &json!(2)));
        assert_eq!(db.count("triggerd_outbox").await, 0, "what was taken is removed");
        home.delete("/api/v1/triggers/all").await.expect(204);
        eventually(|| async {
            let captures = states(&home).await;
            if captures == json!([]) { Ok(()) } else { Err(format!("{captures:#}")) }
        })
        .await;
        db.run("INSERT INTO orders VALUES (9, 'unseen', 1)").await;
        assert_eq!(db.count("triggerd_outbox").await, 0, "{:?}: nothing is written any more", db.engine);
        home.delete("/api/v1/databases/shop").await.expect(204);
    }
}

#[tokio::test]
async fn only_rows_and_columns_that_a_trigger_can_want_are_written() {
    for engine in ENGINES {
        // A tenant of its own, whose events are counted alone.
        let home = home().await;
        let db = database(&home, engine).await;
        db.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, status VARCHAR(20), total DECIMAL(10,2), secret TEXT)")
            .await;
        home.resource("databases", "shop", db.settings()).await;
        let receiver = Receiver::start().await;
        let more = json!({
            "condition": {"and": [
                {"field": "record.status", "operator": "EQUALS", "value": "paid"},
                {"field": "record.total", "operator": "GREATER_THAN", "value": 100},
            ]},
            "ordering": {"key": "x"},
            "actions": [{"type": "http.post", "config": {"url": receiver.url("/paid"), "body": {"total": "{{record.total}}"}}}],
        });
        home.trigger(on_table("paid", &["afterInsert"], more, "")).await;
        db.run("INSERT INTO orders VALUES (1, 'new', 500, 'a'), (2, 'paid', 50, 'b'), (3, 'paid', 500, 'c')").await;
        let seen = receiver.wait_for("/paid", 1).await;
        assert_eq!(seen[0].json()["total"].as_f64(), Some(500.0), "{:?}", db.engine);
        let inbox = home.get("/api/v1/inbox?table=orders&source=databases/shop").await.expect(200);
        let events = inbox["events"].as_array().unwrap();
        assert_eq!(events.len(), 1, "{:?}: what no condition takes is not told: {inbox:#}", db.engine);
        let record = &events[0]["payload"]["record"];
        let columns: Vec<&String> = record.as_object().unwrap().keys().collect();
        assert_eq!(columns, ["id", "status", "total"], "{inbox:#}");
        home.delete("/api/v1/triggers/paid").await.expect(204);
        home.delete("/api/v1/databases/shop").await.expect(204);
    }
}

#[tokio::test]
async fn what_the_session_says_of_itself_comes_along_and_suppressed_changes_do_not() {
    let home = home().await;
    let db = Database::postgres().await;
    let receiver = Receiver::start().await;
    db.run("CREATE TABLE orders (id bigint PRIMARY KEY, status text)").await;
    home.resource("databases", "shop", db.settings()).await;
    home.trigger(on_table("all", &["afterWrite", "orders.truncated"], json!({}), &receiver.url("/all"))).await;
    db.run(
        "BEGIN; SET LOCAL triggerd.\"user\" = '{\"id\": \"u-1\"}'; SET LOCAL triggerd.context = '{\"request\": \"r-1\"}'; \
         INSERT INTO orders VALUES (1, 'a'); COMMIT",
    )
    .await;
    db.run("BEGIN; SET LOCAL triggerd.suppress = 'on'; INSERT INTO orders VALUES (2, 'seed'); COMMIT").await;
    db.run("INSERT INTO triggerd_outbox (type, payload) VALUES ('order.shipped', '{\"id\": 7}')").await;
    db.run("TRUNCATE orders").await;
    let seen = receiver.wait_for("/all", 2).await;
    let (first, second) = (seen[0].json(), seen[1].json());
    assert_eq!(first["user"], json!({"id": "u-1"}));
    assert_eq!(first["metadata"]["request"], "r-1", "{first:#}");
    assert!(first["metadata"]["transaction"].is_string(), "{first:#}");
    assert_eq!((&second["event"], &second["type"]), (&json!("afterTruncate"), &json!("orders.truncated")));
    let inbox = home.get("/api/v1/inbox?event_type=order.shipped").await.expect(200);
    assert_eq!(inbox["events"][0]["payload"], json!({"id": 7}), "{inbox:#}");
    assert_eq!(inbox["events"][0]["status"], "unmatched");
}

#[tokio::test]
async fn what_cannot_be_captured_is_told_with_the_remedy_and_the_others_are() {
    let home = home().await;
    let db = Database::postgres().await;
    db.run(
        "CREATE TABLE orders (id bigint PRIMARY KEY); CREATE TABLE stock (id bigint); CREATE ROLE app LOGIN PASSWORD 'app'; \
         GRANT CREATE, USAGE ON SCHEMA public TO app; ALTER TABLE stock OWNER TO app",
    )
    .await;
    home.resource("databases", "shop", json!({"url": db.url_of("app", "app")})).await;
    let definition = json!({
        "database": "shop", "tables": ["orders", "stock", "nowhere"], "events": ["afterInsert"],
        "actions": [{"type": "log.info", "config": {"message": "x"}}],
    });
    let answer = home.put("/api/v1/triggers/t", definition).await;
    let told = answer.header("triggerd-capture").to_owned();
    answer.expect(201);
    assert!(told.contains("orders") && told.contains("TRIGGER") && told.contains("nowhere"), "{told}");
    let captures = states(&home).await;
    let state = |table: &str| {
        let tables = captures[0]["tables"].as_array().unwrap();
        tables.iter().find(|one| one["table"] == table).unwrap()["state"].clone()
    };
    assert_eq!(
        (state("orders"), state("stock"), state("nowhere")),
        (json!("failing"), json!("captured"), json!("failing"))
    );
    let check = home.post("/api/v1/databases/shop/check", json!({})).await.expect(200);
    assert_eq!(check["ok"], false, "{check:#}");
    // What is mended is taken up by the next check.
    db.run("GRANT TRIGGER ON orders TO app; CREATE TABLE nowhere (id bigint); ALTER TABLE nowhere OWNER TO app").await;
    let check = home.post("/api/v1/databases/shop/check", json!({})).await.expect(200);
    assert_eq!(check["ok"], true, "{check:#}");
    // What somebody took away is put back.
    db.run("DROP TRIGGER triggerd_outbox_insert ON stock; ALTER TABLE nowhere DISABLE TRIGGER triggerd_outbox_insert")
        .await;
    assert_eq!(home.post("/api/v1/databases/shop/check", json!({})).await.expect(200)["ok"], true);
    db.run("INSERT INTO stock VALUES (1); INSERT INTO nowhere VALUES (1)").await;
    eventually(|| async {
        let inbox = home.get("/api/v1/inbox?source=databases/shop").await.expect(200);
        if inbox["total"] == 2 { Ok(()) } else { Err(format!("{inbox:#}")) }
    })
    .await;
    let problem = home.delete("/api/v1/databases/shop").await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("trigger t"), "{problem:#}");
}

#[tokio::test]
async fn a_table_may_change_under_its_capture() {
    let home = home().await;
    let db = Database::postgres().await;
    let receiver = Receiver::start().await;
    db.run("CREATE TABLE orders (id bigint PRIMARY KEY, status text, note text)").await;
    home.resource("databases", "shop", db.settings()).await;
    let actions = json!({"actions": [{"type": "http.post", "config": {"url": receiver.url("/all"),
        "body": {"status": "{{record.status}}", "note": "{{record.note}}", "state": "{{record.state}}"}}}]});
    home.trigger(on_table("all", &["afterInsert"], actions, "")).await;
    db.run("ALTER TABLE orders RENAME COLUMN status TO state; ALTER TABLE orders DROP COLUMN note").await;
    db.run("INSERT INTO orders VALUES (1, 'still')").await;
    db.run("ALTER TABLE orders ALTER COLUMN state TYPE varchar(50), ADD COLUMN extra int; INSERT INTO orders VALUES (2, 'on', 5)").await;
    let seen = receiver.wait_for("/all", 2).await;
    assert_eq!(seen[0].json(), json!({"status": null, "note": null, "state": "still"}));
    assert_eq!(seen[1].json()["state"], "on");
}

#[tokio::test]
async fn changes_are_taken_from_the_log_where_the_resource_says_so_and_nothing_is_left_behind() {
    let home = home().await;
    let db = Database::postgres_with_log(&[]).await;
    let receiver = Receiver::start().await;
    db.run("CREATE TABLE orders (id bigint PRIMARY KEY, status text)").await;
    home.resource("databases", "shop", db.settings()).await;
    home.trigger(on_table("all", &["afterWrite"], json!({}), &receiver.url("/all"))).await;
    db.run("INSERT INTO orders VALUES (1, 'by outbox')").await;
    receiver.wait_for("/all", 1).await;
    // Another way, while the trigger stays.
    let mut settings = db.settings();
    settings["capture"] = json!({"from": "log"});
    home.resource("databases", "shop", settings).await;
    let triggers = "pg_trigger WHERE tgname LIKE 'triggerd%'";
    assert_eq!(db.count(triggers).await, 0, "writers are not held up any more");
    db.run(
        "BEGIN; SELECT pg_logical_emit_message(true, 'triggerd', '{\"user\": {\"id\": \"u-1\"}}'); \
         INSERT INTO orders VALUES (2, 'by log'); COMMIT; BEGIN; INSERT INTO orders VALUES (3, 'never'); ROLLBACK; \
         UPDATE orders SET status = 'changed' WHERE id = 2; DELETE FROM orders WHERE id = 1",
    )
    .await;
    let seen = receiver.wait_for("/all", 4).await;
    let told: Vec<Value> = seen[1..].iter().map(|seen| seen.json()).collect();
    let events: Vec<&str> = told.iter().filter_map(|body| body["event"].as_str()).collect();
    assert_eq!(events, ["afterInsert", "afterUpdate", "afterDelete"], "{told:#?}");
    assert_eq!((&told[0]["record"]["status"], &told[0]["user"]["id"]), (&json!("by log"), &json!("u-1")));
    assert_eq!(db.count("pg_replication_slots").await, 1);
    home.patch("/api/v1/databases/shop", json!({"capture": null})).await.expect(200);
    home.delete("/api/v1/triggers/all").await.expect(204);
    eventually(|| async {
        let left = (db.count("pg_replication_slots").await, db.count("pg_publication").await, db.count(triggers).await);
        if left == (0, 0, 0) { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_log_that_says_too_little_is_refused_with_the_remedy() {
    let home = home().await;
    let db = Database::postgres().await;
    db.run("CREATE TABLE orders (id bigint PRIMARY KEY)").await;
    let mut settings = db.settings();
    settings["capture"] = json!({"from": "log"});
    home.resource("databases", "shop", settings).await;
    let answer = home.put("/api/v1/triggers/t", on_table("t", &["afterInsert"], json!({}), "http://x/")).await;
    let told = answer.header("triggerd-capture").to_owned();
    assert!(told.contains("wal_level"), "{told}");
    let sqlite = home.put("/api/v1/databases/file", json!({"url": "sqlite:a.db", "capture": {"from": "log"}})).await;
    assert_eq!(sqlite.problem(422)["errors"][0]["pointer"], "/capture/from");
}

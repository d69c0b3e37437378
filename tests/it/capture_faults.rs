//! What stands in a capture's way is told with the remedy, harms no other table, and is taken up once it is mended.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::sql_server::{Client, Database, Engine};
use crate::harness::{Home, database, eventually, home};

fn definition(tables: &[&str]) -> Value {
    json!({
        "tag": "t", "database": "shop", "tables": tables, "events": ["afterWrite"],
        "actions": [{"type": "log.debug", "config": {"message": "{{record}}"}}],
    })
}

/// What the answer to the trigger says of its capture.
async fn told(home: &Home, tables: &[&str]) -> String {
    let answer = home.put("/api/v1/triggers/t", definition(tables)).await;
    let told = answer.header("triggerd-capture").to_owned();
    answer.expect(201);
    told
}

/// The payloads of the events of a table, oldest first, once there are so many.
async fn payloads(home: &Home, table: &str, count: usize) -> Vec<Value> {
    eventually(|| async {
        let inbox = home.get(&format!("/api/v1/inbox?source=databases/shop&table={table}")).await.expect(200);
        let mut found: Vec<Value> =
            inbox["events"].as_array().unwrap().iter().map(|event| event["payload"].clone()).collect();
        found.reverse();
        if found.len() == count { Ok(found) } else { Err(format!("{inbox:#}")) }
    })
    .await
}

#[tokio::test]
async fn a_standby_is_refused_with_the_remedy_and_taken_once_it_is_the_primary() {
    let home = home().await;
    let primary = Database::postgres().await;
    primary.run("CREATE TABLE orders (id int PRIMARY KEY)").await;
    let mut standby = primary.standby().await;
    home.resource("databases", "shop", standby.settings()).await;
    let told = told(&home, &["orders"]).await;
    assert!(told.contains("read-only") && told.contains("primary"), "{told}");
    standby.promote().await;
    eventually(|| async {
        let check = home.post("/api/v1/databases/shop/check", json!({})).await.expect(200);
        if check["ok"] == true { Ok(()) } else { Err(format!("{check:#}")) }
    })
    .await;
    standby.run("INSERT INTO orders VALUES (1)").await;
    payloads(&home, "orders", 1).await;
}

#[tokio::test]
async fn a_right_that_is_missing_on_mariadb_is_named_and_harms_no_other_table() {
    let home = home().await;
    let db = Database::mariadb().await;
    db.run(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY); CREATE TABLE stock (id INTEGER PRIMARY KEY); CREATE USER app@'%' IDENTIFIED BY 'app'; \
         GRANT SELECT ON shop.* TO app@'%'; GRANT CREATE ON shop.* TO app@'%'; GRANT TRIGGER ON shop.stock TO app@'%'",
    )
    .await;
    home.resource("databases", "shop", json!({"url": db.url_of("app", "app")})).await;
    let first = told(&home, &["orders", "stock"]).await;
    assert!(first.contains("denied"), "the outbox cannot be written: {first}");
    db.run("GRANT SELECT, INSERT, DELETE ON shop.triggerd_outbox TO app@'%'; GRANT SELECT, INSERT, DELETE ON shop.triggerd_outbox_state TO app@'%'").await;
    home.post("/api/v1/databases/shop/check", json!({})).await.expect(200);
    let captures = eventually(|| async {
        let shown = home.get("/api/v1/databases/shop/capture").await.expect(200)["captures"].clone();
        if shown[0]["running"] == true { Ok(shown) } else { Err(format!("{shown:#}")) }
    })
    .await;
    let tables = captures[0]["tables"].as_array().unwrap();
    let of = |name: &str| tables.iter().find(|table| table["table"] == name).unwrap();
    assert!(of("orders")["problem"].as_str().unwrap().contains("TRIGGER"), "{captures:#}");
    assert_eq!(of("stock")["state"], "captured", "{captures:#}");
    db.run("INSERT INTO stock VALUES (1)").await;
    payloads(&home, "stock", 1).await;
}

#[tokio::test]
async fn a_file_that_somebody_holds_is_told_of_and_captured_once_it_is_free() {
    let home = home().await;
    let db = database(&home, Engine::Sqlite).await;
    db.run("CREATE TABLE orders (id INTEGER PRIMARY KEY)").await;
    // Somebody holds the file for good.
    let holds: Client = db.locked("INSERT INTO orders VALUES (7)").await;
    home.resource("databases", "shop", db.settings()).await;
    told(&home, &["orders"]).await;
    eventually(|| async {
        let shown = home.get("/api/v1/databases/shop/capture").await.expect(200)["captures"].clone();
        let problem = shown[0]["problem"].as_str().unwrap_or_default().to_owned();
        if problem.contains("locked") { Ok(()) } else { Err(format!("{shown:#}")) }
    })
    .await;
    drop(holds);
    eventually(|| async {
        let check = home.post("/api/v1/databases/shop/check", json!({})).await.expect(200);
        if check["ok"] == true { Ok(()) } else { Err(format!("{check:#}")) }
    })
    .await;
    db.run("INSERT INTO orders VALUES (1)").await;
    payloads(&home, "orders", 1).await;
}

#[tokio::test]
async fn columns_that_are_renamed_or_dropped_are_followed_on_every_engine() {
    for engine in [Engine::Postgres, Engine::MariaDb, Engine::Sqlite] {
        let home = home().await;
        let db = database(&home, engine).await;
        db.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, status VARCHAR(10), note VARCHAR(10))").await;
        home.resource("databases", "shop", db.settings()).await;
        assert_eq!(told(&home, &["orders"]).await, "");
        db.run("INSERT INTO orders VALUES (1, 'a', 'x')").await;
        payloads(&home, "orders", 1).await;
        db.run("ALTER TABLE orders RENAME COLUMN status TO state").await;
        if engine == Engine::Sqlite {
            // SQLite itself refuses to drop a column that a trigger names, and says which.
            let refused = db.connect().await.unwrap().run("ALTER TABLE orders DROP COLUMN note").await;
            assert!(refused.unwrap_err().to_string().contains("triggerd_outbox"));
        } else {
            db.run("ALTER TABLE orders DROP COLUMN note").await;
        }
        // MariaDB refuses what is written until the capture was brought up to date, which a check does at once.
        home.post("/api/v1/databases/shop/check", json!({})).await.expect(200);
        db.run("INSERT INTO orders (id, state) VALUES (2, 'b')").await;
        let found = payloads(&home, "orders", 2).await;
        assert_eq!(found[1]["record"]["state"], "b", "{engine:?}: {found:#?}");
        assert!(found[1]["record"].get("status").is_none(), "{engine:?}: {found:#?}");
        home.delete("/api/v1/triggers/t").await.expect(204);
        home.delete("/api/v1/databases/shop").await.expect(204);
    }
}

#[tokio::test]
async fn a_column_that_mariadb_misses_is_noticed_by_itself() {
    let home = home().await;
    let db = database(&home, Engine::MariaDb).await;
    db.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, note VARCHAR(10))").await;
    home.resource("databases", "shop", db.settings()).await;
    assert_eq!(told(&home, &["orders"]).await, "");
    db.run("ALTER TABLE orders DROP COLUMN note").await;
    let began = std::time::Instant::now();
    while db.connect().await.unwrap().run("INSERT INTO orders VALUES (1)").await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not noticed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    payloads(&home, "orders", 1).await;
}

#[tokio::test]
async fn a_table_without_a_primary_key_is_captured_by_outbox_on_every_engine() {
    for engine in [Engine::Postgres, Engine::MariaDb, Engine::Sqlite] {
        let home = home().await;
        let db = database(&home, engine).await;
        db.run("CREATE TABLE orders (n INTEGER, status VARCHAR(10))").await;
        home.resource("databases", "shop", db.settings()).await;
        assert_eq!(told(&home, &["orders"]).await, "");
        db.run("INSERT INTO orders VALUES (1, 'a'), (1, 'a')").await;
        db.run("UPDATE orders SET status = 'b'").await;
        db.run("DELETE FROM orders").await;
        let found = payloads(&home, "orders", 6).await;
        assert!(found[..2].iter().all(|each| each["record"] == json!({"n": 1, "status": "a"})), "{found:#?}");
        assert!(found[4..].iter().all(|each| each["previousRecord"]["status"] == "b"), "{found:#?}");
        home.delete("/api/v1/triggers/t").await.expect(204);
        home.delete("/api/v1/databases/shop").await.expect(204);
    }
}

#[tokio::test]
async fn a_server_that_cannot_replace_triggers_has_them_dropped_and_made_again() {
    let home = home().await;
    let db = Database::postgres().await;
    // As PostgreSQL 13 says of itself to whoever asks without naming `pg_catalog`.
    db.run(
        "CREATE FUNCTION public.current_setting(name text) RETURNS text LANGUAGE sql STABLE AS \
         $$ SELECT CASE name WHEN 'server_version_num' THEN '130000' ELSE pg_catalog.current_setting(name) END $$; \
         ALTER ROLE owner SET search_path = public, pg_catalog; CREATE TABLE orders (id int PRIMARY KEY, status text)",
    )
    .await;
    let mut settings = db.settings();
    settings["capture"] = json!({"always": true});
    home.resource("databases", "shop", settings).await;
    assert_eq!(told(&home, &["orders"]).await, "");
    db.run("INSERT INTO orders VALUES (1, 'a')").await;
    let number = || async {
        db.text("max(oid::bigint)", "FROM pg_trigger WHERE tgname = 'triggerd_outbox_insert'").await.unwrap()
    };
    let before = number().await;
    let mut narrower = definition(&["orders"]);
    narrower["condition"] = json!({"field": "record.status", "operator": "EQUALS", "value": "paid"});
    let answer = home.put("/api/v1/triggers/t", narrower).await;
    assert_eq!(answer.header("triggerd-capture"), "");
    assert_ne!(before, number().await, "it was made again, not replaced");
    assert_eq!(db.count("pg_trigger WHERE tgname LIKE 'triggerd%' AND tgenabled = 'A'").await, 3);
    db.run("INSERT INTO orders VALUES (2, 'b'), (3, 'paid')").await;
    let found = payloads(&home, "orders", 2).await;
    assert_eq!(found[1]["record"]["id"], 3, "{found:#?}");
}

//! Backfill: a trigger runs over the rows that exist, each once, and the live capture tells of those that come meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::sql_server::{Database, Engine};
use crate::harness::{Api, Server, Settings, database, eventually, home};

const BACKFILL: &str = "/api/v1/triggers/t/backfill";

fn definition(more: Value) -> Value {
    let mut definition = json!({
        "tag": "t", "database": "shop", "tables": ["orders"], "events": ["afterInsert"],
        "actions": [{"type": "log.debug", "config": {"message": "{{record}}"}}],
    });
    definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    definition
}

async fn ended(api: &Api) -> Value {
    eventually(|| async {
        let shown = api.get(BACKFILL).await.expect(200);
        let state = shown["backfills"][0]["state"].clone();
        if state == "done" || state == "failed" { Ok(shown["backfills"][0].clone()) } else { Err(format!("{shown:#}")) }
    })
    .await
}

/// Every event of the database, oldest first.
async fn events(api: &Api) -> Vec<Value> {
    let (mut events, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/v1/inbox?source=databases/shop&limit=1000{cursor}")).await.expect(200);
        events.extend(page["events"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    events.reverse();
    events
}

#[tokio::test]
async fn every_row_comes_once_in_the_order_of_its_key_on_every_engine() {
    for engine in [Engine::Postgres, Engine::MariaDb, Engine::Sqlite] {
        let home = home().await;
        let db = database(&home, engine).await;
        db.run("CREATE TABLE orders (shop VARCHAR(10), n INTEGER, status VARCHAR(10), PRIMARY KEY (shop, n))").await;
        for shop in ["a", "b"] {
            let rows: Vec<String> = (0..700).map(|n| format!("('{shop}', {n}, 'new')")).collect();
            db.run(&format!("INSERT INTO orders VALUES {}", rows.join(", "))).await;
        }
        db.run("UPDATE orders SET status = 'odd' WHERE n = 5").await;
        home.resource("databases", "shop", db.settings()).await;
        let only = json!({"field": "record.status", "operator": "EQUALS", "value": "new"});
        home.trigger(definition(json!({"condition": only}))).await;
        // Another one that is not run over anything.
        home.trigger(definition(json!({"tag": "other"}))).await;
        home.get(BACKFILL).await.problem(404);
        home.post(BACKFILL, json!({})).await.expect(202);
        let backfill = ended(&home).await;
        assert_eq!(
            (&backfill["state"], &backfill["tables"][0]["rows"]),
            (&json!("done"), &json!(1400)),
            "{backfill:#}"
        );
        let events = events(&home).await;
        let rows: Vec<(String, i64)> = events
            .iter()
            .map(|event| {
                let record = &event["payload"]["record"];
                (record["shop"].as_str().unwrap().to_owned(), record["n"].as_i64().unwrap())
            })
            .collect();
        let wanted: Vec<(String, i64)> =
            ["a", "b"].iter().flat_map(|shop| (0..700).map(|n| ((*shop).to_owned(), n))).collect();
        assert_eq!(rows, wanted, "{engine:?}");
        let unmatched = events.iter().filter(|event| event["status"] == "unmatched").count();
        assert_eq!(unmatched, 2, "{engine:?}: the condition holds for them, too");
        let detail = home.detail(events[0]["event_id"].as_str().unwrap()).await;
        assert_eq!(detail["runs"].as_array().unwrap().len(), 1, "for that trigger alone: {detail:#}");
        assert_eq!(detail["metadata"]["backfill"], backfill["id"]);
        home.delete(BACKFILL).await.expect(204);
    }
}

#[tokio::test]
async fn it_pauses_goes_on_keeps_its_rate_and_says_what_it_cannot_do() {
    let home = home().await;
    let db = Database::postgres().await;
    db.run("CREATE TABLE orders (id bigint PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 400)").await;
    db.run("CREATE TABLE keyless (id bigint)").await;
    home.resource("databases", "shop", db.settings()).await;
    home.trigger(definition(json!({}))).await;
    home.post(BACKFILL, json!({"rate": 5})).await.problem(422);
    home.post(BACKFILL, json!({"rate": 200})).await.expect(202);
    home.post(BACKFILL, json!({})).await.problem(409);
    eventually(|| async {
        let shown = home.get(BACKFILL).await.expect(200);
        let rows = shown["backfills"][0]["tables"][0]["rows"].as_u64().unwrap_or(0);
        if rows > 0 { Ok(()) } else { Err(format!("{shown:#}")) }
    })
    .await;
    let paused = home.post(&format!("{BACKFILL}/pause"), json!({})).await.expect(200);
    assert_eq!(paused["backfills"][0]["state"], "paused");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = home.get(BACKFILL).await.expect(200)["backfills"][0]["tables"][0]["rows"].clone();
    assert!(before.as_u64().unwrap() < 400, "a rate is kept: {before}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(home.get(BACKFILL).await.expect(200)["backfills"][0]["tables"][0]["rows"], before);
    home.post(&format!("{BACKFILL}/resume"), json!({})).await.expect(200);
    assert_eq!(ended(&home).await["tables"][0]["rows"], 400);
    let keyless = definition(json!({"tables": ["keyless"]}));
    home.put("/api/v1/triggers/t", keyless).await.expect(200);
    home.post(BACKFILL, json!({})).await.expect(202);
    let failed = ended(&home).await;
    assert!(failed["problem"].as_str().unwrap().contains("primary key"), "{failed:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_inserted_meanwhile_come_once_too_although_the_server_is_killed() {
    for from in ["outbox", "log"] {
        let db = Database::postgres_with_log(&[]).await;
        db.run("CREATE TABLE orders (id bigint PRIMARY KEY, n int); INSERT INTO orders SELECT i * 2, 0 FROM generate_series(1, 6000) i").await;
        let mut server = Server::with(Settings::default().set("RATE_LIMIT", "0"));
        let mut settings = db.settings();
        settings["capture"] = json!({"from": from});
        server.api().resource("databases", "shop", settings).await;
        server.api().trigger(definition(json!({}))).await;
        server.api().post(BACKFILL, json!({"rate": 4000})).await.expect(202);
        // Between the rows, before and behind where the backfill is; and rows that exist are changed.
        let url = db.url();
        let writer = tokio::spawn(async move {
            use sqlx::{AssertSqlSafe, Connection};
            let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
            for i in 0..600 {
                let id = (i * 7919) % 6000 * 2 + 1;
                let sql =
                    format!("INSERT INTO orders VALUES ({id}, 1); UPDATE orders SET n = n + 1 WHERE id = {}", id + 1);
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(600)).await;
            server.crash_and_restart();
        }
        writer.await.unwrap();
        let api = server.api();
        let backfill = ended(&api).await;
        assert_eq!(backfill["state"], "done", "{backfill:#}");
        eventually(|| async {
            let total = api.get("/api/v1/inbox?source=databases/shop&limit=1").await.expect(200)["total"].clone();
            if total == 6600 { Ok(()) } else { Err(format!("{from}: {total} of 6600: {backfill:#}")) }
        })
        .await;
        let mut seen: HashMap<i64, (u32, bool)> = HashMap::new();
        for event in events(&api).await {
            let id = event["payload"]["record"]["id"].as_i64().unwrap();
            let detail = &event["metadata"]["backfill"];
            let entry = seen.entry(id).or_default();
            entry.0 += 1;
            entry.1 = detail.is_string();
        }
        assert_eq!(seen.len(), 6600, "{from}");
        assert!(seen.values().all(|(count, _)| *count == 1), "{from}");
    }
}

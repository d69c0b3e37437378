//! Backfill: a trigger runs over the rows that exist, each once, and the live capture tells of those that come meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
        db.run("CREATE TABLE orders (n INTEGER, shop VARCHAR(10), status VARCHAR(10), PRIMARY KEY (shop, n))").await;
        for shop in ["a", "b"] {
            let rows: Vec<String> = (0..700).map(|n| format!("({n}, '{shop}', 'new')")).collect();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_state_of_a_row_never_comes_after_a_newer_one() {
    for (engine, from) in [
        (Engine::Postgres, "log"),
        (Engine::Postgres, "outbox"),
        (Engine::MariaDb, "outbox"),
        (Engine::Sqlite, "outbox"),
    ] {
        let home = home().await;
        let db = match from {
            "log" => Database::postgres_with_log(&[]).await,
            _ => database(&home, engine).await,
        };
        db.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)").await;
        let rows: Vec<String> = (0..2000).map(|id| format!("({id}, 0)")).collect();
        db.run(&format!("INSERT INTO orders VALUES {}", rows.join(", "))).await;
        let mut settings = db.settings();
        settings["capture"] = json!({"from": from});
        home.resource("databases", "shop", settings).await;
        home.trigger(definition(json!({"events": ["afterWrite"]}))).await;
        let db = Arc::new(db);
        let over = Arc::new(AtomicBool::new(false));
        let writers = if engine == Engine::Sqlite { 1 } else { 8 };
        let writers: Vec<_> = (0..writers).map(|n| tokio::spawn(count_up(db.clone(), n, over.clone()))).collect();
        home.post(BACKFILL, json!({"rate": 2000})).await.expect(202);
        let backfill = ended(&home).await;
        over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(backfill["tables"][0]["rows"], 2000, "{from}: {backfill:#}");
        let updates: usize = db.text("SUM(n)", "FROM orders").await.unwrap().parse().unwrap();
        let told = eventually(|| async {
            let events = events(&home).await;
            let found = events.len();
            if found == 2000 + updates { Ok(events) } else { Err(format!("{from}: {found} of {}", 2000 + updates)) }
        })
        .await;
        let mut last: HashMap<i64, i64> = HashMap::new();
        for event in &told {
            let record = &event["payload"]["record"];
            let (id, n) = (record["id"].as_i64().unwrap(), record["n"].as_i64().unwrap());
            let before = last.insert(id, n).unwrap_or(-1);
            // A backfilled row is as the change before it left it.
            let next = if event["type"] == "orders.created" { before } else { before + 1 };
            assert!(n == next || before == -1, "{engine:?}, {from}: row {id} was {before}, then {n}");
        }
        assert!(updates > 10, "{engine:?}, {from}: only {updates} updates in the time");
    }
}

/// Counts rows up, all over the table, with pauses before the commits.
async fn count_up(db: Arc<Database>, writer: u32, over: Arc<AtomicBool>) {
    let mut client = db.connect().await.unwrap();
    let mut n = writer;
    while !over.load(Ordering::Relaxed) {
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (id, pause) = ((n >> 8) % 2000, f64::from((n >> 4) % 4) / 1000.0);
        let update = format!("UPDATE orders SET n = n + 1 WHERE id = {id}");
        let sql = match db.engine {
            Engine::Postgres => format!("BEGIN; {update}; SELECT pg_sleep({pause}); COMMIT"),
            Engine::MariaDb => format!("BEGIN; {update}; DO SLEEP({pause}); COMMIT"),
            Engine::Sqlite => format!("BEGIN IMMEDIATE; {update}; COMMIT"),
        };
        client.run(&sql).await.unwrap();
        // What is new comes first: with more than can be told of, the backfill would wait.
        tokio::time::sleep(Duration::from_millis(if db.engine == Engine::Sqlite { 4 } else { 15 })).await;
    }
}

#[tokio::test]
async fn what_the_trigger_was_told_of_before_does_not_come_again_unless_that_is_wanted() {
    for from in ["outbox", "log"] {
        let home = home().await;
        let db = Database::postgres_with_log(&[]).await;
        db.run("CREATE TABLE orders (id bigint PRIMARY KEY, status text); INSERT INTO orders SELECT i, 'old' FROM generate_series(1, 20) i").await;
        let mut settings = db.settings();
        settings["capture"] = json!({"from": from});
        home.resource("databases", "shop", settings).await;
        let only = json!({"field": "record.status", "operator": "NOT_EQUALS", "value": "odd"});
        home.trigger(definition(json!({"condition": only}))).await;
        db.run(
            "INSERT INTO orders SELECT i, 'new' FROM generate_series(21, 30) i; INSERT INTO orders VALUES (31, 'odd')",
        )
        .await;
        eventually(|| async {
            let found = events(&home).await.len();
            // From the log all is told; by triggers only what a condition may take.
            if found >= 10 { Ok(()) } else { Err(format!("{from}: {found}")) }
        })
        .await;
        db.run("UPDATE orders SET status = 'late' WHERE id = 31").await;
        for (asked, rows) in [(json!({}), 21), (json!({}), 0), (json!({"again": true}), 31)] {
            home.post(BACKFILL, asked).await.expect(202);
            let backfill = ended(&home).await;
            let table = &backfill["tables"][0];
            assert_eq!((&table["rows"], &table["left_out"]), (&json!(rows), &json!(31 - rows)), "{from}: {backfill:#}");
        }
    }
}

#[tokio::test]
async fn keys_of_bytes_and_of_several_types_are_gone_by() {
    for engine in [Engine::Postgres, Engine::MariaDb, Engine::Sqlite] {
        let home = home().await;
        let db = database(&home, engine).await;
        let (bytes, literal) = match engine {
            Engine::Postgres => ("bytea", "decode('%', 'hex')"),
            Engine::MariaDb => ("BINARY(2)", "X'%'"),
            Engine::Sqlite => ("BLOB", "X'%'"),
        };
        db.run(&format!(
            "CREATE TABLE orders (k {bytes} NOT NULL, d DECIMAL(10,2) NOT NULL, t VARCHAR(10) NOT NULL, PRIMARY KEY (k, d, t))"
        ))
        .await;
        let row = |i: u32| {
            let key = literal.replace('%', &format!("{:04x}", i % 600 * 97));
            format!("({key}, {}.5, 'it''s {}')", i / 600, i % 3)
        };
        let rows: Vec<String> = (0..1200).map(row).collect();
        db.run(&format!("INSERT INTO orders VALUES {}", rows.join(", "))).await;
        home.resource("databases", "shop", db.settings()).await;
        home.trigger(definition(json!({}))).await;
        home.post(BACKFILL, json!({})).await.expect(202);
        let backfill = ended(&home).await;
        assert_eq!(backfill["tables"][0]["rows"], 1200, "{engine:?}: {backfill:#}");
        assert_eq!(events(&home).await.len(), 1200, "{engine:?}");
    }
}

#[tokio::test]
async fn a_null_in_a_key_ends_the_backfill_and_the_capture_goes_on() {
    let home = home().await;
    let db = database(&home, Engine::Sqlite).await;
    db.run("CREATE TABLE orders (k TEXT PRIMARY KEY, n INTEGER)").await;
    db.run("INSERT INTO orders VALUES ('a', 1), (NULL, 2), (NULL, 3)").await;
    home.resource("databases", "shop", db.settings()).await;
    home.trigger(definition(json!({}))).await;
    home.post(BACKFILL, json!({})).await.expect(202);
    let failed = ended(&home).await;
    assert_eq!(failed["state"], "failed", "{failed:#}");
    assert!(failed["problem"].as_str().unwrap().contains("NOT NULL"), "{failed:#}");
    db.run("INSERT INTO orders VALUES ('b', 4)").await;
    eventually(|| async {
        let told = events(&home).await;
        if told.iter().any(|event| event["payload"]["record"]["k"] == "b") { Ok(()) } else { Err(format!("{told:#?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_row_that_the_trigger_did_not_take_when_it_was_inserted_comes_once_it_fits() {
    for from in ["outbox", "log"] {
        let home = home().await;
        let db = Database::postgres_with_log(&[]).await;
        db.run("CREATE TABLE orders (id bigint PRIMARY KEY, status text); INSERT INTO orders SELECT i, 'new' FROM generate_series(1, 300) i").await;
        let mut settings = db.settings();
        settings["capture"] = json!({"from": from});
        home.resource("databases", "shop", settings).await;
        let only = json!({"field": "record.status", "operator": "EQUALS", "value": "new"});
        home.trigger(definition(json!({"condition": only}))).await;
        // Has every insert told of.
        home.trigger(definition(json!({"tag": "other"}))).await;
        home.post(BACKFILL, json!({"rate": 100})).await.expect(202);
        eventually(|| async {
            let shown = home.get(BACKFILL).await.expect(200);
            let rows = shown["backfills"][0]["tables"][0]["rows"].as_u64().unwrap_or(0);
            if rows > 0 { Ok(()) } else { Err(format!("{shown:#}")) }
        })
        .await;
        home.post(&format!("{BACKFILL}/pause"), json!({})).await.expect(200);
        db.run("INSERT INTO orders VALUES (301, 'odd'), (302, 'new')").await;
        eventually(|| async {
            let told = events(&home).await;
            let live = told.iter().filter(|event| event["payload"]["record"]["id"].as_i64() > Some(300)).count();
            if live == 2 { Ok(()) } else { Err(format!("{from}: {live}")) }
        })
        .await;
        db.run("UPDATE orders SET status = 'new' WHERE id = 301").await;
        home.post(&format!("{BACKFILL}/resume"), json!({})).await.expect(200);
        let backfill = ended(&home).await;
        let table = &backfill["tables"][0];
        assert_eq!((&table["rows"], &table["left_out"]), (&json!(301), &json!(1)), "{from}: {backfill:#}");
    }
}

#[tokio::test]
async fn a_locked_table_holds_up_its_backfill_alone() {
    for from in ["outbox", "log"] {
        let home = home().await;
        let db = Database::postgres_with_log(&[]).await;
        db.run("CREATE TABLE orders (id bigint PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 30)").await;
        db.run("CREATE TABLE others (id bigint PRIMARY KEY)").await;
        let mut settings = db.settings();
        settings["capture"] = json!({"from": from});
        settings["statementTimeout"] = json!(500);
        home.resource("databases", "shop", settings).await;
        home.trigger(definition(json!({}))).await;
        home.trigger(definition(json!({"tag": "other", "tables": ["others"]}))).await;
        let mut locks = db.connect().await.unwrap();
        locks.run("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await.unwrap();
        home.post(BACKFILL, json!({})).await.expect(202);
        eventually(|| async {
            let shown = home.get(BACKFILL).await.expect(200)["backfills"][0].clone();
            if shown["problem"].is_string() { Ok(()) } else { Err(format!("{from}: {shown:#}")) }
        })
        .await;
        for id in 0..5 {
            db.run(&format!("INSERT INTO others VALUES ({id})")).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        eventually(|| async {
            let told = events(&home).await.len();
            if told == 5 { Ok(()) } else { Err(format!("{from}: {told} of 5")) }
        })
        .await;
        let capture = home.get("/api/v1/databases/shop/capture").await.expect(200);
        assert!(!capture.to_string().contains("lock timeout"), "{from}: {capture:#}");
        let waits = home.get(BACKFILL).await.expect(200)["backfills"][0].clone();
        assert_eq!(waits["state"], "running", "{from}: {waits:#}");
        locks.run("ROLLBACK").await.unwrap();
        let backfill = ended(&home).await;
        assert_eq!(
            (&backfill["state"], &backfill["problem"], &backfill["tables"][0]["rows"]),
            (&json!("done"), &Value::Null, &json!(30)),
            "{from}: {backfill:#}"
        );
    }
}

#[tokio::test]
async fn an_enum_in_a_key_is_gone_by_row_by_row() {
    let home = home().await;
    let db = database(&home, Engine::MariaDb).await;
    db.run("CREATE TABLE orders (e ENUM('z', 'b', 'm') NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (e, n))").await;
    for e in ["z", "b", "m"] {
        let rows: Vec<String> = (0..300).map(|n| format!("('{e}', {n})")).collect();
        db.run(&format!("INSERT INTO orders VALUES {}", rows.join(", "))).await;
    }
    home.resource("databases", "shop", db.settings()).await;
    home.trigger(definition(json!({}))).await;
    home.post(BACKFILL, json!({})).await.expect(202);
    let backfill = ended(&home).await;
    assert_eq!((&backfill["state"], &backfill["tables"][0]["rows"]), (&json!("done"), &json!(900)), "{backfill:#}");
    assert_eq!(events(&home).await.len(), 900);
}

#[tokio::test]
async fn a_row_of_many_mebibytes_is_read_as_any_other() {
    let home = home().await;
    let db = database(&home, Engine::Sqlite).await;
    db.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)").await;
    db.run("INSERT INTO orders VALUES (1, 'x'), (2, hex(zeroblob(2500000))), (3, 'y')").await;
    home.resource("databases", "shop", db.settings()).await;
    home.trigger(definition(json!({}))).await;
    home.post(BACKFILL, json!({})).await.expect(202);
    let backfill = ended(&home).await;
    assert_eq!((&backfill["state"], &backfill["tables"][0]["rows"]), (&json!("done"), &json!(3)), "{backfill:#}");
}

#[tokio::test]
async fn what_is_paused_or_ended_while_a_page_is_read_stays_so() {
    let home = home().await;
    let db = Database::postgres().await;
    db.run("CREATE TABLE orders (id bigint PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 3000)").await;
    home.resource("databases", "shop", db.settings()).await;
    home.trigger(definition(json!({}))).await;
    for round in 0..20 {
        home.post(BACKFILL, json!({"again": true, "rate": 5000})).await.expect(202);
        tokio::time::sleep(Duration::from_millis(20 + 17 * (round % 5))).await;
        if round % 2 == 0 {
            let paused = home.post(&format!("{BACKFILL}/pause"), json!({})).await.expect(200);
            tokio::time::sleep(Duration::from_millis(150)).await;
            let later = home.get(BACKFILL).await.expect(200);
            assert_ne!(later["backfills"][0]["state"], "running", "{paused:#} {later:#}");
        }
        home.delete(BACKFILL).await.expect(204);
        tokio::time::sleep(Duration::from_millis(100)).await;
        home.get(BACKFILL).await.problem(404);
    }
}

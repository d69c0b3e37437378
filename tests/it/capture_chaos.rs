//! Capture under concurrent writers, kills of the server and restarts of the database: no change is lost or comes twice, none
//! comes of what was rolled back, and each row's changes come in their order.
//!
//! `TRIGGERD_CAPTURE_SECONDS` makes it longer than the few seconds of a test run, `TRIGGERD_CAPTURE_KILLS` and
//! `TRIGGERD_CAPTURE_RESTARTS` say how often either side is ended in that time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Connection;

use crate::harness::sql_server::{Client, Database, Engine};
use crate::harness::{Api, Server, Settings};

/// Rows that the writers fight over.
const ROWS: u32 = 50;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_by_outbox() {
    chaos(Database::postgres().await, "outbox", 64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_from_the_log() {
    chaos(Database::postgres_with_log(&[]).await, "log", 64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_mariadb() {
    chaos(Database::mariadb().await, "outbox", 64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    chaos(Database::file(dir.path()), "outbox", 4).await;
}

async fn chaos(mut db: Database, from: &str, writers: u32) {
    db.run("CREATE TABLE counters (id INTEGER PRIMARY KEY, version INTEGER NOT NULL, writer INTEGER)").await;
    for id in 0..ROWS {
        db.run(&format!("INSERT INTO counters VALUES ({id}, 0, 0)")).await;
    }
    let settings = Settings::default().set("RATE_LIMIT", "0").set("DATABASES_SQLITE_DIRS", "/tmp");
    let mut server = Server::with(settings);
    let mut resource = db.settings();
    resource["capture"] = json!({"from": from});
    server.api().resource("databases", "shop", resource).await;
    server
        .api()
        .trigger(json!({
            "tag": "t", "database": "shop", "tables": ["counters"], "events": ["afterUpdate"],
            "actions": [{"type": "log.debug", "config": {"message": "{{record.id}} {{record.version}}"}}],
        }))
        .await;
    let time = Duration::from_secs(setting("TRIGGERD_CAPTURE_SECONDS", 4));
    let (kills, restarts) = (setting("TRIGGERD_CAPTURE_KILLS", 3), setting("TRIGGERD_CAPTURE_RESTARTS", 1));
    let url = db.url();
    let tasks: Vec<_> = (0..writers).map(|writer| tokio::spawn(write(url.clone(), db.engine, writer, time))).collect();
    let began = Instant::now();
    for kill in 1..=kills {
        tokio::time::sleep((time * kill as u32 / (kills as u32 + 1)).saturating_sub(began.elapsed())).await;
        server.crash_and_restart();
        if kill <= restarts && db.engine != Engine::Sqlite {
            db.stop();
            db.start().await;
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let changes: u64 = db.text("SUM(version)", "FROM counters").await.unwrap().parse().unwrap();
    assert!(changes > 100, "only {changes} changes were committed");
    let api = server.api();
    // A long run leaves much to be taken.
    let (waited, patience) = (Instant::now(), Duration::from_secs(45 + changes / 1000));
    loop {
        let total = api.get("/api/v1/inbox?source=databases/shop&limit=1").await.expect(200)["total"].clone();
        if total.as_u64() >= Some(changes) {
            break;
        }
        assert!(waited.elapsed() < patience, "{from}: {total} of {changes} after {patience:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = told(&api).await;
    for id in 0..ROWS {
        let version = db.text("version", &format!("FROM counters WHERE id = {id}")).await.unwrap();
        let wanted: Vec<i64> = (1..=version.parse().unwrap()).collect();
        assert_eq!(told.get(&i64::from(id)).cloned().unwrap_or_default(), wanted, "{from}: row {id}");
    }
    println!("{:?}, {from}: {changes} changes, {kills} kills, {restarts} restarts", db.engine);
}

/// The versions of each row that were told of, in the order in which they were.
async fn told(api: &Api) -> HashMap<i64, Vec<i64>> {
    let (mut told, mut cursor): (HashMap<i64, Vec<i64>>, String) = Default::default();
    loop {
        let page = api.get(&format!("/api/v1/inbox?source=databases/shop&limit=1000{cursor}")).await.expect(200);
        for event in page["events"].as_array().unwrap() {
            let record = &event["payload"]["record"];
            let number = |name: &str| record[name].as_i64().unwrap();
            told.entry(number("id")).or_default().push(number("version"));
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    // Newest first.
    told.values_mut().for_each(|versions| versions.reverse());
    told
}

/// Counts rows up, with pauses before commits, roll-backs and savepoints, through restarts of the database.
async fn write(url: String, engine: Engine, writer: u32, time: Duration) {
    let began = Instant::now();
    let (mut n, mut open) = (writer, None);
    let connect = async || match engine {
        Engine::Postgres => sqlx::PgConnection::connect(&url).await.map(Client::Postgres),
        Engine::MariaDb => sqlx::MySqlConnection::connect(&url).await.map(Client::MariaDb),
        Engine::Sqlite => sqlx::SqliteConnection::connect(&url).await.map(Client::Sqlite),
    };
    while began.elapsed() < time {
        let Some(client) = &mut open else {
            open = connect().await.ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (row, pause) = ((n >> 8) % ROWS, f64::from((n >> 4) % 4) / 1000.0);
        let begin = if engine == Engine::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        let count = |row: u32| format!("UPDATE counters SET version = version + 1, writer = {writer} WHERE id = {row}");
        let pause = match engine {
            Engine::Postgres => format!("SELECT pg_sleep({pause}); "),
            Engine::MariaDb => format!("DO SLEEP({pause}); "),
            Engine::Sqlite => String::new(),
        };
        let sql = match n % 10 {
            0 => format!("{begin}; {}; {pause}ROLLBACK", count(row)),
            1 => {
                format!("{begin}; {}; SAVEPOINT a; {}; ROLLBACK TO SAVEPOINT a; {pause}COMMIT", count(row), count(row))
            }
            _ => format!("{begin}; {}; {pause}COMMIT", count(row)),
        };
        if client.run(&sql).await.is_err() {
            // A deadlock, or the database is gone: what is open goes with the connection.
            open = None;
        }
    }
}

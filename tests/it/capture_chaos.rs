//! Capture under concurrent writers, kills of the server and restarts of the database: no change is lost or comes twice, none
//! comes of what was rolled back, and each row's changes come in their order.
//!
//! `TRIGGERD_CAPTURE_SECONDS` makes it longer than the few seconds of a test run, `TRIGGERD_CAPTURE_KILLS` and
//! `TRIGGERD_CAPTURE_RESTARTS` say how often either side is ended in that time. With `TRIGGERD_CAPTURE_CHANGES` it ends once
//! so many changes were committed, in that time at the latest.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::Mutex;

use crate::harness::sql_server::{Client, Database, Engine};
use crate::harness::store::Kept;
use crate::harness::{Server, Settings};

/// Rows that the writers fight over.
const ROWS: u32 = 50;
/// The writers of each engine.
const WRITERS: u32 = 64;
/// SQLite's writers share these connections: one alone can write to a file, and those that wait for it look again and again
/// with growing pauses, so that with more of them most of the time goes by with waiting.
const SQLITE_CONNECTIONS: usize = 3;

/// How far the writers have come, and where they end.
struct Course {
    began: Instant,
    time: Duration,
    /// As many changes as are wanted; 0 for as many as come about in the time.
    wanted: u64,
    committed: AtomicU64,
}

impl Course {
    fn new() -> Self {
        let time = Duration::from_secs(setting("TRIGGERD_CAPTURE_SECONDS", 4));
        let wanted = setting("TRIGGERD_CAPTURE_CHANGES", 0);
        Self { began: Instant::now(), time, wanted, committed: AtomicU64::new(0) }
    }

    /// The part that lies behind: of the time or of the changes, whichever is more.
    fn part(&self) -> f64 {
        let of_time = self.began.elapsed().as_secs_f64() / self.time.as_secs_f64();
        match self.wanted {
            0 => of_time,
            wanted => of_time.max(self.committed.load(Ordering::Relaxed) as f64 / wanted as f64),
        }
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_by_outbox() {
    chaos(Database::postgres().await, "outbox").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_from_the_log() {
    chaos(Database::postgres_with_log(&[]).await, "log").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_mariadb() {
    chaos(Database::mariadb().await, "outbox").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    chaos(Database::file(dir.path()), "outbox").await;
}

async fn chaos(mut db: Database, from: &str) {
    db.run("CREATE TABLE counters (id INTEGER PRIMARY KEY, version INTEGER NOT NULL, writer INTEGER)").await;
    for id in 0..ROWS {
        db.run(&format!("INSERT INTO counters VALUES ({id}, 0, 0)")).await;
    }
    let settings = Settings::default().set("RATE_LIMIT", "0").set("DATABASES_SQLITE_DIRS", "/tmp");
    let mut server = Server::with(settings);
    let mut resource = db.settings();
    resource["capture"] = json!({"from": from});
    server.api().resource("databases", "shop", resource).await;
    let definition = json!({
        "database": "shop", "tables": ["counters"], "events": ["afterUpdate"],
        "actions": [{"type": "log.debug", "config": {"message": "{{record.id}} {{record.version}}"}}],
    });
    let answer = server.api().put("/api/v1/triggers/t", definition).await;
    assert_eq!((answer.status, answer.header("triggerd-capture")), (201, ""), "captured before anybody writes");
    if db.engine == Engine::Sqlite && setting("TRIGGERD_CAPTURE_CHANGES", 0) > 0 {
        db.run("PRAGMA journal_mode = WAL").await;
    }
    let kills = setting("TRIGGERD_CAPTURE_KILLS", 3);
    // A file has no server that could be restarted.
    let restarts = if db.engine == Engine::Sqlite { 0 } else { setting("TRIGGERD_CAPTURE_RESTARTS", 1) };
    let course = Arc::new(Course::new());
    let connections = if db.engine == Engine::Sqlite { SQLITE_CONNECTIONS } else { WRITERS as usize };
    let connections: Vec<Arc<Mutex<Option<Client>>>> = (0..connections).map(|_| Arc::default()).collect();
    let tasks: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let connection = connections[writer as usize % connections.len()].clone();
            tokio::spawn(write(db.url(), db.engine, writer, connection, course.clone()))
        })
        .collect();
    for kill in 1..=kills {
        while course.part() < kill as f64 / (kills + 1) as f64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.crash_and_restart();
        if kill <= restarts {
            db.stop();
            db.start().await;
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
    let written = course.began.elapsed();
    let changes: u64 = db.text("SUM(version)", "FROM counters").await.unwrap().parse().unwrap();
    assert!(changes > 100, "only {changes} changes were committed");
    let mut kept = Kept::of(&server).await;
    // A long run leaves much to be taken, too.
    let (waited, patience) = (Instant::now(), Duration::from_secs(45 + changes / 1000));
    loop {
        let total = kept.count("databases/shop").await;
        if total >= changes {
            break;
        }
        assert!(waited.elapsed() < patience, "{from}: {total} of {changes} after {patience:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut told: HashMap<i64, Vec<i64>> = HashMap::new();
    for (id, version) in kept.versions("databases/shop").await {
        told.entry(id).or_default().push(version);
    }
    for id in 0..ROWS {
        let version = db.text("version", &format!("FROM counters WHERE id = {id}")).await.unwrap();
        let wanted: Vec<i64> = (1..=version.parse().unwrap()).collect();
        assert_eq!(told.get(&i64::from(id)).cloned().unwrap_or_default(), wanted, "{from}: row {id}");
    }
    println!(
        "{:?}, {from}: {changes} changes in {written:.0?}, all told of after {:.0?}, {kills} kills, {restarts} restarts",
        db.engine,
        course.began.elapsed()
    );
}

/// Counts rows up, with pauses before commits, roll-backs and savepoints, through restarts of the database.
async fn write(url: String, engine: Engine, writer: u32, connection: Arc<Mutex<Option<Client>>>, course: Arc<Course>) {
    let mut n = writer;
    let connect = async || match engine {
        Engine::Postgres => sqlx::PgConnection::connect(&url).await.map(Client::Postgres),
        Engine::MariaDb => sqlx::MySqlConnection::connect(&url).await.map(Client::MariaDb),
        Engine::Sqlite => {
            let options: SqliteConnectOptions = url.parse()?;
            // The machine is not ended, only processes are: syncs would be most of the time.
            let connected = SqliteConnection::connect_with(&options.synchronous(SqliteSynchronous::Off)).await;
            connected.map(Client::Sqlite)
        }
    };
    while course.part() < 1.0 {
        let mut open = connection.lock().await;
        let Some(client) = open.as_mut() else {
            *open = connect().await.ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let row = (n >> 8) % ROWS;
        let begin = if engine == Engine::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
        let count = |row: u32| format!("UPDATE counters SET version = version + 1, writer = {writer} WHERE id = {row}");
        // In one order, so that the writers do not wait for one another in a ring.
        let other = (n >> 16) % ROWS;
        let both = || format!("{}; {}", count(row.min(other)), count(row.max(other)));
        let counted = if (2..=4).contains(&(n % 10)) { 2 } else { 1 };
        let (before, end) = match n % 10 {
            0 => (count(row), "ROLLBACK"),
            2..=4 => (both(), "COMMIT"),
            1 => (format!("{0}; SAVEPOINT a; {0}; ROLLBACK TO SAVEPOINT a", count(row)), "COMMIT"),
            _ => (count(row), "COMMIT"),
        };
        // What is open and not committed holds up who wants the same row; in SQLite, everybody.
        let pause = match engine {
            Engine::Sqlite if !(n >> 4).is_multiple_of(32) => 0,
            _ => (n >> 4) % 4,
        };
        let seconds = f64::from(pause) / 1000.0;
        let done = match engine {
            Engine::Postgres => client.run(&format!("{begin}; {before}; SELECT pg_sleep({seconds}); {end}")).await,
            Engine::MariaDb => client.run(&format!("{begin}; {before}; DO SLEEP({seconds}); {end}")).await,
            Engine::Sqlite => {
                async {
                    client.run(&format!("{begin}; {before}")).await?;
                    tokio::time::sleep(Duration::from_millis(pause.into())).await;
                    client.run(end).await
                }
                .await
            }
        };
        match done {
            Ok(()) if end == "COMMIT" => drop(course.committed.fetch_add(counted, Ordering::Relaxed)),
            Ok(()) => {}
            // A deadlock, or the database is gone: what is open goes with the connection.
            Err(_) => *open = None,
        }
    }
}

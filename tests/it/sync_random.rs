//! Both sides of a sync are written at random by many at once while triggerd is killed again and again: afterwards both
//! tables are equal, no change went round, and every value that is gone was overwritten by somebody who saw it, or is in the
//! list of conflicts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::RngExt as _;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection, Row, SqliteConnection};
use tokio::task::JoinHandle;

use crate::harness::sql_server::{Database, Engine};
use crate::harness::{Api, Server, Settings, eventually};

const KEYS: u32 = 150;
const WRITERS: u32 = 4;
/// Writes of the runs beside the long one.
const SHORT: u64 = 1000;
/// How long the end may take to come to rest.
const REST: Duration = Duration::from_secs(600);

/// How many writes are committed in all, at least: `TRIGGERD_SYNC_WRITES`.
fn writes() -> u64 {
    std::env::var("TRIGGERD_SYNC_WRITES").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

/// What the writers did.
#[derive(Default)]
struct Book {
    /// Values that were committed.
    written: Mutex<HashSet<String>>,
    /// Values that a writer saw and wrote over, or deleted.
    replaced: Mutex<HashSet<String>>,
    changes: AtomicU64,
    left: AtomicU64,
}

impl Book {
    fn is_open(&self) -> bool {
        self.left.load(Ordering::SeqCst) > 0
    }

    fn note(&self, value: Option<String>, seen: Option<String>) {
        self.written.lock().extend(value);
        self.replaced.lock().extend(seen);
        self.changes.fetch_add(1, Ordering::SeqCst);
        let _ = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    }
}

/// Random changes of rows that are looked at under a lock: how a transaction begins, and how a row is locked.
macro_rules! writer {
    ($name:ident, $connection:ty, $begin:literal, $lock:literal) => {
        async fn $name(url: String, side: &'static str, number: u32, book: Arc<Book>) {
            let mut connection = <$connection>::connect(&url).await.unwrap();
            let mut n = 0_u32;
            while book.is_open() {
                n += 1;
                let value = format!("{side}{number}-{n}");
                let (key, what, skew, pause) = {
                    let mut rng = rand::rng();
                    (
                        rng.random_range(0..KEYS),
                        rng.random_range(0..10),
                        rng.random_range(-40_000..40_000_i64),
                        rng.random_range(0..4),
                    )
                };
                let at = jiff::Timestamp::from_microsecond(jiff::Timestamp::now().as_microsecond() + skew).unwrap();
                let at = at.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
                let done: Result<Option<(Option<String>, Option<String>)>, sqlx::Error> = async {
                    let mut transaction = connection.begin_with($begin).await?;
                    let select = format!("SELECT value FROM items WHERE id = {key}{}", $lock);
                    let seen = sqlx::query(AssertSqlSafe(select)).fetch_optional(&mut *transaction).await?;
                    let seen: Option<String> = seen.map(|row| row.get(0));
                    let sql = match (&seen, what) {
                        (None, 0..6) => {
                            format!("INSERT INTO items (id, value, updated_at) VALUES ({key}, '{value}', '{at}')")
                        }
                        (None, _) => return Ok(None),
                        (Some(_), 0) => format!("DELETE FROM items WHERE id = {key}"),
                        (Some(_), _) => {
                            format!("UPDATE items SET value = '{value}', updated_at = '{at}' WHERE id = {key}")
                        }
                    };
                    let deletes = seen.is_some() && what == 0;
                    sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
                    transaction.commit().await?;
                    Ok(Some(((!deletes).then(|| value.clone()), seen)))
                }
                .await;
                // A deadlock or a row that came first: nothing was written.
                if let Ok(Some((value, seen))) = done {
                    book.note(value, seen);
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
    };
}

// READ COMMITTED: otherwise most of what meets would be refused.
writer!(write_postgres, PgConnection, "BEGIN ISOLATION LEVEL READ COMMITTED", " FOR UPDATE");
writer!(write_mariadb, MySqlConnection, "BEGIN", " FOR UPDATE");
writer!(write_sqlite, SqliteConnection, "BEGIN IMMEDIATE", "");

/// Writes to `db` until enough is written.
fn write(db: &Database, side: &'static str, number: u32, book: Arc<Book>) -> JoinHandle<()> {
    match db.engine {
        Engine::Postgres => tokio::spawn(write_postgres(db.url(), side, number, book)),
        Engine::MariaDb => {
            let url = db.url().replace("mariadb://", "mysql://");
            tokio::spawn(write_mariadb(url, side, number, book))
        }
        Engine::Sqlite => tokio::spawn(write_sqlite(db.url(), side, number, book)),
    }
}

async fn make_table(db: &Database) {
    db.run(match db.engine {
        Engine::Postgres => "CREATE TABLE items (id int PRIMARY KEY, value text NOT NULL, updated_at timestamp(6))",
        Engine::MariaDb => {
            "CREATE TABLE items (id int PRIMARY KEY, value varchar(40) NOT NULL, updated_at datetime(6)); \
             SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED"
        }
        Engine::Sqlite => "CREATE TABLE items (id INTEGER PRIMARY KEY, value TEXT NOT NULL, updated_at TEXT)",
    })
    .await;
}

async fn table(db: &Database) -> Vec<String> {
    let all = match db.engine {
        Engine::Postgres => "string_agg(CONCAT(id, '=', value), ';')",
        Engine::MariaDb => "GROUP_CONCAT(CONCAT(id, '=', value) SEPARATOR ';')",
        Engine::Sqlite => "group_concat(id || '=' || value, ';')",
    };
    let text = db.text(all, "FROM items").await.unwrap_or_default();
    let mut rows: Vec<String> = text.split(';').filter(|row| !row.is_empty()).map(str::to_owned).collect();
    rows.sort();
    rows
}

/// How many events there are; counted again where there was not the time for all of them.
async fn total(api: &Api, filter: &str) -> u64 {
    eventually(|| async {
        let page = api.get(&format!("/api/v1/inbox?table=items&limit=1&{filter}")).await.expect(200);
        let total = page["total"].as_u64().unwrap();
        if page["total_is_exact"] == true { Ok(total) } else { Err(format!("more than {total}")) }
    })
    .await
}

async fn lost(api: &Api) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/v1/syncs/items/conflicts?limit=1000{cursor}")).await.expect(200);
        found.extend(page["conflicts"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sides_that_are_written_at_random_come_to_be_equal_through_kills_and_every_lost_value_is_explained() {
    let (a, b) = (Database::postgres().await, Database::mariadb().await);
    random(server(), a, b, json!({"policy": "newest", "by": "updated_at"}), writes(), 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_where_the_source_wins() {
    let (a, b) = (Database::postgres().await, Database::mariadb().await);
    random(server(), a, b, json!({"policy": "source-wins"}), SHORT, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_where_the_target_wins_between_a_file_and_a_server() {
    let server = server();
    let files = server.data_dir().join("databases");
    std::fs::create_dir_all(&files).unwrap();
    let (a, b) = (Database::file(&files), Database::postgres().await);
    random(server, a, b, json!({"policy": "target-wins"}), SHORT, 2).await;
}

/// One that keeps every conflict: all of them are looked at.
fn server() -> Server {
    Server::with(Settings::default().set("RATE_LIMIT", "0").set("MAX_SYNC_CONFLICTS", "10000000"))
}

async fn random(mut server: Server, a: Database, b: Database, conflict: Value, writes: u64, most_kills: u32) {
    let policy = conflict["policy"].clone();
    let api = server.api();
    for (tag, db) in [("a", &a), ("b", &b)] {
        make_table(db).await;
        api.resource("databases", tag, db.settings()).await;
    }
    let settings = json!({"source": {"database": "a", "table": "items"}, "target": {"database": "b", "table": "items"},
        "conflict": conflict});
    api.resource("syncs", "items", settings).await;
    let book = Arc::new(Book::default());
    book.left.store(writes, Ordering::SeqCst);
    let began = Instant::now();
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        writers.push(write(&a, "a", number, book.clone()));
        writers.push(write(&b, "b", number, book.clone()));
    }
    let mut kills = 0;
    while book.is_open() {
        tokio::time::sleep(Duration::from_millis(900)).await;
        if kills < most_kills {
            server.crash_and_restart();
            kills += 1;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let wrote = began.elapsed();
    let api = server.api();
    let rest = Instant::now();
    loop {
        let waiting = a.count("triggerd_outbox").await + b.count("triggerd_outbox").await;
        let pending = total(&api, "status=pending").await;
        if waiting == 0 && pending == 0 {
            break;
        }
        assert!(rest.elapsed() < REST, "{waiting} changes wait, {pending} are under way");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (left, right) = (table(&a).await, table(&b).await);
    let (changes, followed) = (book.changes.load(Ordering::SeqCst), total(&api, "status=delivered").await);
    let marked = total(&api, "status=unmatched").await;
    let lost = lost(&api).await;
    eprintln!(
        "{policy}: {changes} changes in {wrote:?}, {kills} kills, at rest after {:?}; {followed} followed, {marked} written by the sync, {} lost, {} rows",
        rest.elapsed(),
        lost.len(),
        left.len()
    );
    assert_eq!(left, right);
    assert_eq!(total(&api, "status=failed").await, 0);
    // Each change was followed once, and what the sync wrote was not: nothing goes round.
    assert_eq!(followed, changes);
    assert!(marked <= changes, "{marked} writes for {changes} changes");
    let kept: HashSet<String> =
        left.iter().filter_map(|row| row.split_once('=')).map(|(_, value)| value.to_owned()).collect();
    let listed: HashSet<String> =
        lost.iter().filter_map(|one| one["lost"]["value"].as_str()).map(str::to_owned).collect();
    let replaced = book.replaced.lock().clone();
    let gone: Vec<String> = book
        .written
        .lock()
        .iter()
        .filter(|value| !kept.contains(*value) && !listed.contains(*value) && !replaced.contains(*value))
        .cloned()
        .collect();
    assert!(gone.is_empty(), "{} values are gone without a trace: {gone:?}", gone.len());
    let verified = api.post("/api/v1/syncs/items/verify", json!({})).await.expect(200);
    assert_eq!(verified["same"], verified["compared"], "{verified:#}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(total(&api, "status=unmatched").await, marked, "it stays at rest");
}

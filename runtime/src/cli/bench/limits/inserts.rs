//! Rows of an event's bytes, committed in groups: by one connection to SQLite with full synchronisation, by two to PostgreSQL.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _};

use super::Bare;
use crate::cli::bench::database::Database;
use crate::cli::bench::generator::ORDER;
use crate::cli::bench::store::Used;

/// Connections that write to PostgreSQL: as many as the server's writers.
const WRITERS: u64 = 2;
/// Rows of one statement to SQLite.
const ROWS: usize = 50;

pub(super) async fn measure(with: &Bare<'_>) -> anyhow::Result<f64> {
    // What the connections have under way is what a group can hold.
    let group = (with.connections * with.batch).clamp(1, 1000);
    match with.store {
        Used::Sqlite => sqlite(with.dir, group, with.time).await,
        other => postgres(other.url().unwrap_or_default(), group, with.time).await,
    }
}

async fn sqlite(dir: &Path, group: usize, time: Duration) -> anyhow::Result<f64> {
    let dir = dir.join(format!("triggerd-bench-raw-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let options = SqliteConnectOptions::new()
        .filename(dir.join("raw.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut conn = SqliteConnection::connect_with(&options).await?;
    sqlx::raw_sql("CREATE TABLE events (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, body TEXT NOT NULL) STRICT")
        .execute(&mut conn)
        .await?;
    let rows = |count: usize| {
        let values = vec!["(?, ?)"; count].join(", ");
        format!("INSERT INTO events (id, body) VALUES {values}")
    };
    let (began, mut number) = (Instant::now(), 0_u64);
    while began.elapsed() < time {
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
        let mut left = group;
        while left > 0 {
            let count = left.min(ROWS);
            let sql = rows(count);
            let mut insert = sqlx::query(AssertSqlSafe(sql.as_str()));
            for _ in 0..count {
                insert = insert.bind(id(number).to_vec()).bind(ORDER);
                number += 1;
            }
            insert.execute(&mut *tx).await?;
            left -= count;
        }
        tx.commit().await?;
    }
    let rate = number as f64 / began.elapsed().as_secs_f64();
    conn.close().await?;
    std::fs::remove_dir_all(dir)?;
    Ok(rate)
}

async fn postgres(url: &str, group: usize, time: Duration) -> anyhow::Result<f64> {
    let database = Database::make(url, "raw").await?;
    let mut conn = PgConnection::connect(database.url()).await?;
    let table =
        "CREATE TABLE events (seq bigint GENERATED ALWAYS AS IDENTITY, id uuid PRIMARY KEY, body text NOT NULL)";
    sqlx::raw_sql(table).execute(&mut conn).await?;
    conn.close().await?;
    let began = Instant::now();
    let each = (group as u64 / WRITERS).max(1);
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(insert(database.url().to_owned(), writer, each, began, time))).collect();
    let mut number = 0;
    for writer in writers {
        number += writer.await.context("a writer panicked")??;
    }
    let rate = number as f64 / began.elapsed().as_secs_f64();
    database.drop_it().await?;
    Ok(rate)
}

async fn insert(url: String, writer: u64, group: u64, began: Instant, time: Duration) -> anyhow::Result<u64> {
    let mut conn = PgConnection::connect(&url).await?;
    let mut number = 0;
    while began.elapsed() < time {
        let ids: Vec<uuid::Uuid> =
            (number..number + group).map(|n| uuid::Uuid::from_bytes(id(n * WRITERS + writer))).collect();
        let bodies = vec![ORDER; ids.len()];
        sqlx::query("INSERT INTO events (id, body) SELECT * FROM unnest($1::uuid[], $2::text[])")
            .bind(ids)
            .bind(bodies)
            .execute(&mut conn)
            .await?;
        number += group;
    }
    conn.close().await?;
    Ok(number)
}

/// Ids that grow with time, as events' do.
fn id(number: u64) -> [u8; 16] {
    (u128::from(number) << 64 | u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))).to_be_bytes()
}

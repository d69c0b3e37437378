//! `triggerd bench --capture`: what capturing a table costs those who write to it, how soon actions start, and how many
//! changes a second are taken, on PostgreSQL.
//!
//! Writers, database and server share the machine. The writer's latency is that of one connection that inserts one row
//! after another, turn about into a table without triggers, one with a plain audit trigger, and one that is captured.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};

use super::report;
use super::server::Server;

/// Rounds of each table; the median is told.
const ROUNDS: usize = 5;
/// Changes a second while the time until an action's start is measured.
const RATE: u32 = 1000;
/// Connections that write then, and as fast as they can after that.
const WRITERS: u32 = 4;
/// Rows in an insert of those that write as fast as they can.
const BULK: u32 = 200;
/// The longest wait until everything is captured, as a multiple of the time that was written.
const PATIENCE: u32 = 20;

const TABLES: [&str; 3] = ["triggerd_bench_plain", "triggerd_bench_audited", "triggerd_bench_captured"];

/// Where changes are captured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// By triggers, in the transaction that makes them.
    Outbox,
    /// From the write-ahead log.
    Log,
}

impl From {
    fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Log => "log",
        }
    }
}

/// Measures; `server` is fresh.
pub async fn run(from: From, url: &str, time: Duration, server: &Server) -> anyhow::Result<Value> {
    let pool = PgPoolOptions::new().max_connections(WRITERS + 1).connect(url).await;
    let pool = pool.context("PostgreSQL does not answer; --target postgres://USER@HOST/DATABASE")?;
    prepare(&pool).await?;
    server.resource("databases", &json!({"url": url, "capture": {"from": from.name()}})).await?;
    server
        .trigger(&json!({
            "tag": "bench", "database": "bench", "tables": [TABLES[2]], "events": ["afterInsert"],
            "actions": [{"type": "log.debug", "config": {"message": "order {{record.id}}", "data": "{{record}}"}}],
        }))
        .await?;
    let writer = latencies(&pool, time).await?;
    let mut captured = writer.captured;
    wait(server, captured, time * PATIENCE).await?;
    let since = Timestamp::now();
    captured += at_rate(&pool, time).await?;
    wait(server, captured, time * PATIENCE).await?;
    let drained = server.drained(time * PATIENCE).await?;
    if drained.unfinished > 0 {
        bail!("{} runs did not end", drained.unfinished);
    }
    let lags: Vec<f64> = server.change_lags(since, 1000).await?.iter().map(|lag| lag.to_start).collect();
    let began = Instant::now();
    let written = bulk(&pool, time).await?;
    let written_for = began.elapsed();
    wait(server, captured + written, time * PATIENCE).await?;
    let taken_for = began.elapsed();
    let memory = server.peak_rss_mib()?;
    server.drained(time * PATIENCE).await?;
    server.leave().await?;
    Ok(json!({
        "scenario": format!("capture by {}", from.name()),
        "writer_p50_ms": {"plain": writer.p50[0], "audited": writer.p50[1], "captured": writer.p50[2]},
        "writer_p99_ms": {"plain": writer.p99[0], "audited": writer.p99[1], "captured": writer.p99[2]},
        "audited_to_plain": writer.p50[1] / writer.p50[0],
        "captured_to_plain": writer.p50[2] / writer.p50[0],
        "change_to_start_ms": report::percentiles_of(&lags),
        "change_to_start_rate": RATE,
        "written_per_second": f64::from(u32::try_from(written).unwrap_or(u32::MAX)) / written_for.as_secs_f64(),
        "captured_per_second": f64::from(u32::try_from(written).unwrap_or(u32::MAX)) / taken_for.as_secs_f64(),
        "server_peak_rss_mib": memory,
        "machine": super::machine::facts(&std::env::temp_dir())?,
        "version": env!("CARGO_PKG_VERSION"),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    }))
}

async fn prepare(pool: &PgPool) -> anyhow::Result<()> {
    // What an earlier run left, whose server is gone.
    let mut ddl = "DROP TABLE IF EXISTS triggerd_outbox, triggerd_outbox_state CASCADE; DROP TABLE IF EXISTS triggerd_bench_audit; \
         CREATE TABLE triggerd_bench_audit (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), operation text, row_now jsonb);"
        .to_owned();
    for table in TABLES {
        ddl += &format!(
            "DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (id bigserial PRIMARY KEY, customer text, status text, \
             total numeric(12,2), note text, created_at timestamptz DEFAULT now());"
        );
    }
    ddl += "CREATE OR REPLACE FUNCTION triggerd_bench_audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
            INSERT INTO triggerd_bench_audit (operation, row_now) VALUES (TG_OP, to_jsonb(NEW)); RETURN NULL; END $$; \
            CREATE TRIGGER audit AFTER INSERT ON triggerd_bench_audited FOR EACH ROW EXECUTE FUNCTION triggerd_bench_audit()";
    // The names are ours.
    sqlx::raw_sql(AssertSqlSafe(ddl)).execute(pool).await.context("the tables cannot be made")?;
    Ok(())
}

struct Writer {
    p50: [f64; 3],
    p99: [f64; 3],
    /// Rows that were written to the captured table.
    captured: u64,
}

/// One row after another on one connection, turn about.
async fn latencies(pool: &PgPool, time: Duration) -> anyhow::Result<Writer> {
    let round = time / (ROUNDS * TABLES.len()) as u32;
    let mut connection = pool.acquire().await?;
    let (mut p50, mut p99, mut captured) = ([vec![], vec![], vec![]], [vec![], vec![], vec![]], 0);
    // The first round fills caches and is not counted.
    for number in 0..=ROUNDS {
        for (i, table) in TABLES.iter().enumerate() {
            let sql = insert(table, 1);
            let mut seen: Histogram<u64> = Histogram::new_with_bounds(1, 60_000_000, 3)?;
            let began = Instant::now();
            while began.elapsed() < round {
                let sent = Instant::now();
                sqlx::query(AssertSqlSafe(sql.as_str())).execute(&mut *connection).await?;
                seen.saturating_record(u64::try_from(sent.elapsed().as_nanos() / 1000).unwrap_or(u64::MAX));
                captured += u64::from(i == 2);
            }
            if number > 0 {
                p50[i].push(seen.value_at_quantile(0.5) as f64 / 1000.0);
                p99[i].push(seen.value_at_quantile(0.99) as f64 / 1000.0);
            }
        }
    }
    Ok(Writer { p50: p50.map(super::connector::median), p99: p99.map(super::connector::median), captured })
}

/// Rows one by one at [`RATE`]; how many.
async fn at_rate(pool: &PgPool, time: Duration) -> anyhow::Result<u64> {
    let pause = Duration::from_secs_f64(f64::from(WRITERS) / f64::from(RATE));
    let sql = insert(TABLES[2], 1);
    let writers = (0..WRITERS).map(|writer| {
        let (pool, sql) = (pool.clone(), sql.clone());
        tokio::spawn(async move {
            let mut connection = pool.acquire().await?;
            let began = Instant::now();
            let (mut due, mut written) = (began + pause * writer / WRITERS, 0_u64);
            while began.elapsed() < time {
                tokio::time::sleep_until(due.into()).await;
                sqlx::query(AssertSqlSafe(sql.as_str())).execute(&mut *connection).await?;
                written += 1;
                due += pause;
            }
            anyhow::Ok(written)
        })
    });
    sum(writers.collect()).await
}

/// Rows many at a time, as fast as the database takes them; how many.
async fn bulk(pool: &PgPool, time: Duration) -> anyhow::Result<u64> {
    let sql = insert(TABLES[2], BULK);
    let writers = (0..WRITERS).map(|_| {
        let (pool, sql) = (pool.clone(), sql.clone());
        tokio::spawn(async move {
            let mut connection = pool.acquire().await?;
            let (began, mut written) = (Instant::now(), 0_u64);
            while began.elapsed() < time {
                sqlx::query(AssertSqlSafe(sql.as_str())).execute(&mut *connection).await?;
                written += u64::from(BULK);
            }
            anyhow::Ok(written)
        })
    });
    sum(writers.collect()).await
}

async fn sum(writers: Vec<tokio::task::JoinHandle<anyhow::Result<u64>>>) -> anyhow::Result<u64> {
    let mut written = 0;
    for writer in writers {
        written += writer.await.context("a writer panicked")??;
    }
    Ok(written)
}

fn insert(table: &str, rows: u32) -> String {
    format!(
        "INSERT INTO {table} (customer, status, total, note) SELECT 'c-' || n, 'confirmed', 99.5, 'two of a-1, to be left at the door' \
         FROM generate_series(1, {rows}) AS n"
    )
}

/// Waits until so many changes were captured.
async fn wait(server: &Server, changes: u64, limit: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let captured = server.captured().await?;
        if captured >= changes {
            return Ok(());
        }
        if began.elapsed() > limit {
            bail!("{captured} of {changes} changes were captured within {} s", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Prints the report for people.
pub fn print(report: &Value) {
    let ms = |place: &str, name: &str| report[place][name].as_f64().unwrap_or(f64::NAN);
    let number = |name: &str| report[name].as_f64().unwrap_or(f64::NAN);
    println!("{}", report["scenario"].as_str().unwrap_or_default());
    for name in ["plain", "audited", "captured"] {
        println!("insert, {name:<9} p50 {:.3} ms   p99 {:.3} ms", ms("writer_p50_ms", name), ms("writer_p99_ms", name));
    }
    println!(
        "captured to plain {:.2}   audited to plain {:.2}",
        number("captured_to_plain"),
        number("audited_to_plain")
    );
    println!(
        "change to start   p50 {:.1} ms   p99 {:.1} ms   max {:.1} ms   at {RATE}/s",
        ms("change_to_start_ms", "p50"),
        ms("change_to_start_ms", "p99"),
        ms("change_to_start_ms", "max")
    );
    println!(
        "captured          {:.0}/s   (written {:.0}/s)",
        number("captured_per_second"),
        number("written_per_second")
    );
    println!("server's peak memory {:.0} MiB", number("server_peak_rss_mib"));
}

//! All of PostgreSQL's processes are killed under load, and it is started again on what it had written.
//!
//! `TRIGGERD_CHAOS_RESTARTS` says how often.

use std::time::{Duration, Instant};

use serde_json::json;

use super::check::{Findings, and};
use super::figures::{length, percentile, report};
use super::load::{Load, Plan};
use super::{apis, define, nodes};
use crate::harness::Receiver;
use crate::harness::sql_server::Database;

/// What became of the load, and how long after each time that the database answered again an event was accepted.
pub async fn run(mut database: Database, restarts: u64, fault: Option<&str>) -> (Findings, Vec<Duration>) {
    let receiver = Receiver::start().await;
    let nodes = nodes(&database, 2, fault);
    define(&apis(&nodes), &receiver).await;
    let load = Load::start(apis(&nodes), Plan::of(8));
    let mut back: Vec<Instant> = Vec::new();
    for n in 0..restarts {
        tokio::time::sleep(Duration::from_millis(700 + n % 5 * 130)).await;
        tokio::task::block_in_place(|| database.kill());
        database.start().await;
        back.push(Instant::now());
    }
    // Until events are accepted after the last time, too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = load.end().await;
    let found = Findings::of(&database.url(), &told, &receiver).await;
    let acks = told.acks.lock().unwrap();
    let first_after = |at: &Instant| acks.iter().map(|ack| ack.at).filter(|ack| ack > at).min().map(|ack| ack - *at);
    let recovered = back.iter().filter_map(first_after).collect();
    drop(acks);
    (found, recovered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_under_load_loses_nothing() {
    let restarts = length("TRIGGERD_CHAOS_RESTARTS", 2);
    let (found, recovered) = run(Database::postgres().await, restarts, None).await;
    let figures = json!({
        "restarts": restarts,
        "accepts_again_p50_ms": percentile(&recovered, 0.5), "accepts_again_p99_ms": percentile(&recovered, 0.99),
    });
    report("database_killed", &and(found.figures(), figures));
    found.hold();
    assert_eq!(recovered.len() as u64, restarts, "after each restart events are accepted");
}

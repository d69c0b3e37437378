//! Each scenario notices the bug that it is there for: built into the server (`runtime/src/seeded.rs`), or set in the database.
//!
//! What ships has none of these bugs, so the tests are there where debug assertions are.

#![cfg(debug_assertions)]

use std::time::Duration;

use serde_json::json;

use super::figures::report;
use super::{clock_steps, commit_cut, database_killed, disk_full, node_killed, outage, paused, power_loss, with};
use crate::harness::sql_server::Database;
use crate::harness::{Server, Settings};

const EARLY: Option<&str> = Some("ack-before-commit");

/// Tells what was seen of a bug, which must be something.
#[track_caller]
fn caught(scenario: &str, bug: &str, seen: u64, what: &str) {
    report(&format!("seeded_{scenario}"), &json!({"bug": bug, "caught": seen > 0, "seen": seen, "what": what}));
    assert!(seen > 0, "{scenario} does not notice: {bug}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_killed_notices_an_answer_before_the_commit() {
    let (found, ..) = node_killed::run(2, EARLY).await;
    caught("node_killed", "acknowledge before commit", found.lost.len() as u64, "acknowledged events lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_killed_notices_an_answer_before_the_commit() {
    let (found, _) = database_killed::run(Database::postgres().await, 2, EARLY).await;
    caught("database_killed", "acknowledge before commit", found.lost.len() as u64, "acknowledged events lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_killed_notices_commits_that_are_not_synced() {
    let settings = ["synchronous_commit=off", "wal_writer_delay=10s", "wal_writer_flush_after=1GB"];
    let database = Database::postgres_with_log(&settings).await;
    let (found, _) = database_killed::run(database, 3, None).await;
    // Most were delivered already; the store does not know of them.
    let missing = found.missing as u64;
    caught("database_killed_sync", "synchronous_commit off", missing, "acknowledged events not in the store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_cut_notices_an_answer_before_the_commit() {
    let (found, ..) = commit_cut::run(20, EARLY).await;
    caught("commit_cut", "acknowledge before commit", found.lost.len() as u64, "acknowledged events lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_notices_an_answer_before_the_commit() {
    let outcome = outage::run(outage::How::Killed, Duration::from_secs(3), EARLY).await;
    caught("outage", "acknowledge before commit", outcome.found.lost.len() as u64, "acknowledged events lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full_notices_an_answer_before_the_commit() {
    let (found, _) = disk_full::run(EARLY).await;
    caught("disk_full", "acknowledge before commit", found.lost.len() as u64, "acknowledged events lost");
}

#[tokio::test]
async fn disk_full_embedded_notices_an_answer_before_the_commit() {
    let mut settings = with(Settings::default().embedded(), EARLY);
    settings.largest_file = Some(6 * 1024 * 1024 / 512);
    let server = Server::with(settings);
    let mut acknowledged = 0;
    for _ in 0..50 {
        let body = json!({"type": "big", "payload": {"x": "y".repeat(200_000)}});
        acknowledged += u64::from(server.api().post("/events", body).await.status == 202);
    }
    // What is committed late is committed by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kept = server.api().get("/api/v1/inbox?limit=1").await.expect(200)["total"].as_u64().unwrap();
    caught(
        "disk_full_embedded",
        "acknowledge before commit",
        acknowledged - kept,
        "acknowledged events not in the store",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clock_steps_notices_a_node_that_goes_by_its_own_clock() {
    let outcome = clock_steps::run(2, Some("own-clock")).await;
    caught("clock_steps", "due times by the node's own clock", outcome.missing as u64, "retries that did not come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_notices_that_there_is_no_fence() {
    let (counted, _) = paused::run(1, Some("no-fence")).await;
    caught("paused", "fence removed", counted, "completions of a node without a lease that counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_notices_that_nothing_is_synced() {
    let outcome = power_loss::run(3, 5, Some("sync-off")).await;
    caught(
        "power_loss",
        "SQLite's synchronous OFF",
        outcome.losing + outcome.damaged,
        "disk states that lose or are damaged",
    );
}

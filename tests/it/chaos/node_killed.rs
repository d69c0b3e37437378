//! One of three nodes is killed under load, again and again: every other time it is started again at once, else it stays away
//! until the others have taken over what it held.
//!
//! `TRIGGERD_CHAOS_KILLS` says how often.

use std::time::{Duration, Instant};

use serde_json::json;

use super::check::{Findings, and, recovery};
use super::figures::{length, percentile, report};
use super::load::{Load, Plan};
use super::{LEASE, apis, define, nodes};
use crate::harness::sql_server::Database;
use crate::harness::{Receiver, Reply};

/// What became of the load, and how long after each kill the killed node's events were done: started again, and taken over.
pub async fn run(kills: u64, fault: Option<&str>) -> (Findings, Vec<Duration>, Vec<Duration>) {
    let database = Database::postgres().await;
    let receiver = Receiver::start().await;
    // Long enough that a kill meets deliveries under way.
    receiver.script("/in", [Reply::status(200).late(30)]);
    let mut nodes = nodes(&database, 3, fault);
    define(&apis(&nodes), &receiver).await;
    let load = Load::start(apis(&nodes), Plan::of(9));
    let mut ended: Vec<(usize, Instant, bool)> = Vec::new();
    for n in 0..kills {
        tokio::time::sleep(Duration::from_millis(300 + n % 7 * 90)).await;
        let (node, at_once) = (n as usize % nodes.len(), n % 2 == 0);
        tokio::task::block_in_place(|| nodes[node].kill());
        ended.push((node, Instant::now(), at_once));
        if !at_once {
            tokio::time::sleep(LEASE + Duration::from_secs(3)).await;
        }
        tokio::task::block_in_place(|| nodes[node].up());
    }
    let told = load.end().await;
    let found = Findings::of(&database.url(), &told, &receiver).await;
    let after = |wanted: bool| {
        let some = ended.iter().filter(|(_, _, at_once)| *at_once == wanted);
        some.flat_map(|(node, at, _)| recovery(&told, &receiver, *node, *at)).collect::<Vec<_>>()
    };
    (found, after(true), after(false))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_under_load_loses_nothing() {
    let kills = length("TRIGGERD_CHAOS_KILLS", 2);
    let (found, restarted, taken_over) = run(kills, None).await;
    let figures = json!({
        "kills": kills, "lease_ms": LEASE.as_millis() as u64,
        "interrupted": restarted.len() + taken_over.len(),
        "restarted_recovery_p50_ms": percentile(&restarted, 0.5), "restarted_recovery_p99_ms": percentile(&restarted, 0.99),
        "taken_over_recovery_p50_ms": percentile(&taken_over, 0.5), "taken_over_recovery_p99_ms": percentile(&taken_over, 0.99),
    });
    report("node_killed", &and(found.figures(), figures));
    found.hold();
    assert!(!restarted.is_empty() && !taken_over.is_empty(), "no kill met a delivery under way");
    let slowest = taken_over.iter().max().unwrap();
    assert!(*slowest < Duration::from_secs(45), "what a dead node held was done after {slowest:?}");
}

//! A node is stopped for twice its lease, and wakes up in the middle of what is another's by now: none of what it completes counts.
//!
//! `TRIGGERD_CHAOS_PAUSES` says how often.

use std::time::Instant;

use serde_json::{Value, json};

use super::figures::{length, report};
use super::{LEASE, apis, nodes};
use crate::harness::sql_server::Database;
use crate::harness::{Receiver, Reply, call, eventually, on, signal};

/// Runs that are under way when the node is stopped.
const RUNS: usize = 24;

/// How many completions of a node that woke up counted, and what was measured.
pub async fn run(pauses: u64, fault: Option<&str>) -> (u64, Value) {
    let database = Database::postgres().await;
    let nodes = nodes(&database, 2, fault);
    let ([paused, other], apis) = ([&nodes[0], &nodes[1]], apis(&nodes));
    // Completions that differ from what has become of their runs, and those of them that took effect.
    let (mut completions, mut counted) = (0, 0);
    let (mut extra, mut taken_over) = (0, Vec::new());
    for pause in 0..pauses {
        // A destination of its own each time: one that failed before is left alone for a while.
        let (receiver, path) = (Receiver::start().await, format!("/in{pause}"));
        // What is under way is answered well, but only when the run is another's; what the other does fails.
        receiver.script(&path, (0..RUNS).map(|_| Reply::status(200).held()).chain([Reply::status(400)]));
        let mut action = call("c", &receiver.url(&path));
        action["retry"]["maxAttempts"] = json!(2);
        apis[0].trigger(on("work", &format!("work{pause}"), json!([action]))).await;
        let mut events = Vec::new();
        for n in 0..RUNS {
            events.push(apis[0].event(&format!("work{pause}"), json!({"n": n})).await);
        }
        receiver.wait_for(&path, RUNS).await;
        signal("STOP", paused.process_id());
        let stopped = Instant::now();
        tokio::time::sleep(LEASE * 2).await;
        receiver.release(RUNS);
        let states = async || {
            let details = events.iter().map(|event| apis[1].detail(event));
            futures_util::future::join_all(details)
                .await
                .iter()
                .map(|one| one["status"].clone())
                .collect::<Vec<Value>>()
        };
        let before = eventually(|| async {
            let states = states().await;
            let ended = states.iter().filter(|state| **state != json!("pending")).count();
            if ended == RUNS { Ok(states) } else { Err(format!("{ended} of {RUNS} were done by the other node")) }
        })
        .await;
        // One whose request the stopped node had not sent yet would have got an answer that was meant for another.
        let failed = before.iter().filter(|state| **state == json!("failed")).count();
        assert!(
            failed * 2 > RUNS,
            "only {failed} of {RUNS} have another result than the one that the stopped node got"
        );
        completions += failed as u64;
        let first = receiver.seen_at(&path).get(RUNS).map(|seen| seen.at - stopped);
        taken_over.extend(first);
        signal("CONT", paused.process_id());
        tokio::time::sleep(LEASE / 2).await;
        counted += before.iter().zip(states().await).filter(|(before, after)| **before != *after).count() as u64;
        extra += receiver.seen_at(&path).len().saturating_sub(2 * RUNS);
        // It has joined anew, and works.
        receiver.script(&path, [Reply::status(200)]);
        eventually(|| async {
            let event = apis[0].event(&format!("work{pause}"), json!({"n": RUNS})).await;
            let detail = apis[0].ended(&event).await;
            if detail["status"] == "delivered" { Ok(()) } else { Err(format!("{detail:#}")) }
        })
        .await;
        assert_eq!(other.api().get("/ready").await.status, 200);
    }
    let figures = json!({
        "pauses": pauses, "lease_ms": LEASE.as_millis() as u64, "completions_after_waking": completions,
        "rejected": completions - counted, "counted": counted, "deliveries_beyond_the_second": extra,
        "taken_over_p50_ms": super::figures::percentile(&taken_over, 0.5),
        "taken_over_p99_ms": super::figures::percentile(&taken_over, 0.99),
    });
    (counted, figures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_counts_that_a_paused_node_completes_after_it_woke_up() {
    let (counted, figures) = run(length("TRIGGERD_CHAOS_PAUSES", 1), None).await;
    report("paused", &figures);
    assert_eq!(counted, 0, "completions of a node without a lease took effect");
}

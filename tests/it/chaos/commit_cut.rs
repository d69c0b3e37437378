//! Connections that are cut at the commit of an event: nobody knows what became of it. Clients that ask again under the same
//! `Idempotency-Key` get exactly one event for each key.
//!
//! `TRIGGERD_CHAOS_CUTS` says how many cuts, `TRIGGERD_CHAOS_SEED` repeats a choice of them.

use std::time::Instant;

use serde_json::{Value, json};

use super::check::{Findings, and};
use super::figures::{length, milliseconds, report};
use super::load::{Load, Plan};
use super::proxy::Proxy;
use super::{apis, define, settings, with};
use crate::harness::sql_server::Database;
use crate::harness::{Receiver, Server};

/// What became of the load, its keys, and what was measured.
pub async fn run(cuts: u64, fault: Option<&str>) -> (Findings, u64, Value) {
    let database = Database::postgres().await;
    let seed = length("TRIGGERD_CHAOS_SEED", rand::random());
    eprintln!("TRIGGERD_CHAOS_SEED={seed}");
    let proxy = Proxy::start(database.port, seed).await;
    let receiver = Receiver::start().await;
    let through = database.url().replace(&format!(":{}/", database.port), &format!(":{}/", proxy.port));
    let url = format!("{through}?sslmode=disable");
    let node = |_| Server::with(with(settings(&url).set("STORE_WRITERS", "4"), fault));
    let nodes: Vec<Server> = (0..2).map(node).collect();
    define(&apis(&nodes), &receiver).await;
    let began = Instant::now();
    let load = Load::start(apis(&nodes), Plan { keyed: true, ..Plan::of(8) });
    proxy.cut(cuts).await;
    let took = began.elapsed();
    let told = load.end().await;
    let found = Findings::of(&database.url(), &told, &receiver).await;
    let keys = told.begun.load(std::sync::atomic::Ordering::SeqCst);
    let refused = told.refusals.lock().unwrap().iter().filter(|one| one.status == 503).count();
    let more = json!({"keys": keys, "answers_503": refused, "took_ms": milliseconds(took)});
    let figures = and(and(found.figures(), proxy.figures()), more);
    (found, keys, figures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_keeps_one_event_for_each_key() {
    let cuts = length("TRIGGERD_CHAOS_CUTS", 60);
    let (found, keys, figures) = run(cuts, None).await;
    report("commit_cut", &figures);
    found.hold();
    assert!(figures["cuts"].as_u64().unwrap() >= cuts);
    assert_eq!(found.kept as u64, keys, "one event for each key, no more");
    assert_eq!(found.acknowledged as u64, keys, "each key has its answer");
    assert!(figures["answers_503"].as_u64().unwrap() > 0, "nobody was told of a cut");
}

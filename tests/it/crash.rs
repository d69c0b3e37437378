//! No accepted event is lost, whenever the server dies; and this test would notice if one were.
//!
//! Clients send events as fast as they are answered. What was answered 202 is written down, synced to disk, before it
//! counts. Meanwhile the server is killed at random moments and started again on its data. In the end everything
//! that was written down has been delivered or is a dead letter, and what was delivered twice had the same key.
//!
//! `TRIGGERD_CRASH_CYCLES=100` is the long run; `TRIGGERD_CRASH_SEED` repeats one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::{Api, Ledger, Receiver, Reply, Server, Settings, call, eventually, on};

const CLIENTS: u64 = 8;

/// What became of a run of crashes.
struct Findings {
    acknowledged: usize,
    lost: Vec<String>,
    repeated: usize,
    /// Deliveries of one event and action under more than one key.
    rekeyed: Vec<String>,
    dead: usize,
}

fn seed() -> u64 {
    let given = std::env::var("TRIGGERD_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| rand::rng().random())
}

/// Sends single events and small batches until told to stop.
async fn send(api: Api, ledger: Arc<Ledger>, next: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let event = |n: u64| json!({"type": "crash", "payload": {"n": n, "key": format!("k{}", n % 5)}});
        let request = match n % 4 {
            0 => api
                .request(reqwest::Method::POST, "/api/v1/events/batch")
                .json(&(0..5).map(|_| event(n)).collect::<Vec<Value>>()),
            _ => api.request(reqwest::Method::POST, "/events").json(&event(n)),
        };
        match api.try_send(request).await {
            Ok(answer) if answer.status == 202 => {
                let results = answer.body["results"].as_array().cloned().unwrap_or_else(|| vec![answer.body.clone()]);
                ledger.write(&results.iter().filter_map(|result| result["event_id"].as_str()).collect::<Vec<&str>>());
            }
            Ok(answer) => assert_eq!(answer.status, 503, "{answer:#?}"),
            // It is down, or went down under this request: nothing was promised.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

async fn crashes(cycles: u64, settings: Settings) -> Findings {
    let seed = seed();
    eprintln!("TRIGGERD_CRASH_SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut server = Server::with(settings);
    let receiver = Receiver::start().await;
    receiver.script(
        "/flaky",
        (0..20).flat_map(|_| [Reply::status(503), Reply::Reset, Reply::status(200)]).chain([Reply::status(200)]),
    );
    define(&server.api(), &receiver).await;
    let (ledger, next, stop) = (Arc::new(Ledger::new()), Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(send(server.api(), ledger.clone(), next.clone(), stop.clone()))).collect();
    for _ in 0..cycles {
        // The moment of the crash is the one thing here that is to be waited for by the clock.
        tokio::time::sleep(Duration::from_millis(random.random_range(30..600))).await;
        tokio::task::block_in_place(|| server.crash_and_restart());
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    server.crash_and_restart();
    settle(&server.api()).await;
    findings(&server.api(), &receiver, &ledger.acknowledged()).await
}

async fn define(api: &Api, receiver: &Receiver) {
    let action = |name: &str| {
        let mut action = call(name, &receiver.url(&format!("/{name}")));
        action["retry"]["maxAttempts"] = json!(50);
        action
    };
    api.trigger(on("plain", "crash", json!([action("first"), action("flaky")]))).await;
    let mut ordered = on("ordered", "crash", json!([action("ordered")]));
    ordered["ordering"] = json!({"key": "{{record.key}}"});
    api.trigger(ordered).await;
    let mut queued = action("queued");
    queued["timing"] = json!("queued");
    api.trigger(on("queued", "crash", json!([queued]))).await;
}

/// Waits until no run is left pending or running.
async fn settle(api: &Api) {
    let mut left = u64::MAX;
    let mut idle = 0;
    // As long as it gets less, it is no loss but work.
    while left > 0 {
        let page = api.get("/api/v1/inbox?status=pending&limit=1").await.expect(200);
        // Where counting took too long there may be more.
        let now = page["total"].as_u64().unwrap() + u64::from(page["total_is_exact"] == false);
        idle = if now < left { 0 } else { idle + 1 };
        assert!(idle < 3000, "{now} events are left pending: {page:#}");
        left = now;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn findings(api: &Api, receiver: &Receiver, acknowledged: &BTreeSet<String>) -> Findings {
    let mut keys: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let (mut deliveries, mut delivered) = (0, BTreeSet::new());
    for seen in receiver.seen() {
        let event = seen.header("triggerd-event").to_owned();
        keys.entry((event.clone(), seen.path().to_owned()))
            .or_default()
            .insert(seen.header("idempotency-key").to_owned());
        delivered.insert((event, seen.path().to_owned()));
        deliveries += 1;
    }
    let dead = dead_events(api).await;
    let done = |id: &String| {
        ["/first", "/flaky", "/ordered", "/queued"]
            .iter()
            .all(|path| delivered.contains(&(id.clone(), (*path).to_owned())))
    };
    Findings {
        acknowledged: acknowledged.len(),
        lost: acknowledged.iter().filter(|id| !done(id) && !dead.contains(*id)).cloned().collect(),
        repeated: deliveries - keys.len(),
        rekeyed: keys
            .into_iter()
            .filter(|(_, keys)| keys.len() > 1)
            .map(|((event, path), _)| format!("{event} {path}"))
            .collect(),
        dead: dead.len(),
    }
}

async fn dead_events(api: &Api) -> BTreeSet<String> {
    let (mut found, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = api.get(&format!("/api/v1/dead-letters?limit=1000{cursor}")).await.expect(200);
        found.extend(
            page["dead_letters"].as_array().unwrap().iter().map(|dead| dead["event_id"].as_str().unwrap().to_owned()),
        );
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_accepted_event_is_lost_when_the_server_is_killed_at_random_moments() {
    let cycles = std::env::var("TRIGGERD_CRASH_CYCLES")
        .map_or(20, |cycles| cycles.parse().expect("TRIGGERD_CRASH_CYCLES is a number"));
    let found = crashes(cycles, Settings::default()).await;
    eprintln!(
        "{cycles} crashes: {} acknowledged, {} delivered again, {} dead letters",
        found.acknowledged, found.repeated, found.dead
    );
    assert!(found.acknowledged as u64 > cycles * 10, "{} events are no load", found.acknowledged);
    assert!(
        found.lost.is_empty(),
        "{} acknowledged events are lost: {:?}",
        found.lost.len(),
        &found.lost[..found.lost.len().min(20)]
    );
    assert!(
        found.rekeyed.is_empty(),
        "delivered under another key: {:?}",
        &found.rekeyed[..found.rekeyed.len().min(20)]
    );
}

/// Release builds cannot be made to acknowledge early.
#[cfg(debug_assertions)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crash_test_finds_the_loss_where_events_are_acknowledged_before_the_commit() {
    let found = crashes(4, Settings::default().set("TEST_FAULT", "ack-before-commit")).await;
    assert!(!found.lost.is_empty(), "of {} events acknowledged too early none was missed", found.acknowledged);
}

#[tokio::test]
async fn a_pending_retry_is_taken_up_after_a_crash() {
    let mut server = Server::start();
    let receiver = Receiver::start().await;
    receiver.script("/later", [Reply::status(503), Reply::status(200)]);
    let mut action = call("c", &receiver.url("/later"));
    action["retry"] = json!({"maxAttempts": 3, "initialDelay": 1500, "jitter": "none"});
    server.api().trigger(on("later", "later", json!([action]))).await;
    let id = server.api().event("later", json!({})).await;
    eventually(|| async {
        let event = server.api().detail(&id).await;
        let tried = event["runs"][0]["actions"][0]["attempts"].as_array().map_or(0, Vec::len);
        if tried == 1 { Ok(()) } else { Err(format!("{event:#}")) }
    })
    .await;
    server.crash_and_restart();
    assert_eq!(server.api().ended(&id).await["status"], "delivered");
    assert_eq!(receiver.seen_at("/later").len(), 2);
}

//! The clock of one node is set, ten minutes ahead and ten minutes back, while it works: leases go on, nothing is run twice, and what
//! was to be tried again in a second is tried again in a second.
//!
//! The node's wall clock is libfaketime's; its steady clock is the system's, as it is where an administrator sets the time.
//! `TRIGGERD_CHAOS_STEPS` says how often it is set.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::check::{Findings, and, by_event};
use super::figures::{length, milliseconds, percentile, report};
use super::load::{Load, Plan};
use super::{LEASE, apis, define, settings, with};
use crate::harness::sql_server::Database;
use crate::harness::{Api, Receiver, Reply, Server, Settings, call, eventually, on};

/// Where the clock is set to, one after another, in seconds off the right time.
const OFFSETS: [i64; 4] = [600, -600, 0, -600];
/// Before another try.
const DELAY: Duration = Duration::from_millis(1500);
/// How much later than that one may come.
const LATE: Duration = Duration::from_secs(20);

/// What was measured, beside what became of the load.
pub struct Outcome {
    pub found: Findings,
    /// Runs that were longer than a lease, and how often they were executed in all.
    long: (usize, usize),
    /// From a first try to the second one.
    pub delays: Vec<Duration>,
    /// Retries that did not come in time.
    pub missing: usize,
    leases_lost: usize,
    steps: u64,
}

/// Where Debian's package has the library.
fn library() -> PathBuf {
    let triple = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    let found = Path::new(&triple).to_owned();
    assert!(found.exists(), "{triple} is not there; `cargo xtask test` installs it");
    found
}

/// Writes the file that the library looks at.
fn set_clock(file: &Path, offset: i64) {
    let unfinished = file.with_extension("unfinished");
    std::fs::write(&unfinished, format!("{offset:+}\n")).unwrap();
    std::fs::rename(unfinished, file).unwrap();
}

/// How far a node's clock is off, in seconds, as its answers tell; `None` without an answer.
async fn offset(api: &Api) -> Option<i64> {
    let event = json!({"type": "nothing", "payload": {}});
    let answer = api.try_send(api.request(reqwest::Method::POST, "/api/v1/events").json(&event)).await.ok()?;
    let told: jiff::Timestamp = answer.body["timestamp"].as_str()?.parse().ok()?;
    Some(told.as_second() - jiff::Timestamp::now().as_second())
}

/// A server with a clock of its own.
fn with_clock(settings: Settings, file: &Path) -> Settings {
    set_clock(file, 0);
    settings
        .environment("LD_PRELOAD", &library().display().to_string())
        .environment("FAKETIME_TIMESTAMP_FILE", &file.display().to_string())
        .environment("FAKETIME_CACHE_DURATION", "1")
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .environment("DONT_FAKE_MONOTONIC", "1")
}

/// Sets a node's clock, and waits until the node goes by it.
async fn step(api: &Api, file: &Path, wanted: i64) {
    set_clock(file, wanted);
    eventually(|| async {
        let off = offset(api).await;
        let is_set = off.is_some_and(|off| (off - wanted).abs() <= 2);
        if is_set { Ok(()) } else { Err(format!("its clock is {off:?} s off, not {wanted}")) }
    })
    .await;
}

pub async fn run(steps: u64, fault: Option<&str>) -> Outcome {
    let database = Database::postgres().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clock");
    let own_clock = with_clock(with(settings(&database.url()), fault), &file);
    let nodes = [Server::with(own_clock), Server::with(with(settings(&database.url()), fault))];
    let (apis, receiver) = (apis(&nodes), Receiver::start().await);
    define(&apis, &receiver).await;
    receiver.script("/long", [Reply::status(200).late((LEASE * 2).as_millis() as u64)]);
    apis[0].trigger(on("long", "long", json!([call("c", &receiver.url("/long"))]))).await;
    let mut later = call("c", &receiver.url("/later"));
    later["retry"] = json!({"maxAttempts": 3, "initialDelay": DELAY.as_millis() as u64, "jitter": "none"});
    apis[0].trigger(on("later", "later", json!([later]))).await;
    let load = Load::start(apis.clone(), Plan { rate: Some(30.0), ..Plan::of(4) });
    let (mut longs, mut laters, mut missing) = (0, 0, 0);
    for n in 0..steps {
        // At the node whose clock is set: it holds their runs.
        for n in 0..4 {
            apis[0].event("long", json!({"n": n})).await;
        }
        longs += 4;
        receiver.wait_for("/long", longs).await;
        let fails = (0..4).map(|_| Reply::status(503)).chain([Reply::status(200)]);
        receiver.script("/later", fails);
        for n in 0..4 {
            apis[0].event("later", json!({"n": n})).await;
        }
        laters += 4;
        receiver.wait_for("/later", 2 * laters - 4).await;
        let wanted = OFFSETS[n as usize % OFFSETS.len()];
        step(&apis[0], &file, wanted).await;
        let began = Instant::now();
        while receiver.seen_at("/later").len() < 2 * laters && began.elapsed() < DELAY + LATE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        missing += 2 * laters - receiver.seen_at("/later").len().min(2 * laters);
        if missing > 0 {
            break;
        }
        // As long as the long ones take, and as an early taking over would.
        tokio::time::sleep(LEASE * 2).await;
    }
    let told = load.end().await;
    let leases_lost = nodes.iter().map(|node| node.log().matches("has lost its lease").count()).sum();
    if missing > 0 {
        // In ten minutes perhaps.
        return Outcome { found: Findings::default(), long: (0, 0), delays: Vec::new(), missing, leases_lost, steps };
    }
    let found = Findings::of(&database.url(), &told, &receiver).await;
    let tries = by_event(receiver.seen_at("/later"));
    let delays = tries.values().filter(|seen| seen.len() > 1).map(|seen| seen[1].at - seen[0].at).collect();
    let long = (longs, receiver.seen_at("/long").len());
    Outcome { found, long, delays, missing, leases_lost, steps }
}

impl Outcome {
    fn figures(&self) -> Value {
        let figures = json!({
            "steps": self.steps, "long_runs": self.long.0, "long_runs_executed": self.long.1, "retries": self.delays.len(),
            "retry_delay_wanted_ms": milliseconds(DELAY), "retry_delay_p50_ms": percentile(&self.delays, 0.5),
            "retry_delay_max_ms": percentile(&self.delays, 1.0), "retries_missing": self.missing,
            "leases_lost": self.leases_lost,
        });
        and(self.found.figures(), figures)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_moves_nothing_and_repeats_nothing() {
    let outcome = run(length("TRIGGERD_CHAOS_STEPS", 2), None).await;
    report("clock_steps", &outcome.figures());
    assert_eq!(outcome.missing, 0, "retries did not come");
    outcome.found.hold();
    assert_eq!(outcome.found.duplicates, 0, "nobody died, and something was done again");
    assert_eq!(outcome.long.0, outcome.long.1, "runs that are longer than a lease are executed once");
    assert_eq!(outcome.leases_lost, 0, "leases are of the database's clock");
    let earliest = outcome.delays.iter().min().unwrap();
    assert!(*earliest >= DELAY - Duration::from_millis(300), "a retry came after {earliest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_repeats_nothing_on_the_embedded_store() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clock");
    let settings = Settings::default().embedded().set("ENGINE_LEASE", "4s").set("RATE_LIMIT", "0");
    let server = Server::with(with_clock(settings, &file));
    let (api, receiver) = (server.api(), Receiver::start().await);
    receiver.script("/long", [Reply::status(200).late((LEASE * 2).as_millis() as u64)]);
    api.trigger(on("long", "long", json!([call("c", &receiver.url("/long"))]))).await;
    let mut events = Vec::new();
    let steps = length("TRIGGERD_CHAOS_STEPS", 1);
    for n in 0..steps {
        for n in 0..8 {
            events.push(api.event("long", json!({"n": n})).await);
        }
        receiver.wait_for("/long", events.len()).await;
        step(&api, &file, OFFSETS[n as usize % OFFSETS.len()]).await;
        // As long as they take, and as what is nobody's would wait.
        tokio::time::sleep(LEASE * 2).await;
    }
    for event in &events {
        assert_eq!(api.ended(event).await["status"], "delivered");
    }
    let executed = receiver.seen_at("/long").len();
    report("clock_steps_embedded", &json!({"steps": steps, "long_runs": events.len(), "long_runs_executed": executed}));
    assert_eq!(executed, events.len(), "runs that are longer than a lease are executed once");
}

//! How many events a second the store keeps and finishes. Plain numbers, no statistics: `cargo bench --bench store`.
//!
//! `CALLERS` tasks each append an event with one run and record it delivered, as the server does; then batches of
//! 1,000 are appended. Prints rates, and what an event costs in CPU time of the whole process.

#![allow(clippy::unwrap_used)]

mod kept;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use triggerd::store::{Append, Options, RunNext, RunUpdate, Store};
use triggerd_core::id::RunId;
use triggerd_core::run::{ActionProgress, ActionState, Attempt, AttemptOutcome, Progress};

fn main() {
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
    let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(dir.path(), Options::default()).await.unwrap();
        for callers in [16, 64, 256] {
            finish(&store, callers, Duration::from_secs(seconds)).await;
        }
        batches(&store, Duration::from_secs(seconds)).await;
        store.close().await.unwrap();
    });
}

async fn finish(store: &Store, callers: usize, time: Duration) {
    let (began, cpu) = (Instant::now(), cpu_time());
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0u64;
                while began.elapsed() < time {
                    let append = append();
                    let id = append.runs[0].id;
                    store.append(append).await.unwrap();
                    assert!(store.record(delivered(id)).await.unwrap());
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    report(&format!("append + record, {callers} callers"), done, began, cpu);
}

async fn batches(store: &Store, time: Duration) {
    let (began, cpu) = (Instant::now(), cpu_time());
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0u64;
                while began.elapsed() < time {
                    done += store.append_batch((0..1000).map(|_| append()).collect()).await.unwrap().len() as u64;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    report("append_batch of 1,000", done, began, cpu);
}

fn report(what: &str, events: u64, began: Instant, cpu: Duration) {
    let (wall, cpu) = (began.elapsed(), cpu_time() - cpu);
    let rate = events as f64 / wall.as_secs_f64();
    let cost = cpu.as_secs_f64() * 1e6 / events as f64;
    println!("{what:<32} {rate:>9.0} events/s {cost:>7.1} us CPU each");
}

/// User and system time of this process (Linux; zero elsewhere).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u64 = stat
        .rsplit(") ")
        .next()
        .into_iter()
        .flat_map(|s| s.split(' ').skip(11).take(2))
        .filter_map(|t| t.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn append() -> Append {
    kept::append(Some(SignedDuration::from_secs(30)))
}

fn delivered(id: RunId) -> RunUpdate {
    let attempt = Attempt {
        attempt: 1,
        started_at: Timestamp::now(),
        duration_ms: 3,
        outcome: AttemptOutcome::Delivered,
        error_code: None,
        error: None,
        request: None,
        response: None,
    };
    let action = ActionProgress {
        effect: None,
        name: "log-0".to_owned(),
        kind: "log.create".to_owned(),
        status: ActionState::Delivered,
        delivery_id: id.delivery("log-0"),
        reason: None,
        output: json!(null),
        first_of_round: 1,
        attempts: vec![attempt],
    };
    RunUpdate {
        id,
        epoch: 1,
        progress: Arc::new(Progress { actions: vec![action], rounds: Vec::new() }),
        next: RunNext::Delivered,
    }
}

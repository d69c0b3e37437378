//! How many events a second the store keeps and finishes. Plain numbers, no statistics: `cargo bench --bench store`.
//!
//! `CALLERS` tasks each append an event with one run and record it delivered, as the server does; then batches of
//! 1,000 are appended. Prints rates, and what an event costs in CPU time of the whole process.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use triggerd::store::{Append, NewRun, Options, RunNext, RunUpdate, Store};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
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
    let now = Timestamp::now();
    let ms = u64::try_from(now.as_millisecond()).unwrap();
    let event = Event {
        id: EventId::new(ms, rand::random()),
        tenant: TenantId::new("default"),
        event_type: "order.created".to_owned(),
        source: Some("bench".to_owned()),
        change: None,
        record: json!({"event_type": "order.created", "order_id": "ord_1029384756", "customer_id": 88123, "amount": 129.95,
            "items": [{"sku": "SKU-1", "quantity": 2}, {"sku": "SKU-2", "quantity": 1}], "email": "someone@example.com"}),
        previous_record: json!(null),
        env: "default".to_owned(),
        user: json!(null),
        metadata: serde_json::Map::new(),
        attributes: serde_json::Map::new(),
        timestamp: now,
        accepted_at: now,
        traceparent: None,
        causation: Vec::new(),
    };
    let run = NewRun {
        id: RunId::new(ms, rand::random()),
        trigger: Arc::from("process-new-order"),
        version: 1,
        ordering_key: None,
        queue: None,
        lease_until: Some(now + jiff::SignedDuration::from_secs(30)),
    };
    Append { event: Arc::new(event), runs: vec![run], idempotency: None }
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
        name: "log-0".to_owned(),
        kind: "log.create".to_owned(),
        status: ActionState::Delivered,
        delivery_id: id.delivery("log-0"),
        reason: None,
        output: json!(null),
        first_of_round: 1,
        attempts: vec![attempt],
    };
    RunUpdate { id, epoch: 1, progress: Arc::new(Progress { actions: vec![action] }), next: RunNext::Delivered }
}

//! Definitions that change while events are matched, in the real definitions layer on a real store. Plain numbers, no
//! statistics: `cargo bench --bench definitions`.
//!
//! `BENCH_TRIGGERS` definitions (100,000) of 1,000 tenants are stored and loaded as a start does; then callers change, add and
//! delete definitions, first 1,000 a second, then as fast as they can, while a thread matches events. On SQLite, and on the empty
//! PostgreSQL database `BENCH_POSTGRES` where one is named: there a second node follows.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use triggerd::actions::Registry;
use triggerd::components::Components;
use triggerd::definitions::Definitions;
use triggerd::store::open::Shared;
use triggerd::store::{ChangeKind, Changes, Options, PutMode, PutOutcome, Store, TriggerChange};
use triggerd::wasm::{Host, HostConfig, Limits};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::intake_body::{Acceptance, from_json};
use triggerd_core::trace::TraceContext;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TENANTS: usize = 1_000;
const CALLERS: usize = 64;

fn main() {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (count, seconds) = (number("BENCH_TRIGGERS", 100_000) as usize, number("BENCH_SECONDS", 10));
    let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let time = Duration::from_secs(seconds);
        if let Ok(url) = std::env::var("BENCH_POSTGRES") {
            let shared = Shared { allow_degraded: true, ..Options::default().shared };
            let open =
                async || Store::connect(&url, Options { shared: shared.clone(), ..Options::default() }).await.unwrap();
            println!("PostgreSQL");
            let store = open().await;
            let node = start(&store, count).await;
            let other = open().await;
            let follower = load(&other).await;
            let following = follow(other.clone(), Arc::clone(&follower));
            change(&node, Some(&follower), count, time).await;
            following.abort();
            other.close().await.unwrap();
            store.close().await.unwrap();
        } else {
            println!("SQLite");
            let store = Store::open(dir.path(), Options::default()).await.unwrap();
            let node = start(&store, count).await;
            change(&node, None, count, time).await;
            store.close().await.unwrap();
        }
    });
}

fn tenant(i: usize) -> TenantId {
    TenantId::new(&format!("tenant-{}", i % TENANTS))
}

fn definition(i: usize, total: u64) -> Value {
    json!({
        "tag": format!("large-order-{i}"), "tables": ["orders"], "events": ["afterInsert"],
        "condition": {"and": [
            {"field": "record.customer_id", "operator": "EQUALS", "value": i},
            {"field": "record.total", "operator": "GREATER_THAN", "value": total},
        ]},
        "actions": [{"name": "tell", "type": "http.post", "config": {
            "url": "https://hooks.example.com/orders/{{record.id}}", "headers": {"x-customer": "{{record.customer_id}}"},
            "body": {"id": "{{record.id}}", "total": "{{record.total}}", "text": "order {{record.id}} of {{record.customer_id}}"},
        }}],
    })
}

/// Stores `count` definitions, and loads them as a start of the server does.
async fn start(store: &Store, count: usize) -> Arc<Definitions> {
    let began = Instant::now();
    let all: Vec<usize> = (0..count).collect();
    for some in all.chunks(500) {
        let change = |i: &usize| TriggerChange {
            tenant: tenant(*i),
            tag: format!("large-order-{i}"),
            definition: Some((definition(*i, 100), PutMode::Replace)),
            now: Timestamp::now(),
            witness: None,
        };
        store.change_triggers(some.iter().map(change).collect()).await.unwrap();
    }
    println!("  {count} definitions stored in {:.1} s", began.elapsed().as_secs_f64());
    let (before, began) = (memory(), Instant::now());
    let node = load(store).await;
    let (took, kept) = (began.elapsed().as_secs_f64(), memory().saturating_sub(before));
    println!(
        "  loaded in {took:.1} s ({:.0} us each), resident memory + {} MiB ({} bytes each), peak {} MiB",
        took * 1e6 / count as f64,
        kept >> 20,
        kept / count as u64,
        peak() >> 20
    );
    node
}

async fn load(store: &Store) -> Arc<Definitions> {
    let host = Arc::new(Host::new(HostConfig { guests: 1, ..HostConfig::default() }).unwrap());
    let components = Components::new(store.clone(), host, Limits::default(), Duration::from_secs(1));
    Arc::new(Definitions::load(store.clone(), Registry::built_in(), Arc::new(components)).await.unwrap())
}

/// As the server's `follow` does for definitions.
fn follow(store: Store, node: Arc<Definitions>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            store.changed_elsewhere().await;
            match store.changes().await.unwrap() {
                Changes::All => node.reload().await.unwrap(),
                Changes::Some(changes) => {
                    let triggers = changes.into_iter().filter(|change| change.kind == ChangeKind::Trigger);
                    let named: Vec<_> = triggers.map(|change| (change.tenant, change.key)).collect();
                    node.refresh_all(&named).await.unwrap();
                }
            }
        }
    })
}

/// What is measured while definitions change, in microseconds.
#[derive(Clone)]
struct Measured {
    change: Arc<Mutex<Histogram<u64>>>,
    elsewhere: Arc<Mutex<Histogram<u64>>>,
    done: Arc<AtomicU64>,
}

async fn change(node: &Arc<Definitions>, follower: Option<&Arc<Definitions>>, count: usize, time: Duration) {
    quiet(node, Duration::from_secs(2), count).await;
    for rate in [Some(1_000), None] {
        let new = || Arc::new(Mutex::new(Histogram::new(3).unwrap()));
        let measured = Measured { change: new(), elsewhere: new(), done: Arc::default() };
        let (stop, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let matching = matching(Arc::clone(node), count, Arc::clone(&stop));
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| tokio::spawn(caller(n, Arc::clone(node), follower.cloned(), count, rate, time, measured.clone())))
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        let rate_done = measured.done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        let matched = tokio::task::spawn_blocking(move || matching.join().unwrap()).await.unwrap();
        println!(
            "  {rate_done:.0} changes/s {}",
            if rate.is_some() { "(asked for: 1,000)" } else { "(as fast as 64 callers can)" }
        );
        show("    a change, until it is answered", &measured.change.lock(), 1e6, "ms");
        show("    a match meanwhile", &matched, 1e3, "us");
        if follower.is_some() {
            show("    in force on the other node after", &measured.elsewhere.lock(), 1e6, "ms");
        }
    }
}

async fn quiet(node: &Arc<Definitions>, time: Duration, count: usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let matching = matching(Arc::clone(node), count, Arc::clone(&stop));
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let matched = tokio::task::spawn_blocking(move || matching.join().unwrap()).await.unwrap();
    show("  a match while nothing changes", &matched, 1e3, "us");
}

async fn caller(
    n: usize,
    node: Arc<Definitions>,
    follower: Option<Arc<Definitions>>,
    count: usize,
    rate: Option<u64>,
    time: Duration,
    measured: Measured,
) {
    let began = Instant::now();
    let pause = rate.map(|rate| Duration::from_micros(1_000_000 * CALLERS as u64 / rate));
    let mut due = began + pause.unwrap_or_default() * (n as u32) / (CALLERS as u32);
    for step in 0u64.. {
        if let Some(pause) = pause {
            tokio::time::sleep_until(due.into()).await;
            due += pause;
        }
        if began.elapsed() >= time {
            return;
        }
        // Each caller has its own part of the tags: half are changed, a quarter deleted, and those put back.
        let i = (n + CALLERS * (step as usize * 7 / 2)) % count;
        let (of, tag) = (tenant(i), format!("large-order-{i}"));
        let asked = Instant::now();
        if step % 4 == 1 {
            let _ = node.delete(&of, &tag, Timestamp::now()).await;
        } else {
            let put = node.put(&of, definition(i, 101 + step), PutMode::Replace, Timestamp::now()).await.unwrap();
            if let (PutOutcome::Created(stored) | PutOutcome::Replaced(stored), Some(follower), 0) =
                (put, &follower, step % 8)
            {
                let (follower, elsewhere, answered) =
                    (Arc::clone(follower), Arc::clone(&measured.elsewhere), Instant::now());
                tokio::spawn(async move {
                    while follower.index().get(&of, &tag).is_none_or(|known| known.version < stored.version)
                        && answered.elapsed() < Duration::from_secs(30)
                    {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    let _ = elsewhere.lock().record(answered.elapsed().as_nanos() as u64 / 1_000 * 1_000);
                });
            }
        }
        let _ = measured.change.lock().record(asked.elapsed().as_nanos() as u64);
        measured.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// Matches 2,000 events a second until it is stopped, each against the index in force then.
fn matching(node: Arc<Definitions>, count: usize, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Histogram<u64>> {
    std::thread::spawn(move || {
        let events: Vec<_> = (0..2_000).map(|n| event(n * 37 % count)).collect();
        let mut took = Histogram::new(3).unwrap();
        for event in events.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let began = Instant::now();
            std::hint::black_box(node.index().matches(event));
            let _ = took.record(began.elapsed().as_nanos() as u64);
            std::thread::sleep(Duration::from_micros(500));
        }
        took
    })
}

fn event(i: usize) -> Event {
    let now = Timestamp::now();
    let acceptance =
        Acceptance { id: EventId::new(0, [0; 10]), tenant: tenant(i), now, trace: TraceContext::default() };
    let record = json!({"id": 1, "customer_id": i, "total": 250_000, "status": "confirmed", "items": [{"sku": "a"}]});
    from_json(json!({"operation": "insert", "table": "orders", "record": record}), acceptance).unwrap()
}

fn show(what: &str, took: &Histogram<u64>, unit: f64, name: &str) {
    let at = |quantile: f64| took.value_at_quantile(quantile) as f64 / unit;
    println!("{what}: p50 {:.2} {name}, p99 {:.2} {name}, max {:.2} {name}", at(0.5), at(0.99), at(1.0));
}

/// Resident memory of this process (Linux; zero elsewhere).
fn memory() -> u64 {
    status("VmRSS:")
}

fn peak() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
}

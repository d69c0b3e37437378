//! How long a page of the inbox takes, by its filter, in a store of `BENCH_EVENTS` (200,000) events; what keeping what it finds them by
//! costs beside intake; and what an acceptance waits while old events are let go. Plain numbers, no statistics: `cargo bench --bench inbox`.
//!
//! Ten types of even shares, five sources, and few events of a rare type, a rare source and a rare table; some four in a thousand have a
//! run, of which a part waits and a part is a dead letter. `BENCH_DIR` names another folder for the store.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use triggerd::store::{Append, EventFilter, EventStatus, NewRun, Options, PageRequest, RunNext, RunUpdate, Store};
use triggerd_core::event::{Change, Event, Moment, Operation};
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::Progress;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events of a commit.
const SOME: u64 = 1_000;
/// Pages of each filter.
const PAGES: usize = 40;

fn main() {
    let events = number("BENCH_EVENTS", 200_000);
    let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(dir.path(), Options::default()).await.unwrap();
        intake(&store, events.min(100_000)).await;
        fill(&store, events).await;
        pages(&store).await;
        retention(&store, events).await;
        store.close().await.unwrap();
    });
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// Unmatched events one after another, 32 a commit: alone, and with the index kept beside.
async fn intake(store: &Store, events: u64) {
    for turn in 0..2 {
        let (began, cpu) = (Instant::now(), cpu_time());
        for n in 0..events / 32 {
            store.append_batch((0..32).map(|k| append(n * 32 + k, true)).collect()).await.unwrap();
        }
        let (wall, spent) = (began.elapsed(), cpu_time() - cpu);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / events as f64;
        println!("intake, 32 a commit, turn {turn}: {:.2} us each, {:.2} us CPU each", each(wall), each(spent));
        let (began, cpu) = (Instant::now(), cpu_time());
        while store.index_events().await.unwrap() {}
        let (wall, spent) = (began.elapsed(), cpu_time() - cpu);
        println!("  its index, afterwards: {:.2} us each, {:.2} us CPU each", each(wall), each(spent));
    }
}

async fn fill(store: &Store, events: u64) {
    let (began, cpu) = (Instant::now(), cpu_time());
    let mut indexing = Duration::ZERO;
    for n in 0..events / SOME {
        let appends: Vec<Append> = (0..SOME).map(|k| append(n * SOME + k, false)).collect();
        let runs: Vec<RunId> =
            appends.iter().flat_map(|a| a.runs.iter().filter(|r| r.lease_until.is_some())).map(|r| r.id).collect();
        store.append_batch(appends).await.unwrap();
        let ended = runs.into_iter().enumerate().map(|(k, id)| RunUpdate {
            id,
            epoch: 1,
            progress: Arc::new(Progress::default()),
            next: if k == 0 && n.is_multiple_of(10) {
                RunNext::Failed { code: "HTTP_400".to_owned(), message: "it said no".to_owned() }
            } else {
                RunNext::Delivered
            },
        });
        store.record_many(ended.collect()).await.unwrap();
        let began = Instant::now();
        while store.index_events().await.unwrap() {}
        indexing += began.elapsed();
    }
    println!(
        "{events} events kept in {:.1} s ({:.1} s CPU), of which {:.1} s for the index",
        began.elapsed().as_secs_f64(),
        (cpu_time() - cpu).as_secs_f64(),
        indexing.as_secs_f64()
    );
}

async fn pages(store: &Store) {
    let any = EventFilter::default;
    let newest = store.events(&tenant(), &any(), &page(1, None)).await.unwrap();
    let now = newest.items[0].event.accepted_at;
    let status = |status| EventFilter { status: Some(status), ..any() };
    let filters = [
        ("none", any()),
        ("event_type, a tenth", EventFilter { event_type: Some("type.3".into()), ..any() }),
        ("event_type, rare", EventFilter { event_type: Some("type.rare".into()), ..any() }),
        ("event_type, of none", EventFilter { event_type: Some("type.none".into()), ..any() }),
        ("source, rare", EventFilter { source: Some("source.rare".into()), ..any() }),
        ("table, rare", EventFilter { table: Some("rare".into()), ..any() }),
        (
            "event_type and source",
            EventFilter { event_type: Some("type.3".into()), source: Some("source.4".into()), ..any() },
        ),
        (
            "rare event_type and common source",
            EventFilter { event_type: Some("type.rare".into()), source: Some("source.1".into()), ..any() },
        ),
        ("status unmatched", status(EventStatus::Unmatched)),
        ("status delivered, rare", status(EventStatus::Delivered)),
        ("status failed, rare", status(EventStatus::Failed)),
        ("status pending, rare", status(EventStatus::Pending)),
        (
            "failed of a rare event_type",
            EventFilter { event_type: Some("type.rare".into()), ..status(EventStatus::Failed) },
        ),
        (
            "a second in the middle",
            EventFilter {
                start: Some(now - SignedDuration::from_secs(5)),
                end: Some(now - SignedDuration::from_secs(4)),
                ..any()
            },
        ),
    ];
    for (what, filter) in filters {
        let (mut first, mut later) = (Histogram::<u64>::new(3).unwrap(), Histogram::<u64>::new(3).unwrap());
        let (mut cursor, mut items, mut total) = (None, 0, (0, false));
        for n in 0..PAGES {
            let began = Instant::now();
            let found = store.events(&tenant(), &filter, &page(1_000, cursor.clone())).await.unwrap();
            let took = u64::try_from(began.elapsed().as_micros()).unwrap();
            if cursor.is_none() { &mut first } else { &mut later }.record(took).unwrap();
            (items, total) = (items.max(found.items.len()), (found.total, found.total_is_exact));
            // Further and further down, and from the top again.
            cursor = found.cursor.filter(|_| n % 8 != 7);
        }
        let ms = |took: &Histogram<u64>, quantile: f64| took.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{what:<36} first pages p50 {:>6.1} p95 {:>6.1} ms, later p50 {:>6.1} p95 {:>6.1} ms; {items} items of {}{}",
            ms(&first, 0.5),
            ms(&first, 0.95),
            ms(&later, 0.5),
            ms(&later, 0.95),
            total.0,
            if total.1 { "" } else { " at least" }
        );
    }
}

/// What an acceptance waits, without and with half of all events being let go meanwhile (at most a million).
async fn retention(store: &Store, events: u64) {
    let calm = accepted(store, Duration::from_secs(3), || false).await;
    let gone = (events / 2).min(1_000_000);
    let began = Instant::now();
    let deleting = store.clone();
    let deletion = tokio::spawn(async move {
        let (mut left, mut after) = (gone, None);
        let ended = [EventStatus::Delivered, EventStatus::Unmatched];
        while left > 0 {
            let began = Instant::now();
            let retired = deleting.retire(&tenant(), &ended, Timestamp::now(), after, 500).await.unwrap();
            (left, after) = (left.saturating_sub(retired.gone), retired.seen);
            // As the server does.
            tokio::time::sleep(began.elapsed().min(Duration::from_millis(100))).await;
        }
    });
    let busy = accepted(store, Duration::from_secs(240), || deletion.is_finished()).await;
    println!("{gone} events let go in {:.1} s", began.elapsed().as_secs_f64());
    for (what, took) in [("calm", calm), ("while events are let go", busy)] {
        let ms = |quantile: f64| took.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "  an acceptance, {what:<24} p50 {:.2} p99 {:.2} longest {:.2} ms, {}",
            ms(0.5),
            ms(0.99),
            ms(1.0),
            took.len()
        );
    }
}

/// Acceptances one after another.
async fn accepted(store: &Store, time: Duration, mut ended: impl FnMut() -> bool) -> Histogram<u64> {
    let mut took = Histogram::<u64>::new(3).unwrap();
    let all = Instant::now();
    let mut n = 0;
    while all.elapsed() < time && !ended() {
        let began = Instant::now();
        store.append_batch(vec![append(n, true)]).await.unwrap();
        took.record(u64::try_from(began.elapsed().as_micros()).unwrap()).unwrap();
        n += 1;
    }
    took
}

fn append(n: u64, unmatched: bool) -> Append {
    let now = Timestamp::now();
    let ms = u64::try_from(now.as_millisecond()).unwrap();
    let is_rare = n % 9_973 == 7;
    let event_type = if is_rare { "type.rare".to_owned() } else { format!("type.{}", n % 10) };
    let source = if n % 19_979 == 11 { "source.rare".to_owned() } else { format!("source.{}", n / 10 % 5) };
    let order = json!({"event_type": event_type, "order_id": format!("ord_{n}"), "customer_id": 88123, "amount": 129.95,
        "items": [{"sku": "SKU-1", "quantity": 2}, {"sku": "SKU-2", "quantity": 1}], "email": "someone@example.com"});
    let mut event = Event::plain(EventId::new(ms, rand::random()), tenant(), event_type, order, now);
    event.source = Some(source);
    if n % 29_989 == 3 {
        event.change = Some(Change {
            operation: Operation::Insert,
            moment: Moment::After,
            database: None,
            schema: None,
            table: "rare".to_owned(),
        });
    }
    let has_run = !unmatched && (is_rare || n.is_multiple_of(256));
    let lease = (!n.is_multiple_of(8_192)).then(|| now + SignedDuration::from_secs(86_400));
    let run = || NewRun {
        id: RunId::new(ms, rand::random()),
        trigger: Arc::from("process-new-order"),
        version: 1,
        ordering_key: None,
        queue: None,
        lease_until: lease,
    };
    Append { event: Arc::new(event), runs: has_run.then(run).into_iter().collect(), idempotency: None, follows: false }
}

fn tenant() -> TenantId {
    TenantId::new("default")
}

fn page(limit: u32, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
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

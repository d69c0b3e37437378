//! The inbox of the embedded store answers the same, whatever of what it finds events by has been built.

use triggerd::store::{EventFilter, EventStatus, NewRun, Options, Store};
use triggerd_core::event::{Change, Moment, Operation};
use triggerd_core::id::{EventId, TenantId};

use crate::conformance::fixtures::*;

/// More than two segments of 16,384.
const EVENTS: i64 = 40_000;

/// An event as the test knows it.
struct Known {
    id: EventId,
    tenant: &'static str,
    event_type: String,
    source: Option<String>,
    table: Option<String>,
    second: i64,
    order: i64,
    status: EventStatus,
}

fn tenant_of(n: i64) -> &'static str {
    match n % 1000 {
        // So few of a segment's that none is kept by field.
        0 => "few",
        1..100 => "some",
        _ => "many",
    }
}

/// Events with times that are not quite in the order in which they are kept.
async fn fill(store: &Store) -> Vec<Known> {
    let (mut known, mut reports) = (Vec::new(), Vec::new());
    for from in (0..EVENTS).step_by(1000) {
        let mut appends = Vec::new();
        for n in from..from + 1000 {
            let second = n / 100 + if n % 7 == 0 { -3 } else { 0 };
            let tenant = tenant_of(n);
            let event_type = if n % 5000 == 17 { "rare".to_owned() } else { format!("type.{}", n % 3) };
            let mut event = event_at(&TenantId::new(tenant), &event_type, t(second));
            // So many sources of "some" that their sets are shared.
            event.source = match n % 4 {
                0 => None,
                _ if tenant == "some" => Some(format!("source.{n}")),
                k => Some(format!("source.{k}")),
            };
            event.change = (n % 11 == 0).then(|| Change {
                operation: Operation::Insert,
                moment: Moment::After,
                database: None,
                schema: None,
                table: format!("table.{}", n % 2),
            });
            let run = NewRun { lease_until: (n % 9 != 0).then(|| t(9_000_000)), ..new_run() };
            let status = match n % 9 {
                _ if n % 50 != 0 => EventStatus::Unmatched,
                0 => EventStatus::Pending,
                1 => EventStatus::Failed,
                _ => EventStatus::Delivered,
            };
            match status {
                EventStatus::Failed => reports.push(failed(run.id, 1)),
                EventStatus::Delivered => reports.push(delivered(run.id, 1)),
                EventStatus::Pending | EventStatus::Unmatched => {}
            }
            known.push(Known {
                id: event.id,
                tenant,
                event_type,
                source: event.source.clone(),
                table: event.table().map(str::to_owned),
                second,
                order: n,
                status,
            });
            let runs = if status == EventStatus::Unmatched { Vec::new() } else { vec![run] };
            appends.push(append(event, runs));
        }
        store.append_batch(appends).await.unwrap();
        store.record_many(std::mem::take(&mut reports)).await.unwrap();
    }
    known
}

fn filters() -> Vec<EventFilter> {
    let any = EventFilter::default;
    let mut filters = vec![any()];
    for event_type in ["rare", "type.1", "none"] {
        filters.push(EventFilter { event_type: Some(event_type.into()), ..any() });
    }
    for source in ["source.2", "source.1001", "source.20001"] {
        filters.push(EventFilter { source: Some(source.into()), ..any() });
    }
    filters.push(EventFilter { table: Some("table.0".into()), event_type: Some("type.2".into()), ..any() });
    let times = (Some(t(40)), Some(t(270)));
    for status in [EventStatus::Pending, EventStatus::Failed, EventStatus::Delivered, EventStatus::Unmatched] {
        filters.push(EventFilter { status: Some(status), ..any() });
        filters.push(EventFilter { status: Some(status), event_type: Some("type.0".into()), ..any() });
        filters.push(EventFilter { status: Some(status), start: times.0, end: times.1, ..any() });
    }
    filters.push(EventFilter { start: times.0, end: times.1, ..any() });
    filters
}

fn wanted(known: &[Known], tenant: &str, filter: &EventFilter) -> Vec<EventId> {
    let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|w| Some(w) == found);
    let mut found: Vec<&Known> = known
        .iter()
        .filter(|k| {
            k.tenant == tenant
                && is(&filter.event_type, Some(&k.event_type))
                && is(&filter.source, k.source.as_deref())
                && is(&filter.table, k.table.as_deref())
                && filter.status.is_none_or(|status| status == k.status)
                && filter.start.is_none_or(|start| t(k.second) >= start)
                && filter.end.is_none_or(|end| t(k.second) < end)
        })
        .collect();
    found.sort_by_key(|k| std::cmp::Reverse((k.second, k.order)));
    found.into_iter().map(|k| k.id).collect()
}

async fn check(store: &Store, known: &[Known], when: &str) {
    for tenant in ["many", "some", "few", "nobody"] {
        for filter in filters() {
            let wanted = wanted(known, tenant, &filter);
            let (mut found, mut cursor) = (Vec::new(), None);
            // Of what there is much of, the beginning is enough.
            loop {
                let part = store.events(&TenantId::new(tenant), &filter, &page(700, cursor)).await.unwrap();
                // Counting has its time, which a busy machine may use up: then it is how many there are at least.
                let (total, all) = (part.total, wanted.len() as u64);
                let is_right = if part.total_is_exact { total == all } else { total <= all };
                assert!(is_right, "{when}, {tenant}: {filter:?}: {total} of {all}");
                found.extend(part.items.iter().map(|item| item.event.id));
                cursor = part.cursor;
                if cursor.is_none() || found.len() > 3000 {
                    break;
                }
            }
            let wanted = if cursor.is_none() { &wanted[..] } else { &wanted[..found.len()] };
            assert!(found == wanted, "{when}, {tenant}: {filter:?}: {} of {}", found.len(), wanted.len());
        }
    }
}

/// Lets everything go that ended well before.
async fn retire(store: &Store, tenant: &str, before: jiff::Timestamp) {
    let ended = [EventStatus::Delivered, EventStatus::Unmatched];
    let mut after = None;
    loop {
        let retired = store.retire(&TenantId::new(tenant), &ended, before, after, 2000).await.unwrap();
        after = retired.seen;
        if retired.is_all {
            return;
        }
    }
}

async fn index(store: &Store) {
    while store.index_events().await.unwrap() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_inbox_finds_the_same_events_whatever_has_been_built_and_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).await.unwrap();
    let mut known = fill(&store).await;
    assert!(store.index_events().await.unwrap());
    check(&store, &known, "one segment built").await;
    index(&store).await;
    check(&store, &known, "all complete segments built").await;

    // What was unmatched is given runs; what waits is replayed and ends.
    let changed: Vec<usize> = known
        .iter()
        .enumerate()
        .filter(|(n, k)| k.status == EventStatus::Unmatched && n % 6000 == 2)
        .map(|(n, _)| n)
        .collect();
    for n in changed {
        store.add_runs(&TenantId::new(known[n].tenant), known[n].id, vec![new_run()]).await.unwrap();
        known[n].status = EventStatus::Pending;
    }
    let dead: Vec<usize> = (0..known.len()).filter(|n| known[*n].status == EventStatus::Failed).step_by(2).collect();
    for n in dead {
        assert_eq!(store.replay_event(&TenantId::new(known[n].tenant), known[n].id, t(500)).await.unwrap(), 1);
        known[n].status = EventStatus::Pending;
    }
    check(&store, &known, "changed").await;
    index(&store).await;
    check(&store, &known, "built anew").await;

    // The oldest go; those that have not ended stay.
    let before = t(180);
    for tenant in ["many", "some", "few"] {
        retire(&store, tenant, before).await;
    }
    let had = known.len();
    let goes = |k: &Known| t(k.second) < before && !matches!(k.status, EventStatus::Pending | EventStatus::Failed);
    known.retain(|k| !goes(k));
    assert!(had - known.len() > 17_000, "{}", known.len());
    check(&store, &known, "the oldest let go").await;
    index(&store).await;
    check(&store, &known, "built without the oldest").await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_are_given_again_after_everything_was_let_go_hide_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).await.unwrap();
    let of_type = EventFilter { event_type: Some("user.created".into()), ..EventFilter::default() };
    let fill = async |store: &Store, second: i64, count: usize| {
        for _ in 0..count / 500 {
            let batch = (0..500).map(|_| append(event_at(&tenant(), "user.created", t(second)), vec![])).collect();
            store.append_batch(batch).await.unwrap();
        }
    };
    fill(&store, 0, 17_000).await;
    index(&store).await;
    retire(&store, "default", t(5)).await;
    store.close().await.unwrap();
    let store = Store::open(dir.path(), Options::default()).await.unwrap();
    fill(&store, 10, 1000).await;
    let total = async || store.events(&tenant(), &of_type, &page(10, None)).await.unwrap().total;
    assert_eq!(total().await, 1000);
    index(&store).await;
    assert_eq!(total().await, 1000);
    fill(&store, 20, 17_000).await;
    index(&store).await;
    assert_eq!(total().await, 18_000);
    store.close().await.unwrap();
}

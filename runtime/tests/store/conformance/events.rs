//! Events: kept, listed, filtered, forgotten.

use triggerd::store::{AppendOutcome, EventFilter, EventStatus};
use triggerd_core::event::{Change, Moment, Operation};
use triggerd_core::id::TenantId;

use super::fixtures::*;

pub async fn a_kept_event_is_read_back_as_it_was(Place { store, .. }: Place) {
    let mut event = event_at(&tenant(), "orders.updated", t(0));
    event.change = Some(Change {
        operation: Operation::Update,
        moment: Moment::After,
        database: Some("shop".to_owned()),
        schema: None,
        table: "orders".to_owned(),
    });
    event.metadata.insert("nul \u{0} and 😀".to_owned(), serde_json::json!("\u{0}"));
    let append = append(event, vec![new_run(), held_run(t(30))]);
    let event = append.event.clone();
    assert_eq!(store.append(append).await.unwrap(), AppendOutcome::Kept);
    let found = store.event(&tenant(), event.id).await.unwrap().unwrap();
    assert_eq!(found.event, event);
    assert_eq!(found.status, EventStatus::Pending);
    assert_eq!(store.runs_of(&tenant(), event.id).await.unwrap().len(), 2);
}

pub async fn an_idempotency_key_keeps_one_event_until_it_expires(Place { store, .. }: Place) {
    let with_key = |second: i64, fingerprint: u8| {
        let mut one = append(event_at(&tenant(), "a", t(second)), vec![new_run()]);
        one.idempotency = Some(answer("k", fingerprint, t(second + 100)));
        one
    };
    assert_eq!(store.append(with_key(0, 1)).await.unwrap(), AppendOutcome::Kept);
    let first = answer("k", 1, t(100));
    assert_eq!(store.append(with_key(1, 2)).await.unwrap(), AppendOutcome::Replayed(first.clone()));
    assert_eq!(store.idempotency(&tenant(), "k", t(50)).await.unwrap(), Some(first));
    let stranger = TenantId::new("other");
    assert_eq!(store.idempotency(&stranger, "k", t(50)).await.unwrap(), None);
    let mut theirs = append(event_at(&stranger, "a", t(2)), vec![]);
    theirs.idempotency = Some(answer("k", 9, t(200)));
    assert_eq!(store.append(theirs).await.unwrap(), AppendOutcome::Kept, "a key is its tenant's own");
    assert_eq!(store.idempotency(&tenant(), "k", t(100)).await.unwrap(), None, "forgotten when it expires");
    assert_eq!(store.append(with_key(100, 3)).await.unwrap(), AppendOutcome::Kept);
    assert_eq!(store.events(&tenant(), &EventFilter::default(), &page(10, None)).await.unwrap().total, 2);
    assert_eq!(store.delete_expired(t(1000)).await.unwrap(), 2);
}

pub async fn equal_keys_at_the_same_time_keep_one_event(Place { store, .. }: Place) {
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let mut one = append(event_at(&tenant(), "a", t(0)), vec![]);
            one.idempotency = Some(answer(&format!("k{}", n % 5), n, t(100)));
            let store = store.clone();
            tokio::spawn(async move { store.append(one).await.unwrap() })
        })
        .collect();
    let mut kept = 0;
    for task in tasks {
        kept += usize::from(task.await.unwrap() == AppendOutcome::Kept);
    }
    assert_eq!(kept, 5);
}

pub async fn a_batch_of_one_key_is_kept_once_as_a_whole(Place { store, .. }: Place) {
    let batch = |key: usize, fingerprint: u8| {
        let mut batch: Vec<_> = (0..3).map(|n| append(event_at(&tenant(), "a", t(n)), vec![lane_run("l")])).collect();
        batch[0].idempotency = Some(answer(&format!("k{key}"), fingerprint, t(100)));
        batch[1..].iter_mut().for_each(|other| other.follows = true);
        // What does not follow is kept, whatever stands before it.
        batch.push(append(event_at(&tenant(), "b", t(3)), vec![]));
        batch
    };
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let (store, batch) = (store.clone(), batch(n % 4, n as u8));
            tokio::spawn(async move { store.append_batch(batch).await.unwrap() })
        })
        .collect();
    let mut kept = 0;
    for task in tasks {
        let outcomes = task.await.unwrap();
        let was_kept = outcomes[0] == AppendOutcome::Kept;
        let follow = if was_kept { AppendOutcome::Kept } else { AppendOutcome::Left };
        assert!(was_kept || matches!(outcomes[0], AppendOutcome::Replayed(_)));
        assert_eq!(outcomes[1..], [follow.clone(), follow, AppendOutcome::Kept]);
        kept += usize::from(was_kept);
    }
    assert_eq!(kept, 4);
    let of_type = |event_type: &str| EventFilter { event_type: Some(event_type.into()), ..EventFilter::default() };
    for (event_type, count) in [("a", 12), ("b", 40)] {
        assert_eq!(store.events(&tenant(), &of_type(event_type), &page(1, None)).await.unwrap().total, count);
    }
}

pub async fn a_batch_is_kept_whole_or_not_at_all(Place { store, .. }: Place) {
    let batch: Vec<_> =
        (0..700).map(|n| append(event_at(&tenant(), "a", t(n)), vec![new_run(); usize::from(n == 3)])).collect();
    assert!(store.append_batch(batch).await.unwrap().iter().all(|o| *o == AppendOutcome::Kept));
    let twin = event_at(&tenant(), "a", t(0));
    let bad = vec![append(event_at(&tenant(), "b", t(1)), vec![]), append(twin.clone(), vec![]), append(twin, vec![])];
    let (bad, good) =
        tokio::join!(store.append_batch(bad), store.append(append(event_at(&tenant(), "c", t(2)), vec![])));
    assert!(is_conflict(bad));
    assert_eq!(good.unwrap(), AppendOutcome::Kept, "its neighbour in the group is kept");
    assert_eq!(store.events(&tenant(), &EventFilter::default(), &page(1, None)).await.unwrap().total, 701);
}

pub async fn the_inbox_is_newest_first_and_paged_without_gaps(Place { store, .. }: Place) {
    let mut ids = Vec::new();
    for second in 0..25 {
        ids.push(keep(&store, second / 3, vec![]).await.id);
    }
    keep_of(&store, &TenantId::new("other"), "x", 3, vec![]).await;
    ids.reverse();
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let part = store.events(&tenant(), &EventFilter::default(), &page(7, cursor)).await.unwrap();
        assert_eq!(part.total, 25);
        seen.extend(part.items.iter().map(|e| e.event.id));
        cursor = part.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
    let whole = store.events(&tenant(), &EventFilter::default(), &page(25, None)).await.unwrap();
    assert_eq!(whole.cursor, None, "no cursor where there is no more");
    assert!(is_conflict(store.events(&tenant(), &EventFilter::default(), &page(1, Some("nonsense".to_owned()))).await));
}

pub async fn filters_choose_by_type_source_table_time_and_status(Place { store, .. }: Place) {
    let pending = keep_of(&store, &tenant(), "a", 0, vec![new_run()]).await.id;
    let unmatched = keep_of(&store, &tenant(), "b", 1, vec![]).await.id;
    let (ok, dead) = (held_run(t(99)), held_run(t(99)));
    let done = keep_of(&store, &tenant(), "a", 2, vec![ok.clone()]).await.id;
    store.record(delivered(ok.id, 1)).await.unwrap();
    let broken = keep_of(&store, &tenant(), "a", 3, vec![dead.clone(), new_run()]).await.id;
    store.record(failed(dead.id, 1)).await.unwrap();
    let list = async |filter: EventFilter| {
        let found = store.events(&tenant(), &filter, &page(10, None)).await.unwrap();
        assert_eq!(found.total, found.items.len() as u64);
        found.items.iter().map(|e| e.event.id).collect::<Vec<_>>()
    };
    let any = EventFilter::default;
    let status = |status| EventFilter { status: Some(status), ..EventFilter::default() };
    assert_eq!(list(any()).await, [broken, done, unmatched, pending]);
    assert_eq!(list(EventFilter { event_type: Some("b".into()), ..any() }).await, [unmatched]);
    assert_eq!(list(EventFilter { source: Some("nobody".into()), ..any() }).await, []);
    assert_eq!(list(EventFilter { table: Some("orders".into()), ..any() }).await, []);
    assert_eq!(list(EventFilter { start: Some(t(1)), end: Some(t(3)), ..any() }).await, [done, unmatched]);
    assert_eq!(list(status(EventStatus::Pending)).await, [pending]);
    assert_eq!(list(status(EventStatus::Unmatched)).await, [unmatched]);
    assert_eq!(list(status(EventStatus::Delivered)).await, [done]);
    assert_eq!(list(status(EventStatus::Failed)).await, [broken], "one dead letter outweighs what is pending");
    let found = store.event(&tenant(), done).await.unwrap().unwrap();
    assert_eq!((found.delivery_attempts, found.last_delivery), (1, Some(t(1) + ms(250))));
}

pub async fn a_time_range_is_read_oldest_first(Place { store, .. }: Place) {
    let mut ids = Vec::new();
    for second in 0..10 {
        ids.push(keep(&store, second / 2, vec![]).await.id);
    }
    let first = store.events_between(&tenant(), t(1), t(4), None, 4).await.unwrap();
    let last = store.events_between(&tenant(), t(1), t(4), Some(first[3].id), 4).await.unwrap();
    let seen: Vec<_> = first.iter().chain(&last).map(|e| e.id).collect();
    assert_eq!(seen, ids[2..8]);
}

pub async fn tenants_see_only_what_is_theirs(Place { store, .. }: Place) {
    let other = TenantId::new("other");
    let run = held_run(t(99));
    let id = keep(&store, 0, vec![run.clone()]).await.id;
    store.record(failed(run.id, 1)).await.unwrap();
    assert!(store.event(&other, id).await.unwrap().is_none());
    assert!(store.run(&other, run.id).await.unwrap().is_none());
    assert!(store.runs_of(&other, id).await.unwrap().is_empty());
    assert!(store.dead_letters(&other, &EventFilter::default(), &page(9, None)).await.unwrap().items.is_empty());
    assert!(store.replay_run(&other, run.id, t(1)).await.unwrap().is_none());
    assert_eq!(store.replay_event(&other, id, t(1)).await.unwrap(), 0);
    assert_eq!(store.replay_events(&other, &EventFilter::default(), t(1)).await.unwrap(), 0);
    assert!(!store.drop_dead_letter(&other, run.id).await.unwrap());
    assert!(is_conflict(store.add_runs(&other, id, vec![new_run()]).await));
    assert!(store.events_between(&other, t(0), t(9), None, 9).await.unwrap().is_empty());
}

pub async fn retention_forgets_what_has_ended_and_keeps_what_has_not(Place { store, .. }: Place) {
    let (done, dead) = (held_run(t(99)), held_run(t(99)));
    let old = keep(&store, 0, vec![done.clone()]).await.id;
    let waiting = keep(&store, 1, vec![new_run()]).await.id;
    let broken = keep(&store, 2, vec![dead.clone()]).await.id;
    let young = keep(&store, 10, vec![]).await.id;
    store.record_many(vec![delivered(done.id, 1), failed(dead.id, 1)]).await.unwrap();
    let other = keep_of(&store, &TenantId::new("other"), "a", 0, vec![]).await.id;
    let old_unmatched = keep(&store, 3, vec![]).await.id;
    let ended = [EventStatus::Delivered, EventStatus::Unmatched];
    let first = store.retire(&tenant(), &ended, t(5), None, 1).await.unwrap();
    assert_eq!((first.gone, first.is_all), (1, false));
    let second = store.retire(&tenant(), &ended, t(5), first.seen, 9).await.unwrap();
    assert_eq!((second.gone, second.is_all), (1, true));
    assert_eq!(store.retire(&tenant(), &ended, t(5), second.seen, 9).await.unwrap().gone, 0);
    assert_eq!(store.retire(&tenant(), &[EventStatus::Pending], t(1), None, 9).await.unwrap().gone, 0);
    for (id, there) in [(old, false), (waiting, true), (broken, true), (old_unmatched, false), (young, true)] {
        assert_eq!(store.event(&tenant(), id).await.unwrap().is_some(), there);
    }
    assert!(store.event(&TenantId::new("other"), other).await.unwrap().is_some(), "another tenant's stay");
    assert!(store.run(&tenant(), done.id).await.unwrap().is_none());
    assert_eq!(store.dead_letter_count().await.unwrap(), 1, "dead letters stay until somebody has dealt with them");
    assert_eq!(store.retire(&tenant(), &[EventStatus::Failed], t(5), None, 9).await.unwrap().gone, 1);
    assert_eq!(store.dead_letter_count().await.unwrap(), 0);
}

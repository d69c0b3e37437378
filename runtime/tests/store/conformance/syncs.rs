//! What syncs and backfills remember, and how much of it.

use jiff::Timestamp;
use serde_json::{Value, json};
use triggerd::store::{Store, SyncConflict, SyncOverflow, SyncSettled};
use triggerd_core::sync::{Base, Side};
use uuid::Uuid;

use super::fixtures::*;

fn conflict(number: u128, at: Timestamp) -> SyncConflict {
    SyncConflict {
        id: Uuid::from_u128(number),
        key: json!([number.to_string()]).to_string(),
        at,
        reason: "conflict".to_owned(),
        winner: "source".to_owned(),
        loser: "target".to_owned(),
        lost: json!({"n": number as u64}),
        won: Value::Null,
        resolved: None,
    }
}

async fn keep(store: &Store, sync: &str, numbers: std::ops::Range<u128>) {
    let lost = numbers.map(|number| conflict(number, t(0))).collect();
    store.sync_settle(&tenant(), sync, "[]", SyncSettled { lost, ..SyncSettled::default() }, t(0)).await.unwrap();
}

pub async fn conflicts_are_let_go_when_resolved_ones_are_old_and_where_there_are_too_many(Place { store, .. }: Place) {
    let me = tenant();
    let listed = async |sync: &str| -> Vec<u128> {
        let (found, total) = store.sync_conflicts(&me, sync, None, 10_000).await.unwrap();
        assert_eq!(found.len() as u64, total);
        found.iter().map(|conflict| conflict.id.as_u128()).collect()
    };
    // More than go in one transaction.
    keep(&store, "many", 1..1301).await;
    keep(&store, "few", 2001..2004).await;
    for number in [2, 1299] {
        store.sync_conflict_restored(&me, "many", Uuid::from_u128(number)).await.unwrap();
    }
    store.sync_conflict_restored(&me, "few", Uuid::from_u128(2002)).await.unwrap();
    assert_eq!(store.sync_conflicts_retire(t(0)).await.unwrap(), 0, "none is older");
    let dropped = store.sync_conflicts_bound(100).await.unwrap();
    assert_eq!(dropped, [SyncOverflow { tenant: me.clone(), sync: "many".to_owned(), unresolved: 1198 }]);
    let left = listed("many").await;
    assert_eq!((left.len(), left[0], left[1], left[99]), (100, 1300, 1298, 1200), "the newest of nobody's");
    assert_eq!(store.sync_conflicts_bound(100).await.unwrap(), []);
    assert_eq!(store.sync_conflicts_retire(t(1)).await.unwrap(), 1);
    assert_eq!(listed("few").await, [2003, 2001]);
    store.sync_forget(&me, "many").await.unwrap();
    assert_eq!((listed("many").await.len(), listed("few").await.len()), (0, 2));
}

pub async fn a_backfill_forgets_its_rows_however_many_and_no_others(Place { store, .. }: Place) {
    let me = tenant();
    let rows: Vec<[u8; 16]> = (0..12_000u128).map(u128::to_be_bytes).collect();
    store.backfill_see(&me, "one", rows.clone()).await.unwrap();
    store.backfill_see(&me, "other", rows[..2].to_vec()).await.unwrap();
    store.backfill_forget(&me, "one").await.unwrap();
    assert!(store.backfill_seen(&me, "one", &rows).await.unwrap().is_empty());
    assert_eq!(store.backfill_seen(&me, "other", &rows).await.unwrap().len(), 2);
}

pub async fn remembered_keys_are_read_a_page_at_a_time_by_the_side_that_held_the_row(Place { store, .. }: Place) {
    let me = tenant();
    let base =
        |source: bool, target: bool| Base { source: source.then_some([1; 32]), target: target.then_some([2; 32]) };
    for (key, base) in
        [("a", base(true, true)), ("b", base(true, false)), ("c", base(false, true)), ("d", base(true, true))]
    {
        let settled = SyncSettled { base: Some(base), ..SyncSettled::default() };
        store.sync_settle(&me, "s", key, settled, t(0)).await.unwrap();
    }
    store.sync_intend(&me, "s", "e", &json!({}), Vec::new(), t(0)).await.unwrap();
    let keys = async |side, after| store.sync_keys(&me, "s", side, after, 2).await.unwrap();
    assert_eq!(keys(Side::Source, None).await, ["a", "b"]);
    assert_eq!(keys(Side::Source, Some("b")).await, ["d", "e"]);
    assert_eq!(keys(Side::Source, Some("e")).await, Vec::<String>::new());
    assert_eq!(keys(Side::Target, Some("a")).await, ["c", "d"]);
    store.sync_forget(&me, "s").await.unwrap();
    assert_eq!(keys(Side::Source, None).await, Vec::<String>::new());
}

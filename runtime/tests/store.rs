//! The stores' tests: the conformance suite on the embedded store, and what only the embedded store promises.

#![allow(clippy::unwrap_used)]

mod store_conformance;

use std::path::Path;
use std::time::{Duration, Instant};

use store_conformance::fixtures::*;
use triggerd::store::{Error, EventFilter, EventStatus, Options, Store};

async fn open(dir: &Path) -> Store {
    Store::open(dir, Options::default()).await.unwrap()
}

/// Runs each promise on a store of its own.
macro_rules! conforms {
    ($($module:ident: $($promise:ident)*;)*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                let store = open(dir.path()).await;
                store_conformance::$module::$promise(store.clone()).await;
                store.close().await.unwrap();
            }
        )*)*
    };
}

conforms! {
    events:
        a_kept_event_is_read_back_as_it_was
        an_idempotency_key_keeps_one_event_until_it_expires
        equal_keys_at_the_same_time_keep_one_event
        a_batch_is_kept_whole_or_not_at_all
        the_inbox_is_newest_first_and_paged_without_gaps
        filters_choose_by_type_source_table_time_and_status
        a_time_range_is_read_oldest_first
        tenants_see_only_what_is_theirs
        retention_forgets_what_has_ended_and_keeps_what_has_not;
    runs:
        a_report_changes_the_run_and_its_event
        a_lost_holder_changes_nothing
        many_reports_have_an_answer_each
        dead_letters_are_listed_replayed_and_dropped
        events_are_replayed_one_by_one_and_by_filter
        an_unmatched_event_can_be_given_runs;
    claims:
        the_oldest_due_are_claimed_first_and_once
        concurrent_claims_never_share_a_run
        a_lane_executes_one_after_another_in_order
        a_replay_never_runs_beside_a_later_one_of_its_lane
        the_numbers_that_metrics_show_are_right;
    definitions:
        each_change_of_a_trigger_is_a_version
        each_upload_of_a_component_is_a_version
        resources_are_put_read_and_deleted;
    small:
        component_state_compares_sets_and_expires
        of_many_that_compare_and_set_one_wins
        tenants_and_keys_are_kept
        a_topic_has_offsets_without_gaps_and_a_delivery_once
        a_quota_is_taken_up_to_its_limit_in_each_window;
    syncs:
        conflicts_are_let_go_when_resolved_ones_are_old_and_where_there_are_too_many
        remembered_keys_are_read_a_page_at_a_time_by_the_side_that_held_the_row;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_store_has_everything_and_hands_out_what_was_held() {
    let dir = tempfile::tempdir().unwrap();
    let (held, later) = (held_run(t(9_000_000)), new_run());
    let event = {
        let store = open(dir.path()).await;
        keep(&store, 0, vec![held.clone(), later.clone()]).await
    };
    let store = open(dir.path()).await;
    assert_eq!(store.event(&tenant(), event.id).await.unwrap().unwrap().event, event);
    let claimed = store.claim(t(1), 10, t(31)).await.unwrap();
    let seen: Vec<_> = claimed.iter().map(|c| (c.run.id, c.run.epoch, c.holder_lost)).collect();
    assert_eq!(seen, [(held.id, 2, true), (later.id, 1, false)]);
    assert!(!store.record(delivered(held.id, 1)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opening_is_refused_in_time_and_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let began = Instant::now();
    let Err(Error::Conflict(why)) = Store::open(dir.path(), Options::default()).await else { panic!("not refused") };
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(why.contains(&dir.path().display().to_string()) && why.contains("in use"), "{why}");
    store.close().await.unwrap();
    let again = open(dir.path()).await;
    assert!(matches!(store.ping().await, Err(Error::Unavailable(_))), "a closed store says so");
    again.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_reads_on_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let run = held_run(t(99));
    let first = keep(&store, 0, vec![run.clone()]).await;
    store.limit_size(Some(0)).await.unwrap();
    let mut refused = 0;
    for second in 1..200 {
        let mut event = event_at(&tenant(), "a", t(second));
        event.record = "x".repeat(10_000).into();
        match store.append(append(event, vec![new_run()])).await {
            Ok(_) => assert_eq!(refused, 0, "there was no space a moment ago"),
            Err(Error::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 100);
    let batch = (0..200).map(|n| append(event_at(&tenant(), "b", t(n)), vec![new_run()])).collect();
    assert!(matches!(store.append_batch(batch).await, Err(Error::Unavailable(_))));
    let settings = serde_json::Value::from("x".repeat(100_000));
    let put = store.put_resource(&tenant(), "caches", "a", settings, t(0)).await;
    assert!(matches!(put, Err(Error::Unavailable(_))));
    store.event(&tenant(), first.id).await.unwrap().unwrap();
    let before = store.events(&tenant(), &EventFilter::default(), &page(1, None)).await.unwrap().total;
    assert_eq!(before, 200 - refused, "what was refused is not there");
    store.limit_size(None).await.unwrap();
    keep(&store, 300, vec![]).await;
    assert!(store.record(delivered(run.id, 1)).await.unwrap());
    store.close().await.unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.events(&tenant(), &EventFilter::default(), &page(1, None)).await.unwrap().total, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_in_a_copy_of_the_files_taken_at_any_moment() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path()).await;
    let mut kept = Vec::new();
    for second in 0..40 {
        kept.push(keep(&store, second, vec![held_run(t(99))]).await.id);
    }
    // No close, no checkpoint: the files as a killed process would leave them.
    for name in ["triggerd.db", "triggerd.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let survivor = open(copy.path()).await;
    for id in kept {
        assert_eq!(survivor.event(&tenant(), id).await.unwrap().unwrap().status, EventStatus::Pending);
    }
    assert_eq!(survivor.claim(t(0), 100, t(30)).await.unwrap().len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_event_is_never_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let (bad, good) = (new_run(), new_run());
    let mut event = event_at(&tenant(), "a", t(0));
    event.record = "NEEDLE".into();
    let event = append(event, vec![bad.clone()]);
    let id = event.event.id;
    store.append(event).await.unwrap();
    keep(&store, 1, vec![good.clone()]).await;
    store.close().await.unwrap();
    let path = dir.path().join("triggerd.db");
    let mut file = std::fs::read(&path).unwrap();
    let at = file.windows(6).position(|w| w == b"NEEDLE").unwrap();
    file[at] = b'W';
    std::fs::write(&path, file).unwrap();

    let store = open(dir.path()).await;
    assert!(matches!(store.event(&tenant(), id).await, Err(Error::Damaged(_))));
    assert_eq!(store.events(&tenant(), &EventFilter::default(), &page(9, None)).await.unwrap().items.len(), 1);
    assert_eq!(claim_ids(&store, t(2)).await, [good.id]);
    let run = store.run(&tenant(), bad.id).await.unwrap().unwrap();
    assert_eq!(run.error.unwrap().0, "STORE_DAMAGED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await.unwrap();
    {
        use sqlx::Connection;
        let url = format!("sqlite://{}", dir.path().join("triggerd.db").display());
        let mut conn = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)";
        sqlx::query(sql).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }
    let Err(Error::Conflict(why)) = Store::open(dir.path(), Options::default()).await else { panic!("not refused") };
    assert!(why.contains("9999") && why.contains("newer"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_away_leave_the_writer_working() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for second in 0..50 {
        let one = append(event_at(&tenant(), "a", t(second)), vec![new_run()]);
        let store = store.clone();
        let task = tokio::spawn(async move { store.append(one).await });
        if second % 2 == 0 {
            task.abort();
        }
        let _ = task.await;
    }
    keep(&store, 100, vec![]).await;
    assert!(store.events(&tenant(), &EventFilter::default(), &page(1, None)).await.unwrap().total >= 26);
}

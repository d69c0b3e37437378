//! Runs: reports, fencing, dead letters, replays.

use triggerd::store::{EventFilter, EventStatus, RunNext, RunUpdate};
use triggerd_core::run::{ActionState, RunState};

use super::fixtures::*;

pub async fn a_report_changes_the_run_and_its_event(Place { store, .. }: Place) {
    let run = held_run(t(30));
    let event = keep(&store, 0, vec![run.clone()]).await;
    let held = store.run(&tenant(), run.id).await.unwrap().unwrap();
    assert_eq!((held.state, held.epoch, held.event_id, held.due), (RunState::Running, 1, event.id, None));
    let half = progress(run.id, 1, ActionState::Pending);
    let hold = RunUpdate { id: run.id, epoch: 1, progress: half.clone(), next: RunNext::Hold(t(60)) };
    assert!(store.record(hold).await.unwrap());
    let found = store.run(&tenant(), run.id).await.unwrap().unwrap();
    assert_eq!((found.state, &found.progress), (RunState::Running, &*half));
    assert!(store.record(released(run.id, 1, t(90))).await.unwrap());
    let found = store.run(&tenant(), run.id).await.unwrap().unwrap();
    assert_eq!((found.state, found.due, found.queue.as_deref()), (RunState::Pending, Some(t(90)), Some("slow")));
    let claimed = store.claim_run(run.id, t(90), t(120)).await.unwrap().unwrap();
    assert_eq!((claimed.run.epoch, claimed.holder_lost), (2, false));
    assert_eq!(claimed.event, event);
    assert!(store.record(failed(run.id, 2)).await.unwrap());
    let found = store.run(&tenant(), run.id).await.unwrap().unwrap();
    assert_eq!(found.error, Some(("HTTP_400".to_owned(), "it said no".to_owned())));
    assert!(found.finished_at.is_some());
    assert_eq!(store.event(&tenant(), event.id).await.unwrap().unwrap().status, EventStatus::Failed);
}

pub async fn a_lost_holder_changes_nothing(place: Place) {
    let store = &place.store;
    let run = held_run(t(30));
    keep(store, 0, vec![run.clone()]).await;
    place.end_leases().await;
    let taken = store.claim(t(31), 10, t(60)).await.unwrap();
    assert_eq!((taken[0].run.epoch, taken[0].holder_lost), (2, true), "the lease ended unreleased");
    assert!(!store.record(delivered(run.id, 1)).await.unwrap());
    assert!(!store.record(failed(run.id, 3)).await.unwrap());
    assert_eq!(store.renew(vec![(run.id, 1), (run.id, 2)], t(90)).await.unwrap(), [false, true]);
    assert_eq!(store.run(&tenant(), run.id).await.unwrap().unwrap().state, RunState::Running);
    assert!(store.record(delivered(run.id, 2)).await.unwrap());
    assert!(!store.record(delivered(run.id, 2)).await.unwrap(), "an ended run is nobody's");
    assert!(!store.record(delivered(new_run().id, 1)).await.unwrap(), "there is no such run");
}

pub async fn many_reports_have_an_answer_each(Place { store, .. }: Place) {
    let runs: Vec<_> = (0..300).map(|_| held_run(t(30))).collect();
    for part in runs.chunks(100) {
        keep(&store, 0, part.to_vec()).await;
    }
    let mut updates: Vec<_> =
        runs.iter().enumerate().map(|(n, run)| delivered(run.id, if n % 7 == 0 { 9 } else { 1 })).collect();
    updates.push(failed(runs[1].id, 1));
    updates.push(failed(runs[0].id, 1));
    let answers = store.record_many(updates).await.unwrap();
    for (n, held) in answers[..300].iter().enumerate() {
        assert_eq!(*held, n % 7 != 0, "{n}");
    }
    assert_eq!(answers[300..], [false, true], "the second report on a run meets what the first one left");
    assert_eq!(store.dead_letter_count().await.unwrap(), 1);
}

pub async fn dead_letters_are_listed_replayed_and_dropped(Place { store, .. }: Place) {
    let mut ids = Vec::new();
    for second in 0..5 {
        let run = held_run(t(99));
        keep_of(&store, &tenant(), if second == 0 { "a" } else { "b" }, second, vec![run.clone()]).await;
        store.record(failed(run.id, 1)).await.unwrap();
        ids.insert(0, run.id);
    }
    let first = store.dead_letters(&tenant(), &EventFilter::default(), &page(3, None)).await.unwrap();
    let rest = store.dead_letters(&tenant(), &EventFilter::default(), &page(3, first.cursor.clone())).await.unwrap();
    let seen: Vec<_> = first.items.iter().chain(&rest.items).map(|(run, _)| run.id).collect();
    assert_eq!((seen, first.total, rest.cursor), (ids.clone(), 5, None));
    let filter =
        EventFilter { event_type: Some("a".into()), trigger: Some("welcome".into()), ..EventFilter::default() };
    assert_eq!(store.dead_letters(&tenant(), &filter, &page(9, None)).await.unwrap().total, 1);
    let filter = EventFilter { trigger: Some("other".into()), ..EventFilter::default() };
    assert_eq!(store.dead_letters(&tenant(), &filter, &page(9, None)).await.unwrap().total, 0);

    let again = store.replay_run(&tenant(), ids[0], t(200)).await.unwrap().unwrap();
    assert_eq!((again.state, again.due, again.replay, again.error), (RunState::Pending, Some(t(200)), true, None));
    let action = &again.progress.actions[0];
    assert_eq!((action.status, action.first_of_round, action.attempts.len()), (ActionState::Pending, 3, 2));
    assert_eq!(action.delivery_id, ids[0].delivery("send"), "the delivery id is kept");
    assert!(store.replay_run(&tenant(), ids[0], t(201)).await.unwrap().is_none(), "it has not ended");
    assert!(!store.record(delivered(ids[0], 1)).await.unwrap(), "the old holder stays fenced");

    let event = store.run(&tenant(), ids[1]).await.unwrap().unwrap().event_id;
    assert!(store.drop_dead_letter(&tenant(), ids[1]).await.unwrap());
    assert!(!store.drop_dead_letter(&tenant(), ids[1]).await.unwrap());
    assert!(!store.drop_dead_letter(&tenant(), ids[0]).await.unwrap(), "not a dead letter any more");
    assert_eq!(store.event(&tenant(), event).await.unwrap().unwrap().status, EventStatus::Delivered);
    assert_eq!(store.dead_letter_count().await.unwrap(), 3);
}

pub async fn events_are_replayed_one_by_one_and_by_filter(Place { store, .. }: Place) {
    let (done, dead) = (held_run(t(99)), held_run(t(99)));
    let both = keep(&store, 0, vec![done.clone(), dead.clone(), new_run()]).await;
    store.record_many(vec![delivered(done.id, 1), failed(dead.id, 1)]).await.unwrap();
    assert_eq!(store.replay_event(&tenant(), both.id, t(5)).await.unwrap(), 2, "what has not ended is left alone");
    let again = store.run(&tenant(), done.id).await.unwrap().unwrap();
    assert_eq!(
        (again.state, again.finished_at, again.progress.actions[0].status),
        (RunState::Pending, None, ActionState::Pending)
    );

    let runs: Vec<_> = (0..450).map(|_| held_run(t(99))).collect();
    let batch = runs.iter().map(|run| append(event_at(&tenant(), "many", t(10)), vec![run.clone()])).collect();
    store.append_batch(batch).await.unwrap();
    store.record_many(runs.iter().map(|run| failed(run.id, 1)).collect()).await.unwrap();
    let filter =
        EventFilter { status: Some(EventStatus::Failed), event_type: Some("many".into()), ..EventFilter::default() };
    assert_eq!(store.replay_events(&tenant(), &filter, t(9)).await.unwrap(), 0, "accepted later than now");
    assert_eq!(store.replay_events(&tenant(), &filter, t(20)).await.unwrap(), 450);
    assert_eq!(store.dead_letter_count().await.unwrap(), 0);
}

pub async fn an_unmatched_event_can_be_given_runs(Place { store, .. }: Place) {
    let event = keep(&store, 0, vec![]).await;
    assert_eq!(store.event(&tenant(), event.id).await.unwrap().unwrap().status, EventStatus::Unmatched);
    let (first, second) = (new_run(), held_run(t(99)));
    store.add_runs(&tenant(), event.id, vec![first.clone()]).await.unwrap();
    store.add_runs(&tenant(), event.id, vec![second.clone()]).await.unwrap();
    let ids: Vec<_> = store.runs_of(&tenant(), event.id).await.unwrap().iter().map(|r| r.id).collect();
    assert_eq!(ids, [first.id, second.id]);
    assert_eq!(store.event(&tenant(), event.id).await.unwrap().unwrap().status, EventStatus::Pending);
    assert!(is_conflict(store.add_runs(&tenant(), event.id, vec![first]).await), "a run is added once");
    assert!(store.record(delivered(second.id, 1)).await.unwrap());
}

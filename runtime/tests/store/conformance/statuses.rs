//! What became of an event: a function of its runs, whatever is done to them.

use std::collections::HashMap;

use rand::{RngExt as _, SeedableRng as _};
use triggerd::store::{EventFilter, EventStatus, Run, RunNext, RunUpdate, Store};
use triggerd_core::id::{EventId, RunId};
use triggerd_core::run::{ActionState, RunState};

use super::fixtures::*;

/// The status by the runs that there are; an event that had some and has none left was dealt with.
fn status_of(runs: &[Run], had_runs: bool) -> EventStatus {
    let any = |states: &[RunState]| runs.iter().any(|run| states.contains(&run.state));
    match () {
        () if !had_runs => EventStatus::Unmatched,
        () if any(&[RunState::Failed]) => EventStatus::Failed,
        () if any(&[RunState::Pending, RunState::Running]) => EventStatus::Pending,
        () => EventStatus::Delivered,
    }
}

async fn check(store: &Store, id: EventId, had_runs: bool) -> EventStatus {
    let found = store.event(&tenant(), id).await.unwrap().unwrap();
    let runs = store.runs_of(&tenant(), id).await.unwrap();
    assert_eq!(found.status, status_of(&runs, had_runs), "{runs:#?}");
    found.status
}

pub async fn a_status_follows_from_the_runs_whatever_is_done_to_them(place: Place) {
    let store = place.store.clone();
    let seed = rand::rng().random();
    eprintln!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut events: Vec<(EventId, bool)> = Vec::new();
    let mut held: Vec<(RunId, i64)> = Vec::new();
    let mut now = 0;
    for step in 0..400 {
        now += 1;
        let some = |events: &[(EventId, bool)], random: &mut rand::rngs::StdRng| random.random_range(0..events.len());
        let touched = match random.random_range(0..100) {
            _ if events.is_empty() => None,
            0..25 => None,
            25..60 if !held.is_empty() => {
                let (id, epoch) = held.swap_remove(random.random_range(0..held.len()));
                let update = match random.random_range(0..4) {
                    0 => failed(id, epoch),
                    1 => released(id, epoch, t(now)),
                    2 => RunUpdate {
                        next: RunNext::Hold(t(now + 1000)),
                        progress: progress(id, 1, ActionState::Pending),
                        ..delivered(id, epoch)
                    },
                    _ => delivered(id, epoch),
                };
                store.record(update).await.unwrap();
                Some(some(&events, &mut random))
            }
            60..75 => {
                let claimed = store.claim(t(now), 5, t(now + 1000)).await.unwrap();
                held.extend(claimed.into_iter().map(|c| (c.run.id, c.run.epoch)));
                Some(some(&events, &mut random))
            }
            75..83 => {
                let n = some(&events, &mut random);
                store.replay_event(&tenant(), events[n].0, t(now)).await.unwrap();
                Some(n)
            }
            83..90 => {
                let letters =
                    store.dead_letters(&tenant(), &EventFilter::default(), &page(3, None)).await.unwrap().items;
                for (n, (run, _)) in letters.iter().enumerate() {
                    if n % 2 == 0 {
                        assert!(store.drop_dead_letter(&tenant(), run.id).await.unwrap());
                    } else {
                        store.replay_run(&tenant(), run.id, t(now)).await.unwrap();
                    }
                }
                Some(some(&events, &mut random))
            }
            90..97 => {
                let n = some(&events, &mut random);
                store.add_runs(&tenant(), events[n].0, vec![new_run()]).await.unwrap();
                events[n].1 = true;
                Some(n)
            }
            // Whoever held them is gone.
            _ => {
                place.end_leases().await;
                now += 2000;
                held.clear();
                Some(some(&events, &mut random))
            }
        };
        let touched = match touched {
            Some(touched) => touched,
            None => {
                let runs: Vec<_> = (0..random.random_range(0..4))
                    .map(|_| if random.random_bool(0.5) { held_run(t(now + 1000)) } else { new_run() })
                    .collect();
                held.extend(runs.iter().filter(|run| run.lease_until.is_some()).map(|run| (run.id, 1)));
                let had_runs = !runs.is_empty();
                events.push((keep(&store, now, runs).await.id, had_runs));
                events.len() - 1
            }
        };
        let (id, had_runs) = events[touched];
        check(&store, id, had_runs).await;
        if step % 50 == 49 {
            let mut by_status: HashMap<EventStatus, Vec<EventId>> = HashMap::new();
            for (id, had_runs) in &events {
                by_status.entry(check(&store, *id, *had_runs).await).or_default().push(*id);
            }
            for status in [EventStatus::Pending, EventStatus::Delivered, EventStatus::Failed, EventStatus::Unmatched] {
                let filter = EventFilter { status: Some(status), ..EventFilter::default() };
                let found = store.events(&tenant(), &filter, &page(1000, None)).await.unwrap();
                let mut wanted = by_status.remove(&status).unwrap_or_default();
                wanted.reverse();
                assert_eq!(found.items.iter().map(|e| e.event.id).collect::<Vec<_>>(), wanted, "{status:?}");
                assert!(found.items.iter().all(|e| e.status == status));
            }
        }
    }
}

//! Claims: who may execute, and in which order.

use triggerd_core::id::{RunId, TenantId};

use super::fixtures::*;

pub async fn the_oldest_due_are_claimed_first_and_once(Place { store, .. }: Place) {
    let runs: Vec<_> = (0..5).map(|_| new_run()).collect();
    for (second, run) in [4, 2, 3, 0, 1].into_iter().zip(&runs) {
        keep(&store, second, vec![run.clone()]).await;
    }
    assert_eq!(claim_ids(&store, t(-1)).await, [], "nothing is due yet");
    let first: Vec<_> = store.claim(t(3), 2, t(30)).await.unwrap().iter().map(|c| c.run.id).collect();
    assert_eq!(first, [runs[3].id, runs[4].id]);
    assert_eq!(claim_ids(&store, t(3)).await, [runs[1].id, runs[2].id]);
    assert_eq!(claim_ids(&store, t(3)).await, []);
    assert_eq!(store.next_due(t(3)).await.unwrap(), Some(t(4)));
    assert_eq!(claim_ids(&store, t(4)).await, [runs[0].id]);
}

pub async fn a_long_queue_of_one_tenant_does_not_keep_the_others_waiting(Place { store, .. }: Place) {
    let of = |name: &str| TenantId::new(name);
    keep_of(&store, &of("many"), "a", 0, (0..500).map(|_| new_run()).collect()).await;
    for second in 1..=3 {
        for name in ["few", "other"] {
            keep_of(&store, &of(name), "a", second, vec![new_run()]).await;
        }
    }
    let claim = async || {
        let claimed = store.claim(t(10), 12, t(40)).await.unwrap();
        let count = |name: &str| claimed.iter().filter(|c| *c.run.tenant.0 == *name).count();
        [claimed.len(), count("few"), count("other")]
    };
    assert_eq!(claim().await, [12, 3, 3], "each has its share, and what they leave goes to whoever has more");
    assert_eq!(claim().await, [12, 0, 0]);
    // Of more tenants than a claim takes, all are served before any is served again.
    for n in 0..20 {
        keep_of(&store, &of(&format!("t{n:02}")), "a", 5, vec![new_run(), new_run()]).await;
    }
    let mut served = std::collections::HashMap::new();
    for _ in 0..5 {
        for claimed in store.claim(t(10), 8, t(40)).await.unwrap() {
            *served.entry(claimed.run.tenant.0.to_string()).or_insert(0) += 1;
        }
    }
    let once = (0..20).filter(|n| served.contains_key(&format!("t{n:02}"))).count();
    assert_eq!(once, 20, "{served:?}");
}

pub async fn concurrent_claims_never_share_a_run(Place { store, .. }: Place) {
    keep(&store, 0, (0..200).map(|_| new_run()).collect()).await;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.claim(t(1), 10, t(31)).await.unwrap() })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.extend(task.await.unwrap().into_iter().map(|c| c.run.id));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 200);
}

pub async fn a_lane_executes_one_after_another_in_order(Place { store, .. }: Place) {
    let runs: Vec<_> = (0..4).map(|_| lane_run("k")).collect();
    for (second, run) in runs.iter().enumerate() {
        keep(&store, second as i64, vec![run.clone()]).await;
    }
    let aside = lane_run("other");
    keep(&store, 9, vec![aside.clone()]).await;
    assert_eq!(claim_ids(&store, t(10)).await, [runs[0].id, aside.id], "one of each lane");
    assert!(store.claim_run(runs[1].id, t(10), t(40)).await.unwrap().is_none());
    assert!(store.claim_lane(&tenant(), "welcome", "k", t(10), t(40)).await.unwrap().is_none());
    assert!(store.record(released(runs[0].id, 1, t(100))).await.unwrap());
    assert_eq!(claim_ids(&store, t(11)).await, [], "a run that is to be tried again holds its lane");
    assert_eq!(store.unfinished().await.unwrap(), 5);
    assert_eq!(
        claim_ids(&store, t(100)).await.into_iter().filter(|id| *id != aside.id).collect::<Vec<RunId>>(),
        [runs[0].id]
    );
    assert!(store.record(failed(runs[0].id, 2)).await.unwrap());
    let next = store.claim_lane(&tenant(), "welcome", "k", t(101), t(131)).await.unwrap().unwrap();
    assert_eq!(next.run.id, runs[1].id, "a dead letter does not hold its lane");
    assert!(store.record(delivered(runs[1].id, 1)).await.unwrap());
    assert!(claim_ids(&store, t(102)).await.contains(&runs[2].id), "a sweep finds the lane's next too");
    let epoch = store.run(&tenant(), runs[2].id).await.unwrap().unwrap().epoch;
    assert!(store.record(delivered(runs[2].id, epoch)).await.unwrap());
    assert!(claim_ids(&store, t(102)).await.contains(&runs[3].id));
}

pub async fn of_many_who_ask_for_lanes_at_once_one_has_each_lanes_first_run(Place { store, .. }: Place) {
    let lanes: Vec<String> = (0..150).map(|n| format!("lane {n}")).collect();
    let mut first = Vec::new();
    for (second, lane) in lanes.iter().enumerate() {
        let runs = [lane_run(lane), lane_run(lane)];
        first.push(runs[0].id);
        for run in runs {
            keep(&store, second as i64, vec![run]).await;
        }
    }
    let asked = lanes.iter().chain(&lanes).map(|lane| {
        let store = &store;
        async move { store.claim_lane(&tenant(), "welcome", lane, t(500), t(530)).await.unwrap() }
    });
    let claimed = futures_util::future::join_all(asked).await;
    let mut of: Vec<RunId> = claimed.into_iter().flatten().map(|claimed| claimed.run.id).collect();
    of.sort_unstable();
    first.sort_unstable();
    assert_eq!(of, first);
}

pub async fn a_replay_never_runs_beside_a_later_one_of_its_lane(place: Place) {
    let store = &place.store;
    let (first, second) = (lane_run("k"), lane_run("k"));
    keep(store, 0, vec![first.clone()]).await;
    keep(store, 1, vec![second.clone()]).await;
    assert_eq!(claim_ids(store, t(2)).await, [first.id]);
    store.record(failed(first.id, 1)).await.unwrap();
    assert_eq!(claim_ids(store, t(2)).await, [second.id]);
    store.replay_run(&tenant(), first.id, t(3)).await.unwrap().unwrap();
    assert_eq!(claim_ids(store, t(3)).await, [], "the later one is being executed");
    place.end_leases().await;
    let taken = store.claim(t(40), 10, t(70)).await.unwrap();
    assert_eq!(taken.len(), 1, "its lease has ended: the earlier one goes first");
    assert_eq!((taken[0].run.id, taken[0].holder_lost), (first.id, false));
    store.record(delivered(first.id, 2)).await.unwrap();
    let taken = store.claim(t(41), 10, t(71)).await.unwrap();
    assert_eq!((taken[0].run.id, taken[0].holder_lost), (second.id, true));
}

pub async fn the_numbers_that_metrics_show_are_right(Place { store, .. }: Place) {
    let (held, dead) = (held_run(t(99)), held_run(t(99)));
    keep(&store, 5, vec![new_run(), lane_run("k"), lane_run("k"), held, dead.clone()]).await;
    store.record(failed(dead.id, 1)).await.unwrap();
    let depths = store.queue_depths().await.unwrap();
    let wanted = [("pending", 3), ("running", 1), ("failed", 1)].map(|(s, n)| (s.to_owned(), n));
    assert_eq!(depths, wanted);
    assert_eq!(store.unfinished().await.unwrap(), 4);
    assert_eq!(store.oldest_pending().await.unwrap(), Some(t(5)));
    store.ping().await.unwrap();
}

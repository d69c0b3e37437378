//! The shared store: the suite, and what only it promises.

use std::time::Duration;

use jiff::Timestamp;
use triggerd::store::open::Shared;
use triggerd::store::{Error, EventFilter, NewRun, Options, Store};
use triggerd_core::id::RunId;

use crate::conformance::fixtures::*;
use crate::sql_server::Database;
use crate::{conformance, promises};

/// Nodes with a short lease, on a server that does not sync.
fn options() -> Options {
    let shared = Shared { lease: Duration::from_secs(3), allow_degraded: true, ..Options::default().shared };
    Options { shared, ..Options::default() }
}

/// An empty database of its own on a server.
async fn fresh(server: &Database, name: &str) -> String {
    server.run(&format!("CREATE DATABASE {name}")).await;
    server.url().replace("/postgres", &format!("/{name}"))
}

/// The promises of a module on one server, each in a database of its own.
macro_rules! conforms {
    ($($module:ident: $($promise:ident)*;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $module() {
                let server = Database::postgres().await;
                $(
                    eprintln!("{}", stringify!($promise));
                    let url = fresh(&server, stringify!($promise)).await;
                    let store = Store::connect(&url, options()).await.unwrap();
                    let place = Place { store: store.clone(), leases: Leases::WithTheNode(url) };
                    conformance::$module::$promise(place).await;
                    store.close().await.unwrap();
                )*
            }
        )*
    };
}

promises!(conforms);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_lose_commits_is_refused_unless_that_is_allowed() {
    let server = Database::postgres().await;
    let refused = Store::connect(&server.url(), Options::default()).await;
    let Err(Error::Conflict(why)) = refused else { panic!("not refused") };
    assert!(why.contains("fsync = off") && why.contains("allow_degraded"), "{why}");
    let store = Store::connect(&server.url(), options()).await.unwrap();
    assert_eq!(store.durability(), triggerd::store::Durability::Degraded("fsync = off".to_owned()));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_holds_waits_for_those_of_other_nodes_and_for_none_that_come_later() {
    let server = Database::postgres().await;
    let url = fresh(&server, "holds").await;
    let [one, other] = [Store::connect(&url, options()).await.unwrap(), Store::connect(&url, options()).await.unwrap()];
    let held = other.hold("rows/1".to_owned()).await.unwrap();
    let _beside = other.hold("row%".to_owned()).await.unwrap();
    let waiting = tokio::spawn({
        let one = one.clone();
        async move { one.until_released("rows/").await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    let _later = other.hold("rows/2".to_owned()).await.unwrap();
    drop(held);
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_partitions_go_as_a_whole_and_dead_letters_stay_with_their_events() {
    let server = Database::postgres().await;
    let store = Store::connect(&fresh(&server, "dropped").await, options()).await.unwrap();
    let now = Timestamp::now();
    let run = || {
        let id = RunId::new(u64::try_from(now.as_millisecond()).unwrap(), bits());
        NewRun { id, ..held_run(now + ms(30_000)) }
    };
    let (good, bad, beside) = (run(), run(), run());
    let mut kept = Vec::new();
    for runs in [vec![], vec![good.clone()], vec![bad.clone(), beside.clone()]] {
        let event = event_at(&tenant(), "a", now);
        kept.push(event.id);
        store.append(append(event, runs)).await.unwrap();
    }
    store.record_many(vec![delivered(good.id, 1), failed(bad.id, 1), delivered(beside.id, 1)]).await.unwrap();
    store.drop_old(now - ms(1000), 500).await.unwrap();
    assert!(store.event(&tenant(), kept[0]).await.unwrap().is_some(), "what is young stays");
    store.drop_old(now + ms(40 * 86_400_000), 500).await.unwrap();
    for (id, there) in kept.iter().zip([false, false, true]) {
        assert_eq!(store.event(&tenant(), *id).await.unwrap().is_some(), there);
    }
    assert_eq!(store.runs_of(&tenant(), kept[2]).await.unwrap().len(), 2);
    let letters = store.dead_letters(&tenant(), &EventFilter::default(), &page(9, None)).await.unwrap();
    assert_eq!(letters.items.iter().map(|(run, _)| run.id).collect::<Vec<_>>(), [bad.id]);
    assert!(store.replay_run(&tenant(), bad.id, now).await.unwrap().is_some(), "it can still be done again");
    store.close().await.unwrap();
}

//! Changes of definitions from many sides at once.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::actions::Registry;
use crate::store::Options;
use crate::wasm::{Host, HostConfig, Limits};

async fn definitions(store: &Store) -> Arc<Definitions> {
    let host = Arc::new(Host::new(HostConfig { guests: 1, ..HostConfig::default() }).unwrap());
    let components = Components::new(store.clone(), host, Limits::default(), Duration::from_secs(1));
    Arc::new(Definitions::load(store.clone(), Registry::built_in(), Arc::new(components)).await.unwrap())
}

fn definition(tag: &str, total: usize) -> Value {
    json!({
        "tag": tag, "events": ["afterInsert"],
        "condition": {"field": "record.total", "operator": "EQUALS", "value": total},
        "actions": [{"type": "log.info", "config": {"message": "{{record.total}}"}}],
    })
}

/// What is in force, and what the store says is: tags with versions.
async fn both(node: &Definitions, store: &Store, tenant: &TenantId) -> (Vec<(String, u32)>, Vec<(String, u32)>) {
    let in_force = node.index().all(tenant).iter().map(|trigger| (trigger.tag.to_string(), trigger.version)).collect();
    let stored = store.triggers_page(None, 1_000).await.unwrap();
    (in_force, stored.into_iter().map(|stored| (stored.tag, stored.version)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_in_force_is_what_is_stored_whoever_changes_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).await.unwrap();
    let (node, tenant, now) = (definitions(&store).await, TenantId::new("me"), Timestamp::now());
    let tags = ["a", "b", "c", "d"];
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (node, tenant) = (Arc::clone(&node), tenant.clone());
            tokio::spawn(async move {
                for step in 0..40 {
                    let tag = tags[(caller + step) % tags.len()];
                    match (caller * 7 + step) % 5 {
                        0 => drop(node.delete(&tenant, tag, now).await),
                        1 => node.refresh(&tenant, tag).await.unwrap(),
                        2 => node.reload().await.unwrap(),
                        _ => {
                            let number = caller * 100 + step;
                            let put = node.put(&tenant, definition(tag, number), PutMode::Replace, now).await.unwrap();
                            let (PutOutcome::Created(stored) | PutOutcome::Replaced(stored)) = put else { continue };
                            // In force at once, unless somebody has changed it since.
                            let known = node.index().get(&tenant, tag).map_or(u32::MAX, |trigger| trigger.version);
                            assert!(known >= stored.version);
                        }
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let (in_force, stored) = both(&node, &store, &tenant).await;
    assert_eq!(in_force, stored);
    let again = definitions(&store).await;
    assert_eq!(both(&again, &store, &tenant).await.0, stored, "a start finds the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).await.unwrap();
    let (node, tenant, now) = (definitions(&store).await, TenantId::new("me"), Timestamp::now());
    for step in 0..50 {
        let put = node.put(&tenant, definition("a", step), PutMode::Replace, now);
        // Given up as soon as it waits.
        let _ = tokio::time::timeout(Duration::ZERO, put).await;
    }
    // The next one comes after all of them.
    node.put(&tenant, definition("b", 0), PutMode::Replace, now).await.unwrap();
    node.put(&tenant, definition("a", 100), PutMode::Replace, now).await.unwrap();
    let (in_force, stored) = both(&node, &store, &tenant).await;
    assert_eq!(in_force, stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_reads_all_pages_and_leaves_out_what_no_longer_compiles() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).await.unwrap();
    let (me, now) = (TenantId::new("me"), Timestamp::now());
    let change = |n: usize| {
        let tag = format!("t{n:04}");
        let mut definition = definition(&tag, n);
        if n == 1_500 {
            definition["actions"][0]["type"] = json!("gone.with.a.release");
        }
        TriggerChange { tenant: me.clone(), tag, definition: Some((definition, PutMode::Create)), now, witness: None }
    };
    for from in [0, 500, 1_000, 1_500, 2_000] {
        store.change_triggers((from..from + 500).map(change).collect()).await.unwrap();
    }
    let node = definitions(&store).await;
    assert_eq!(node.index().count(&me), 2_499);
    assert!(node.index().get(&me, "t1500").is_none());
    let known = node.index().get(&me, "t2499").unwrap();
    node.reload().await.unwrap();
    assert_eq!(node.index().count(&me), 2_499);
    assert!(Arc::ptr_eq(&known, &node.index().get(&me, "t2499").unwrap()), "what has not changed is not compiled anew");
}

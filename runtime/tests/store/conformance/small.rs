//! Component state, tenants, keys, topics and quotas.

use jiff::Timestamp;
use serde_json::json;
use triggerd::store::{StoredKey, StoredTenant};
use triggerd_core::id::TenantId;

use super::fixtures::*;

pub async fn component_state_compares_sets_and_expires(Place { store, .. }: Place) {
    let me = tenant();
    // The store's own clock decides what has expired in writes.
    let (past, future) = (Timestamp::now() - ms(60_000), Timestamp::now() + ms(600_000));
    let get = async || store.state_get(&me, "c", "k", Timestamp::now()).await.unwrap().map(|v| (v.value, v.version));
    let cas = async |expected, value: u8, expires| {
        store.state_compare_and_set(&me, "c", "k", expected, vec![value], expires).await.unwrap()
    };
    assert_eq!(cas(Some(1), 1, None).await, None);
    assert_eq!(cas(None, 1, None).await, Some(1));
    assert_eq!(cas(None, 2, None).await, None);
    assert_eq!(cas(Some(1), 2, Some(future)).await, Some(2));
    assert_eq!(get().await, Some((vec![2], 2)));
    assert_eq!(store.state_set(&me, "c", "k", vec![3], Some(past)).await.unwrap(), 3);
    assert_eq!(get().await, None, "expired");
    assert_eq!(cas(Some(3), 4, None).await, None);
    assert!(!store.state_delete(&me, "c", "k").await.unwrap());
    store.state_set(&me, "c", "k", vec![5], Some(past)).await.unwrap();
    assert!(cas(None, 6, None).await.is_some(), "an expired one is as good as none");
    assert_eq!(store.state_get(&me, "d", "k", Timestamp::now()).await.unwrap(), None);
    assert_eq!(store.state_get(&TenantId::new("x"), "c", "k", Timestamp::now()).await.unwrap(), None);
    assert!(store.state_delete(&me, "c", "k").await.unwrap());
    store.state_set(&me, "c", "old", vec![], Some(past)).await.unwrap();
    assert_eq!(store.delete_expired(Timestamp::now()).await.unwrap(), 1);
}

pub async fn of_many_that_compare_and_set_one_wins(Place { store, .. }: Place) {
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(
                async move { store.state_compare_and_set(&tenant(), "c", "k", None, vec![n], None).await.unwrap() },
            )
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += usize::from(task.await.unwrap().is_some());
    }
    assert_eq!(won, 1);
}

pub async fn what_sources_remember_is_swapped_for_what_it_was_alone(Place { store, .. }: Place) {
    let (me, now) = (tenant(), t(0));
    let swap = async |old: Option<u32>, new: Option<u32>, tell: bool| {
        let (old, new) = (old.map(|n| json!({"n": n})), new.map(|n| json!({"n": n})));
        store.swap_source_state(&me, "k", "a/b", old.as_ref(), new.as_ref(), tell, now).await.unwrap()
    };
    let held = async || store.source_state(&me, "k", "a/b").await.unwrap().map(|value| value["n"].clone());
    assert!(!swap(Some(1), Some(2), true).await, "there is none");
    assert!(!swap(Some(1), None, false).await);
    assert!(swap(None, Some(1), true).await);
    assert!(!swap(None, Some(2), false).await, "there is one");
    assert!(!swap(Some(3), Some(2), true).await);
    assert_eq!(held().await, Some(json!(1)));
    assert!(swap(Some(1), Some(2), false).await);
    assert!(!swap(Some(1), None, true).await);
    assert_eq!(held().await, Some(json!(2)));
    assert!(swap(Some(2), None, true).await);
    assert_eq!(held().await, None);
}

pub async fn tenants_and_keys_are_kept(Place { store, .. }: Place) {
    let acme = StoredTenant {
        id: TenantId::new("acme"),
        name: "Acme".to_owned(),
        rate_limit: 1000,
        quotas: json!({"maxTriggers": 5}),
        created_at: t(0),
    };
    store.put_tenant(acme.clone()).await.unwrap();
    let changed = StoredTenant { rate_limit: 5, ..acme.clone() };
    store.put_tenant(StoredTenant { created_at: t(9), ..changed.clone() }).await.unwrap();
    assert_eq!(store.tenant(&acme.id).await.unwrap(), Some(changed.clone()));
    assert_eq!(store.tenant(&tenant()).await.unwrap(), None);
    assert_eq!(store.tenants().await.unwrap(), [changed]);

    let key = StoredKey {
        id: "k1".to_owned(),
        tenant: acme.id.clone(),
        name: "ci".to_owned(),
        digest: [7; 32],
        scopes: vec!["events:write".to_owned()],
        created_at: t(1),
        expires_at: Some(t(100)),
    };
    store.put_key(key.clone()).await.unwrap();
    assert!(is_conflict(store.put_key(key.clone()).await));
    assert_eq!(store.keys(&acme.id).await.unwrap(), std::slice::from_ref(&key));
    assert_eq!(store.keys_all().await.unwrap(), [key]);
    assert!(store.keys(&tenant()).await.unwrap().is_empty());
    assert!(!store.delete_key(&tenant(), "k1").await.unwrap(), "another tenant's");
    assert!(store.delete_key(&acme.id, "k1").await.unwrap());
}

pub async fn a_topic_has_offsets_without_gaps_and_a_delivery_once(Place { store, .. }: Place) {
    let me = tenant();
    let publish = async |topic: &str, delivery: Option<&str>| {
        let delivery = delivery.map(str::to_owned);
        store
            .topic_append(
                &me,
                "local",
                topic,
                Some("k".into()),
                json!({"h": "v"}),
                json!({"n": 1}).to_string(),
                delivery,
                t(0),
            )
            .await
            .unwrap()
    };
    assert_eq!(publish("a", Some("d1")).await, 0);
    assert_eq!(publish("a", None).await, 1);
    assert_eq!(publish("a", Some("d1")).await, 0, "the same delivery again");
    assert_eq!(publish("a", None).await, 2);
    assert_eq!(publish("b", Some("d1")).await, 0, "another topic");
    let read = store.topic_read(&me, "local", "a", 1, 10).await.unwrap();
    assert_eq!(read.iter().map(|m| m.offset).collect::<Vec<_>>(), [1, 2]);
    let first = &store.topic_read(&me, "local", "a", 0, 1).await.unwrap()[0];
    assert_eq!(
        (first.key.as_deref(), &first.headers, &first.message),
        (Some("k"), &json!({"h": "v"}), &json!({"n": 1}))
    );
    assert_eq!(store.topics(&me, "local").await.unwrap(), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
    assert!(store.topics(&TenantId::new("x"), "local").await.unwrap().is_empty());
}

pub async fn a_quota_is_taken_up_to_its_limit_in_each_window(Place { store, .. }: Place) {
    let me = tenant();
    let take = async |key: &str, window, limit| {
        store.quota_take(&me, "t", "a", key, t(window), limit, t(window + 60)).await.unwrap()
    };
    assert!(!take("k", 0, 0).await);
    assert!(take("k", 0, 2).await);
    assert!(take("k", 0, 2).await);
    assert!(!take("k", 0, 2).await);
    assert!(take("other", 0, 2).await);
    assert!(take("k", 60, 2).await);
    assert_eq!(store.delete_expired(t(60)).await.unwrap(), 2);
    assert!(take("k", 0, 2).await, "forgotten");
}

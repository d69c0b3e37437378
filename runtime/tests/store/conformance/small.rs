//! Component state, tenants, keys, topics and quotas.

use jiff::Timestamp;
use serde_json::json;
use triggerd::store::{AuditEntry, AuditFilter, AuditOutcome, StoredKey, StoredTenant, Witness};
use triggerd_core::id::TenantId;
use uuid::Uuid;

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
        rate_limit: Some(7),
        replaced_by: None,
    };
    store.put_key(key.clone()).await.unwrap();
    assert!(is_conflict(store.put_key(key.clone()).await));
    assert_eq!(store.keys(&acme.id).await.unwrap(), std::slice::from_ref(&key));
    assert_eq!(store.keys_all().await.unwrap(), std::slice::from_ref(&key));
    assert!(store.keys(&tenant()).await.unwrap().is_empty());
    let next = StoredKey { id: "k2".to_owned(), digest: [8; 32], created_at: t(2), expires_at: None, ..key.clone() };
    assert!(
        !store.replace_key("k1", t(50), StoredKey { tenant: tenant(), ..next.clone() }).await.unwrap(),
        "another tenant's"
    );
    assert!(store.replace_key("k1", t(50), next.clone()).await.unwrap());
    let replaced = StoredKey { expires_at: Some(t(50)), replaced_by: Some("k2".to_owned()), ..key };
    assert_eq!(store.keys(&acme.id).await.unwrap(), [replaced.clone(), next.clone()]);
    let third = StoredKey { id: "k3".to_owned(), ..next };
    assert!(!store.replace_key("k1", t(60), third).await.unwrap(), "it has been replaced already");
    assert_eq!(store.keys(&acme.id).await.unwrap()[0], replaced);
    assert!(!store.delete_key(&tenant(), "k1").await.unwrap(), "another tenant's");
    assert!(store.delete_key(&acme.id, "k1").await.unwrap());
}

fn entry(n: u128, tenant: &TenantId) -> AuditEntry {
    AuditEntry {
        id: Uuid::from_u128(n),
        tenant: tenant.clone(),
        at: t(i64::try_from(n).unwrap()),
        key: "k".to_owned(),
        peer: "192.0.2.1".to_owned(),
        method: "PUT".to_owned(),
        route: "/a/{tag}".to_owned(),
        path: format!("/a/{n}"),
        outcome: AuditOutcome::Done,
        status: None,
        before: None,
        after: None,
    }
}

pub async fn an_audit_entry_is_kept_with_its_change_or_not_at_all(Place { store, .. }: Place) {
    let me = tenant();
    let all = async |filter: AuditFilter| store.audit_entries(&me, &filter, None, 10).await.unwrap();
    let key = |id: &str| StoredKey {
        id: id.to_owned(),
        tenant: me.clone(),
        name: String::new(),
        digest: [7; 32],
        scopes: Vec::new(),
        created_at: t(1),
        expires_at: None,
        rate_limit: None,
        replaced_by: None,
    };
    let witness = Witness::new(entry(1, &me));
    let (first, second) = witness
        .clone()
        .of(async {
            let first = store.put_key(key("a")).await;
            // The entry has been kept: nothing further is.
            (first, store.put_key(key("b")).await)
        })
        .await;
    assert!(first.is_ok() && second.is_ok() && witness.entry().is_none());
    let witness = Witness::new(entry(2, &me));
    assert!(is_conflict(witness.clone().of(store.put_key(key("a"))).await));
    assert!(witness.entry().is_some(), "what failed is not told of as done");
    assert_eq!(all(AuditFilter::default()).await, (vec![entry(1, &me)], 1));

    let settings = || json!({"kind": "memory"});
    let put = store.put_resource(&me, "caches", "c", settings(), t(2));
    Witness::new(entry(3, &me)).of(put).await.unwrap();
    store.audit(vec![entry(3, &me), entry(4, &me), entry(5, &TenantId::new("other"))]).await.unwrap();
    store.audit_correct(Uuid::from_u128(4), AuditOutcome::Refused, 409).await.unwrap();
    let (found, total) = all(AuditFilter::default()).await;
    assert_eq!(total, 3);
    let refused = AuditEntry { outcome: AuditOutcome::Refused, status: Some(409), ..entry(4, &me) };
    assert_eq!(found[0], refused);
    assert_eq!(found[1], AuditEntry { after: Some(json!({"version": 1})), ..entry(3, &me) }, "it stays as it was kept");
    let filters = [
        AuditFilter { outcome: Some(AuditOutcome::Refused), ..AuditFilter::default() },
        AuditFilter { path: Some("/a/4".to_owned()), ..AuditFilter::default() },
        AuditFilter { start: Some(t(4)), ..AuditFilter::default() },
    ];
    for filter in filters {
        assert_eq!(all(filter.clone()).await, (vec![refused.clone()], 1), "{filter:?}");
    }
    let filters = [
        AuditFilter { key: Some("x".to_owned()), ..AuditFilter::default() },
        AuditFilter { method: Some("POST".to_owned()), ..AuditFilter::default() },
        AuditFilter { path: Some("/".to_owned()), ..AuditFilter::default() },
        AuditFilter { end: Some(t(1)), ..AuditFilter::default() },
    ];
    for filter in filters {
        assert_eq!(all(filter.clone()).await, (Vec::new(), 0), "{filter:?}");
    }
    let before = store.audit_entries(&me, &AuditFilter::default(), Some(Uuid::from_u128(3)), 10).await.unwrap();
    assert_eq!(before, (vec![entry(1, &me)], 3));
    assert_eq!(store.audit_retire(t(4), 1).await.unwrap(), 1);
    assert_eq!(store.audit_retire(t(4), 10).await.unwrap(), 1);
    assert_eq!(all(AuditFilter::default()).await, (vec![refused], 1));
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

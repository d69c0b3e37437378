//! Triggers, components and resources, with their versions.

use serde_json::json;
use triggerd::store::{PutMode, PutOutcome, TriggerChange};
use triggerd_core::id::TenantId;

use super::fixtures::*;

pub async fn each_change_of_a_trigger_is_a_version(Place { store, .. }: Place) {
    let me = tenant();
    let change = async |tag: &str, definition, second| {
        let change =
            TriggerChange { tenant: me.clone(), tag: tag.to_owned(), definition, now: t(second), witness: None };
        store.change_triggers(vec![change]).await.unwrap().remove(0)
    };
    let put = async |definition, mode, second| change("a", Some((definition, mode)), second).await;
    let all = async || store.triggers_page(None, 10).await.unwrap();
    let PutOutcome::Created(first) = put(json!({"n": 1}), PutMode::Create, 0).await else { panic!("not created") };
    assert_eq!((first.version, first.created_at), (1, t(0)));
    assert_eq!(put(json!({"n": 2}), PutMode::Create, 1).await, PutOutcome::Exists);
    assert_eq!(put(json!({"n": 1}), PutMode::Replace, 2).await, PutOutcome::Unchanged(first.clone()));
    let PutOutcome::Replaced(second) = put(json!({"n": 2}), PutMode::Replace, 3).await else { panic!("not replaced") };
    assert_eq!((second.version, second.stored_at, second.created_at), (2, t(3), t(0)));
    assert_eq!(all().await, std::slice::from_ref(&second));
    assert_eq!(change("a", None, 5).await, PutOutcome::Deleted);
    assert_eq!(change("a", None, 5).await, PutOutcome::Absent);
    assert!(all().await.is_empty());
    let PutOutcome::Created(third) = put(json!({"n": 2}), PutMode::Create, 7).await else { panic!("not created") };
    assert_eq!(third.version, 3, "a version is never used again");
    assert_eq!(store.trigger_version(&me, "a", 1).await.unwrap(), Some(first.clone()));
    assert_eq!(store.trigger_version(&TenantId::new("other"), "a", 1).await.unwrap(), None);
    assert_eq!(store.trigger_versions(&me, "a").await.unwrap(), [third.clone(), second.clone(), first.clone()]);
    for (second_of, wanted) in
        [(-1, None), (0, Some(first)), (3, Some(second.clone())), (4, Some(second)), (5, None), (7, Some(third))]
    {
        assert_eq!(store.triggers_at(&me, t(second_of)).await.unwrap(), Vec::from_iter(wanted), "at {second_of}");
    }
}

pub async fn many_triggers_are_changed_at_once_and_read_in_pages(Place { store, .. }: Place) {
    let (me, other) = (tenant(), TenantId::new("other"));
    let put = |tenant: &TenantId, tag: &str, n: i64| TriggerChange {
        tenant: tenant.clone(),
        tag: tag.to_owned(),
        definition: Some((json!({"n": n}), PutMode::Replace)),
        now: t(n),
        witness: None,
    };
    let gone = |tag: &str| TriggerChange {
        tenant: me.clone(),
        tag: tag.to_owned(),
        definition: None,
        now: t(9),
        witness: None,
    };
    let first = store.change_triggers(vec![put(&me, "a", 1), put(&me, "b", 1), put(&other, "a", 1)]).await.unwrap();
    assert!(first.iter().all(|outcome| matches!(outcome, PutOutcome::Created(stored) if stored.version == 1)));
    let next = vec![put(&me, "a", 2), gone("b"), put(&other, "a", 1), gone("c"), put(&me, "d", 3)];
    let next = store.change_triggers(next).await.unwrap();
    assert!(matches!(&next[0], PutOutcome::Replaced(stored) if stored.version == 2 && stored.created_at == t(1)));
    assert_eq!((&next[1], &next[3]), (&PutOutcome::Deleted, &PutOutcome::Absent));
    assert!(matches!(&next[2], PutOutcome::Unchanged(stored) if stored.version == 1));
    assert!(matches!(&next[4], PutOutcome::Created(stored) if stored.version == 1));
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.triggers_page(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.tenant.clone(), last.tag.clone()));
        found.extend(page.into_iter().map(|stored| (stored.tenant, stored.tag, stored.version)));
    }
    let mut wanted = vec![(me.clone(), "a".to_owned(), 2), (me.clone(), "d".to_owned(), 1), (other, "a".to_owned(), 1)];
    wanted.sort();
    assert_eq!(found, wanted);
    let named = ["a", "b", "d", "never"].map(|tag| (me.clone(), tag.to_owned()));
    let mut tags: Vec<_> = store.triggers_of(&named).await.unwrap().into_iter().map(|stored| stored.tag).collect();
    tags.sort();
    assert_eq!(tags, ["a", "d"]);
    assert!(store.change_triggers(Vec::new()).await.unwrap().is_empty());
}

pub async fn each_upload_of_a_component_is_a_version(Place { store, .. }: Place) {
    let me = tenant();
    let put = async |name: &str, bytes: &[u8], second| {
        let digest = format!("sha256:{}", hex::encode(bytes));
        store.put_component(&me, name, &digest, json!({"size": bytes.len()}), bytes.to_vec(), t(second)).await.unwrap()
    };
    let (first, created) = put("score", b"one", 0).await;
    assert!(created);
    assert_eq!(put("score", b"one", 1).await, (first.clone(), false));
    let (second, _) = put("score", b"two", 2).await;
    let (again, _) = put("score", b"one", 3).await;
    assert_eq!((second.version, again.version), (2, 3));
    put("other", b"one", 4).await;
    assert_eq!(store.component(&me, "score").await.unwrap(), [first, second, again]);
    assert_eq!(store.components(&me).await.unwrap().len(), 4);
    let one = "sha256:6f6e65";
    assert_eq!(store.component_bytes(&me, one).await.unwrap(), Some(b"one".to_vec()));
    assert_eq!(store.component_bytes(&TenantId::new("x"), one).await.unwrap(), None);
    store.state_set(&me, "score", "k", vec![1], None).await.unwrap();
    assert!(store.delete_component(&me, "score").await.unwrap());
    assert!(!store.delete_component(&me, "score").await.unwrap());
    assert_eq!(store.state_get(&me, "score", "k", t(9)).await.unwrap(), None);
    assert_eq!(store.component_bytes(&me, one).await.unwrap(), Some(b"one".to_vec()), "another one has these bytes");
    assert_eq!(store.component_bytes(&me, "sha256:74776f").await.unwrap(), None);
    assert_eq!(put("score", b"two", 9).await.0.version, 4);
}

pub async fn resources_are_put_read_and_deleted(Place { store, .. }: Place) {
    let me = tenant();
    let (first, created) = store.put_resource(&me, "caches", "redis", json!({"url": "a"}), t(0)).await.unwrap();
    assert!(created);
    let (second, created) = store.put_resource(&me, "caches", "redis", json!({"url": "b"}), t(1)).await.unwrap();
    assert_eq!((second.version, second.created_at, second.updated_at, created), (2, first.created_at, t(1), false));
    let other = TenantId::new("other");
    store.put_resource(&other, "caches", "redis", json!({}), t(2)).await.unwrap();
    assert_eq!(store.resource(&me, "caches", "redis").await.unwrap(), Some(second.clone()));
    assert_eq!(store.resource(&me, "brokers", "redis").await.unwrap(), None);
    assert_eq!(store.resources(&me, "caches").await.unwrap(), [second]);
    assert_eq!(store.resources_all().await.unwrap().len(), 2);
    assert!(store.delete_resource(&me, "caches", "redis").await.unwrap());
    assert!(!store.delete_resource(&me, "caches", "redis").await.unwrap());
    assert_eq!(store.resources_all().await.unwrap().len(), 1);
}

//! Resources and secrets: what is stored, what is shown, and what differs by environment.

use serde_json::json;
use triggerd::resources::{Cache, Error};
use triggerd_core::id::TenantId;

use crate::harness::Bench;

#[tokio::test]
async fn a_secret_is_written_sealed_and_never_read_back() {
    let bench = Bench::local().await;
    let (resources, tenant) = (&bench.services.resources, bench.tenant());
    let (shown, created) = resources
        .put(
            &tenant,
            "secrets",
            "STRIPE_KEY",
            json!({"value": "sk_live_canary", "envs": {"dev": {"value": "sk_test"}}}),
        )
        .await
        .unwrap();
    assert!(created);
    assert_eq!(shown.settings, json!({}));
    assert_eq!(resources.get(&tenant, "secrets", "STRIPE_KEY").unwrap().settings, json!({}));
    assert_eq!(resources.list(&tenant, "secrets").len(), 1);
    let stored = bench.services.store.resources_all().await.unwrap();
    assert!(!format!("{stored:?}").contains("sk_live_canary"));
    let secrets = &bench.services.secrets;
    assert_eq!(secrets.get(&tenant, "STRIPE_KEY").as_deref(), Some("sk_live_canary"));
    assert_eq!(secrets.get_in(&tenant, "STRIPE_KEY", "dev").as_deref(), Some("sk_test"));
    assert_eq!(secrets.get_in(&tenant, "STRIPE_KEY", "prd").as_deref(), Some("sk_live_canary"));
    assert_eq!(secrets.get(&TenantId::new("other"), "STRIPE_KEY"), None);
    resources.patch(&tenant, "secrets", "STRIPE_KEY", &json!({"value": "sk_new"})).await.unwrap();
    assert_eq!(secrets.get(&tenant, "STRIPE_KEY").as_deref(), Some("sk_new"));
    assert_eq!(secrets.get_in(&tenant, "STRIPE_KEY", "dev").as_deref(), Some("sk_test"));
    assert!(resources.check(&tenant, "secrets", "STRIPE_KEY", "").await.unwrap().ok);
    assert!(resources.delete(&tenant, "secrets", "STRIPE_KEY").await.unwrap());
    assert_eq!(secrets.get(&tenant, "STRIPE_KEY"), None);
}

#[tokio::test]
async fn settings_are_checked_and_every_mistake_is_told() {
    let bench = Bench::local().await;
    let (resources, tenant) = (&bench.services.resources, bench.tenant());
    let places = async |kind: &str, tag: &str, settings| match resources.put(&tenant, kind, tag, settings).await {
        Err(Error::Invalid(mistakes)) => mistakes.into_iter().map(|m| m.pointer).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(places("caches", "Bad Tag", json!({"ur1": 1})).await, ["/tag", "/ur1"]);
    assert_eq!(places("caches", "c", json!({"kind": "redis"})).await, ["/url"]);
    assert_eq!(places("caches", "c", json!({"url": "unix:///x"})).await, ["/url"]);
    assert_eq!(places("caches", "c", json!([])).await, [""]);
    assert_eq!(
        places("caches", "c", json!({"envs": {"prd": {"url": "x"}}, "kind": "memory"})).await,
        ["/envs/prd/url"]
    );
    assert_eq!(places("secrets", "s", json!({"value": 5})).await, ["/value"]);
    let bad = json!({"from": "x", "smtp": {"host": "h", "port": 0}, "messages": {"m": {"subject": "{{#if", "text": "t"}, "n": {}}});
    let found = places("notifications", "n", bad).await;
    assert!(found.contains(&"/smtp/port".to_owned()), "{found:?}");
    let bad = json!({"from": "x", "messages": {"m": {"subject": "{{#if", "text": "t"}, "n": {}}});
    assert_eq!(places("notifications", "n", bad).await, ["/from", "/messages/m/subject", "/messages/n"]);
    assert!(matches!(resources.put(&tenant, "nothings", "x", json!({})).await, Err(Error::UnknownKind(_))));
    assert!(matches!(resources.patch(&tenant, "caches", "absent", &json!({})).await, Err(Error::Absent)));
}

#[tokio::test]
async fn passwords_come_back_sealed_and_environments_differ() {
    let bench = Bench::local().await;
    let (resources, tenant) = (&bench.services.resources, bench.tenant());
    bench.put("secrets", "REDIS_PW", json!({"value": "pw-canary"})).await;
    let written = json!({"type": "redis", "url": "redis://:inline-canary@a:1", "envs": {"prd": {"url": "redis://:{{secrets.REDIS_PW}}@b:2"}}});
    let (shown, _) = resources.put(&tenant, "caches", "main", written).await.unwrap();
    assert!(!shown.settings.to_string().contains("inline-canary"));
    let (again, created) = resources.put(&tenant, "caches", "main", shown.settings.clone()).await.unwrap();
    assert!(!created);
    assert_eq!(again.settings, shown.settings, "what was read can be written again");
    let url = |env: &str| resources.resolve::<Cache>(&tenant, "caches", "main", env).unwrap().unwrap();
    assert_eq!(url("dev").settings.url.as_deref(), Some("redis://:inline-canary@a:1"));
    assert_eq!(url("prd").settings.url.as_deref(), Some("redis://:pw-canary@b:2"));
    let before = url("prd").identity.clone();
    bench.put("secrets", "REDIS_PW", json!({"value": "rotated"})).await;
    assert_ne!(url("prd").identity, before, "a rotated secret makes a new connection");
    resources.delete(&tenant, "secrets", "REDIS_PW").await.unwrap();
    let failure = resources.resolve::<Cache>(&tenant, "caches", "main", "prd").unwrap().unwrap_err();
    assert_eq!(failure.code, "SECRET_NOT_FOUND");
    assert!(resources.resolve::<Cache>(&TenantId::new("other"), "caches", "main", "prd").is_none());
}

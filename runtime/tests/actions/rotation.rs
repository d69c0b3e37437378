//! The master key is replaced while secrets are used, and a rotation that is cut off loses nothing.

use serde_json::json;
use triggerd::resources::{Cache, RotationError};
use triggerd_core::id::TenantId;

use crate::harness::Bench;

/// More than one batch.
const SECRETS: usize = 230;

async fn filled() -> Bench {
    let bench = Bench::local().await;
    for i in 0..SECRETS {
        bench
            .put("secrets", &format!("S{i:03}"), json!({"value": format!("v{i}"), "envs": {"dev": {"value": "d"}}}))
            .await;
    }
    let other = TenantId::new("other");
    bench.services.resources.put(&other, "secrets", "OTHER", json!({"value": "o"})).await.unwrap();
    bench
        .put("caches", "main", json!({"url": "redis://:inline@a:1", "envs": {"prd": {"url": "redis://:prd@b:1"}}}))
        .await;
    bench
}

fn all_open(bench: &Bench) {
    let secrets = &bench.services.secrets;
    for i in 0..SECRETS {
        assert_eq!(secrets.get(&bench.tenant(), &format!("S{i:03}")), Some(format!("v{i}")));
    }
    assert_eq!(secrets.get(&TenantId::new("other"), "OTHER").as_deref(), Some("o"));
    let url = |env| bench.services.resources.resolve::<Cache>(&bench.tenant(), "caches", "main", env).unwrap().unwrap();
    assert_eq!(url("dev").settings.url.as_deref(), Some("redis://:inline@a:1"));
    assert_eq!(url("prd").settings.url.as_deref(), Some("redis://:prd@b:1"));
}

#[tokio::test]
async fn everything_of_all_tenants_is_sealed_anew_and_nothing_else_changes() {
    let bench = filled().await;
    let resources = &bench.services.resources;
    let identity =
        || resources.resolve::<Cache>(&bench.tenant(), "caches", "main", "").unwrap().unwrap().identity.clone();
    let (before, connection) = (bench.services.store.resources_all().await.unwrap(), identity());
    let rotated = resources.rotate().await.unwrap();
    assert_eq!((rotated.resealed, rotated.unreadable.len()), (SECRETS + 2, 0));
    all_open(&bench);
    assert_eq!(identity(), connection, "connections stay");
    let after = bench.services.store.resources_all().await.unwrap();
    for ((_, old), (_, new)) in before.iter().zip(&after) {
        assert_eq!((&old.tag, old.version, old.updated_at), (&new.tag, new.version, new.updated_at));
        assert!(!new.settings.to_string().contains(&format!("{}.", before_key(&old.settings.to_string()))));
    }
    let seals = resources.seals();
    assert_eq!((seals.key.as_str(), seals.outdated, seals.previous.len()), (rotated.key.as_str(), 0, 0));
    let bench = bench.reopened().await;
    all_open(&bench);
}

/// The name of the key in `"sealed":"KEY.…"`.
fn before_key(settings: &str) -> &str {
    settings.split("\"sealed\":\"").nth(1).and_then(|rest| rest.split('.').next()).unwrap()
}

#[tokio::test]
async fn a_rotation_that_is_cut_off_goes_on_after_a_restart_with_both_keys_there() {
    let mut bench = filled().await;
    for part in [1, 150] {
        assert_eq!(bench.services.resources.rotate_in_part(part).await.unwrap(), part);
        all_open(&bench);
        bench = bench.reopened().await;
        all_open(&bench);
        let seals = bench.services.resources.seals();
        assert_eq!(seals.previous.len(), 1);
        assert!(seals.outdated > 0);
    }
    // What is written in between is sealed with the new key.
    bench.put("secrets", "S000", json!({"value": "v0"})).await;
    let rotated = bench.services.resources.rotate().await.unwrap();
    assert_eq!(rotated.resealed, SECRETS + 2 - 151);
    assert!(!bench.data_dir().join("master.key.previous").exists());
    let bench = bench.reopened().await;
    all_open(&bench);
    assert!(bench.services.resources.seals().previous.is_empty());
}

#[tokio::test]
async fn writers_and_readers_work_while_it_goes_on() {
    let bench = filled().await;
    let services = bench.services.clone();
    let tenant = bench.tenant();
    let working = tokio::spawn(async move {
        for i in 0..100 {
            let name = format!("S{:03}", i * 2);
            services.resources.put(&tenant, "secrets", &name, json!({"value": format!("v{}", i * 2)})).await.unwrap();
            assert!(services.secrets.get(&tenant, &name).is_some());
        }
    });
    for _ in 0..3 {
        assert!(bench.services.resources.rotate().await.unwrap().unreadable.is_empty());
    }
    working.await.unwrap();
    all_open(&bench);
    assert_eq!(bench.services.resources.seals().outdated, 0);
}

#[tokio::test]
async fn what_no_key_opens_is_named_and_keeps_the_old_key() {
    let bench = filled().await;
    let tenant = bench.tenant();
    // A row that was put there from elsewhere.
    let stranger = json!({"sealed": "00000000.AAAA"});
    bench.services.store.put_resource(&tenant, "secrets", "ALIEN", stranger, jiff::Timestamp::now()).await.unwrap();
    let bench = bench.reopened().await;
    let rotated = bench.services.resources.rotate().await.unwrap();
    assert_eq!(rotated.unreadable, ["acme/secrets/ALIEN"]);
    assert!(bench.data_dir().join("master.key.previous").exists(), "it may still be wanted");
    assert!(!matches!(bench.services.resources.rotate().await, Err(RotationError::UnderWay)));
    all_open(&bench);
}

#[tokio::test]
async fn a_sealed_value_is_taken_only_where_it_opens() {
    let bench = filled().await;
    let (resources, tenant) = (&bench.services.resources, bench.tenant());
    let shown = resources.get(&tenant, "caches", "main").unwrap().settings;
    resources.put(&tenant, "caches", "main", shown.clone()).await.unwrap();
    let moved = resources.put(&tenant, "caches", "copy", shown.clone()).await.unwrap_err();
    let triggerd::resources::Error::Invalid(mistakes) = moved else { panic!("{moved:?}") };
    let places: Vec<&str> = mistakes.iter().map(|m| m.pointer.as_str()).collect();
    assert_eq!(places, ["/url", "/envs/prd/url"]);
    resources.rotate().await.unwrap();
    assert!(resources.put(&tenant, "caches", "main", shown).await.is_err(), "sealed with a key that is gone");
    all_open(&bench);
}

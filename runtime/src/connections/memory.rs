//! Caches in this process: bounded in bytes per tenant and tag, with a time to live for each entry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use moka::Expiry;
use moka::future::Cache;
use triggerd_core::id::TenantId;

/// Bytes of keys and values that a cache keeps where its settings do not say.
pub const DEFAULT_BYTES: u64 = 64 << 20;

/// A stored text, and for how long.
#[derive(Clone)]
struct Entry {
    text: Arc<str>,
    ttl: Option<Duration>,
}

struct OwnTtl;

impl Expiry<String, Entry> for OwnTtl {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        entry.ttl
    }
    fn expire_after_update(&self, _: &String, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        entry.ttl
    }
}

type Bounded = (u64, Cache<String, Entry>);

/// All caches in this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Caches(Arc<DashMap<(TenantId, String), Bounded>>);

impl Caches {
    /// The cache of that tag; made empty where it is not there, or had another size.
    fn of(&self, tenant: &TenantId, tag: &str, max_bytes: u64) -> Cache<String, Entry> {
        let key = (tenant.clone(), tag.to_owned());
        if let Some(known) = self.0.get(&key)
            && known.0 == max_bytes
        {
            return known.1.clone();
        }
        let make = || {
            Cache::builder()
                .max_capacity(max_bytes)
                // What an entry takes besides its texts, roughly.
                .weigher(|key: &String, entry: &Entry| {
                    u32::try_from(key.len() + entry.text.len() + 128).unwrap_or(u32::MAX)
                })
                .expire_after(OwnTtl)
                .build()
        };
        let mut slot = self.0.entry(key).or_insert_with(|| (max_bytes, make()));
        if slot.0 != max_bytes {
            *slot = (max_bytes, make());
        }
        slot.1.clone()
    }

    /// A key's text.
    pub async fn get(&self, tenant: &TenantId, tag: &str, max_bytes: u64, key: &str) -> Option<Arc<str>> {
        self.of(tenant, tag, max_bytes).get(key).await.map(|entry| entry.text)
    }

    /// Stores a text, for ever or for a while.
    pub async fn set(
        &self,
        tenant: &TenantId,
        tag: &str,
        max_bytes: u64,
        key: String,
        text: &str,
        ttl: Option<Duration>,
    ) {
        let entry = Entry { text: Arc::from(text), ttl };
        self.of(tenant, tag, max_bytes).insert(key, entry).await;
    }

    /// Removes a key; whether it was there.
    pub async fn delete(&self, tenant: &TenantId, tag: &str, max_bytes: u64, key: &str) -> bool {
        self.of(tenant, tag, max_bytes).remove(key).await.is_some()
    }

    /// Removes every key that `fits`; how many there were.
    pub async fn invalidate(&self, tenant: &TenantId, tag: &str, max_bytes: u64, fits: impl Fn(&str) -> bool) -> u64 {
        let cache = self.of(tenant, tag, max_bytes);
        let wanted: Vec<Arc<String>> = cache.iter().filter(|(key, _)| fits(key)).map(|(key, _)| key).collect();
        let mut count = 0;
        for key in wanted {
            count += u64::from(cache.remove(key.as_str()).await.is_some());
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tenants_and_tags_are_apart_and_bytes_are_bounded() {
        let (caches, a, b) = (Caches::default(), TenantId::new("a"), TenantId::new("b"));
        caches.set(&a, "memory", 10_000, "k".into(), "1", None).await;
        assert_eq!(caches.get(&a, "memory", 10_000, "k").await.as_deref(), Some("1"));
        assert_eq!(caches.get(&b, "memory", 10_000, "k").await, None);
        assert_eq!(caches.get(&a, "default", 10_000, "k").await, None);
        for i in 0..1000 {
            caches.set(&a, "memory", 10_000, format!("k{i}"), &"x".repeat(100), None).await;
        }
        let cache = caches.of(&a, "memory", 10_000);
        cache.run_pending_tasks().await;
        assert!(cache.weighted_size() <= 10_000);
    }

    #[tokio::test]
    async fn an_entry_ends_with_its_time() {
        let (caches, tenant) = (Caches::default(), TenantId::new("a"));
        caches.set(&tenant, "m", 10_000, "k".into(), "1", Some(Duration::from_nanos(1))).await;
        assert_eq!(caches.get(&tenant, "m", 10_000, "k").await, None);
        caches.set(&tenant, "m", 10_000, "k".into(), "2", None).await;
        assert_eq!(caches.get(&tenant, "m", 10_000, "k").await.as_deref(), Some("2"));
    }
}

//! `cache.set`, `cache.delete`, `cache.invalidate`: values in the tenant's caches.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_core::outcome::Outcome;

use super::{Action, Context, Use, uses};
use crate::failed::outcome;

/// The largest value.
const MAX_VALUE: usize = 8 << 20;

/// `cache.set`
pub struct Set;
/// `cache.delete`
pub struct Delete;
/// `cache.invalidate`
pub struct Invalidate;

/// Settings of `cache.set`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetConfig {
    /// The cache's tag.
    cache: String,
    /// The key.
    key: String,
    /// The value: any JSON.
    value: Value,
    /// Seconds after which it is forgotten; left out, it stays.
    #[schemars(range(min = 1, max = 3_153_600_000_u64))]
    ttl: Option<u64>,
}

/// Settings of `cache.delete`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteConfig {
    /// The cache's tag.
    cache: String,
    /// The key.
    key: String,
}

/// Settings of `cache.invalidate`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvalidateConfig {
    /// The cache's tag.
    cache: String,
    /// A glob over keys: `order:*`, with `*`, `?`, `[abc]`; a `\` takes the next character literally.
    key: String,
}

impl Action for Set {
    const KIND: &'static str = "cache.set";
    const WHOLE: Option<&'static str> = Some("value");
    const READS_EVENT: bool = false;
    type Config = SetConfig;

    fn whole(config: &mut SetConfig) -> Option<&mut Value> {
        Some(&mut config.value)
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "cache", "caches").into_iter().collect()
    }

    async fn run(cx: Context, config: SetConfig) -> Outcome {
        if config.ttl == Some(0) {
            return Outcome::dead("CONFIG_INVALID", "/ttl: must be at least 1 second");
        }
        let bytes = config.value.to_string().len();
        if bytes > MAX_VALUE {
            return Outcome::dead("CONFIG_INVALID", format!("/value: {bytes} bytes; at most {MAX_VALUE}"));
        }
        let ttl = config.ttl.map(Duration::from_secs);
        let set = cx.services.caches.set(cx.cache(&config.cache), &config.key, &config.value, ttl).await;
        outcome(set.map(|()| json!({ "count": 1 })))
    }
}

impl Action for Delete {
    const KIND: &'static str = "cache.delete";
    const READS_EVENT: bool = false;
    type Config = DeleteConfig;

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "cache", "caches").into_iter().collect()
    }

    async fn run(cx: Context, config: DeleteConfig) -> Outcome {
        let deleted = cx.services.caches.delete(cx.cache(&config.cache), &config.key).await;
        outcome(deleted.map(|was_there| json!({ "count": u64::from(was_there) })))
    }
}

impl Action for Invalidate {
    const KIND: &'static str = "cache.invalidate";
    const READS_EVENT: bool = false;
    type Config = InvalidateConfig;

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "cache", "caches").into_iter().collect()
    }

    async fn run(cx: Context, config: InvalidateConfig) -> Outcome {
        let count = cx.services.caches.invalidate(cx.cache(&config.cache), &config.key).await;
        outcome(count.map(|count| json!({ "count": count })))
    }
}

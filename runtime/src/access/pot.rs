//! What nodes take from that have a rate in common: Redis where one is set, else the store that they share.
//!
//! While Redis does not answer, it is the store's buckets that are taken from, and on a store of one process the node's own limit: no
//! request is refused or kept waiting for that. `/ready` and `triggerd_rate_limit_redis_up` tell of it.

use std::time::Duration;

use super::redis_pot::RedisPot;
use crate::store::Store;

/// Where it is taken from.
pub struct Pot {
    store: Store,
    redis: Option<RedisPot>,
}

impl Pot {
    /// The store's, and Redis' where it is set.
    #[must_use]
    pub fn new(store: Store, redis: Option<RedisPot>) -> Self {
        Self { store, redis }
    }

    /// Whether there is anybody to share with.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.redis.is_some() || self.store.is_shared()
    }

    /// Whether Redis answers; `None` where none is set.
    #[must_use]
    pub fn redis_is_up(&self) -> Option<bool> {
        self.redis.as_ref().map(RedisPot::is_up)
    }

    /// Pours `tokens` of `cost` each into the leaky bucket `name`, where there is room for one of them in `burst`; else says after what
    /// time there will be.
    pub async fn take(&self, name: &str, tokens: u64, cost: Duration, burst: Duration) -> Option<Duration> {
        if let Some(redis) = &self.redis
            && let Some(answer) = redis.take(name, tokens, cost, burst).await
        {
            return answer;
        }
        match self.store.take_rate(&format!("requests/{name}"), tokens, cost, burst).await {
            Ok(answer) => answer,
            Err(error) => {
                // The limit holds for each node then; what the request asks of the store will fail by itself.
                tracing::debug!(%error, "The rate of {name} is not shared just now: {error}");
                None
            }
        }
    }
}

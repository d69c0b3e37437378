//! One of the tenant's caches.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::{Answer, Host, Imports, ttl_seconds};

/// A cache, by its tag. Values are JSON, as the `cache.*` actions store them.
pub struct Cache<'a> {
    host: &'a Host,
    tag: &'a str,
}

impl<'a> Cache<'a> {
    pub(crate) fn new(host: &'a Host, tag: &'a str) -> Self {
        Self { host, tag }
    }

    /// The value of a key; `None` where there is none.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Answer<Option<T>> {
        let Some(json) = self.host.cache_get(self.tag, key)? else {
            return Ok(None);
        };
        super::read(&format!("the cached {key:?}"), json.as_bytes()).map(Some)
    }

    /// Stores a value, for ever or for so long.
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T, ttl: Option<Duration>) -> Answer<()> {
        let json = super::write(&format!("the value of {key:?}"), value)?;
        self.host.cache_set(self.tag, key, &json, ttl_seconds(ttl))
    }

    /// Removes a key; whether it was there.
    pub fn delete(&self, key: &str) -> Answer<bool> {
        self.host.cache_delete(self.tag, key)
    }

    /// Removes every key that fits the glob; how many there were.
    pub fn invalidate(&self, pattern: &str) -> Answer<u64> {
        self.host.cache_invalidate(self.tag, pattern)
    }
}

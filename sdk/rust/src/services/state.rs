//! Durable key-value pairs of this component and tenant.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ServiceError;
use crate::host::{Answer, Host, Imports, ttl_seconds};

/// How often [`State::update`] starts again: each time means that somebody else got through.
const UPDATE_TRIES: u32 = 32;

/// The component's state. Values are kept as JSON.
pub struct State<'a> {
    host: &'a Host,
}

/// A stored value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry<T> {
    /// The value.
    pub value: T,
    /// Counted up by each change of this key.
    pub version: u64,
}

impl<'a> State<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self { host }
    }

    /// The value of a key; `None` where there is none or its time is over.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Answer<Option<Entry<T>>> {
        let Some((bytes, version)) = self.host.state_get(key)? else {
            return Ok(None);
        };
        let value = super::read(&format!("the state of {key:?}"), &bytes)?;
        Ok(Some(Entry { value, version }))
    }

    /// Stores a value, for ever or for so long; answers with its version.
    pub fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T, ttl: Option<Duration>) -> Answer<u64> {
        let json = write(key, value)?;
        self.host.state_set(key, json.as_bytes(), ttl_seconds(ttl))
    }

    /// Stores a value if the key's version is `expected` (`None`: if the key does not exist).
    /// Answers with the new version, or `None` where somebody else was first and nothing was stored.
    pub fn compare_and_set<T: Serialize + ?Sized>(
        &self,
        key: &str,
        expected: Option<u64>,
        value: &T,
        ttl: Option<Duration>,
    ) -> Answer<Option<u64>> {
        let json = write(key, value)?;
        self.host.state_compare_and_set(key, expected, json.as_bytes(), ttl_seconds(ttl))
    }

    /// Changes a value by compare-and-set and answers with the new one.
    ///
    /// `change` gets the present value and may be called again where somebody else was first, so it
    /// should do nothing but compute.
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        ttl: Option<Duration>,
        mut change: impl FnMut(Option<T>) -> T,
    ) -> Answer<T> {
        for _ in 0..UPDATE_TRIES {
            let (present, version) = match self.get(key)? {
                Some(entry) => (Some(entry.value), Some(entry.version)),
                None => (None, None),
            };
            let next = change(present);
            if self.compare_and_set(key, version, &next, ttl)?.is_some() {
                return Ok(next);
            }
        }
        Err(ServiceError {
            code: "STATE_CONTENDED".into(),
            message: format!("the state of {key:?} was changed by others {UPDATE_TRIES} times in a row"),
            retryable: true,
        })
    }

    /// Removes a key; whether it was there.
    pub fn delete(&self, key: &str) -> Answer<bool> {
        self.host.state_delete(key)
    }
}

fn write<T: Serialize + ?Sized>(key: &str, value: &T) -> Answer<String> {
    super::write(&format!("the state of {key:?}"), value)
}

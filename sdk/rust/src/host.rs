//! What the services ask of the host: one set of functions, on the real host and in tests.
//!
//! [`Host`] is a type, not a trait object: a table of functions would hold every import of the
//! world, and the linker could not drop those that a guest does not use.

use std::time::Duration;

#[cfg(target_family = "wasm")]
pub(crate) use crate::guest::Host;
#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::TestHost as Host;

use crate::{Level, ServiceError};

/// The answer of a service.
pub(crate) type Answer<T> = Result<T, ServiceError>;

/// The imports of the world `imports`, with the SDK's types.
pub(crate) trait Imports {
    fn log(&self, level: Level, message: &str, fields: Option<&str>);
    fn state_get(&self, key: &str) -> Answer<Option<(Vec<u8>, u64)>>;
    fn state_set(&self, key: &str, value: &[u8], ttl_seconds: Option<u64>) -> Answer<u64>;
    fn state_compare_and_set(
        &self,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl_seconds: Option<u64>,
    ) -> Answer<Option<u64>>;
    fn state_delete(&self, key: &str) -> Answer<bool>;
    fn cache_get(&self, cache: &str, key: &str) -> Answer<Option<String>>;
    fn cache_set(&self, cache: &str, key: &str, json: &str, ttl_seconds: Option<u64>) -> Answer<()>;
    fn cache_delete(&self, cache: &str, key: &str) -> Answer<bool>;
    fn cache_invalidate(&self, cache: &str, pattern: &str) -> Answer<u64>;
    fn publish(&self, topic: &str, message: crate::Message) -> Answer<String>;
    fn database_query(&self, database: &str, sql: &str, parameters: Vec<String>) -> Answer<Vec<String>>;
    fn database_execute(&self, database: &str, sql: &str, parameters: Vec<String>) -> Answer<u64>;
    fn emit(&self, event_type: &str, payload: &str) -> Answer<String>;
    fn secret(&self, name: &str) -> Answer<String>;
    fn send(&self, request: HttpRequest) -> Answer<HttpResponse>;
}

/// An HTTP request as the host takes it.
#[derive(Clone, Debug)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) timeout_ms: Option<u64>,
}

/// An HTTP answer as the host gives it.
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Whole seconds for the host: a part of a second counts as one, so that nothing is kept for no time at all.
pub(crate) fn ttl_seconds(ttl: Option<Duration>) -> Option<u64> {
    ttl.map(|ttl| ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0))
}

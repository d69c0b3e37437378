//! What guests' imports ask of the application, once their grants allow it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;

/// Whose call it is. The same for every import of one call.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ServiceContext {
    /// The tenant's id.
    pub tenant: String,
    /// The component's name.
    pub component: String,
    /// The event's id.
    pub event_id: String,
    /// The same on every try of this action of this run.
    pub delivery_id: String,
    /// The trigger's tag.
    pub trigger: String,
    /// The event's environment.
    pub env: String,
    /// W3C `traceparent` of the attempt.
    pub traceparent: Option<String>,
}

/// Why a service did not do what it was asked. The guest sees it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ServiceError {
    /// A stable code of docs/errors.md.
    pub code: String,
    /// For people. Never a secret.
    pub message: String,
    /// Whether another try may help.
    pub retryable: bool,
}

impl ServiceError {
    /// A failure that another try may mend.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: true }
    }

    /// A failure for good.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false }
    }
}

/// A value of a component's durable state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateEntry {
    /// The bytes.
    pub value: Vec<u8>,
    /// Counted up by each change of the key.
    pub version: u64,
}

/// A message to be published.
#[derive(Clone, PartialEq, Debug)]
pub struct BrokerMessage {
    /// The broker's tag.
    pub broker: String,
    /// The topic, subject, stream or queue.
    pub topic: String,
    /// The key.
    pub key: Option<String>,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// The message.
    pub message: Value,
    /// Which message of this call it is, from 0: delivery id and index together are the same on every try.
    pub index: u32,
}

/// A statement for a database, with its values.
#[derive(Clone, PartialEq, Debug)]
pub struct DatabaseQuestion {
    /// The database's tag.
    pub database: String,
    /// One statement.
    pub sql: String,
    /// Its values, in order.
    pub parameters: Vec<Value>,
}

/// An event to be emitted.
#[derive(Clone, PartialEq, Debug)]
pub struct EmittedEvent {
    /// Its type.
    pub event_type: String,
    /// Its payload.
    pub payload: Value,
    /// Which event of this call it is, from 0: delivery id and index together are the same on every try.
    pub index: u32,
}

/// An HTTP request whose host is granted; still to go through the egress guard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpRequest {
    /// The method, upper case.
    pub method: String,
    /// An absolute `http` or `https` URL.
    pub url: String,
    /// Headers, in order; none that belong to the connection.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The most it may take.
    pub timeout: Duration,
    /// The largest response body; a larger one is an error.
    pub max_response_bytes: usize,
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// The answer of a service, in a while.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, ServiceError>>;

/// What the application does for guests. Called only where the call's grants allow it, never on a guest's thread.
/// A call is dropped at any await when the guest's time is over.
pub trait Services: Send + Sync + 'static {
    /// The value of a key of this component's and tenant's state.
    fn state_get<'a>(&'a self, cx: &'a ServiceContext, key: &'a str) -> Answer<'a, Option<StateEntry>>;
    /// Stores a value; answers with its version.
    fn state_set<'a>(
        &'a self,
        cx: &'a ServiceContext,
        key: &'a str,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Answer<'a, u64>;
    /// Stores a value if the key's version is `expected` (`None`: if there is no such key); `None` where it is not.
    fn state_compare_and_set<'a>(
        &'a self,
        cx: &'a ServiceContext,
        key: &'a str,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Answer<'a, Option<u64>>;
    /// Removes a key; whether it was there.
    fn state_delete<'a>(&'a self, cx: &'a ServiceContext, key: &'a str) -> Answer<'a, bool>;
    /// The value of a key of a cache.
    fn cache_get<'a>(&'a self, cx: &'a ServiceContext, cache: &'a str, key: &'a str) -> Answer<'a, Option<Value>>;
    /// Stores a value in a cache.
    fn cache_set<'a>(
        &'a self,
        cx: &'a ServiceContext,
        cache: &'a str,
        key: &'a str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Answer<'a, ()>;
    /// Removes a key of a cache; whether it was there.
    fn cache_delete<'a>(&'a self, cx: &'a ServiceContext, cache: &'a str, key: &'a str) -> Answer<'a, bool>;
    /// Removes the keys of a cache that fit a glob; how many there were.
    fn cache_invalidate<'a>(&'a self, cx: &'a ServiceContext, cache: &'a str, pattern: &'a str) -> Answer<'a, u64>;
    /// Publishes; answers once the broker has confirmed, with what it said.
    fn broker_publish<'a>(&'a self, cx: &'a ServiceContext, message: BrokerMessage) -> Answer<'a, Value>;
    /// The rows that a statement reads, as objects; it cannot write.
    fn database_query<'a>(&'a self, cx: &'a ServiceContext, question: DatabaseQuestion) -> Answer<'a, Vec<Value>>;
    /// Runs a statement that writes; how many rows it changed.
    fn database_execute<'a>(&'a self, cx: &'a ServiceContext, question: DatabaseQuestion) -> Answer<'a, u64>;
    /// Emits an event; answers with its id once it is on stable storage.
    fn emit<'a>(&'a self, cx: &'a ServiceContext, event: EmittedEvent) -> Answer<'a, String>;
    /// A secret's value.
    fn secret<'a>(&'a self, cx: &'a ServiceContext, name: &'a str) -> Answer<'a, String>;
    /// Sends a request through the egress guard. Redirects are not followed.
    fn http<'a>(&'a self, cx: &'a ServiceContext, request: HttpRequest) -> Answer<'a, HttpResponse>;
}

//! The host in memory.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::invocation::InvocationBuilder;
use super::memory::{Memory, glob_matches};
use crate::call::call;
use crate::host::{Answer, HttpRequest, HttpResponse, Imports};
use crate::{ActionError, Context, Level, Message, Response, ServiceError};

/// A host in memory: durable state, caches, secrets and canned HTTP answers go in; logs, requests,
/// messages and events can be read afterwards. Clones share what they hold.
#[derive(Clone, Debug, Default)]
pub struct TestHost {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    now_seconds: u64,
    state: Memory<Vec<u8>>,
    caches: BTreeMap<String, Memory<String>>,
    secrets: BTreeMap<String, String>,
    /// By method and address; the last answer of each repeats.
    answers: BTreeMap<(String, String), VecDeque<Answer<Response>>>,
    /// By database and statement; the last answer of each repeats.
    rows: BTreeMap<(String, String), VecDeque<Answer<Vec<Value>>>>,
    statements: Vec<Stated>,
    logs: Vec<Logged>,
    requests: Vec<SentRequest>,
    published: Vec<Published>,
    emitted: Vec<Emitted>,
}

/// A line that was logged.
#[derive(Clone, PartialEq, Debug)]
pub struct Logged {
    /// How much it matters.
    pub level: Level,
    /// Its text.
    pub message: String,
    /// Its fields; `null` where it has none.
    pub fields: Value,
}

/// A request that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SentRequest {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The address.
    pub url: String,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A message that was published.
#[derive(Clone, PartialEq, Debug)]
pub struct Published {
    /// `TAG:TOPIC`.
    pub topic: String,
    /// The message's key.
    pub key: Option<String>,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Value,
}

/// A statement that a database was asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Stated {
    /// The database's tag.
    pub database: String,
    /// The statement.
    pub sql: String,
    /// Its values.
    pub parameters: Vec<Value>,
    /// Whether it was to write.
    pub writes: bool,
}

/// An event that was emitted.
#[derive(Clone, PartialEq, Debug)]
pub struct Emitted {
    /// Its type.
    pub event_type: String,
    /// Its payload.
    pub payload: Value,
}

impl TestHost {
    /// An empty host.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls a guest's function as the real host does: the input is read, and what does not fit fails.
    pub fn call<I, T, E>(
        &self,
        function: impl FnOnce(Context<I>) -> Result<T, E>,
        invocation: InvocationBuilder,
    ) -> Result<T, ActionError>
    where
        I: DeserializeOwned,
        E: Into<ActionError>,
    {
        call(function, invocation.build(), self.clone())
    }

    /// Answers requests to this address; given several times, in that order, the last one for ever.
    #[must_use]
    pub fn with_http(self, method: &str, url: &str, status: u16, body: Value) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        let body = body.to_string().into_bytes();
        self.with_http_answer(method, url, Ok(Response { status, headers, body }))
    }

    /// Like [`with_http`](Self::with_http), with headers and bytes, or with no answer at all.
    #[must_use]
    pub fn with_http_answer(self, method: &str, url: &str, answer: Result<Response, ServiceError>) -> Self {
        let place = (method.to_owned(), url.to_owned());
        self.inner.borrow_mut().answers.entry(place).or_default().push_back(answer);
        self
    }

    /// Answers a statement of a database with these rows, which `execute` counts; given several times, in that order,
    /// the last one for ever.
    #[must_use]
    pub fn with_rows(self, database: &str, sql: &str, rows: Vec<Value>) -> Self {
        self.with_rows_answer(database, sql, Ok(rows))
    }

    /// Like [`with_rows`](Self::with_rows), or with a failure.
    #[must_use]
    pub fn with_rows_answer(self, database: &str, sql: &str, answer: Result<Vec<Value>, ServiceError>) -> Self {
        let place = (database.to_owned(), sql.to_owned());
        self.inner.borrow_mut().rows.entry(place).or_default().push_back(answer);
        self
    }

    /// Holds a secret.
    #[must_use]
    pub fn with_secret(self, name: &str, value: &str) -> Self {
        self.inner.borrow_mut().secrets.insert(name.into(), value.into());
        self
    }

    /// Holds a state value.
    #[must_use]
    pub fn with_state(self, key: &str, value: Value) -> Self {
        self.set_state(key, value);
        self
    }

    /// Changes a state value, as another call would.
    pub fn set_state(&self, key: &str, value: Value) {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now_seconds;
        inner.state.set(key, value.to_string().into_bytes(), None, now);
    }

    /// Lets time pass for whatever has a time to live.
    pub fn advance(&self, time: Duration) {
        self.inner.borrow_mut().now_seconds += time.as_secs();
    }

    /// A state value as JSON.
    #[must_use]
    pub fn state(&self, key: &str) -> Option<Value> {
        let inner = self.inner.borrow();
        let (bytes, _) = inner.state.get(key, inner.now_seconds)?;
        serde_json::from_slice(&bytes).ok()
    }

    /// A cached value.
    #[must_use]
    pub fn cached(&self, cache: &str, key: &str) -> Option<Value> {
        let inner = self.inner.borrow();
        let (json, _) = inner.caches.get(cache)?.get(key, inner.now_seconds)?;
        serde_json::from_str(&json).ok()
    }

    /// The lines logged so far.
    #[must_use]
    pub fn logs(&self) -> Vec<Logged> {
        self.inner.borrow().logs.clone()
    }

    /// The requests sent so far.
    #[must_use]
    pub fn requests(&self) -> Vec<SentRequest> {
        self.inner.borrow().requests.clone()
    }

    /// The messages published so far.
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        self.inner.borrow().published.clone()
    }

    /// The statements that databases were asked so far.
    #[must_use]
    pub fn statements(&self) -> Vec<Stated> {
        self.inner.borrow().statements.clone()
    }

    /// The events emitted so far.
    #[must_use]
    pub fn emitted(&self) -> Vec<Emitted> {
        self.inner.borrow().emitted.clone()
    }
}

impl TestHost {
    fn stated(&self, database: &str, sql: &str, parameters: &[String], writes: bool) -> Answer<Vec<Value>> {
        let mut inner = self.inner.borrow_mut();
        let parameters = parameters.iter().map(|parameter| parsed(parameter)).collect();
        inner.statements.push(Stated { database: database.into(), sql: sql.into(), parameters, writes });
        let Some(answers) = inner.rows.get_mut(&(database.to_owned(), sql.to_owned())) else {
            let message = format!("the test host has no rows for {sql:?} in {database}; give some with `with_rows`");
            return Err(ServiceError::permanent("DB_REFUSED", message));
        };
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        next.unwrap_or_else(|| Ok(Vec::new()))
    }
}

impl Imports for TestHost {
    fn log(&self, level: Level, message: &str, fields: Option<&str>) {
        let line = Logged { level, message: message.into(), fields: fields.map_or(Value::Null, parsed) };
        self.inner.borrow_mut().logs.push(line);
    }

    fn state_get(&self, key: &str) -> Answer<Option<(Vec<u8>, u64)>> {
        let inner = self.inner.borrow();
        Ok(inner.state.get(key, inner.now_seconds))
    }

    fn state_set(&self, key: &str, value: &[u8], ttl_seconds: Option<u64>) -> Answer<u64> {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now_seconds;
        Ok(inner.state.set(key, value.into(), ttl_seconds, now))
    }

    fn state_compare_and_set(
        &self,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl_seconds: Option<u64>,
    ) -> Answer<Option<u64>> {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now_seconds;
        let present = inner.state.get(key, now).map(|(_, version)| version);
        Ok((present == expected).then(|| inner.state.set(key, value.into(), ttl_seconds, now)))
    }

    fn state_delete(&self, key: &str) -> Answer<bool> {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now_seconds;
        Ok(inner.state.remove(key, now))
    }

    fn cache_get(&self, cache: &str, key: &str) -> Answer<Option<String>> {
        let inner = self.inner.borrow();
        let found = inner.caches.get(cache).and_then(|cache| cache.get(key, inner.now_seconds));
        Ok(found.map(|(json, _)| json))
    }

    fn cache_set(&self, cache: &str, key: &str, json: &str, ttl_seconds: Option<u64>) -> Answer<()> {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now_seconds;
        inner.caches.entry(cache.into()).or_default().set(key, json.into(), ttl_seconds, now);
        Ok(())
    }

    fn cache_delete(&self, cache: &str, key: &str) -> Answer<bool> {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now_seconds;
        Ok(inner.caches.get_mut(cache).is_some_and(|cache| cache.remove(key, now)))
    }

    fn cache_invalidate(&self, cache: &str, pattern: &str) -> Answer<u64> {
        let mut inner = self.inner.borrow_mut();
        let now = inner.now_seconds;
        let Some(cache) = inner.caches.get_mut(cache) else {
            return Ok(0);
        };
        let fits = cache.keys(now).into_iter().filter(|key| glob_matches(pattern, key));
        Ok(fits.map(|key| u64::from(cache.remove(&key, now))).sum())
    }

    fn publish(&self, topic: &str, message: Message) -> Answer<String> {
        let Message { key, headers, body } = message;
        let mut inner = self.inner.borrow_mut();
        inner.published.push(Published { topic: topic.into(), key, headers, body: parsed(&body) });
        Ok(json!({"sequence": inner.published.len()}).to_string())
    }

    fn database_query(&self, database: &str, sql: &str, parameters: Vec<String>) -> Answer<Vec<String>> {
        let rows = self.stated(database, sql, &parameters, false)?;
        Ok(rows.iter().map(Value::to_string).collect())
    }

    fn database_execute(&self, database: &str, sql: &str, parameters: Vec<String>) -> Answer<u64> {
        Ok(self.stated(database, sql, &parameters, true)?.len() as u64)
    }

    fn emit(&self, event_type: &str, payload: &str) -> Answer<String> {
        let mut inner = self.inner.borrow_mut();
        inner.emitted.push(Emitted { event_type: event_type.into(), payload: parsed(payload) });
        Ok(format!("01890000-0000-7000-8000-{:012}", inner.emitted.len()))
    }

    fn secret(&self, name: &str) -> Answer<String> {
        let inner = self.inner.borrow();
        inner.secrets.get(name).cloned().ok_or_else(|| {
            ServiceError::permanent("SECRET_NOT_FOUND", format!("the test host holds no secret {name:?}"))
        })
    }

    fn send(&self, request: HttpRequest) -> Answer<HttpResponse> {
        let HttpRequest { method, url, headers, body, timeout_ms: _ } = request;
        let place = (method.clone(), url.clone());
        let sent = SentRequest { method, url, headers, body: body.unwrap_or_default() };
        let mut inner = self.inner.borrow_mut();
        inner.requests.push(sent);
        let Some(answers) = inner.answers.get_mut(&place) else {
            let (method, url) = place;
            let message = format!("the test host has no answer for {method} {url}; give one with `with_http`");
            return Err(ServiceError { code: "ECONNREFUSED".into(), message, retryable: true });
        };
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let Response { status, headers, body } =
            next.unwrap_or_else(|| Err(ServiceError::permanent("ECONNREFUSED", "no answer is left")))?;
        Ok(HttpResponse { status, headers, body })
    }
}

/// What the SDK has just written as JSON.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("the services write JSON")
}

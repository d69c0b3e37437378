//! The real host: the imports of the world, and what the exports do with a function.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::guard::export as check;
use crate::bindings::imports::triggerd::runtime as wit;
use crate::call::{call, event_to_json, to_json};
use crate::error::Retry;
use crate::host::{Answer, HttpRequest, HttpResponse, Imports};
use crate::{ActionError, Context, Event, Invocation, Level, Message, ServiceError, Verdict};

/// The host that this component runs on.
pub(crate) struct Host;

/// What the export `run` does.
pub fn run_action<I: DeserializeOwned, T: Serialize, E: Into<ActionError>>(
    function: impl FnOnce(Context<I>) -> Result<T, E>,
    invocation: wit::types::Invocation,
) -> Result<String, wit::types::Failure> {
    let output = call(function, invocation.into(), Host).and_then(|output| to_json(&output));
    Ok(output?)
}

/// What the export `check` does.
pub fn run_guard<I: DeserializeOwned, E: Into<ActionError>>(
    function: impl FnOnce(Context<I>) -> Result<Verdict, E>,
    invocation: wit::types::Invocation,
) -> Result<check::Verdict, wit::types::Failure> {
    Ok(match call(function, invocation.into(), Host)? {
        Verdict::Proceed => check::Verdict::Proceed,
        Verdict::Change(record) => check::Verdict::Change(record.to_string()),
        Verdict::Refuse { code, message } => check::Verdict::Refuse(check::Refusal { code, message }),
    })
}

/// What the export `matches` does.
pub fn run_condition<I: DeserializeOwned, E: Into<ActionError>>(
    function: impl FnOnce(Context<I>) -> Result<bool, E>,
    invocation: wit::types::Invocation,
) -> Result<bool, wit::types::Failure> {
    Ok(call(function, invocation.into(), Host)?)
}

/// What the export `rewrite` does.
pub fn run_transform<I: DeserializeOwned, E: Into<ActionError>>(
    function: impl FnOnce(Context<I>) -> Result<Option<Event>, E>,
    invocation: wit::types::Invocation,
) -> Result<Option<String>, wit::types::Failure> {
    let event = call(function, invocation.into(), Host).and_then(event_to_json);
    Ok(event?)
}

impl Imports for Host {
    fn log(&self, level: Level, message: &str, fields: Option<&str>) {
        let level = match level {
            Level::Trace => wit::log::Level::Trace,
            Level::Debug => wit::log::Level::Debug,
            Level::Info => wit::log::Level::Info,
            Level::Warn => wit::log::Level::Warn,
            Level::Error => wit::log::Level::Error,
        };
        wit::log::write(level, message, fields);
    }

    fn state_get(&self, key: &str) -> Answer<Option<(Vec<u8>, u64)>> {
        let entry = wit::state::get(key)?;
        Ok(entry.map(|entry| (entry.value, entry.version)))
    }

    fn state_set(&self, key: &str, value: &[u8], ttl_seconds: Option<u64>) -> Answer<u64> {
        Ok(wit::state::set(key, value, ttl_seconds)?)
    }

    fn state_compare_and_set(
        &self,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl_seconds: Option<u64>,
    ) -> Answer<Option<u64>> {
        Ok(wit::state::compare_and_set(key, expected, value, ttl_seconds)?)
    }

    fn state_delete(&self, key: &str) -> Answer<bool> {
        Ok(wit::state::delete(key)?)
    }

    fn cache_get(&self, cache: &str, key: &str) -> Answer<Option<String>> {
        Ok(wit::cache::get(cache, key)?)
    }

    fn cache_set(&self, cache: &str, key: &str, json: &str, ttl_seconds: Option<u64>) -> Answer<()> {
        Ok(wit::cache::set(cache, key, json, ttl_seconds)?)
    }

    fn cache_delete(&self, cache: &str, key: &str) -> Answer<bool> {
        Ok(wit::cache::delete(cache, key)?)
    }

    fn cache_invalidate(&self, cache: &str, pattern: &str) -> Answer<u64> {
        Ok(wit::cache::invalidate(cache, pattern)?)
    }

    fn publish(&self, topic: &str, message: Message) -> Answer<String> {
        let Message { key, headers, body } = message;
        Ok(wit::broker::publish(topic, &wit::broker::Message { key, headers, body })?)
    }

    fn database_query(&self, database: &str, sql: &str, parameters: Vec<String>) -> Answer<Vec<String>> {
        Ok(wit::database::query(database, sql, &parameters)?)
    }

    fn database_execute(&self, database: &str, sql: &str, parameters: Vec<String>) -> Answer<u64> {
        Ok(wit::database::execute(database, sql, &parameters)?)
    }

    fn emit(&self, event_type: &str, payload: &str) -> Answer<String> {
        Ok(wit::events::emit(event_type, payload)?)
    }

    fn secret(&self, name: &str) -> Answer<String> {
        Ok(wit::secrets::get(name)?)
    }

    fn send(&self, request: HttpRequest) -> Answer<HttpResponse> {
        let HttpRequest { method, url, headers, body, timeout_ms } = request;
        let request = wit::http::Request { method, url, headers, body, timeout_ms };
        let wit::http::Response { status, headers, body } = wit::http::send(&request)?;
        Ok(HttpResponse { status, headers, body })
    }
}

impl From<wit::types::ServiceError> for ServiceError {
    fn from(error: wit::types::ServiceError) -> Self {
        Self { code: error.code, message: error.message, retryable: error.retryable }
    }
}

impl From<ActionError> for wit::types::Failure {
    fn from(error: ActionError) -> Self {
        let kind = match error.retry {
            Retry::Never => wit::types::FailureKind::Permanent,
            Retry::Later => wit::types::FailureKind::Retryable(None),
            Retry::After(delay) => {
                let millis = delay.as_millis().try_into().unwrap_or(u64::MAX);
                wit::types::FailureKind::Retryable(Some(millis))
            }
        };
        Self { code: error.code, message: error.message, kind }
    }
}

impl From<wit::types::Invocation> for Invocation {
    fn from(given: wit::types::Invocation) -> Self {
        Self {
            event_id: given.event_id,
            delivery_id: given.delivery_id,
            attempt: given.attempt,
            tenant: given.tenant,
            trigger: given.trigger,
            action: given.action,
            event_name: given.event_name,
            event_type: given.event_type,
            operation: given.operation,
            database: given.database,
            table: given.table,
            env: given.env,
            timestamp: given.timestamp,
            source: given.source,
            record_json: given.record,
            previous_record_json: given.previous_record,
            changed_fields: given.changed_fields,
            user_json: given.user,
            metadata_json: given.metadata,
            input_json: given.input,
            results_json: given.results,
            traceparent: given.traceparent,
        }
    }
}

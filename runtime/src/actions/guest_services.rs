//! What guests' imports are served with: the same stores, resources and egress guard as the built-in actions.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use triggerd_core::event::Event;
use triggerd_core::id::DeliveryId;

use super::context::{Context, Emitted, Services as Shared};
use super::emit;
use crate::brokers::Message;
use crate::caches::Name;
use crate::databases;
use crate::egress;
use crate::failed::Failed;
use crate::store;
use crate::wasm::{
    Answer, BrokerMessage, DatabaseQuestion, EmittedEvent, HttpRequest, HttpResponse, Invocation, ServiceContext,
    ServiceError, Services, StateEntry,
};

/// The services of one call.
pub struct GuestServices {
    shared: Arc<Shared>,
    event: Arc<Event>,
    delivery_id: DeliveryId,
    /// Secrets that the guest was given: what it says afterwards is struck through.
    given: Mutex<Vec<String>>,
}

/// What a guest is told of an attempt; `input` is JSON.
#[must_use]
pub fn invocation(cx: &Context, input: String) -> Invocation {
    let mut told = Invocation::of_event(&cx.event);
    told.delivery_id = cx.delivery_id.to_string();
    told.attempt = cx.attempt;
    told.trigger = cx.trigger.to_string();
    told.action = cx.action.to_string();
    told.input = input;
    if !cx.outputs.is_empty() {
        told.results = Value::Object(cx.outputs.as_ref().clone()).to_string();
    }
    told.traceparent = Some(cx.traceparent());
    told
}

impl GuestServices {
    /// For an attempt.
    #[must_use]
    pub fn of(cx: &Context) -> Self {
        Self::new(cx.services.clone(), cx.event.clone(), cx.delivery_id)
    }

    /// For a call outside of any attempt: a condition, a trial.
    #[must_use]
    pub fn new(shared: Arc<Shared>, event: Arc<Event>, delivery_id: DeliveryId) -> Self {
        Self { shared, event, delivery_id, given: Mutex::default() }
    }

    /// The secrets that the guest was given so far.
    pub(super) fn given(&self) -> Vec<String> {
        self.given.lock().clone()
    }

    fn cache<'a>(&'a self, tag: &'a str) -> Name<'a> {
        Name { tenant: &self.event.tenant, env: &self.event.env, tag }
    }

    fn database<'a>(&'a self, tag: &'a str) -> databases::Name<'a> {
        databases::Name { tenant: &self.event.tenant, env: &self.event.env, tag }
    }

    fn expiry(&self, ttl: Option<Duration>) -> Option<jiff::Timestamp> {
        ttl.map(|ttl| self.shared.clock.now().saturating_add(ttl).unwrap_or(jiff::Timestamp::MAX))
    }

    async fn send(&self, cx: &ServiceContext, request: HttpRequest) -> Result<HttpResponse, ServiceError> {
        let url = self.shared.egress.check_url(&request.url).map_err(|error| of_egress(&error))?;
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| ServiceError::permanent("URL_INVALID", format!("`{}` is no method", request.method)))?;
        let headers = headers_of(cx, self.event.tracestate.as_deref(), &request)?;
        let outgoing = egress::Request { method, url, headers, body: request.body };
        let sent = self.shared.egress.send(outgoing, request.max_response_bytes);
        let answer = tokio::time::timeout(request.timeout, sent)
            .await
            .map_err(|_| ServiceError::retryable("ETIMEDOUT", "no answer in time"))?
            .map_err(|error| of_egress(&error))?;
        if answer.truncated {
            let limit = request.max_response_bytes;
            return Err(ServiceError::permanent(
                "RESPONSE_TOO_LARGE",
                format!("the answer has more than {limit} bytes"),
            ));
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = answer.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok(HttpResponse { status: answer.status, headers, body: answer.body })
    }
}

fn headers_of(cx: &ServiceContext, tracestate: Option<&str>, request: &HttpRequest) -> Result<HeaderMap, ServiceError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let wrong = || ServiceError::permanent("HEADER_INVALID", format!("`{name}` is not a header that can be sent"));
        let (name, value) =
            (name.parse::<HeaderName>().map_err(|_| wrong())?, HeaderValue::from_str(value).map_err(|_| wrong())?);
        headers.append(name, value);
    }
    let own = [
        ("idempotency-key", Some(cx.delivery_id.as_str())),
        ("traceparent", cx.traceparent.as_deref()),
        ("tracestate", tracestate),
    ];
    for (name, value) in own {
        if let Some(Ok(value)) = value.filter(|value| !value.is_empty()).map(HeaderValue::from_str) {
            headers.entry(name).or_insert(value);
        }
    }
    Ok(headers)
}

fn of_egress(error: &egress::Error) -> ServiceError {
    let failure = error.failure("http");
    ServiceError { code: failure.code, message: failure.message, retryable: !error.is_permanent() }
}

fn of_store(error: store::Error) -> ServiceError {
    ServiceError::retryable("STORE_UNAVAILABLE", error.to_string())
}

fn of_failed(failed: Failed) -> ServiceError {
    let Failed { failure, retryable, .. } = failed;
    ServiceError { code: failure.code, message: failure.message, retryable }
}

impl Services for GuestServices {
    fn state_get<'a>(&'a self, cx: &'a ServiceContext, key: &'a str) -> Answer<'a, Option<StateEntry>> {
        Box::pin(async move {
            let now = self.shared.clock.now();
            let found = self.shared.store.state_get(&self.event.tenant, &cx.component, key, now).await;
            Ok(found.map_err(of_store)?.map(|found| StateEntry { value: found.value, version: found.version }))
        })
    }

    fn state_set<'a>(
        &'a self,
        cx: &'a ServiceContext,
        key: &'a str,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Answer<'a, u64> {
        Box::pin(async move {
            let (tenant, expiry) = (&self.event.tenant, self.expiry(ttl));
            self.shared.store.state_set(tenant, &cx.component, key, value, expiry).await.map_err(of_store)
        })
    }

    fn state_compare_and_set<'a>(
        &'a self,
        cx: &'a ServiceContext,
        key: &'a str,
        expected: Option<u64>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Answer<'a, Option<u64>> {
        Box::pin(async move {
            let (tenant, expiry) = (&self.event.tenant, self.expiry(ttl));
            let kept =
                self.shared.store.state_compare_and_set(tenant, &cx.component, key, expected, value, expiry).await;
            kept.map_err(of_store)
        })
    }

    fn state_delete<'a>(&'a self, cx: &'a ServiceContext, key: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            self.shared.store.state_delete(&self.event.tenant, &cx.component, key).await.map_err(of_store)
        })
    }

    fn cache_get<'a>(&'a self, _: &'a ServiceContext, cache: &'a str, key: &'a str) -> Answer<'a, Option<Value>> {
        Box::pin(async move { self.shared.caches.get(self.cache(cache), key).await.map_err(of_failed) })
    }

    fn cache_set<'a>(
        &'a self,
        _: &'a ServiceContext,
        cache: &'a str,
        key: &'a str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Answer<'a, ()> {
        Box::pin(async move { self.shared.caches.set(self.cache(cache), key, &value, ttl).await.map_err(of_failed) })
    }

    fn cache_delete<'a>(&'a self, _: &'a ServiceContext, cache: &'a str, key: &'a str) -> Answer<'a, bool> {
        Box::pin(async move { self.shared.caches.delete(self.cache(cache), key).await.map_err(of_failed) })
    }

    fn cache_invalidate<'a>(&'a self, _: &'a ServiceContext, cache: &'a str, pattern: &'a str) -> Answer<'a, u64> {
        Box::pin(async move { self.shared.caches.invalidate(self.cache(cache), pattern).await.map_err(of_failed) })
    }

    fn broker_publish<'a>(&'a self, cx: &'a ServiceContext, message: BrokerMessage) -> Answer<'a, Value> {
        Box::pin(async move {
            let headers: Map<String, Value> =
                message.headers.into_iter().map(|(name, value)| (name, value.into())).collect();
            let message = Message {
                tag: message.broker,
                topic: message.topic,
                key: message.key,
                headers,
                attributes: Vec::new(),
                body: message.message.to_string(),
                delivery_id: format!("{}/{}", cx.delivery_id, message.index),
            };
            self.shared.brokers.publish(&self.event.tenant, &self.event.env, message).await.map_err(of_failed)
        })
    }

    fn database_query<'a>(&'a self, _: &'a ServiceContext, question: DatabaseQuestion) -> Answer<'a, Vec<Value>> {
        Box::pin(async move {
            let DatabaseQuestion { database, sql, parameters } = question;
            let question = databases::Question { sql, parameters };
            self.shared.databases.query(self.database(&database), &question).await.map_err(of_failed)
        })
    }

    fn database_execute<'a>(&'a self, _: &'a ServiceContext, question: DatabaseQuestion) -> Answer<'a, u64> {
        Box::pin(async move {
            let DatabaseQuestion { database, sql, parameters } = question;
            let question = databases::Question { sql, parameters };
            self.shared.databases.execute(self.database(&database), &question).await.map_err(of_failed)
        })
    }

    fn emit<'a>(&'a self, _: &'a ServiceContext, event: EmittedEvent) -> Answer<'a, String> {
        Box::pin(async move {
            if let Some(detail) = emit::type_mistake(&event.event_type) {
                return Err(ServiceError::permanent("CONFIG_INVALID", detail));
            }
            let emitted = Emitted {
                cause: self.event.clone(),
                delivery_id: self.delivery_id,
                index: event.index,
                event_type: event.event_type,
                payload: event.payload,
                at: self.shared.clock.now(),
            };
            let kept = self.shared.emit(emitted).await;
            kept.map(|id| id.to_string()).map_err(|failure| of_failed(emit::failed(failure)))
        })
    }

    fn secret<'a>(&'a self, _: &'a ServiceContext, name: &'a str) -> Answer<'a, String> {
        Box::pin(async move {
            let found = self.shared.secrets.get_in(&self.event.tenant, name, &self.event.env);
            let absent = || ServiceError::permanent("SECRET_NOT_FOUND", format!("there is no secret `{name}`"));
            let value = found.ok_or_else(absent)?;
            self.given.lock().push(value.clone());
            Ok(value)
        })
    }

    fn http<'a>(&'a self, cx: &'a ServiceContext, request: HttpRequest) -> Answer<'a, HttpResponse> {
        Box::pin(self.send(cx, request))
    }
}

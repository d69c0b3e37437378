//! What guests' imports reach: the same caches, brokers, secrets, events and egress guard as built-in actions.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use triggerd_core::event::Event;
use triggerd_core::id::{DeliveryId, RunId, TenantId};

use super::{Emitted, Services, emit, trace};
use crate::app::App;
use crate::brokers::Message;
use crate::caches;
use crate::components::Loaded;
use crate::egress::Request;
use crate::failed::Failed;
use crate::wasm::{
    self, Answer, BrokerMessage, EmittedEvent, HttpRequest, HttpResponse, Invocation, ServiceContext, ServiceError,
    StateEntry,
};

/// Serves the imports of one call.
pub struct GuestServices {
    services: Arc<Services>,
    event: Arc<Event>,
    tenant: TenantId,
    trigger: Arc<str>,
    run: RunId,
    component: String,
    /// Secrets that the guest was given: what it says afterwards is struck through.
    given: Mutex<Vec<String>>,
}

/// What a guest is told that is called outside of an action: at `path` of a run, with `input`.
#[must_use]
pub fn guest_invocation(
    app: &Arc<App>,
    event: &Arc<Event>,
    trigger: &Arc<str>,
    run: RunId,
    path: &str,
    input: &Value,
) -> Invocation {
    Invocation {
        delivery_id: run.delivery(path).to_string(),
        trigger: trigger.to_string(),
        action: path.to_owned(),
        input: input.to_string(),
        traceparent: Some(trace::child(event, &app.clock)),
        ..Invocation::of_event(event)
    }
}

/// Serves the imports of a guest that is called outside of an action.
#[must_use]
pub fn guest_services(
    app: &Arc<App>,
    event: &Arc<Event>,
    trigger: &Arc<str>,
    run: RunId,
    loaded: &Loaded,
) -> Arc<dyn wasm::Services> {
    Arc::new(GuestServices::new(app.services.clone(), event.clone(), trigger.clone(), run, loaded))
}

impl GuestServices {
    pub(super) fn new(
        services: Arc<Services>,
        event: Arc<Event>,
        trigger: Arc<str>,
        run: RunId,
        loaded: &Loaded,
    ) -> Self {
        let tenant = event.tenant.clone();
        Self { services, event, tenant, trigger, run, component: loaded.name.clone(), given: Mutex::default() }
    }

    /// The secrets that the guest was given so far.
    pub(super) fn given(&self) -> Vec<String> {
        self.given.lock().clone()
    }

    fn cache<'a>(&'a self, cx: &'a ServiceContext, tag: &'a str) -> caches::Name<'a> {
        caches::Name { tenant: &self.tenant, env: &cx.env, tag }
    }

    fn ends(&self, ttl: Option<Duration>) -> Option<Timestamp> {
        ttl.map(|ttl| self.services.clock.now().checked_add(ttl).unwrap_or(Timestamp::MAX))
    }
}

impl From<Failed> for ServiceError {
    fn from(failed: Failed) -> Self {
        Self { code: failed.failure.code, message: failed.failure.message, retryable: failed.retryable }
    }
}

fn of_store(error: crate::store::Error) -> ServiceError {
    Failed::of_store(&error).into()
}

impl wasm::Services for GuestServices {
    fn state_get<'a>(&'a self, cx: &'a ServiceContext, key: &'a str) -> Answer<'a, Option<StateEntry>> {
        Box::pin(async move {
            let found =
                self.services.store.state_get(&self.tenant, &cx.component, key, self.services.clock.now()).await;
            let found = found.map_err(of_store)?;
            Ok(found.map(|found| StateEntry { value: found.value, version: found.version }))
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
            self.services
                .store
                .state_set(&self.tenant, &cx.component, key, value, self.ends(ttl))
                .await
                .map_err(of_store)
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
            let store = &self.services.store;
            let set = store.state_compare_and_set(&self.tenant, &cx.component, key, expected, value, self.ends(ttl));
            set.await.map_err(of_store)
        })
    }

    fn state_delete<'a>(&'a self, cx: &'a ServiceContext, key: &'a str) -> Answer<'a, bool> {
        Box::pin(
            async move { self.services.store.state_delete(&self.tenant, &cx.component, key).await.map_err(of_store) },
        )
    }

    fn cache_get<'a>(&'a self, cx: &'a ServiceContext, cache: &'a str, key: &'a str) -> Answer<'a, Option<Value>> {
        Box::pin(async move { Ok(self.services.caches.get(self.cache(cx, cache), key).await?) })
    }

    fn cache_set<'a>(
        &'a self,
        cx: &'a ServiceContext,
        cache: &'a str,
        key: &'a str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Answer<'a, ()> {
        Box::pin(async move { Ok(self.services.caches.set(self.cache(cx, cache), key, &value, ttl).await?) })
    }

    fn cache_delete<'a>(&'a self, cx: &'a ServiceContext, cache: &'a str, key: &'a str) -> Answer<'a, bool> {
        Box::pin(async move { Ok(self.services.caches.delete(self.cache(cx, cache), key).await?) })
    }

    fn cache_invalidate<'a>(&'a self, cx: &'a ServiceContext, cache: &'a str, pattern: &'a str) -> Answer<'a, u64> {
        Box::pin(async move { Ok(self.services.caches.invalidate(self.cache(cx, cache), pattern).await?) })
    }

    fn broker_publish<'a>(&'a self, cx: &'a ServiceContext, message: BrokerMessage) -> Answer<'a, Value> {
        let headers: Map<String, Value> =
            message.headers.into_iter().map(|(name, value)| (name, value.into())).collect();
        let message = Message {
            tag: message.broker,
            topic: message.topic,
            key: message.key,
            headers,
            body: message.message,
            delivery_id: numbered(&cx.delivery_id, message.index),
        };
        Box::pin(async move { Ok(self.services.brokers.publish(&self.tenant, &cx.env, message).await?) })
    }

    fn emit<'a>(&'a self, cx: &'a ServiceContext, event: EmittedEvent) -> Answer<'a, String> {
        Box::pin(async move {
            if let Some(detail) = emit::type_mistake(&event.event_type) {
                return Err(ServiceError::permanent("CONFIG_INVALID", detail));
            }
            let delivery_id: DeliveryId = cx
                .delivery_id
                .parse()
                .map_err(|_| ServiceError::permanent("INTERNAL", "the call has no delivery id"))?;
            let emitted = Emitted {
                cause: self.event.clone(),
                delivery_id,
                index: event.index,
                event_type: event.event_type,
                payload: event.payload,
                at: self.services.clock.now(),
            };
            let id = self.services.emit(emitted).await.map_err(|failure| ServiceError::from(emit::failed(failure)))?;
            Ok(id.to_string())
        })
    }

    fn secret<'a>(&'a self, cx: &'a ServiceContext, name: &'a str) -> Answer<'a, String> {
        Box::pin(async move {
            let found = self.services.secrets.get_in(&self.tenant, name, &cx.env);
            let value = found
                .ok_or_else(|| ServiceError::permanent("SECRET_NOT_FOUND", format!("there is no secret `{name}`")))?;
            self.given.lock().push(value.clone());
            Ok(value)
        })
    }

    fn http<'a>(&'a self, _cx: &'a ServiceContext, request: HttpRequest) -> Answer<'a, HttpResponse> {
        Box::pin(async move {
            let (timeout, most) = (request.timeout, request.max_response_bytes);
            let request = outgoing(&self.services, request)?;
            let host = request.url.host_str().unwrap_or_default().to_owned();
            tracing::debug!(run.id = %self.run, trigger = %self.trigger, component = self.component, host, "A guest sends a request");
            let sending = self.services.egress.send(request, most);
            let answer = match tokio::time::timeout(timeout, sending).await {
                Ok(answer) => answer.map_err(|error| of_egress(&error, &host))?,
                Err(_) => {
                    return Err(ServiceError::retryable(
                        "ETIMEDOUT",
                        format!("{host}: no answer within {} ms", timeout.as_millis()),
                    ));
                }
            };
            if answer.truncated {
                return Err(ServiceError::permanent(
                    "EPROTO",
                    format!("{host}: the answer has more than {most} bytes"),
                ));
            }
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = answer.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
            Ok(HttpResponse { status: answer.status, headers, body: answer.body })
        })
    }
}

/// The id of the message number `index` of a delivery: the delivery's own for the first.
fn numbered(delivery_id: &str, index: u32) -> String {
    if index == 0 { delivery_id.to_owned() } else { format!("{delivery_id}/{index}") }
}

fn of_egress(error: &crate::egress::Error, host: &str) -> ServiceError {
    ServiceError {
        code: error.code().to_owned(),
        message: format!("{host}: {error}"),
        retryable: !error.is_permanent(),
    }
}

fn outgoing(services: &Services, request: HttpRequest) -> Result<Request, ServiceError> {
    let invalid = |detail: String| ServiceError::permanent("CONFIG_INVALID", detail);
    let url = services.egress.check_url(&request.url).map_err(|error| of_egress(&error, "the URL"))?;
    let method =
        Method::from_bytes(request.method.as_bytes()).map_err(|e| invalid(format!("`{}`: {e}", request.method)))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let wrong = |e: &dyn std::fmt::Display| invalid(format!("header `{}`: {e}", name.escape_debug()));
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|e| wrong(&e))?;
        headers.append(parsed, HeaderValue::from_bytes(value.as_bytes()).map_err(|e| wrong(&e))?);
    }
    Ok(Request { method, url, headers, body: request.body })
}

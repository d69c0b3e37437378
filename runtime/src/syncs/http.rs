//! Rows told to an HTTP API.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use triggerd_core::catalog::{Catalog, Place};
use triggerd_core::outcome::Outcome;
use triggerd_core::template::{Scope, TemplatedConfig};

use super::mapping::invalid;
use crate::actions::{Context, Registry};
use crate::failed::Failed;
use crate::resources::SyncHttp;

/// How long a request may take, where what waits for it has as much time left.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Sends the request for the row that `cx`'s event holds.
pub async fn send(cx: &Context, http: &SyncHttp, deleted: bool) -> Result<(), Failed> {
    let (request, otherwise) = match (deleted, &http.delete) {
        (false, _) => (http, "PUT"),
        (true, Some(delete)) => (&**delete, "DELETE"),
        (true, None) => return Ok(()),
    };
    let method = request.method.as_deref().unwrap_or(otherwise).to_ascii_lowercase();
    let kind = format!("http.{method}");
    let registry = Registry::built_in();
    let mut settings = serde_json::to_value(request).map_err(|error| invalid(error.to_string()))?;
    if request.body.is_none() && !deleted {
        settings["body"] = json!("{{record}}");
    }
    if let Some(mistake) = registry.check(&kind, &settings).first() {
        return Err(invalid(format!("/target/http{mistake}")));
    }
    let mut mistakes = Vec::new();
    let place = |pointer: &str| -> Place { registry.place(&kind, &settings, pointer) };
    let compiled = TemplatedConfig::compile(&settings, "/target/http", &place, &mut mistakes);
    let Some(compiled) = compiled else { return Err(invalid(mistakes[0].to_string())) };
    let mut secrets = Map::new();
    for name in compiled.secrets() {
        let missing = || {
            Failed::permanent(
                "SECRET_NOT_FOUND",
                format!("there is no secret `{name}`; PUT /api/v1/secrets/{name} makes it"),
            )
        };
        let secret = cx.services.secrets.get_in(cx.tenant(), name, &cx.event.env).ok_or_else(missing)?;
        secrets.insert(name.clone(), Value::String(secret));
    }
    let scope = Scope {
        event: &cx.event,
        trigger_tag: &cx.trigger,
        delivery_id: Some(cx.delivery_id),
        attempt: cx.attempt,
        outputs: None,
        secrets: Some(&secrets),
        now: cx.services.clock.now(),
    };
    let rendered = compiled.render(&scope, false);
    let config = rendered.map_err(|mistake| Failed::permanent("TEMPLATE", format!("/target/http{mistake}")))?.config;
    let known: Vec<String> = secrets.values().filter_map(Value::as_str).map(str::to_owned).collect();
    let cx = Context { secrets: Arc::new(known), ..cx.clone() };
    let ready = registry.ready(&kind, &cx, config).map_err(Failed::from)?;
    let until = cx.deadline.min(Instant::now() + PATIENCE);
    let done = tokio::time::timeout_at(until, (ready.run)(cx)).await;
    match done.unwrap_or_else(|_| Outcome::retry("ETIMEDOUT", "the API did not answer in time")) {
        Outcome::Done(_) => Ok(()),
        Outcome::Retry { failure, after } => Err(Failed { failure, retryable: true, after }),
        Outcome::Dead(failure) => Err(Failed { failure, retryable: false, after: None }),
    }
}

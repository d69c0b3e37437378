//! `subscription.deliver`: sends an event to a webhook subscription. It stands in the triggers that subscriptions are made of, and
//! in no definition that anybody writes.

use std::sync::Arc;
use std::time::Duration;

use ::http::Method;
use futures_util::FutureExt as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use triggerd_core::event::Event;
use triggerd_core::outcome::Outcome;

use super::{Action, Context, Excerpt, http};
use crate::egress::Url;
use crate::resources::Subscription;
use crate::subscriptions::{self, DISABLED_CODE, Sent};

/// How long a request may take that is not one attempt's.
const TIMEOUT: Duration = Duration::from_secs(30);
/// When a batch that found no place is tried again.
const COME_BACK: Duration = Duration::from_secs(2);

/// `subscription.deliver`
pub struct Deliver;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The subscription's id.
    subscription: String,
}

impl Action for Deliver {
    const KIND: &'static str = "subscription.deliver";
    type Config = Config;

    /// The place of a batch is taken when it is sent: events that wait for others hold none.
    fn destination(cx: &Context, config: &Config) -> Option<String> {
        let found = subscriptions::resolve(&cx.services.resources, cx.tenant(), &config.subscription)?.ok()?;
        if found.settings.batch.is_some() { None } else { destination(&found.settings) }
    }

    async fn run(cx: Context, config: Config) -> Outcome {
        let id = config.subscription;
        let found = match subscriptions::resolve(&cx.services.resources, cx.tenant(), &id) {
            // Deleted while this run was on its way: nobody wants what it would send.
            None => return Outcome::Done(json!({"skipped": "the subscription is gone"})),
            Some(Err(failure)) => return Outcome::Dead(failure),
            Some(Ok(found)) => found,
        };
        let subscription = &found.settings;
        if !subscription.is_active() {
            let message = format!("subscription `{id}` is disabled; replay this once it is active again");
            return Outcome::dead(DISABLED_CODE, message);
        }
        let Some(batch) = subscription.batch else {
            let outcome = deliver(cx.clone(), subscription, vec![told(&cx.event)]).await;
            subscriptions::note(&cx, &id, subscription, &outcome).await;
            return outcome;
        };
        let batches = cx.services.batches.clone();
        let sending = found.clone();
        let send: subscriptions::Sender = Arc::new(move |mut cx, delivery_id, events| {
            let found = sending.clone();
            cx.delivery_id = delivery_id;
            send_batch(cx, found, events).boxed()
        });
        match batches.send(cx.clone(), &id, batch, told(&cx.event), send).await {
            Sent::NotMade(after) => {
                *cx.not_made.lock() = Some(after);
                Outcome::retry("DESTINATION_BUSY", "the receiver is left alone for a while")
            }
            Sent::Ended(outcome, excerpt) => {
                *cx.excerpt.lock() = excerpt;
                subscriptions::note(&cx, &id, subscription, &outcome).await;
                outcome
            }
        }
    }
}

fn destination(subscription: &Subscription) -> Option<String> {
    http::endpoint(&Url::parse(&subscription.webhook_url).ok()?)
}

/// An event as subscribers are told of it.
fn told(event: &Event) -> Value {
    json!({
        "event_id": event.id.to_string(), "customer_id": event.tenant.to_string(), "payload": event.payload(),
        "timestamp": format!("{:.3}", event.accepted_at),
    })
}

async fn send_batch(mut cx: Context, found: Arc<crate::resources::Resolved<Subscription>>, events: Vec<Value>) -> Sent {
    let settle = match (cx.services.places.get(), destination(&found.settings)) {
        (Some(places), Some(destination)) => match places.enter(cx.tenant(), &destination).await {
            Ok(settle) => Some(settle),
            Err(after) => return Sent::NotMade(after.unwrap_or(COME_BACK)),
        },
        _ => None,
    };
    // The attempts' own excerpts are written when they are told.
    cx.excerpt = Arc::default();
    let excerpt = cx.excerpt.clone();
    let outcome = deliver_in_time(cx, &found.settings, events).await;
    if let Some(settle) = settle {
        settle(&outcome);
    }
    let kept: Excerpt = excerpt.lock().clone();
    Sent::Ended(outcome, kept)
}

async fn deliver(cx: Context, subscription: &Subscription, events: Vec<Value>) -> Outcome {
    let secrets = Value::Array(subscription.secrets(cx.services.clock.now()));
    let url = subscription.webhook_url.clone();
    let request = http::Config::of(url, Map::new(), Map::new(), Value::Array(events), secrets);
    match http::deliver(cx, Method::POST, request, None).await {
        Outcome::Done(output) => Outcome::Done(json!({ "status": output["status"] })),
        failed => failed,
    }
}

/// Sends one event to a subscription, as it is sent when it matches: to see what comes of it. Nothing is kept of it.
pub async fn send_once(cx: Context, subscription: &Subscription) -> Outcome {
    let event = told(&cx.event);
    deliver_in_time(cx, subscription, vec![event]).await
}

/// Where no attempt's own timeout ends it.
async fn deliver_in_time(cx: Context, subscription: &Subscription, events: Vec<Value>) -> Outcome {
    let sent = tokio::time::timeout(TIMEOUT, deliver(cx, subscription, events)).await;
    sent.unwrap_or_else(|_| Outcome::retry("ETIMEDOUT", format!("no end within {} s", TIMEOUT.as_secs())))
}

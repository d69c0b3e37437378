//! The trigger that a subscription stands for. It is made of the settings whenever they change, is in no list, and its tag
//! (`subscription:ID`) is nobody else's, since tags hold no colon.

use std::sync::Arc;

use serde_json::{Value, json};
use triggerd_core::compile::compile;
use triggerd_core::definition::Trigger;
use triggerd_core::id::TenantId;
use triggerd_core::mistake::Mistake;

use crate::actions::Internal;
use crate::definitions::Definitions;
use crate::resources::{Function, Resources, Selector, Subscription};

/// What the trigger's only action is called.
pub const ACTION: &str = "deliver";
/// Its type.
pub const TYPE: &str = "subscription.deliver";
const PREFIX: &str = "subscription:";
/// How long a request may take, in milliseconds.
const TIMEOUT: u64 = 30_000;
/// How much longer an event in a batch may wait for its request to be made.
const SLACK: u64 = 10_000;
/// Where a field's path begins with one of these, it is a path of the event; else it is one of the payload.
const ROOTS: [&str; 4] = ["record", "payload", "previousRecord", "metadata"];

/// Puts a subscription in force as its settings say by now, or out of force where it is gone.
pub async fn install(definitions: &Definitions, resources: &Resources, tenant: &TenantId, id: &str) {
    let version = resources.get(tenant, "subscriptions", id).map_or(1, |stored| stored.version);
    let trigger = match super::resolve(resources, tenant, id) {
        None => None,
        Some(Ok(found)) => match trigger(&found.settings, id, version) {
            Ok(trigger) => Some(Arc::new(trigger)),
            Err(mistakes) => {
                let mistake = mistakes.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(%tenant, subscription = id, "Subscription {id} is out of force: {mistake}");
                None
            }
        },
        Some(Err(failure)) => {
            tracing::error!(%tenant, subscription = id, "Subscription {id} is out of force: {}", failure.message);
            None
        }
    };
    definitions.put_internal(tenant, &[tag(id)], trigger.into_iter().collect()).await;
}

fn tag(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// The id of the subscription that a trigger stands for; `None` where it is none of ours.
#[must_use]
pub fn subscription_of(trigger: &str) -> Option<&str> {
    trigger.strip_prefix(PREFIX)
}

/// What is wrong with a selector, with pointers from the subscription's root.
#[must_use]
pub fn mistakes(selector: &Selector) -> Vec<Mistake> {
    let (events, condition) = wanted(selector);
    match compile(&definition("", true, (&events, condition), TIMEOUT, 1), 1, &Internal) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.into_iter().map(|mistake| placed(selector, mistake)).collect(),
    }
}

/// A mistake in the definition at its place in the selector.
fn placed(selector: &Selector, mistake: Mistake) -> Mistake {
    let place = match (selector, mistake.pointer.strip_prefix("/condition")) {
        (Selector::EventType { .. }, _) => "/value".to_owned(),
        (Selector::Jsonpath { .. }, _) => "/expression".to_owned(),
        (Selector::Custom { .. }, Some(within)) => format!("/function{within}"),
        (Selector::Custom { .. }, None) => "/function".to_owned(),
    };
    Mistake::new(format!("/event_selector{place}"), mistake.detail)
}

fn trigger(subscription: &Subscription, id: &str, version: u32) -> Result<Trigger, Vec<Mistake>> {
    let (events, condition) = wanted(&subscription.event_selector);
    let timeout = subscription.batch.map_or(TIMEOUT, |batch| batch.max_wait + TIMEOUT + SLACK);
    let attempts = subscription.attempts();
    let written = definition(id, subscription.is_active(), (&events, condition), timeout, attempts);
    compile(&written, version, &Internal).map(|trigger| Trigger { tag: Arc::from(tag(id)), ..trigger })
}

/// The definition. Delays are not spread: receivers are told that they are 2, 4, 8 s and so on, and a destination that
/// fails for many is left alone by its breaker.
fn definition(
    id: &str,
    enabled: bool,
    (events, condition): (&str, Option<Value>),
    timeout: u64,
    attempts: u32,
) -> Value {
    let mut definition = json!({
        "tag": "subscription", "name": format!("Subscription {id}"), "enabled": enabled, "priority": 1000,
        "events": [events],
        "actions": [{
            "name": ACTION, "type": TYPE, "config": {"subscription": id}, "timeout": timeout,
            "retry": {"maxAttempts": attempts, "initialDelay": 2_000, "maxDelay": 86_400_000, "backoffMultiplier": 2, "jitter": "none"},
        }],
    });
    if let Some(condition) = condition {
        definition["condition"] = condition;
    }
    definition
}

/// The events and the condition that a selector means.
fn wanted(selector: &Selector) -> (String, Option<Value>) {
    match selector {
        Selector::EventType { value } => (value.clone(), None),
        Selector::Jsonpath { expression } => ("**".to_owned(), Some(json!({ "jsonpath": expression }))),
        Selector::Custom { function: Function { field, operator, value } } => {
            let mut condition = json!({"field": path(field), "operator": operator});
            // Operators that compare with nothing take no value.
            if !value.is_null() {
                condition["value"] = value.clone();
            }
            ("**".to_owned(), Some(condition))
        }
    }
}

fn path(field: &str) -> String {
    let root = field.split(['.', '[']).next().unwrap_or_default();
    if ROOTS.contains(&root) && root.len() < field.len() { field.to_owned() } else { format!("record.{field}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn selector(written: Value) -> Selector {
        serde_json::from_value(written).unwrap()
    }

    #[test]
    fn fields_are_the_payload_s_unless_they_say_otherwise() {
        assert_eq!(path("amount"), "record.amount");
        assert_eq!(path("items[0].sku"), "record.items[0].sku");
        assert_eq!(path("record.amount"), "record.amount");
        assert_eq!(path("metadata"), "record.metadata");
        assert_eq!(path("metadata.origin"), "metadata.origin");
    }

    #[test]
    fn selectors_of_every_type_become_a_trigger() {
        for written in [
            json!({"type": "event_type", "value": "order.*"}),
            json!({"type": "jsonpath", "expression": "$.event_type == 'order.created'"}),
            json!({"type": "jsonpath", "expression": "$.items[?@.quantity > 10]"}),
            json!({"type": "custom", "function": {"field": "amount", "operator": "greater_than", "value": 100}}),
            json!({"type": "custom", "function": {"field": "email", "operator": "IS_NOT_NULL"}}),
        ] {
            let found = mistakes(&selector(written.clone()));
            assert!(found.is_empty(), "{written}: {found:?}");
        }
    }

    #[test]
    fn mistakes_stand_where_they_were_made() {
        for (written, place) in [
            (json!({"type": "event_type", "value": ""}), "/event_selector/value"),
            (json!({"type": "jsonpath", "expression": "$.["}), "/event_selector/expression"),
            (
                json!({"type": "custom", "function": {"field": "a", "operator": "bigger", "value": 1}}),
                "/event_selector/function/operator",
            ),
        ] {
            let found = mistakes(&selector(written.clone()));
            assert_eq!(found.first().map(|mistake| mistake.pointer.as_str()), Some(place), "{written}: {found:?}");
        }
    }
}

//! When a subscription is disabled: at once where its URL answers 410, and where nothing but failures came of it for days.
//!
//! Failures are noted in memory first. What lasts longer than [`SETTLED`] is written into the settings, so that it counts
//! over restarts and on all nodes; a success takes it out again.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use triggerd_core::id::TenantId;
use triggerd_core::outcome::Outcome;

use crate::actions::{Context, Emitted};
use crate::resources::{self, Disabled, Subscription};

/// How long failures last before they are written down.
const SETTLED: SignedDuration = SignedDuration::from_secs(60);
/// The type of the event that tells that a subscription was disabled.
pub const DISABLED: &str = "triggerd.subscription.disabled";

/// Since when the subscriptions of this process fail.
#[derive(Default)]
pub struct Health(Mutex<HashMap<(TenantId, String), Timestamp>>);

impl Health {
    /// Forgets what is known of a subscription.
    pub fn forget(&self, tenant: &TenantId, id: &str) {
        self.0.lock().remove(&(tenant.clone(), id.to_owned()));
    }

    /// Since when it fails, with a failure that was just seen.
    fn failed(&self, tenant: &TenantId, id: &str, now: Timestamp) -> Timestamp {
        *self.0.lock().entry((tenant.clone(), id.to_owned())).or_insert(now)
    }
}

/// What is to be done about an attempt's outcome.
#[derive(PartialEq, Debug)]
enum Step {
    Nothing,
    /// It works again.
    Recovered,
    /// It has failed since then, for long enough to be written down.
    Failing(Timestamp),
    Disable(&'static str),
}

/// Takes note of how an attempt ended.
pub async fn note(cx: &Context, id: &str, subscription: &Subscription, outcome: &Outcome) {
    let (tenant, now) = (cx.tenant(), cx.services.clock.now());
    let health = &cx.services.subscriptions;
    let since = match outcome {
        Outcome::Done(_) => {
            health.forget(tenant, id);
            None
        }
        Outcome::Retry { failure, .. } | Outcome::Dead(failure) if is_ours(&failure.code) => return,
        Outcome::Retry { .. } | Outcome::Dead(_) => Some(health.failed(tenant, id, now)),
    };
    let done = match step(subscription, outcome, since, now) {
        Step::Nothing => Ok(()),
        Step::Recovered => change(cx, id, |_| Some(json!({"failing_since": null}))).await.map(drop),
        Step::Failing(since) => {
            let patch = json!({ "failing_since": since.to_string() });
            change(cx, id, |stored| stored["failing_since"].is_null().then_some(patch)).await.map(drop)
        }
        Step::Disable(reason) => disable(cx, id, subscription, reason, now).await,
    };
    if let Err(error) = done {
        // The next attempt finds the same.
        tracing::warn!(%tenant, subscription = id, %error, "What became of subscription {id} was not written down: {error}");
    }
}

/// What went wrong on this side says nothing about the receiver.
fn is_ours(code: &str) -> bool {
    matches!(code, "INTERNAL" | "STORE_UNAVAILABLE" | super::DISABLED_CODE)
}

fn step(subscription: &Subscription, outcome: &Outcome, since: Option<Timestamp>, now: Timestamp) -> Step {
    if let Outcome::Dead(failure) = outcome
        && failure.code == "HTTP_410"
    {
        return Step::Disable("gone");
    }
    let Some(since) = since else {
        return if subscription.failing_since.is_some() { Step::Recovered } else { Step::Nothing };
    };
    let written = subscription.failing_since;
    let since = written.unwrap_or(since);
    let patience = SignedDuration::from_secs(i64::try_from(subscription.patience()).unwrap_or(i64::MAX));
    let lasted = now.duration_since(since);
    if lasted >= patience {
        Step::Disable("failing")
    } else if written.is_none() && lasted >= SETTLED {
        Step::Failing(since)
    } else {
        Step::Nothing
    }
}

/// Merges into the settings, and puts them in force; whether there was anything to merge.
async fn change(cx: &Context, id: &str, patch: impl FnOnce(&Value) -> Option<Value>) -> Result<bool, resources::Error> {
    let resources = &cx.services.resources;
    match resources.patch_if(cx.tenant(), "subscriptions", id, patch).await {
        Ok(changed) => Ok(changed.is_some()),
        // Deleted meanwhile: nobody asks for its state any more.
        Err(resources::Error::Absent) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn disable(
    cx: &Context,
    id: &str,
    subscription: &Subscription,
    reason: &'static str,
    now: Timestamp,
) -> Result<(), resources::Error> {
    let disabled = Disabled { at: now, reason: reason.to_owned() };
    let patch = json!({ "disabled": disabled });
    // Of many attempts that end at once, one disables it and tells of it.
    if !change(cx, id, |stored| stored["disabled"].is_null().then_some(patch)).await? {
        return Ok(());
    }
    cx.services.subscriptions.forget(cx.tenant(), id);
    cx.services.reinstall(cx.tenant(), "subscriptions", id).await;
    tracing::warn!(
        tenant = %cx.tenant(), subscription = id, reason,
        "Subscription {id} is disabled: {}",
        if reason == "gone" { "its URL answered 410" } else { "nothing but failures came of it for too long" }
    );
    let told = Emitted {
        cause: cx.event.clone(),
        delivery_id: cx.delivery_id,
        index: 0,
        event_type: DISABLED.to_owned(),
        payload: json!({
            "event_type": DISABLED, "subscription_id": id, "webhook_url": subscription.webhook_url, "reason": reason,
            "disabled_at": format!("{now:.3}"), "failing_since": subscription.failing_since.map(|at| format!("{at:.3}")),
        }),
        at: now,
    };
    if let Err(failure) = cx.services.emit(told).await {
        tracing::warn!(subscription = id, "Nobody was told that subscription {id} is disabled: {}", failure.message);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn subscription(failing_since: Option<&str>) -> Subscription {
        serde_json::from_value(json!({
            "event_selector": {"type": "event_type", "value": "a"}, "webhook_url": "https://a.example/",
            "signingSecret": "s", "failing_since": failing_since, "disable_after": 3600,
        }))
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    #[test]
    fn gone_disables_at_once_and_failures_after_a_while() {
        let (fresh, failing) = (subscription(None), subscription(Some("2026-01-01T00:00:00Z")));
        let (gone, down, done) =
            (Outcome::dead("HTTP_410", ""), Outcome::retry("HTTP_503", ""), Outcome::Done(Value::Null));
        assert_eq!(step(&fresh, &gone, Some(at("00:00:00")), at("00:00:00")), Step::Disable("gone"));
        assert_eq!(step(&fresh, &down, Some(at("00:00:00")), at("00:00:59")), Step::Nothing);
        assert_eq!(step(&fresh, &down, Some(at("00:00:00")), at("00:01:00")), Step::Failing(at("00:00:00")));
        assert_eq!(step(&failing, &down, Some(at("00:59:00")), at("00:59:59")), Step::Nothing);
        assert_eq!(step(&failing, &down, Some(at("00:59:00")), at("01:00:00")), Step::Disable("failing"));
        assert_eq!(step(&failing, &done, None, at("00:30:00")), Step::Recovered);
        assert_eq!(step(&fresh, &done, None, at("00:30:00")), Step::Nothing);
    }
}

//! Subscriptions as the API shows them.

use serde::Serialize;
use serde_json::{Value, json};
use triggerd_core::id::TenantId;

use crate::api::instant::Instant;
use crate::api::problem::ApiError;
use crate::resources::Subscription;
use crate::store::StoredResource;

/// A subscription.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::api) struct SubscriptionView {
    /// Its id.
    pub(super) id: String,
    /// The same, as events call things.
    subscription_id: String,
    /// The tenant.
    customer_id: String,
    /// Which events.
    #[schema(value_type = Object)]
    event_selector: Value,
    /// Where they are sent.
    webhook_url: String,
    /// Several events in a request: `{maxSize, maxWait}`, milliseconds.
    #[schema(value_type = Option<Object>)]
    batch: Value,
    /// For people.
    description: String,
    /// `active` or `disabled`.
    status: &'static str,
    /// Why it is disabled: `gone` (the URL answered 410), `failing` or `request`.
    disabled_reason: Option<String>,
    /// Since when.
    disabled_at: Option<Instant>,
    /// Since when every attempt has failed.
    failing_since: Option<Instant>,
    /// Until when the secret before this one signs as well.
    former_secret_until: Option<Instant>,
    /// How often an event is tried.
    max_attempts: u64,
    /// Seconds of nothing but failures after which it is disabled.
    disable_after: u64,
    /// The secret; shown when it is made, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// When it was made.
    created_at: Instant,
    /// When it was changed last.
    updated_at: Instant,
}

/// A page of subscriptions.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "describes the answer in the OpenAPI document")]
pub(super) struct SubscriptionPage {
    /// The subscriptions, oldest first.
    subscriptions: Vec<SubscriptionView>,
    /// How many there are on all pages.
    total: usize,
    /// Where the next page begins.
    cursor: Option<String>,
    /// Whether there is one.
    has_more: bool,
}

/// A resource that cannot be read as a subscription is not there for anybody.
pub(super) fn view(
    tenant: &TenantId,
    stored: &StoredResource,
    secret: Option<String>,
) -> Result<SubscriptionView, ApiError> {
    let mut settings = stored.settings.clone();
    // Sealed: nothing that is shown.
    settings["signingSecret"] = "".into();
    if let Some(former) = settings.get_mut("former").and_then(Value::as_object_mut) {
        former.insert("signingSecret".to_owned(), "".into());
    }
    let read: Subscription = serde_json::from_value(settings).map_err(|error| ApiError::internal(&error))?;
    Ok(SubscriptionView {
        id: stored.tag.clone(),
        subscription_id: stored.tag.clone(),
        customer_id: tenant.to_string(),
        event_selector: stored.settings["event_selector"].clone(),
        batch: read.batch.map_or(Value::Null, |batch| json!(batch)),
        status: if read.is_active() { "active" } else { "disabled" },
        disabled_reason: read.disabled.as_ref().map(|disabled| disabled.reason.clone()),
        disabled_at: read.disabled.as_ref().map(|disabled| disabled.at.into()),
        failing_since: read.failing_since.map(Instant),
        former_secret_until: read.former.as_ref().map(|former| former.until.into()),
        max_attempts: u64::from(read.attempts()),
        disable_after: read.patience(),
        webhook_url: read.webhook_url,
        description: read.description,
        secret,
        created_at: stored.created_at.into(),
        updated_at: stored.updated_at.into(),
    })
}

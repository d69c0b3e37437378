//! Topics in triggerd's own store: a message is kept once per delivery, and read over the API.

use serde_json::{Value, json};
use triggerd_core::id::TenantId;

use super::{Message, cloud_events};
use crate::clock::Clock;
use crate::failed::Failed;
use crate::store::Store;

/// Appends to the topic; answers with `{offset}` once it is committed.
pub(super) async fn publish(
    store: &Store,
    clock: &Clock,
    tenant: &TenantId,
    message: Message,
) -> Result<Value, Failed> {
    let Message { tag, topic, key, headers, attributes, body, delivery_id } = message;
    let headers = Value::Object(cloud_events::into_object(headers, &attributes));
    let appended = store.topic_append(tenant, &tag, &topic, key, headers, body, Some(delivery_id), clock.now());
    let offset = appended.await.map_err(|error| Failed::transient("BROKER_UNAVAILABLE", error.to_string()))?;
    Ok(json!({ "offset": offset }))
}

//! Redis Streams: a message is an entry; the server's answer to XADD, the entry's id, is the confirmation.

use serde_json::{Value, json};

use super::{Message, cloud_events};
use crate::connections::redis::{Error, Pool};
use crate::failed::Failed;
use crate::resources::{self, Identity};

/// Adds to the stream; answers with `{id}`.
pub(super) async fn publish(
    pool: &Pool,
    identity: &Identity,
    settings: &resources::RedisBroker,
    message: Message,
) -> Result<Value, Failed> {
    let mut command = redis::cmd("XADD");
    command.arg(format!("{}{}", settings.prefix, message.topic));
    if let Some(most) = settings.max_len {
        command.arg("MAXLEN").arg("~").arg(most);
    }
    command.arg("*").arg("delivery_id").arg(&message.delivery_id);
    if let Some(key) = &message.key {
        command.arg("key").arg(key);
    }
    let headers = cloud_events::into_object(message.headers, &message.attributes);
    if !headers.is_empty() {
        command.arg("headers").arg(Value::Object(headers).to_string());
    }
    command.arg("message").arg(message.body.to_string());
    let add = async move |mut c: redis::aio::MultiplexedConnection| command.query_async::<String>(&mut c).await;
    let answer = pool.run(identity, &settings.server(), add).await;
    answer.map(|id| json!({ "id": id })).map_err(|error: Error| {
        let text = format!("broker `{}`: {error}", message.tag);
        match &error {
            _ if error.is_permanent() => Failed::permanent(error.code("BROKER_UNAVAILABLE", "BROKER_REFUSED"), text),
            // One name for a broker that cannot be reached, however it cannot: what `retryOn` knows.
            _ => Failed::transient("BROKER_UNAVAILABLE", text),
        }
    })
}

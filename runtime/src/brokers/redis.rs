//! Redis: an entry of a stream, confirmed by its id, or a message to those who listen on a channel just now.

use serde_json::{Map, Value, json};

use super::{Message, cloud_events};
use crate::connections::redis::{Connection, Error, Pool};
use crate::failed::Failed;
use crate::resources::{self, Identity, RedisMode};

/// Adds to the stream and answers with `{id}`, or publishes on the channel and answers with `{receivers}`.
pub(super) async fn publish(
    pool: &Pool,
    identity: &Identity,
    settings: &resources::RedisBroker,
    message: Message,
) -> Result<Value, Failed> {
    let tag = message.tag.clone();
    match settings.mode {
        RedisMode::Stream => {
            let id: String = run(pool, identity, settings, add(settings, message)).await.map_err(failed(&tag))?;
            Ok(json!({ "id": id }))
        }
        RedisMode::Pubsub => {
            let receivers: u64 = run(pool, identity, settings, tell(settings, message)).await.map_err(failed(&tag))?;
            let wanted = settings.min_receivers.unwrap_or(0);
            if receivers < wanted {
                let text = format!("broker `{tag}`: the message reached {receivers} subscribers, not {wanted}");
                return Err(Failed::transient("BROKER_UNAVAILABLE", text));
            }
            Ok(json!({ "receivers": receivers }))
        }
    }
}

async fn run<T: redis::FromRedisValue>(
    pool: &Pool,
    identity: &Identity,
    settings: &resources::RedisBroker,
    command: redis::Cmd,
) -> Result<T, Error> {
    let server = settings.server().ok_or_else(|| Error::Refused("no `url` is set".to_owned()))?;
    pool.run(identity, &server, async move |mut c: Connection| command.query_async(&mut c).await).await
}

fn add(settings: &resources::RedisBroker, message: Message) -> redis::Cmd {
    // Room for everything: it would grow several times.
    let mut command = redis::Cmd::with_capacity(14, message.body.len() + message.topic.len() + 256);
    command.arg("XADD").arg(format!("{}{}", settings.prefix, message.topic));
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
    command.arg("message").arg(&message.body);
    command
}

/// A channel carries one text: an object of what an entry's fields would be.
fn tell(settings: &resources::RedisBroker, message: Message) -> redis::Cmd {
    let mut told = Map::new();
    told.insert("delivery_id".to_owned(), message.delivery_id.into());
    told.extend(message.key.map(|key| ("key".to_owned(), key.into())));
    let headers = cloud_events::into_object(message.headers, &message.attributes);
    if !headers.is_empty() {
        told.insert("headers".to_owned(), headers.into());
    }
    let mut text = Value::Object(told).to_string();
    // The message is JSON already: it becomes the last member as it is.
    text.pop();
    let text = format!("{text},\"message\":{}}}", message.body);
    let mut command = redis::cmd("PUBLISH");
    command.arg(format!("{}{}", settings.prefix, message.topic)).arg(text);
    command
}

/// The failure of the broker of that tag.
fn failed(tag: &str) -> impl Fn(Error) -> Failed {
    move |error| error.failed(tag)
}

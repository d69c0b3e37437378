//! Redis Streams, beside XADD on one multiplexed connection.

use std::sync::Arc;

use anyhow::Context;
use serde_json::json;

use super::{Connector, Sender, order};

pub(super) async fn connect(url: &str) -> anyhow::Result<Connector> {
    let client = redis::Client::open(url).context("--target is no Redis URL")?;
    let connection = client.get_multiplexed_async_connection().await.context("Redis does not answer")?;
    let raw: Sender = Arc::new(move |number| {
        let mut connection = connection.clone();
        Box::pin(async move {
            let mut command = redis::cmd("XADD");
            command.arg("bench-client").arg("MAXLEN").arg("~").arg(10_000).arg("*");
            command.arg("message").arg(order(number).to_string());
            command.query_async::<String>(&mut connection).await?;
            Ok(())
        })
    });
    Ok(Connector {
        raw,
        resource: Some(("brokers", json!({"kind": "redis", "url": url, "maxLen": 10_000}))),
        action: json!({"type": "broker.publish", "config": {"broker": "bench:bench-action", "message": "{{record}}"}}),
        _held: None,
    })
}

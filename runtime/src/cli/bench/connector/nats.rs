//! A NATS stream, beside a publish whose acknowledgement is awaited.

use std::sync::Arc;

use anyhow::Context;
use async_nats::jetstream;
use serde_json::json;

use super::{Connector, Sender, order};

pub(super) async fn connect(url: &str) -> anyhow::Result<Connector> {
    let client = async_nats::connect(url).await.context("NATS does not answer")?;
    let stream = jetstream::new(client);
    let config = jetstream::stream::Config {
        name: "TRIGGERD_BENCH".to_owned(),
        subjects: vec!["triggerd.bench.>".to_owned()],
        max_messages: 100_000,
        ..Default::default()
    };
    stream.get_or_create_stream(config).await.context("the stream TRIGGERD_BENCH cannot be made")?;
    let raw: Sender = Arc::new(move |number| {
        let stream = stream.clone();
        Box::pin(async move {
            let body = order(number).to_string();
            // The first future hands the message over, the second one is the server's acknowledgement.
            stream.publish("triggerd.bench.client", body.into()).await?.await?;
            Ok(())
        })
    });
    Ok(Connector {
        raw,
        resource: Some(("brokers", json!({"kind": "nats", "url": url, "jetstream": true}))),
        action: json!({"type": "broker.publish", "config": {"broker": "bench:triggerd.bench.action", "message": "{{record}}"}}),
        _held: None,
    })
}

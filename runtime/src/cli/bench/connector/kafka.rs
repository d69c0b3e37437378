//! Kafka, beside an idempotent producer whose delivery reports are awaited.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;

use super::{Connector, Sender, order};

const TOPIC: &str = "triggerd-bench";

/// `target`: `host:port,…`; without, a mock cluster of one broker in this process.
pub(super) fn connect(target: Option<&str>) -> anyhow::Result<Connector> {
    let (brokers, mock) = match target {
        Some(brokers) => (brokers.to_owned(), None),
        None => {
            let mock = MockCluster::new(1).context("the mock cluster cannot be made")?;
            mock.create_topic(TOPIC, 4, 1).context("the mock cluster refuses the topic")?;
            (mock.bootstrap_servers(), Some(mock))
        }
    };
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("enable.idempotence", "true")
        .create()
        .context("the producer cannot be made")?;
    let raw: Sender = Arc::new(move |number| {
        let producer = producer.clone();
        Box::pin(async move {
            let (body, key) =
                (order(number).to_string(), order(number)["customer_id"].as_str().unwrap_or_default().to_owned());
            let record = FutureRecord::to(TOPIC).payload(&body).key(&key);
            producer.send(record, Duration::from_secs(10)).await.map_err(|(error, _)| error)?;
            Ok(())
        })
    });
    let listed: Vec<&str> = brokers.split(',').collect();
    Ok(Connector {
        raw,
        resource: Some(("brokers", json!({"kind": "kafka", "brokers": listed}))),
        action: json!({"type": "broker.publish", "config": {
            "broker": format!("bench:{TOPIC}"), "message": "{{record}}", "key": "{{record.customer_id}}"
        }}),
        _held: mock.map(|mock| Box::new(mock) as Box<dyn std::any::Any>),
    })
}

//! `broker.publish` to a real RabbitMQ.

use std::collections::HashSet;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use crate::brokers::cut_a_hundred_times;
use crate::harness::rabbitmq::RabbitMq;
use crate::harness::{Bench, dead, done, retried, run};

fn publish(key: &str) -> serde_json::Value {
    json!({"broker": format!("rabbit:{key}"), "message": {"n": 1}})
}

#[tokio::test]
async fn rabbitmq_has_the_message_with_headers_and_delivery_id() {
    let (bench, rabbit) = (Bench::local().await, RabbitMq::shared().await);
    let consumer = rabbit.consumer().await;
    consumer.declare("plain", FieldTable::default()).await;
    bench.put("brokers", "rabbit", json!({"kind": "rabbitmq", "url": rabbit.url()})).await;
    let cx = bench.context();
    let large = "x".repeat(300_000);
    let config = json!({"broker": "rabbit:plain", "message": {"n": serde_json::from_str::<serde_json::Value>("1.50").unwrap(), "large": large},
        "key": 7, "headers": {"text": "é", "number": 5, "flag": true, "list": [1]}});
    let output = done(run(&cx, "broker.publish", config).await);
    assert_eq!(output, json!({"id": cx.delivery_id.to_string()}));
    let found = consumer.get("plain").await.unwrap();
    assert_eq!(String::from_utf8(found.data.clone()).unwrap(), format!(r#"{{"n":1.50,"large":"{large}"}}"#));
    let properties = &found.properties;
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), cx.delivery_id.to_string());
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert!(properties.timestamp().unwrap() > 1_700_000_000);
    let headers = properties.headers().as_ref().unwrap().inner();
    assert_eq!(headers["text"], AMQPValue::LongString("é".into()));
    assert_eq!(headers["number"], AMQPValue::LongLongInt(5));
    assert_eq!(headers["flag"], AMQPValue::Boolean(true));
    assert_eq!(headers["list"], AMQPValue::LongString("[1]".into()));
    assert_eq!(headers["key"], AMQPValue::LongString("7".into()));
    let check = bench.services.resources.check(&bench.tenant(), "brokers", "rabbit", "").await.unwrap();
    assert_eq!((check.ok, check.detail.as_str()), (true, "the broker accepts the login"));
}

#[tokio::test]
async fn what_no_queue_takes_is_refused_and_its_neighbours_are_not() {
    let (bench, rabbit) = (Bench::local().await, RabbitMq::shared().await);
    let consumer = rabbit.consumer().await;
    consumer.declare("neighbours", FieldTable::default()).await;
    let topic = lapin::ExchangeKind::Topic;
    consumer
        .channel
        .exchange_declare("ex".into(), topic, ExchangeDeclareOptions::default(), FieldTable::default())
        .await
        .unwrap();
    let options = QueueBindOptions::default();
    consumer
        .channel
        .queue_bind("neighbours".into(), "ex".into(), "good.#".into(), options, FieldTable::default())
        .await
        .unwrap();
    bench.put("brokers", "rabbit", json!({"url": rabbit.url(), "exchange": "ex"})).await;
    let attempts = (0..400).map(|n| {
        let bench = &bench;
        async move {
            let key = if n % 3 == 0 { "bad.x" } else { "good.x" };
            (n % 3 == 0, bench.run("broker.publish", publish(key)).await)
        }
    });
    let mut good = 0;
    for (bad, outcome) in futures_util::future::join_all(attempts).await {
        if bad {
            let failure = dead(outcome);
            assert_eq!(failure.code, "BROKER_REFUSED");
            assert!(failure.message.contains("312 NO_ROUTE"), "{}", failure.message);
        } else {
            done(outcome);
            good += 1;
        }
    }
    let mut found = 0;
    while consumer.get("neighbours").await.is_some() {
        found += 1;
    }
    assert_eq!(found, good);
    bench.put("brokers", "rabbit", json!({"url": rabbit.url(), "exchange": "no-such"})).await;
    let failure = dead(bench.run("broker.publish", publish("x")).await);
    assert_eq!(failure.code, "BROKER_REFUSED");
    assert!(failure.message.contains("404"), "{}", failure.message);
    let check = bench.services.resources.check(&bench.tenant(), "brokers", "rabbit", "").await.unwrap();
    assert!(!check.ok && check.detail.contains("no-such"), "{}", check.detail);
}

#[tokio::test]
async fn rabbitmq_s_refusals_are_for_good_and_a_full_queue_is_not() {
    let (bench, rabbit) = (Bench::local().await, RabbitMq::shared().await);
    let consumer = rabbit.consumer().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    consumer.declare("full", arguments).await;
    bench.put("brokers", "rabbit", json!({"url": rabbit.url()})).await;
    done(bench.run("broker.publish", publish("full")).await);
    let failure = retried(bench.run("broker.publish", publish("full")).await);
    assert_eq!(failure.code, "BROKER_UNAVAILABLE", "a nack");
    for (settings, said) in [
        (json!({"url": rabbit.url(), "username": "guest", "password": "wr0ng-canary"}), "403"),
        (json!({"url": format!("{}/no-such-host", rabbit.url())}), "530"),
    ] {
        bench.put("brokers", "rabbit", settings).await;
        let failure = dead(bench.run("broker.publish", publish("full")).await);
        assert_eq!(failure.code, "BROKER_REFUSED");
        assert!(failure.message.contains(said) && !failure.message.contains("canary"), "{}", failure.message);
        let check = bench.services.resources.check(&bench.tenant(), "brokers", "rabbit", "").await.unwrap();
        assert!(!check.ok && check.detail.contains(said), "{}", check.detail);
    }
    bench.put("brokers", "rabbit", json!({"url": rabbit.url(), "routingKeys": ["orders.*"]})).await;
    assert_eq!(dead(bench.run("broker.publish", publish("full")).await).code, "BROKER_REFUSED");
    let failure = dead(bench.run("broker.publish", publish(&"x".repeat(256))).await);
    assert!(failure.code == "CONFIG_INVALID" && failure.message.starts_with("/broker"), "{}", failure.message);
}

#[tokio::test]
async fn rabbitmq_is_spoken_to_over_tls() {
    let (bench, rabbit) = (Bench::local().await, RabbitMq::shared().await);
    let consumer = rabbit.consumer().await;
    consumer.declare("tls", FieldTable::default()).await;
    let url = format!("amqps://localhost:{}", rabbit.tls_port);
    bench.put("brokers", "rabbit", json!({"url": url, "ca": rabbit.certificate.pem})).await;
    done(bench.run("broker.publish", publish("tls")).await);
    assert!(consumer.get("tls").await.is_some());
    bench.put("brokers", "rabbit", json!({"url": url})).await;
    let failure = retried(bench.run("broker.publish", publish("tls")).await);
    assert_eq!(failure.code, "BROKER_UNAVAILABLE", "an authority that nobody vouches for: {}", failure.message);
    // The certificate is for another name.
    let url = format!("amqps://127.0.0.1:{}", rabbit.tls_port);
    bench.put("brokers", "rabbit", json!({"url": url, "ca": rabbit.certificate.pem})).await;
    retried(bench.run("broker.publish", publish("tls")).await);
    assert!(consumer.get("tls").await.is_none());
}

#[tokio::test]
async fn rabbitmq_has_whatever_is_recorded_as_delivered_however_often_the_line_is_cut() {
    let rabbit = RabbitMq::shared().await;
    let consumer = rabbit.consumer().await;
    consumer.declare("cuts", FieldTable::default()).await;
    let settings = |port| json!({"url": format!("amqp://127.0.0.1:{port}")});
    let delivered = cut_a_hundred_times(settings, rabbit.port, "cuts").await;
    let mut found = HashSet::new();
    while let Some(message) = consumer.get("cuts").await {
        found.insert(message.properties.message_id().as_ref().unwrap().to_string());
    }
    assert!(delivered.is_subset(&found), "lost: {:?}", delivered.difference(&found));
}

//! CloudEvents attributes as the consumers of real brokers read them, spelt as each protocol's binding says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use triggerd::actions::Context;

use crate::harness::mosquitto::Mosquitto;
use crate::harness::nats_server::NatsServer;
use crate::harness::rabbitmq::RabbitMq;
use crate::harness::{Bench, done, run};

/// An event whose attributes are no plain ASCII.
fn context(bench: &Bench) -> Context {
    let mut cx = bench.context();
    let mut event = (*cx.event).clone();
    event.source = Some("/shops/Zürich".into());
    event.attributes.insert("subject".into(), "Größe 7".into());
    cx.event = Arc::new(event);
    cx
}

/// The attributes but the content type, which has a place of its own everywhere, each named by `spelt`.
fn attributes(cx: &Context, spelt: impl Fn(&str) -> String) -> BTreeMap<String, String> {
    let event = &cx.event;
    let all = [
        ("specversion", "1.0".to_owned()),
        ("id", event.id.to_string()),
        ("source", "/shops/Z%C3%BCrich".to_owned()),
        ("type", "order.created".to_owned()),
        ("subject", "Größe 7".to_owned()),
        ("time", event.timestamp.to_string()),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    ];
    all.into_iter().map(|(name, value)| (spelt(name), value)).collect()
}

fn publish(topic: &str, headers: Value) -> Value {
    json!({"broker": format!("broker:{topic}"), "message": {"n": 1}, "headers": headers, "cloudEvents": true})
}

#[tokio::test]
async fn rabbitmq_s_consumers_find_them_as_cloud_events_headers() {
    let (bench, rabbit) = (Bench::local().await, RabbitMq::shared().await);
    let consumer = rabbit.consumer().await;
    consumer.declare("cloud-events", FieldTable::default()).await;
    bench.put("brokers", "broker", json!({"url": rabbit.url()})).await;
    let cx = context(&bench);
    for headers in [json!({}), json!({"h": "v", "cloudEvents:type": "mine"})] {
        done(run(&cx, "broker.publish", publish("cloud-events", headers.clone())).await);
        let found = consumer.get("cloud-events").await.unwrap();
        assert_eq!(found.data, br#"{"n":1}"#);
        assert_eq!(found.properties.content_type().as_ref().unwrap().as_str(), "application/json");
        let text = |value: &AMQPValue| match value {
            AMQPValue::LongString(text) => text.to_string(),
            other => panic!("{other:?}"),
        };
        let seen = found.properties.headers().as_ref().unwrap().inner();
        let seen: BTreeMap<String, String> = seen.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        assert_eq!(seen, expected(attributes(&cx, |name| format!("cloudEvents:{name}")), &cx, &headers));
    }
}

#[tokio::test]
async fn nats_subscribers_find_them_as_headers_in_ascii() {
    let (bench, server) = (Bench::local().await, NatsServer::start().await);
    let client = server.client().await;
    let mut messages = client.subscribe("events").await.unwrap();
    client.flush().await.unwrap();
    bench.put("brokers", "broker", json!({"url": server.url()})).await;
    let cx = context(&bench);
    for headers in [json!({}), json!({"h": "v", "ce-type": "mine"})] {
        done(run(&cx, "broker.publish", publish("events", headers.clone())).await);
        let message = tokio::time::timeout(Duration::from_secs(10), messages.next()).await.unwrap().unwrap();
        assert_eq!(&message.payload[..], br#"{"n":1}"#);
        let seen = message.headers.unwrap();
        let seen: BTreeMap<String, String> = seen
            .iter()
            .map(|(name, values)| (name.to_string(), values.iter().map(|value| value.to_string()).collect()))
            .collect();
        let mut wanted = attributes(&cx, |name| format!("ce-{name}"));
        // What can stand in a source stays, so that its own `%` is encoded once more.
        wanted.insert("ce-source".into(), "/shops/Z%25C3%25BCrich".into());
        wanted.insert("ce-subject".into(), "Gr%C3%B6%C3%9Fe%207".into());
        wanted.insert("content-type".into(), "application/json".into());
        wanted.insert("Nats-Msg-Id".into(), cx.delivery_id.to_string());
        assert_eq!(seen, expected(wanted, &cx, &headers));
    }
}

#[tokio::test]
async fn mqtt_subscribers_find_them_as_user_properties_of_their_own_names() {
    let (bench, server) = (Bench::local().await, Mosquitto::start().await);
    let mut subscriber = server.subscriber(1, "events").await;
    bench.put("brokers", "broker", json!({"url": server.url()})).await;
    let cx = context(&bench);
    for headers in [json!({}), json!({"h": "v", "type": "mine"})] {
        done(run(&cx, "broker.publish", publish("events", headers.clone())).await);
        let message = subscriber.next().await;
        assert_eq!(message["payload"], r#"{"n":1}"#);
        assert_eq!(message["properties"]["content-type"], "application/json");
        let seen: BTreeMap<String, String> =
            serde_json::from_value(message["properties"]["user-properties"].clone()).unwrap();
        let mut wanted = attributes(&cx, str::to_owned);
        wanted.insert("delivery_id".into(), cx.delivery_id.to_string());
        assert_eq!(seen, expected(wanted, &cx, &headers));
    }
}

/// With the attempt's own `traceparent`, which MQTT has in the place of the attribute of that name. What the action sets itself is
/// not overwritten.
fn expected(mut wanted: BTreeMap<String, String>, cx: &Context, headers: &Value) -> BTreeMap<String, String> {
    wanted.insert("traceparent".into(), cx.traceparent());
    let set = headers.as_object().unwrap().iter();
    wanted.extend(set.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())));
    wanted
}

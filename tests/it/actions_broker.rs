//! Brokers: the embedded topic that survives crashes, and Redis Streams.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Redis, Reply, Server, call, fast, free_port, home, on};

fn publish(broker: &str) -> Value {
    json!({"name": "publish", "type": "broker.publish", "config": {
        "broker": broker, "message": {"order": "{{record}}"}, "key": "{{record.customer}}", "headers": {"source": "it"}}})
}

async fn messages(home: &Home, topic: &str) -> Vec<Value> {
    let page = home.get(&format!("/api/v1/brokers/embedded/topics/{topic}/messages")).await.expect(200);
    page["messages"].as_array().unwrap().clone()
}

#[tokio::test]
async fn messages_of_an_embedded_topic_are_read_in_order_with_key_and_delivery_id() {
    let home = home().await;
    let mut definition = on("orders", "order", json!([publish("embedded:orders")]));
    definition["ordering"] = json!({"key": "all"});
    home.trigger(definition).await;
    let mut events = Vec::new();
    for n in 0..5 {
        events.push(home.event_ended("order", json!({"n": n, "customer": format!("c{n}")})).await);
    }
    let found = messages(&home, "orders").await;
    assert_eq!(found.len(), 5);
    for (n, (message, event)) in found.iter().zip(&events).enumerate() {
        assert_eq!((&message["offset"], &message["key"]), (&json!(n), &json!(format!("c{n}"))));
        assert_eq!(message["message"], json!({"order": {"n": n, "customer": format!("c{n}")}}));
        assert_eq!(message["headers"]["source"], "it");
        assert_eq!(message["delivery_id"], event["runs"][0]["actions"][0]["delivery_id"]);
    }
    let rest = home.get("/api/v1/brokers/embedded/topics/orders/messages?offset=3&limit=1").await.expect(200);
    assert_eq!((&rest["messages"][0]["offset"], &rest["has_more"]), (&json!(3), &json!(true)));
    let topics = home.get("/api/v1/brokers/embedded/topics").await.expect(200);
    assert_eq!(topics["topics"][0], json!({"topic": "orders", "next_offset": 5}));
}

#[tokio::test]
async fn a_replayed_message_is_not_published_twice() {
    let home = home().await;
    home.trigger(on("once", "once", json!([publish("embedded:once")]))).await;
    let event = home.event_ended("once", json!({})).await;
    let id = event["event_id"].as_str().unwrap();
    home.post(&format!("/api/v1/events/{id}/replay"), json!({})).await.expect(202);
    home.trigger(on("mark", "mark", json!([publish("embedded:mark")]))).await;
    let replayed = home.ended(id).await;
    assert_eq!(replayed["status"], "delivered");
    home.event_ended("mark", json!({})).await;
    assert_eq!(messages(&home, "once").await.len(), 1, "the delivery id is known");
}

#[tokio::test]
async fn an_embedded_topic_survives_a_crash() {
    let mut server = Server::start();
    server.api().trigger(on("kept", "kept", json!([publish("embedded:kept")]))).await;
    for n in 0..3 {
        server.api().event_ended("kept", json!({"n": n})).await;
    }
    server.crash_and_restart();
    let page = server.api().get("/api/v1/brokers/embedded/topics/kept/messages").await.expect(200);
    assert_eq!(page["total"], 3);
}

#[tokio::test]
async fn redis_streams_get_message_key_headers_and_delivery_id() {
    let (home, redis) = (home().await, Redis::start().await);
    home.resource("brokers", "streams", json!({"kind": "redis", "url": redis.url()})).await;
    let receiver = Receiver::start().await;
    receiver.script("/flaky", [Reply::status(503), Reply::status(200)]);
    home.trigger(on("stream", "stream", json!([publish("streams:orders"), call("then", &receiver.url("/flaky"))])))
        .await;
    let event = home.event_ended("stream", json!({"n": 1, "customer": "c"})).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    let action = &event["runs"][0]["actions"][0];
    let id = action["output"]["id"].as_str().unwrap();
    let keys: Vec<String> = redis.ask(&["KEYS", "*orders"]).await;
    let entries: Vec<(String, HashMap<String, String>)> = redis.ask(&["XRANGE", &keys[0], "-", "+"]).await;
    assert_eq!(entries.len(), 1, "a retry of a later action publishes nothing again: {entries:?}");
    let (found, fields) = &entries[0];
    assert_eq!(found, id);
    let all = format!("{fields:?}");
    assert!(all.contains(action["delivery_id"].as_str().unwrap()), "{all}");
    assert!(
        fields.values().any(|value| serde_json::from_str::<Value>(value)
            .is_ok_and(|v| v == json!({"order": {"n": 1, "customer": "c"}}))),
        "{all}"
    );
    // Done again on purpose it is published again, and readers know it by its delivery id.
    home.post(&format!("/api/v1/events/{}/replay", event["event_id"].as_str().unwrap()), json!({})).await.expect(202);
    receiver.wait_for("/flaky", 3).await;
    let entries: Vec<(String, HashMap<String, String>)> = redis.ask(&["XRANGE", &keys[0], "-", "+"]).await;
    assert_eq!((entries.len(), &entries[0].1["delivery_id"]), (2, &entries[1].1["delivery_id"]));
}

#[tokio::test]
async fn a_broker_that_is_down_is_tried_again() {
    let home = home().await;
    home.resource("brokers", "down", json!({"kind": "redis", "url": format!("redis://127.0.0.1:{}", free_port())}))
        .await;
    let mut action = publish("down:orders");
    action["retry"] = fast(3);
    home.trigger(on("down", "down", json!([action]))).await;
    let event = home.event_ended("down", json!({})).await;
    let attempts = event["runs"][0]["actions"][0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3, "{event:#}");
    let code = attempts[0]["error_code"].as_str().unwrap();
    assert!(code == "BROKER_UNAVAILABLE" || code == "ECONNREFUSED", "{code}");
}

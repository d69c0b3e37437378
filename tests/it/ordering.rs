//! Runs that are held to an order, a number at once, or a rate.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Receiver, Reply, Seen, Server, call, home, on};

fn numbers(seen: &[Seen], key: &str) -> Vec<u64> {
    let bodies = seen.iter().map(Seen::json);
    bodies.filter(|body| body["key"] == key).map(|body| body["n"].as_u64().unwrap()).collect()
}

fn ordered(receiver: &Receiver) -> Value {
    let mut definition = on("ordered", "ordered", json!([call("c", &receiver.url("/in"))]));
    definition["ordering"] = json!({"key": "{{record.key}}"});
    definition["actions"][0]["retry"]["maxAttempts"] = json!(20);
    definition
}

#[tokio::test]
async fn runs_of_one_key_execute_one_after_another_in_event_order() {
    let home = home().await;
    let receiver = Receiver::start().await;
    // The head of the line fails again and again; those behind it wait, those of other keys do not.
    receiver.script("/in", (0..6).map(|_| Reply::status(503)).chain([Reply::status(200).late(5)]));
    home.trigger(ordered(&receiver)).await;
    let batch: Vec<Value> =
        (0..60).map(|n| json!({"type": "ordered", "payload": {"key": format!("k{}", n % 3), "n": n}})).collect();
    home.post("/api/v1/events/batch", json!(batch)).await.expect(202);
    receiver.wait_until("all 60 with their retries", |seen| seen.len() >= 66).await;
    for key in ["k0", "k1", "k2"] {
        let mut seen = numbers(&receiver.seen(), key);
        seen.dedup();
        let wanted: Vec<u64> = (0..60).filter(|n| format!("k{}", n % 3) == key).collect();
        assert_eq!(seen, wanted, "{key}");
    }
    assert!(receiver.busiest() <= 3, "one of each key at a time, not {}", receiver.busiest());
}

#[tokio::test]
async fn the_order_of_a_key_survives_a_crash() {
    let mut server = Server::start();
    let receiver = Receiver::start().await;
    receiver.script("/in", (0..4).map(|_| Reply::status(503)).chain([Reply::Hang, Reply::status(200)]));
    let api = server.api();
    let mut definition = ordered(&receiver);
    definition["actions"][0]["timeout"] = json!(20_000);
    api.trigger(definition).await;
    for n in 0..12 {
        api.event("ordered", json!({"key": "k", "n": n})).await;
    }
    receiver.wait_for("/in", 5).await;
    server.crash_and_restart();
    receiver.wait_until("the last of the line", |seen| numbers(seen, "k").contains(&11)).await;
    let mut seen = numbers(&receiver.seen(), "k");
    seen.dedup();
    assert_eq!(seen, (0..12).collect::<Vec<u64>>());
}

#[tokio::test]
async fn no_more_runs_than_max_concurrency_execute_at_once() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/in", [Reply::status(200).late(30)]);
    let mut definition = on("narrow", "narrow", json!([call("c", &receiver.url("/in"))]));
    definition["maxConcurrency"] = json!(2);
    home.trigger(definition).await;
    let batch: Vec<Value> = (0..20).map(|n| json!({"type": "narrow", "payload": {"n": n}})).collect();
    home.post("/api/v1/events/batch", json!(batch)).await.expect(202);
    receiver.wait_for("/in", 20).await;
    assert_eq!(receiver.busiest(), 2);
}

#[tokio::test]
async fn runs_start_no_faster_than_their_rate_limit() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut definition = on("slow", "slow", json!([call("c", &receiver.url("/in"))]));
    definition["rateLimit"] = json!({"count": 5, "perSeconds": 1});
    home.trigger(definition).await;
    let batch: Vec<Value> = (0..12).map(|n| json!({"type": "slow", "payload": {"n": n}})).collect();
    home.post("/api/v1/events/batch", json!(batch)).await.expect(202);
    let seen = receiver.wait_for("/in", 12).await;
    let took = seen[11].at - seen[0].at;
    assert!(took >= Duration::from_millis(1100), "5 at once and 5 a second: 12 take 1.4 s, not {took:?}");
}

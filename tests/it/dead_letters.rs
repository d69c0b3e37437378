//! What failed for good can be found, looked at, tried again and dropped.

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Reply, call, eventually, home, on};

async fn dead(home: &Home, query: &str) -> Vec<Value> {
    let page = home.get(&format!("/api/v1/dead-letters?{query}")).await.expect(200);
    page["dead_letters"].as_array().unwrap().clone()
}

async fn settled(home: &Home, id: &str, status: &str) -> Value {
    eventually(|| async {
        let event = home.detail(id).await;
        if event["status"] == status { Ok(event) } else { Err(format!("{event:#} is not {status}")) }
    })
    .await
}

/// Two triggers whose first request of each path is refused.
async fn broken(home: &Home, receiver: &Receiver) {
    for name in ["one", "two"] {
        receiver.script(&format!("/{name}"), [Reply::json(400, json!({"why": "no such order"})), Reply::status(200)]);
        home.trigger(on(
            name,
            &format!("dead.{name}"),
            json!([call("first", &receiver.url("/first")), call("c", &receiver.url(&format!("/{name}")))]),
        ))
        .await;
    }
}

#[tokio::test]
async fn dead_letters_are_listed_filtered_and_shown() {
    let home = home().await;
    let receiver = Receiver::start().await;
    broken(&home, &receiver).await;
    let one = home.event_ended("dead.one", json!({"n": 1})).await;
    home.event_ended("dead.two", json!({"n": 2})).await;
    assert_eq!(dead(&home, "").await.len(), 2);
    for (filter, count) in [
        ("trigger=one", 1),
        ("event_type=dead.two", 1),
        ("trigger=one&event_type=dead.two", 0),
        ("start_time=2100-01-01T00:00:00Z", 0),
        ("limit=1", 1),
    ] {
        assert_eq!(dead(&home, filter).await.len(), count, "{filter}");
    }
    let listed = dead(&home, "trigger=one").await.remove(0);
    assert_eq!((&listed["event_id"], &listed["error_code"]), (&one["event_id"], &json!("HTTP_400")));
    let shown = home.get(&format!("/api/v1/dead-letters/{}", listed["run_id"].as_str().unwrap())).await.expect(200);
    let attempt = &shown["actions"][1]["attempts"][0];
    assert_eq!(attempt["error_code"], "HTTP_400");
    assert!(attempt["response"].to_string().contains("no such order"), "{shown:#}");
    assert!(attempt["request"].to_string().contains("/one"), "{shown:#}");
}

#[tokio::test]
async fn a_replayed_run_goes_on_where_it_failed_with_the_same_delivery_id_marked_as_replay() {
    let home = home().await;
    let receiver = Receiver::start().await;
    broken(&home, &receiver).await;
    let event = home.event_ended("dead.one", json!({})).await;
    let (id, run) = (event["event_id"].as_str().unwrap(), event["runs"][0]["run_id"].as_str().unwrap());
    home.post(&format!("/api/v1/dead-letters/{run}/replay"), json!({})).await.expect(202);
    settled(&home, id, "delivered").await;
    let seen = receiver.seen_at("/one");
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
    assert_eq!((seen[0].header("triggerd-replay"), seen[1].header("triggerd-replay")), ("", "true"));
    assert_eq!(receiver.seen_at("/first").len(), 1, "what went well is not done again");
    assert_eq!(dead(&home, "").await.len(), 0);
    home.post(&format!("/api/v1/dead-letters/{run}/replay"), json!({})).await.problem(404);
}

#[tokio::test]
async fn events_are_replayed_by_filter_with_the_same_delivery_ids() {
    let home = home().await;
    let receiver = Receiver::start().await;
    broken(&home, &receiver).await;
    let one = home.event_ended("dead.one", json!({})).await;
    let two = home.event_ended("dead.two", json!({})).await;
    let answer = home.post("/api/v1/replay", json!({"event_type": "dead.one", "status": "failed"})).await.expect(202);
    assert_eq!(answer["runs"], 1);
    settled(&home, one["event_id"].as_str().unwrap(), "delivered").await;
    assert_eq!(home.detail(two["event_id"].as_str().unwrap()).await["status"], "failed", "the filter let one through");
    let seen = receiver.seen_at("/one");
    assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
    assert_eq!(seen[1].header("triggerd-replay"), "true");
    home.post("/api/v1/replay", json!({"colour": "red"})).await.problem(422);
}

#[tokio::test]
async fn a_delivered_event_is_replayed_whole_with_the_same_delivery_ids() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.trigger(on("again", "again", json!([call("a", &receiver.url("/a")), call("b", &receiver.url("/b"))]))).await;
    let event = home.event_ended("again", json!({})).await;
    home.post(&format!("/api/v1/events/{}/replay", event["event_id"].as_str().unwrap()), json!({})).await.expect(202);
    receiver.wait_for("/b", 2).await;
    for path in ["/a", "/b"] {
        let seen = receiver.seen_at(path);
        assert_eq!(seen[0].header("idempotency-key"), seen[1].header("idempotency-key"));
        assert_eq!(seen[1].header("triggerd-replay"), "true");
    }
}

#[tokio::test]
async fn an_unmatched_event_is_replayed_through_the_triggers_of_now() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let event = home.event_ended("later", json!({"n": 1})).await;
    assert_eq!(event["status"], "unmatched");
    home.trigger(on("later", "later", json!([call("c", &receiver.url("/later"))]))).await;
    home.post(&format!("/api/v1/events/{}/replay", event["event_id"].as_str().unwrap()), json!({})).await.expect(202);
    assert_eq!(receiver.wait_for("/later", 1).await[0].json(), json!({"n": 1}));
}

#[tokio::test]
async fn a_dropped_dead_letter_is_gone() {
    let home = home().await;
    let receiver = Receiver::start().await;
    broken(&home, &receiver).await;
    let event = home.event_ended("dead.one", json!({})).await;
    let path = format!("/api/v1/dead-letters/{}", event["runs"][0]["run_id"].as_str().unwrap());
    home.delete(&path).await.expect(204);
    assert_eq!(dead(&home, "").await.len(), 0);
    home.get(&path).await.problem(404);
    home.delete(&path).await.problem(404);
    home.post(&format!("{path}/replay"), json!({})).await.problem(404);
    assert_ne!(home.detail(event["event_id"].as_str().unwrap()).await["status"], "failed");
}

//! A destination that keeps failing is left alone for a while; nothing is lost by it, and others do not notice.

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Reply, Server, call, eventually, home, on};

async fn destination(home: &Home, receiver: &Receiver) -> Option<Value> {
    let answer = home.get("/api/v1/destinations").await.expect(200);
    let of_receiver = |known: &&Value| known["destination"].as_str().unwrap().starts_with(&receiver.url("/#"));
    answer["destinations"].as_array().unwrap().iter().find(of_receiver).cloned()
}

#[tokio::test]
async fn after_ten_failures_in_a_row_it_rests_and_one_probe_wakes_it_up() {
    let home = home().await;
    let (down, up) = (Receiver::start().await, Receiver::start().await);
    down.script("/d", [Reply::status(503)]);
    let mut action = call("c", &down.url("/d"));
    action["retry"] = json!({"maxAttempts": 100, "initialDelay": 10, "maxDelay": 10, "jitter": "none"});
    home.trigger(on("down", "down", json!([action]))).await;
    home.trigger(on("up", "up", json!([call("c", &up.url("/u"))]))).await;
    let id = home.event("down", json!({})).await;
    let open = eventually(|| async {
        let found = destination(&home, &down).await;
        found.filter(|found| found["state"] == "open").ok_or_else(|| "it is not open".to_owned())
    })
    .await;
    assert_eq!(down.seen_at("/d").len(), 10, "and not once more");
    assert_eq!((&open["failures"], &open["in_flight"]), (&json!(10), &json!(0)));
    let at = |field: &str| open[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let wait = at("next_probe").as_millisecond() - at("opened_at").as_millisecond();
    assert!((4_900..=5_100).contains(&wait), "{open}");
    // Another event to the same place waits without an attempt; other places are served meanwhile.
    let second = home.event("down", json!({})).await;
    home.event_ended("up", json!({})).await;
    assert_eq!(
        home.detail(&second).await["runs"][0]["actions"].as_array().map_or(0, |actions| {
            actions.iter().map(|action| action["attempts"].as_array().map_or(0, Vec::len)).sum()
        }),
        0
    );
    down.script("/d", [Reply::status(200)]);
    for (id, attempts) in [(&id, 11), (&second, 1)] {
        let event = home.ended(id).await;
        assert_eq!(event["status"], "delivered");
        let made = event["runs"][0]["actions"][0]["attempts"].as_array().unwrap().len();
        // Either of the two may be the probe.
        assert_eq!(made, attempts, "what was not attempted is not counted: {event:#}");
    }
    let state = destination(&home, &down).await.map_or("closed".into(), |found| found["state"].clone());
    assert_eq!(state, "closed");
    let metrics = home.server().api().get("/metrics").await.text;
    for to in ["open", "half_open", "closed"] {
        assert!(metrics.contains(&format!("triggerd_circuit_state_changes_total{{to=\"{to}\"}}")), "{to}");
    }
}

#[tokio::test]
async fn refusals_do_not_open_it_and_other_tenants_have_their_own() {
    let (home, other) = (home().await, home().await);
    let receiver = Receiver::start().await;
    receiver.script("/refuses", [Reply::status(404)]);
    receiver.script("/fails", [Reply::status(500)]);
    home.trigger(on("refused", "refused", json!([call("c", &receiver.url("/refuses"))]))).await;
    for _ in 0..12 {
        assert_eq!(home.event_ended("refused", json!({})).await["status"], "failed");
    }
    assert_eq!(receiver.seen_at("/refuses").len(), 12);
    let mut failing = call("c", &receiver.url("/fails"));
    failing["retry"] = json!({"maxAttempts": 50, "initialDelay": 10, "maxDelay": 10, "jitter": "none"});
    other.trigger(on("failing", "failing", json!([failing]))).await;
    other.event("failing", json!({})).await;
    eventually(|| async {
        let found = destination(&other, &receiver).await;
        found.filter(|found| found["state"] == "open").map(drop).ok_or_else(|| "it is not open".to_owned())
    })
    .await;
    assert!(destination(&home, &receiver).await.is_none_or(|found| found["state"] == "closed"));
    assert_eq!(home.event_ended("refused", json!({})).await["status"], "failed");
    assert_eq!(receiver.seen_at("/refuses").len(), 13);
}

#[tokio::test]
async fn a_before_event_is_told_at_once_that_its_destination_rests() {
    let server = Server::start();
    let (api, receiver) = (server.api(), Receiver::start().await);
    receiver.script("/guard", [Reply::status(500)]);
    let guard = json!({"tag": "guard", "tables": ["orders"], "events": ["beforeInsert"], "actions": [call("c", &receiver.url("/guard"))]});
    api.trigger(guard).await;
    let body = json!({"event": "beforeInsert", "context": {"database": "db", "table": "orders", "record": {"id": 1}}});
    let mut codes = Vec::new();
    for _ in 0..11 {
        let answer = api.post("/api/v1/execute", body.clone()).await;
        codes.push(answer.body["rejection"]["code"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(codes[..10], vec!["HTTP_500"; 10][..]);
    assert_eq!(codes[10], "CIRCUIT_OPEN");
    assert_eq!(receiver.seen_at("/guard").len(), 10);
}

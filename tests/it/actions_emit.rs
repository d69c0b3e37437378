//! Events that events emit.

use serde_json::{Value, json};

use crate::harness::{Receiver, call, eventually, home, on};

#[tokio::test]
async fn an_emitted_event_is_an_event_like_any_other_and_knows_its_cause() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.trigger(on("emits", "first", json!([{"name": "emit", "type": "event.emit", "config": {"type": "second", "payload": {"from": "{{record.n}}"}}}]))).await;
    home.trigger(on("takes", "second", json!([call("c", &receiver.url("/second"))]))).await;
    let first = home.event_ended("first", json!({"n": 7})).await;
    assert_eq!(receiver.wait_for("/second", 1).await[0].json(), json!({"from": 7}));
    let id = first["runs"][0]["actions"][0]["output"]["eventId"].as_str().unwrap();
    let second = home.detail(id).await;
    assert_eq!((&second["type"], &second["causation"]), (&json!("second"), &json!([first["event_id"]])));
    // Done again, it is the same event: the delivery emits one, however often it is tried.
    home.post(&format!("/api/v1/events/{}/replay", first["event_id"].as_str().unwrap()), json!({})).await.expect(202);
    home.ended(first["event_id"].as_str().unwrap()).await;
    assert_eq!(home.get("/api/v1/inbox?event_type=second").await.expect(200)["total"], 1);
}

#[tokio::test]
async fn a_chain_of_triggers_that_feed_each_other_is_cut_at_sixteen() {
    let home = home().await;
    home.trigger(on(
        "loop",
        "ping.*",
        json!([{"name": "emit", "type": "event.emit", "config": {"type": "ping.again", "payload": "{{record}}"}}]),
    ))
    .await;
    home.event("ping.first", json!({"n": 1})).await;
    let dead = eventually(|| async {
        let page = home.get("/api/v1/dead-letters").await.expect(200);
        page["dead_letters"].get(0).cloned().ok_or_else(|| "the chain is not cut yet".to_owned())
    })
    .await;
    assert_eq!(dead["error_code"], "LOOP_GUARD");
    let all = home.get("/api/v1/inbox").await.expect(200);
    assert_eq!(all["total"], 17, "the first event and sixteen that it led to");
    let last: &Value = &all["events"][0];
    let detail = home.detail(last["event_id"].as_str().unwrap()).await;
    assert_eq!(detail["causation"].as_array().unwrap().len(), 16);
}

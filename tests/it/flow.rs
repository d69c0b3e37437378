//! What of a trigger runs, when, and who waits for it: conditions, quotas, queues, sync actions, strictness.

use serde_json::{Value, json};

use crate::harness::{Receiver, Reply, call, home, on};

#[tokio::test]
async fn an_action_whose_condition_is_false_is_skipped() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut guarded = call("guarded", &receiver.url("/guarded"));
    guarded["condition"] = json!({"field": "payload.vip", "operator": "EQUALS", "value": true});
    home.trigger(on("maybe", "maybe", json!([guarded, call("always", &receiver.url("/always"))]))).await;
    let event = home.event_ended("maybe", json!({"vip": false})).await;
    let skipped = &event["runs"][0]["actions"][0];
    assert_eq!((&skipped["status"], &skipped["reason"]), (&json!("skipped"), &json!("condition")));
    assert_eq!(event["status"], "delivered");
    home.event_ended("maybe", json!({"vip": true})).await;
    assert_eq!((receiver.seen_at("/guarded").len(), receiver.seen_at("/always").len()), (1, 2));
}

#[tokio::test]
async fn what_was_counted_against_a_quota_survives_a_crash() {
    let mut server = crate::harness::Server::start();
    let receiver = Receiver::start().await;
    let mut action = call("c", &receiver.url("/q"));
    action["quota"] = json!({"key": "{{record.customer}}", "limit": 2, "window": "1d"});
    server.api().trigger(on("quota", "quota", json!([action]))).await;
    let send = async |server: &crate::harness::Server| {
        let event = server.api().event_ended("quota", json!({"customer": "a"})).await;
        event["runs"][0]["actions"][0]["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(send(&server).await, "delivered");
    server.crash_and_restart();
    assert_eq!(send(&server).await, "delivered");
    server.crash_and_restart();
    assert_eq!(send(&server).await, "skipped");
    assert_eq!(receiver.seen_at("/q").len(), 2);
}

#[tokio::test]
async fn over_its_quota_an_action_is_skipped_per_key() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut action = call("c", &receiver.url("/q"));
    action["quota"] = json!({"key": "{{record.customer}}", "limit": 2, "window": "1d"});
    home.trigger(on("quota", "quota", json!([action]))).await;
    let mut outcomes = Vec::new();
    for customer in ["a", "a", "a", "b"] {
        let event = home.event_ended("quota", json!({"customer": customer})).await;
        let action = &event["runs"][0]["actions"][0];
        outcomes.push(format!("{} {}", action["status"].as_str().unwrap(), action["reason"].as_str().unwrap_or("")));
    }
    assert_eq!(outcomes, ["delivered ", "delivered ", "skipped quota", "delivered "]);
    assert_eq!(receiver.seen_at("/q").len(), 3);
}

#[tokio::test]
async fn a_sync_action_is_done_before_the_acceptance_is_answered() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/sync", [Reply::status(200).held()]);
    let mut sync = call("sync", &receiver.url("/sync"));
    sync["timing"] = json!("sync");
    home.trigger(on("sync", "sync", json!([sync]))).await;
    let api = home.with_scopes(&["events:write"]).await;
    let mut sending = tokio::spawn(async move { api.event("sync", json!({})).await });
    receiver.wait_for("/sync", 1).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut sending).await;
    assert!(early.is_err(), "the answer waits for the sync action");
    receiver.release(1);
    let id = sending.await.unwrap();
    assert_eq!(home.detail(&id).await["runs"][0]["actions"][0]["status"], "delivered");
}

#[tokio::test]
async fn an_async_action_does_not_hold_the_answer_up() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/held", [Reply::status(200).held()]);
    home.trigger(on("async", "async", json!([call("c", &receiver.url("/held"))]))).await;
    let id = home.event("async", json!({})).await;
    receiver.wait_for("/held", 1).await;
    assert_eq!(home.detail(&id).await["status"], "pending");
    receiver.release(1);
    home.ended(&id).await;
}

#[tokio::test]
async fn a_queued_action_goes_through_its_queue_and_is_done() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut queued = call("queued", &receiver.url("/queued"));
    queued["timing"] = json!("queued");
    queued["queue"] = json!("slow-lane");
    home.trigger(on("queue", "queue", json!([call("before", &receiver.url("/before")), queued]))).await;
    let event = home.event_ended("queue", json!({})).await;
    assert_eq!(event["status"], "delivered");
    assert_eq!((receiver.seen_at("/before").len(), receiver.seen_at("/queued").len()), (1, 1));
}

#[tokio::test]
async fn a_strict_action_fails_where_a_placeholder_has_no_value() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut action = call("c", &receiver.url("/strict"));
    action["strict"] = json!(true);
    action["config"]["body"] = json!({"name": "{{record.nobody}}"});
    home.trigger(on("strict", "strict", json!([action]))).await;
    let event = home.event_ended("strict", json!({})).await;
    assert_eq!((&event["status"], &event["runs"][0]["error_code"]), (&json!("failed"), &json!("TEMPLATE")));
    assert!(event["runs"][0]["error"].as_str().unwrap().contains("record.nobody"), "{event:#}");
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn triggers_of_one_event_begin_in_order_of_priority() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut wanted = Vec::new();
    for (tag, priority) in [("d", 100), ("a", 30), ("c", 1), ("b", 30)] {
        let mut definition = on(tag, "ranked", json!([call("c", &receiver.url(&format!("/{tag}")))]));
        definition["priority"] = json!(priority);
        home.trigger(definition).await;
        wanted.push((priority, tag));
    }
    wanted.sort_unstable();
    let event = home.event_ended("ranked", json!({})).await;
    let ran: Vec<&Value> = event["runs"].as_array().unwrap().iter().map(|run| &run["trigger"]).collect();
    let wanted: Vec<&str> = wanted.into_iter().map(|(_, tag)| tag).collect();
    assert_eq!(ran, wanted);
}

//! Trying a trigger: on a sample event without doing anything, and on the events of a while ago.

use serde_json::{Value, json};

use crate::harness::{Receiver, after_insert, change, home, on};

#[tokio::test]
async fn a_test_renders_the_settings_and_does_nothing() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.resource("secrets", "TOKEN", json!({"value": "canary-of-the-test"})).await;
    let mut trigger = after_insert(
        "tried",
        "orders",
        json!([
            {"name": "call", "type": "http.post", "config": {
                "url": receiver.url("/x?name={{record.name}}"), "auth": {"bearer": "{{secrets.TOKEN}}"},
                "body": {"total": "{{record.total}}", "text": "{{record.total}} EUR", "whole": "{{record}}", "missing": "{{record.nobody}}"}}},
            {"name": "note", "type": "log.info", "condition": {"field": "record.total", "operator": "LESS_THAN", "value": 10}, "config": {"message": "after {{actions.call.output.status}}"}}
        ]),
    );
    trigger["condition"] = json!({"field": "record.total", "operator": "GREATER_THAN", "value": 10});
    home.trigger(trigger).await;
    let sample = change("insert", "orders", json!({"total": 1000, "name": "a b&c/ü"}), Value::Null);
    let tried = home.post("/api/v1/triggers/tried/test", sample).await.expect(200);
    assert_eq!(tried["matched"], true);
    assert_eq!((&tried["explanation"]["node"], &tried["explanation"]["verdict"]), (&json!("field"), &json!(true)));
    let call = &tried["actions"][0];
    assert_eq!((&call["name"], &call["type"]), (&json!("call"), &json!("http.post")));
    let config = &call["config"];
    assert!(config["url"].as_str().unwrap().ends_with("/x?name=a%20b%26c%2F%C3%BC"), "{config}");
    assert_eq!(config["body"]["total"], 1000);
    assert_eq!(config["body"]["text"], "1000 EUR");
    assert_eq!(config["body"]["whole"], json!({"total": 1000, "name": "a b&c/ü"}));
    assert_eq!(config["body"]["missing"], Value::Null);
    assert!(call["warnings"].to_string().contains("record.nobody"), "{call:#}");
    assert!(!tried.to_string().contains("canary"), "{tried:#}");
    let small = home
        .post("/api/v1/triggers/tried/test", change("insert", "orders", json!({"total": 1}), Value::Null))
        .await
        .expect(200);
    assert_eq!((&small["matched"], &small["explanation"]["found"]), (&json!(false), &json!(1)));
    let other = home.post("/api/v1/triggers/tried/test", json!({"type": "x", "payload": {}})).await.expect(200);
    assert_eq!(other["matched"], false);
    home.post("/api/v1/triggers/tried/test", json!({"type": 1})).await.problem(422);
    home.post("/api/v1/triggers/nobody/test", json!({"type": "x", "payload": {}})).await.problem(404);
    assert_eq!(receiver.connections(), 0, "nothing is done");
    assert_eq!(home.get("/api/v1/inbox").await.expect(200)["total"], 0);
}

#[tokio::test]
async fn a_backtest_counts_the_stored_events_that_would_have_matched() {
    let home = home().await;
    for n in 0..12 {
        home.event("past", json!({"n": n})).await;
    }
    home.event("other", json!({"n": 99})).await;
    let mut trigger = on("late", "past", json!([{"type": "log.info", "config": {"message": "x"}}]));
    trigger["condition"] = json!({"field": "payload.n", "operator": "GREATER_THAN_OR_EQUALS", "value": 9});
    home.trigger(trigger).await;
    let range = json!({"start_time": "2020-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"});
    let found = home.post("/api/v1/triggers/late/backtest", range).await.expect(200);
    assert_eq!((&found["events"], &found["matched"]), (&json!(13), &json!(3)), "{found:#}");
    let samples = found["samples"].as_array().unwrap();
    assert!(samples.len() == 3 && samples[0]["event_id"].is_string(), "{found:#}");
    let none = json!({"start_time": "2020-01-01T00:00:00Z", "end_time": "2020-01-02T00:00:00Z"});
    assert_eq!(home.post("/api/v1/triggers/late/backtest", none).await.expect(200)["matched"], 0);
    assert_eq!(home.get("/api/v1/inbox?status=delivered").await.expect(200)["total"], 0, "nothing is run");
}

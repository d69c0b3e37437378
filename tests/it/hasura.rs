//! Hasura's event triggers: row changes, each once however often it is delivered.

use serde_json::{Value, json};

use crate::harness::{Receiver, call, home, on};

fn delivery(id: &str, op: &str, old: Value, new: Value) -> Value {
    json!({
        "id": id, "created_at": "2025-09-05T07:14:21.601701", "trigger": {"name": "order_changed"},
        "table": {"schema": "public", "name": "orders"},
        "event": {
            "session_variables": {"x-hasura-role": "admin", "x-hasura-user-id": "7"}, "op": op,
            "data": {"old": old, "new": new},
            "trace_context": {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"},
        },
        "delivery_info": {"current_retry": 0, "max_retries": 3},
    })
}

#[tokio::test]
async fn a_hasura_delivery_is_a_row_change_with_its_user_and_its_trace() {
    let home = home().await;
    let receiver = Receiver::start().await;
    let mut action = call("tell", &receiver.url("/h"));
    action["config"]["body"] = json!({"who": "{{user.id}}", "role": "{{metadata.hasura.session_variables.x-hasura-role}}", "row": "{{record}}"});
    let mut trigger = on("hasura", "afterUpdate", json!([action]));
    trigger["tables"] = json!(["orders"]);
    trigger["condition"] = json!({"field": "status", "operator": "CHANGED_TO", "value": "paid"});
    home.trigger(trigger).await;
    let body = delivery("h1", "UPDATE", json!({"id": 1, "status": "new"}), json!({"id": 1, "status": "paid"}));
    let id = home.accept(body).await;
    let event = home.detail(&id).await;
    assert_eq!(event["type"], "orders.updated");
    let seen = receiver.wait_for("/h", 1).await;
    assert_eq!(seen[0].json(), json!({"who": "7", "role": "admin", "row": {"id": 1, "status": "paid"}}));
    assert!(seen[0].header("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
}

#[tokio::test]
async fn a_delivery_that_comes_again_is_the_same_event() {
    let home = home().await;
    let first = delivery("h2", "INSERT", Value::Null, json!({"id": 1}));
    let mut again = first.clone();
    again["delivery_info"]["current_retry"] = json!(1);
    let accepted = home.post("/events", first.clone()).await.expect(202);
    let answer = home.post("/api/v1/events", again.clone()).await;
    assert_eq!(answer.header("idempotency-replayed"), "true");
    assert_eq!(answer.expect(202), accepted);
    // All at once, too.
    let other = delivery("h3", "INSERT", Value::Null, json!({"id": 2}));
    let answers = futures_util::future::join_all((0..10).map(|_| home.post("/events", other.clone()))).await;
    let mut ids: Vec<String> = answers.into_iter().map(|answer| answer.expect(202)["event_id"].to_string()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    // In a batch each item stands for itself.
    let third = delivery("h4", "DELETE", json!({"id": 1}), Value::Null);
    let batch =
        home.post("/api/v1/events/batch", json!([again, third, third, {"type": "a", "payload": 1}])).await.expect(202);
    assert_eq!((&batch["accepted"], &batch["results"][0]["event_id"]), (&json!(4), &accepted["event_id"]));
    let replayed: Vec<bool> =
        batch["results"].as_array().unwrap().iter().map(|result| result["replayed"] == json!(true)).collect();
    assert_eq!(replayed, [true, false, true, false]);
    assert_eq!(batch["results"][1]["event_id"], batch["results"][2]["event_id"]);
    assert_eq!(home.get("/api/v1/inbox").await.expect(200)["total"], 4);
    for result in batch["results"].as_array().unwrap() {
        home.detail(result["event_id"].as_str().unwrap()).await;
    }
    // Another tenant's deliveries have names of their own.
    let stranger = crate::harness::home().await;
    assert_ne!(stranger.post("/events", first).await.expect(202)["event_id"], accepted["event_id"]);
}

#[tokio::test]
async fn a_delivery_that_is_wrong_is_told_at_its_own_places() {
    let home = home().await;
    let problem = home.post("/events", delivery("h5", "TRUNCATE", Value::Null, json!(1))).await.problem(422);
    let places: Vec<&Value> = problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(places, ["/event/op", "/event/data/new"]);
}

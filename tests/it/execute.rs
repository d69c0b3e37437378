//! The execute call: before-triggers see a write, may change it, and may refuse it.

use serde_json::{Value, json};

use crate::harness::{Home, Receiver, Reply, call, guest, home};

async fn before(home: &Home, tag: &str, priority: u32, actions: Value) {
    home.trigger(
        json!({"tag": tag, "tables": ["orders"], "events": ["beforeInsert"], "priority": priority, "actions": actions}),
    )
    .await;
}

async fn execute(home: &Home, record: Value) -> Value {
    let context = json!({"database": "shop", "table": "orders", "record": record, "user": {"id": "u"}, "env": "prd"});
    home.post("/api/v1/execute", json!({"event": "beforeInsert", "context": context})).await.expect(200)
}

#[tokio::test]
async fn before_triggers_change_the_record_in_order_each_seeing_the_one_before() {
    let home = home().await;
    before(&home, "second", 2, json!([{"type": "record.set", "config": {"fields": {"total": "{{record.amount}}", "address.city": "Bern", "items[0].sku": "x"}}}])).await;
    before(&home, "first", 1, json!([{"type": "record.set", "config": {"fields": {"amount": 100}}}])).await;
    let answer = execute(&home, json!({"amount": 1, "items": [{"sku": "a"}]})).await;
    assert_eq!((&answer["allowed"], &answer["rejection"]), (&json!(true), &Value::Null));
    assert_eq!(
        answer["record"],
        json!({"amount": 100, "items": [{"sku": "x"}], "total": 100, "address": {"city": "Bern"}})
    );
    let ran: Vec<&Value> = answer["runs"].as_array().unwrap().iter().map(|run| &run["trigger"]).collect();
    assert_eq!(ran, ["first", "second"]);
}

#[tokio::test]
async fn a_rejection_refuses_the_write_and_names_the_trigger() {
    let home = home().await;
    before(
        &home,
        "no-free-orders",
        1,
        json!([{"type": "record.reject", "condition": {"field": "record.total", "operator": "EQUALS", "value": 0},
        "config": {"message": "Order {{record.id}} is free", "code": "FREE"}}]),
    )
    .await;
    before(&home, "later", 2, json!([{"type": "record.set", "config": {"fields": {"seen": true}}}])).await;
    let refused = execute(&home, json!({"id": 7, "total": 0})).await;
    assert_eq!(refused["allowed"], false);
    assert_eq!(
        (&refused["rejection"]["trigger"], &refused["rejection"]["message"]),
        (&json!("no-free-orders"), &json!("Order 7 is free"))
    );
    assert_eq!(refused["record"]["seen"], Value::Null, "nothing after the refusal runs");
    assert_eq!(execute(&home, json!({"id": 8, "total": 1})).await["record"]["seen"], true);
}

#[tokio::test]
async fn a_failing_before_action_refuses_the_write() {
    let home = home().await;
    let receiver = Receiver::start().await;
    receiver.script("/check", [Reply::status(500)]);
    before(&home, "check", 1, json!([call("c", &receiver.url("/check"))])).await;
    let refused = execute(&home, json!({})).await;
    assert_eq!((&refused["allowed"], &refused["rejection"]["trigger"]), (&json!(false), &json!("check")));
}

#[tokio::test]
async fn what_is_for_before_events_is_refused_elsewhere() {
    let home = home().await;
    let definition = json!({"tag": "late", "tables": ["orders"], "events": ["afterInsert"], "actions": [{"type": "record.reject", "config": {"message": "x"}}]});
    let problem = home.post("/api/v1/triggers", definition).await.problem(422);
    assert!(problem["errors"][0]["pointer"].as_str().unwrap().starts_with("/actions/0"), "{problem}");
}

#[tokio::test]
async fn after_events_are_accepted_and_waited_for() {
    let home = home().await;
    let receiver = Receiver::start().await;
    home.trigger(json!({"tag": "after", "tables": ["orders"], "events": ["afterUpdate"], "actions": [call("c", &receiver.url("/after"))]})).await;
    let context = json!({"table": "orders", "record": {"n": 2}, "previousRecord": {"n": 1}});
    let answer = home.post("/api/v1/execute", json!({"event": "afterUpdate", "context": context})).await.expect(200);
    assert_eq!(
        (&answer["allowed"], &answer["record"], &answer["runs"][0]["status"]),
        (&json!(true), &json!({"n": 2}), &json!("delivered"))
    );
    assert_eq!(receiver.seen_at("/after").len(), 1);
}

#[tokio::test]
async fn a_wrong_call_is_refused_with_the_place() {
    let home = home().await;
    for (body, pointer) in [
        (json!({"context": {}}), "/event"),
        (json!({"event": "beforeInsert", "context": {"table": "t", "record": {}}, "extra": 1}), "/extra"),
        (json!({"event": "beforeInsert", "context": {"record": {}}}), "/context/table"),
    ] {
        let problem = home.post("/api/v1/execute", body).await.problem(422);
        assert!(problem["errors"].as_array().unwrap().iter().any(|e| e["pointer"] == pointer), "{pointer}: {problem}");
    }
}

#[tokio::test]
async fn a_guard_in_wasm_proceeds_changes_or_refuses() {
    let home = home().await;
    home.component("order-guard", guest("order-guard")).await;
    let input = json!({"currencies": ["EUR"], "maxTotal": 1000});
    before(
        &home,
        "check-order",
        1,
        json!([{"name": "check", "type": "custom", "config": {"component": "order-guard", "input": input}}]),
    )
    .await;
    let order = |currency: &str, total: Value| json!({"currency": currency, "total": total, "items": [{"sku": "TEA", "quantity": 2, "price": "12.50"}]});
    let fine = execute(&home, order("EUR", json!(25))).await;
    assert_eq!((&fine["allowed"], &fine["record"]), (&json!(true), &order("EUR", json!(25))), "{fine:#}");
    let changed = execute(&home, order("eur", Value::Null)).await;
    assert_eq!((&changed["allowed"], &changed["record"]["currency"]), (&json!(true), &json!("EUR")), "{changed:#}");
    assert!(changed["record"]["total"].is_number() || changed["record"]["total"].is_string(), "{changed:#}");
    let refused = execute(&home, order("USD", Value::Null)).await;
    assert_eq!(refused["allowed"], false);
    assert_eq!(
        (&refused["rejection"]["trigger"], &refused["rejection"]["code"]),
        (&json!("check-order"), &json!("ORDER_INVALID"))
    );
    assert!(refused["rejection"]["message"].as_str().unwrap().contains("currency"), "{refused:#}");
}

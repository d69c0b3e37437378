//! What a guest's function sees of an invocation, and what becomes of its answer.
#![allow(clippy::unwrap_used)]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use triggerd_sdk::testing::{TestHost, invocation};
use triggerd_sdk::{ActionError, Context, Event, ServiceError, Verdict};

#[derive(Deserialize)]
struct Input {
    total: f64,
}

#[derive(Deserialize)]
struct Order {
    id: u64,
}

#[derive(Serialize, PartialEq, Debug)]
struct Seen {
    id: u64,
    before: Option<u64>,
    total: f64,
    table: Option<String>,
    changed: Vec<String>,
    earlier: Option<Value>,
    user: Option<Value>,
}

#[triggerd_sdk::action]
fn look(cx: Context<Input>) -> Result<Seen, ActionError> {
    Ok(Seen {
        id: cx.record::<Order>()?.id,
        before: cx.previous_record::<Order>()?.map(|order| order.id),
        total: cx.input.total,
        table: cx.table.clone(),
        changed: cx.changed_fields.clone(),
        earlier: cx.result("earlier")?,
        user: cx.user()?,
    })
}

#[triggerd_sdk::guard]
fn only_small(cx: Context<Input>) -> Result<Verdict, ActionError> {
    match cx.input.total {
        total if total < 0.0 => Verdict::change(json!({"total": 0})),
        total if total > 100.0 => Ok(Verdict::refuse("TOO_LARGE", "at most 100")),
        _ => Ok(Verdict::Proceed),
    }
}

#[triggerd_sdk::condition]
fn is_large(cx: Context<Input>) -> Result<bool, ServiceError> {
    Ok(cx.input.total > 100.0)
}

#[triggerd_sdk::transform]
fn renamed(cx: Context) -> Result<Option<Event>, ActionError> {
    let mut event = cx.event()?;
    event.record["seen"] = json!(true);
    Ok(Some(event))
}

#[test]
fn an_action_sees_the_event() {
    let call = invocation()
        .change("afterUpdate", "orders")
        .record(json!({"id": 7, "status": "paid"}))
        .previous_record(json!({"id": 7, "status": "new"}))
        .input(json!({"total": 12.5}))
        .result("earlier", json!({"ok": true}))
        .user(json!({"id": "u-1"}));
    let seen = TestHost::new().call(look, call).unwrap();
    assert_eq!(
        seen,
        Seen {
            id: 7,
            before: Some(7),
            total: 12.5,
            table: Some("orders".into()),
            changed: vec!["status".into()],
            earlier: Some(json!({"ok": true})),
            user: Some(json!({"id": "u-1"})),
        }
    );
}

#[test]
fn what_is_not_there_is_none() {
    let call = invocation().event_type("order.created").record(json!({"id": 1})).input(json!({"total": 1}));
    let seen = TestHost::new().call(look, call).unwrap();
    assert_eq!((seen.before, seen.table, seen.earlier, seen.user), (None, None, None, None));
}

#[test]
fn an_input_that_does_not_fit_fails_for_good_and_says_where() {
    let error = TestHost::new().call(look, invocation().input(json!({"total": "much"}))).unwrap_err();
    assert_eq!(error.code, "INPUT_INVALID");
    assert!(error.message.contains("much"), "{error}");
    assert!(!error.is_retryable());
}

#[test]
fn a_record_that_does_not_fit_fails_for_good() {
    let call = invocation().record(json!({"id": -1})).input(json!({"total": 1}));
    assert_eq!(TestHost::new().call(look, call).unwrap_err().code, "RECORD_INVALID");
}

#[test]
fn a_guard_decides() {
    let host = TestHost::new();
    let verdict = |total| host.call(only_small, invocation().input(json!({"total": total}))).unwrap();
    assert_eq!(verdict(50), Verdict::Proceed);
    assert_eq!(verdict(-5), Verdict::Change(json!({"total": 0})));
    let refused = Verdict::Refuse { code: Some("TOO_LARGE".into()), message: "at most 100".into() };
    assert_eq!(verdict(500), refused);
}

#[test]
fn a_condition_answers_with_yes_or_no() {
    let host = TestHost::new();
    assert!(host.call(is_large, invocation().input(json!({"total": 101}))).unwrap());
    assert!(!host.call(is_large, invocation().input(json!({"total": 1}))).unwrap());
}

#[test]
fn a_transformed_row_change_is_a_body_for_the_api() {
    let call = invocation()
        .change("afterDelete", "orders")
        .record(json!({"id": 1}))
        .previous_record(json!({"id": 1}))
        .metadata(json!({"trace": "t"}))
        .with(|invocation| invocation.database = Some("shop".into()));
    let event = TestHost::new().call(renamed, call).unwrap().unwrap();
    assert_eq!(
        event.into_json(),
        json!({
            "operation": "delete", "database": "shop", "table": "orders",
            "record": {"id": 1, "seen": true}, "previousRecord": {"id": 1}, "metadata": {"trace": "t"},
        })
    );
}

#[test]
fn a_transformed_message_is_a_body_for_the_api() {
    let call = invocation()
        .event_type("order.created")
        .record(json!({"id": 1}))
        .with(|invocation| invocation.source = Some("shop".into()));
    let event = TestHost::new().call(renamed, call).unwrap().unwrap();
    assert_eq!(
        event.into_json(),
        json!({"type": "order.created", "source": "shop", "payload": {"id": 1, "seen": true}})
    );
}

//! What guests answer with, world by world.

use serde_json::{Value, json};
use triggerd::wasm::*;

use crate::guests::{ECHO, action, module, says, with_world};
use crate::harness::Try;

#[tokio::test]
async fn an_action_gets_the_event_and_answers_with_json_whose_numbers_keep_their_digits() {
    let report = Try::new().run(&action("", ECHO)).await;
    let Ok(GuestAnswer::Json(value)) = report.result else { panic!("{report:?}") };
    assert_eq!(value.to_string(), r#"{"id":1,"total":12345678901234567890.5}"#);
    assert_eq!(report.memory_peak, 2 * 65536);
}

#[tokio::test]
async fn every_call_gets_a_fresh_instance() {
    let guest = action(
        "",
        r#"(i32.store8 (i32.const 1024) (i32.add (i32.load8_u (i32.const 1024)) (i32.const 1)))
           (i32.store8 (i32.const 2048) (i32.add (i32.const 48) (i32.load8_u (i32.const 1024))))
           (call $ok (i32.const 2048) (i32.const 1))"#,
    );
    let host = Try::new();
    for _ in 0..20 {
        assert_eq!(host.run(&guest).await.result, Ok(GuestAnswer::Json(json!(1))));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_an_error_of_its_own() {
    let (code, message) = Try::new().fails(&says("{\"a\":")).await;
    assert_eq!(code, "WASM_RESULT");
    assert!(message.contains("not JSON"), "{message}");
}

#[tokio::test]
async fn an_answer_over_its_limit_is_an_error_of_its_own() {
    let limited = Try::new().within(|limits| limits.result_bytes = 10);
    assert_eq!(limited.fails(&says("\"123456789\"")).await.0, "WASM_RESULT");
    assert!(limited.run(&says("\"12345678\"")).await.result.is_ok());
}

#[tokio::test]
async fn a_failure_of_the_guest_keeps_its_code_message_and_delay() {
    // Err: code "A", message "BC", retryable after 2500 ms.
    let guest = action(
        "",
        r#"(i32.store8 (i32.const 16) (i32.const 1))
           (i32.store (i32.const 1024) (i32.const 0x00434241))
           (i32.store (i32.const 24) (i32.const 1024)) (i32.store (i32.const 28) (i32.const 1))
           (i32.store (i32.const 32) (i32.const 1025)) (i32.store (i32.const 36) (i32.const 2))
           (i32.store8 (i32.const 40) (i32.const 0))
           (i32.store8 (i32.const 48) (i32.const 1)) (i64.store (i32.const 56) (i64.const 2500))
           (i32.const 16)"#,
    );
    let error = Try::new().run(&guest).await.result.unwrap_err();
    assert_eq!((error.code.as_str(), error.message.as_str(), error.retryable), ("A", "BC", true));
    assert_eq!(error.delay, Some(std::time::Duration::from_millis(2500)));
}

#[tokio::test]
async fn a_guard_changes_a_record_or_refuses_the_write() {
    let guard = |body: &str| {
        let export = format!(
            r#"(data (i32.const 1024) "{{\"a\":1}}too late")
               (func (export "triggerd:runtime/check@0.1.0#check") (param i32) (result i32)
                 (i32.store8 (i32.const 16) (i32.const 0)) {body} (i32.const 16))"#
        );
        with_world(module("", "2", &export), "triggerd:runtime/guard")
    };
    let change = r#"(i32.store8 (i32.const 24) (i32.const 1))
                    (i32.store (i32.const 28) (i32.const 1024)) (i32.store (i32.const 32) (i32.const 7))"#;
    let refuse = r#"(i32.store8 (i32.const 24) (i32.const 2)) (i32.store8 (i32.const 28) (i32.const 0))
                    (i32.store (i32.const 40) (i32.const 1031)) (i32.store (i32.const 44) (i32.const 8))"#;
    let host = Try::new().exporting(Export::Guard);
    assert_eq!(host.run(&guard("")).await.result, Ok(GuestAnswer::Guard(GuardVerdict::Proceed)));
    assert_eq!(host.run(&guard(change)).await.result, Ok(GuestAnswer::Guard(GuardVerdict::Change(json!({"a": 1})))));
    let refused = GuardVerdict::Refuse { code: None, message: "too late".into() };
    assert_eq!(host.run(&guard(refuse)).await.result, Ok(GuestAnswer::Guard(refused)));
}

#[tokio::test]
async fn a_condition_answers_yes_or_no_and_a_transform_an_event_or_nothing() {
    let both = r#"
      (func (export "triggerd:runtime/matches@0.1.0#matches") (param i32) (result i32)
        (i32.store8 (i32.const 16) (i32.const 0)) (i32.store8 (i32.const 24) (i32.const 1)) (i32.const 16))
      (func (export "triggerd:runtime/rewrite@0.1.0#rewrite") (param i32) (result i32)
        (i32.store8 (i32.const 16) (i32.const 0)) (i32.store8 (i32.const 24) (i32.const 0)) (i32.const 16))
      (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32) unreachable)
      (func (export "triggerd:runtime/check@0.1.0#check") (param i32) (result i32) unreachable)"#;
    let guest = with_world(module("", "2", both), "triggerd:runtime/all");
    let host = Try::new().exporting(Export::Matches).within(|limits| *limits = Limits::condition());
    let inspected = host.host.inspect(guest.clone()).await.unwrap();
    assert_eq!(inspected.worlds, ["action", "guard", "condition", "transform"]);
    assert_eq!(host.run(&guest).await.result, Ok(GuestAnswer::Matches(true)));
    let host = host.exporting(Export::Transform);
    assert_eq!(host.run(&guest).await.result, Ok(GuestAnswer::Transform(None)));
}

#[tokio::test]
async fn calling_what_is_not_exported_names_it() {
    let (code, message) = Try::new().exporting(Export::Guard).fails(&says("1")).await;
    assert_eq!(code, "WASM_INTERFACE");
    assert!(message.contains("triggerd:runtime/check"), "{message}");
}

#[tokio::test]
async fn log_lines_carry_level_message_and_fields() {
    let guest = action(
        r#"(import "triggerd:runtime/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32 i32)))"#,
        r#"(i32.store (i32.const 1024) (i32.const 0x000a6968))
           (i64.store (i32.const 1032) (i64.const 0x7d313a226122_7b))
           (call $log (i32.const 3) (i32.const 1024) (i32.const 3) (i32.const 1) (i32.const 1032) (i32.const 7))
           (i32.store8 (i32.const 2048) (i32.const 49))
           (call $ok (i32.const 2048) (i32.const 1))"#,
    );
    let report = Try::new().run(&guest).await;
    assert!(report.result.is_ok(), "{report:?}");
    let line = &report.logs[0];
    assert_eq!(
        (line.level.as_str(), line.message.as_str(), &line.fields),
        ("warn", "hi\\n", &json!({"a": 1}) as &Value)
    );
}

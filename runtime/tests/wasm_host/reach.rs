//! What guests reach through their imports, and what is denied without a grant.

use serde_json::json;
use triggerd::wasm::*;

use crate::guests::{action, module, with_world};
use crate::harness::Try;

const EVENTS: &str = r#"(import "triggerd:runtime/events@0.1.0" "emit" (func $emit (param i32 i32 i32 i32 i32)))"#;
const SECRETS: &str = r#"(import "triggerd:runtime/secrets@0.1.0" "get" (func $get (param i32 i32 i32)))"#;
const BROKER: &str = r#"(import "triggerd:runtime/broker@0.1.0" "publish"
    (func $publish (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;
const CACHE: &str = r#"(import "triggerd:runtime/cache@0.1.0" "get" (func $get (param i32 i32 i32 i32 i32)))"#;
const QUERY: &str =
    r#"(import "triggerd:runtime/database@0.1.0" "query" (func $query (param i32 i32 i32 i32 i32 i32 i32)))"#;
const EXECUTE: &str =
    r#"(import "triggerd:runtime/database@0.1.0" "execute" (func $query (param i32 i32 i32 i32 i32 i32 i32)))"#;
const HTTP: &str = r#"(import "triggerd:runtime/http@0.1.0" "send"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))"#;

/// A guest that makes one call, whose outcome's tag it answers with: 0 for an answer, 1 for an error.
fn calls(imports: &str, data: &str, call: &str) -> Vec<u8> {
    let rest = format!(
        r#"(data (i32.const 1024) "{data}")
           (func (export "triggerd:runtime/run@0.1.0#run") (param i32) (result i32)
             {call}
             (i32.store8 (i32.const 2048) (i32.add (i32.const 48) (i32.load8_u (i32.const 4096))))
             (call $ok (i32.const 2048) (i32.const 1)))"#
    );
    with_world(module(imports, "2", &rest), "triggerd:runtime/action")
}

fn emits(event_type: &str) -> Vec<u8> {
    let n = event_type.len();
    let call = format!(
        "(call $emit (i32.const 1024) (i32.const {n}) (i32.const {}) (i32.const 2) (i32.const 4096))",
        1024 + n
    );
    calls(EVENTS, &format!("{event_type}[]"), &format!("{call} {call}"))
}

fn sends(url: &str) -> Vec<u8> {
    let call = format!(
        "(call $send (i32.const 1024) (i32.const 3) (i32.const 1027) (i32.const {}) (i32.const 0) (i32.const 0) \
         (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 4096))",
        url.len()
    );
    calls(HTTP, &format!("GET{url}"), &call)
}

/// Asks the database `db` for `SELECT 1`, or to run it.
fn asks(import: &str) -> Vec<u8> {
    let call = "(call $query (i32.const 1024) (i32.const 2) (i32.const 1026) (i32.const 8) (i32.const 0) (i32.const 0) (i32.const 4096))";
    calls(import, "dbSELECT 1", call)
}

const DONE: Result<GuestAnswer, CallError> = Ok(GuestAnswer::Json(serde_json::Value::Null));

fn answered(report: &CallReport) -> &str {
    match &report.result {
        Ok(GuestAnswer::Json(tag)) if *tag == json!(0) => "answer",
        Ok(GuestAnswer::Json(tag)) if *tag == json!(1) => "error",
        other => panic!("{other:?} instead of {DONE:?}"),
    }
}

#[tokio::test]
async fn granted_imports_are_served_with_the_call_they_belong_to() {
    let host = Try::new().granting(json!({
        "events": ["order.*"], "secrets": ["KEY"], "brokers": ["kafka:users"], "caches": ["redis"], "http": ["a.example"],
        "databases": {"db": "write"}
    }));
    let secret = calls(SECRETS, "KEY", "(call $get (i32.const 1024) (i32.const 3) (i32.const 4096))");
    let cache = calls(
        CACHE,
        "redisK",
        "(call $get (i32.const 1024) (i32.const 5) (i32.const 1029) (i32.const 1) (i32.const 4096))",
    );
    let publish = calls(
        BROKER,
        "kafka:users1",
        "(call $publish (i32.const 1024) (i32.const 11) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) \
         (i32.const 0) (i32.const 1035) (i32.const 1) (i32.const 4096))",
    );
    for guest in [emits("order.paid"), secret, cache, publish, asks(QUERY), asks(EXECUTE), sends("https://a.example/x")]
    {
        assert_eq!(answered(&host.run(&guest).await), "answer");
    }
    let expected = [
        "emit 0190-delivery order.paid [] #0",
        "emit 0190-delivery order.paid [] #1",
        "secret KEY",
        "cache_get redis K",
        "publish kafka:users #0",
        "database_query db SELECT 1 []",
        "database_execute db SELECT 1 []",
        "GET https://a.example/x",
    ];
    assert_eq!(host.asked(), expected);
}

#[tokio::test]
async fn an_import_without_a_grant_ends_the_call_and_is_named() {
    let grants = json!({"events": ["order.*"], "http": ["a.example"], "databases": {"db": "read", "other": "write"}});
    let host = Try::new().granting(grants);
    for (guest, named) in [
        (asks(EXECUTE), "to write db"),
        (emits("user.created"), "user.created"),
        (sends("https://b.example:8443/"), "b.example:8443"),
        (sends("http://169.254.169.254/latest"), "169.254.169.254"),
        (calls(SECRETS, "KEY", "(call $get (i32.const 1024) (i32.const 3) (i32.const 4096))"), "secrets of KEY"),
    ] {
        let (code, message) = host.fails(&guest).await;
        assert_eq!(code, "WASM_FORBIDDEN");
        assert!(message.contains(named) && message.contains("capabilities"), "{message}");
    }
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn requests_that_cannot_be_sent_are_errors_the_guest_sees() {
    let host = Try::new().granting(json!({"http": ["*"]}));
    for url in ["ftp://a.example/", "/relative", "https://user:pw@a.example/"] {
        assert_eq!(answered(&host.run(&sends(url)).await), "error", "{url}");
    }
    assert!(host.asked().is_empty());
}

#[tokio::test]
async fn importing_without_calling_needs_no_grant() {
    let guest =
        action(SECRETS, "(i32.store8 (i32.const 2048) (i32.const 49)) (call $ok (i32.const 2048) (i32.const 1))");
    assert!(Try::new().run(&guest).await.result.is_ok());
}

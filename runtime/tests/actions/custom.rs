//! `custom`: uploaded guests as actions, and what their imports reach.

#[path = "../wasm_host/guests.rs"]
#[allow(dead_code)]
mod guests;

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use triggerd::actions::GuestServices;
use triggerd::wasm::{BrokerMessage, EmittedEvent, HttpRequest, ServiceContext, Services};
use triggerd_core::event::{Change, Moment, Operation};
use triggerd_core::run::Effect;

use crate::harness::http_server::HttpServer;
use crate::harness::{Bench, dead, done, retried, run};

async fn upload(bench: &Bench, name: &str, bytes: Vec<u8>) {
    let now = bench.services.clock.now();
    bench.services.components.upload(&bench.tenant(), name, bytes, now).await.unwrap();
}

#[tokio::test]
async fn an_uploaded_component_is_an_action() {
    let bench = Bench::local().await;
    upload(&bench, "echo", guests::action("", guests::ECHO)).await;
    let cx = bench.context();
    assert_eq!(done(run(&cx, "custom", json!({"component": "echo", "input": {"a": 1}})).await), json!({"id": 1}));
    let request = cx.excerpt.lock().request.clone().unwrap();
    assert_eq!(
        (&request["component"], &request["version"], &request["input"]),
        (&json!("echo"), &json!(1), &json!("{\"a\":1}"))
    );
    assert_eq!(done(bench.run("custom", json!({"component": "echo@1"})).await), json!({"id": 1}));
    for absent in ["echo@2", "nope", "echo@sha256:00"] {
        assert_eq!(
            dead(bench.run("custom", json!({ "component": absent })).await).code,
            "COMPONENT_NOT_FOUND",
            "{absent}"
        );
    }
    let failure = dead(bench.run("custom", json!({"component": "echo", "capabilities": {"files": true}})).await);
    assert_eq!(failure.code, "CONFIG_INVALID");
    upload(&bench, "traps", guests::action("", "unreachable")).await;
    assert_eq!(retried(bench.run("custom", json!({"component": "traps"})).await).code, "WASM_TRAP");
}

#[tokio::test]
async fn what_a_guest_says_of_a_secret_is_struck_out() {
    let bench = Bench::local().await;
    upload(&bench, "tells", guests::says(r#"{"key": "canary-9c1e"}"#)).await;
    let mut cx = bench.context();
    cx.secrets = std::sync::Arc::new(vec!["canary-9c1e".to_owned()]);
    let output = done(run(&cx, "custom", json!({"component": "tells", "input": "canary-9c1e"})).await);
    assert_eq!(output, json!({"key": "[secret]"}));
    assert!(!format!("{:?}", cx.excerpt.lock()).contains("canary-9c1e"));
}

#[tokio::test]
async fn a_guard_s_refusal_is_the_write_s() {
    let bench = Bench::local().await;
    let refuse = r#"(data (i32.const 1024) "too late")
        (func (export "triggerd:runtime/check@0.1.0#check") (param i32) (result i32)
          (i32.store8 (i32.const 16) (i32.const 0)) (i32.store8 (i32.const 24) (i32.const 2)) (i32.store8 (i32.const 28) (i32.const 0))
          (i32.store (i32.const 40) (i32.const 1024)) (i32.store (i32.const 44) (i32.const 8)) (i32.const 16))"#;
    upload(&bench, "guard", guests::with_world(guests::module("", "2", refuse), "triggerd:runtime/guard")).await;
    let mut cx = bench.context();
    let mut event = (*cx.event).clone();
    event.change = Some(Change {
        operation: Operation::Insert,
        moment: Moment::Before,
        database: None,
        schema: None,
        table: "orders".into(),
    });
    cx.event = std::sync::Arc::new(event);
    let failure = dead(run(&cx, "custom", json!({"component": "guard"})).await);
    assert_eq!((failure.code.as_str(), failure.message.as_str()), ("RECORD_REJECTED", "too late"));
    assert_eq!(*cx.effect.lock(), Some(Effect::Refuse));
}

fn told(bench: &Bench) -> ServiceContext {
    ServiceContext {
        tenant: bench.tenant().to_string(),
        component: "c".into(),
        delivery_id: bench.context().delivery_id.to_string(),
        env: "default".into(),
        ..ServiceContext::default()
    }
}

fn get(url: String, most: usize) -> HttpRequest {
    HttpRequest {
        method: "GET".into(),
        url,
        headers: vec![("x-a".into(), "1".into())],
        body: Bytes::new(),
        timeout: Duration::from_secs(5),
        max_response_bytes: most,
    }
}

#[tokio::test]
async fn guests_imports_reach_the_tenant_s_own_state_caches_brokers_and_secrets() {
    let bench = Bench::local().await;
    let (cx, services) = (told(&bench), GuestServices::of(&bench.context()));
    assert_eq!(services.state_set(&cx, "k", b"1".to_vec(), None).await, Ok(1));
    assert_eq!(services.state_compare_and_set(&cx, "k", Some(9), b"2".to_vec(), None).await, Ok(None));
    assert_eq!(services.state_compare_and_set(&cx, "k", Some(1), b"2".to_vec(), None).await, Ok(Some(2)));
    assert_eq!(services.state_get(&cx, "k").await.unwrap().unwrap().value, b"2");
    assert_eq!(services.state_delete(&cx, "k").await, Ok(true));
    services.cache_set(&cx, "memory", "k", json!([1]), None).await.unwrap();
    assert_eq!(services.cache_get(&cx, "memory", "k").await, Ok(Some(json!([1]))));
    assert_eq!(services.cache_invalidate(&cx, "memory", "*").await, Ok(1));
    assert_eq!(services.cache_delete(&cx, "memory", "k").await, Ok(false));
    assert_eq!(services.cache_get(&cx, "nope", "k").await.unwrap_err().code, "RESOURCE_NOT_FOUND");
    let message = |index| BrokerMessage {
        broker: "embedded".into(),
        topic: "t".into(),
        key: None,
        headers: vec![],
        message: json!(1),
        index,
    };
    assert_eq!(services.broker_publish(&cx, message(0)).await, Ok(json!({"offset": 0})));
    assert_eq!(services.broker_publish(&cx, message(1)).await, Ok(json!({"offset": 1})));
    assert_eq!(
        services.broker_publish(&cx, message(0)).await,
        Ok(json!({"offset": 0})),
        "a retry publishes nothing new"
    );
    bench.put("secrets", "KEY", json!({"value": "v"})).await;
    assert_eq!(services.secret(&cx, "KEY").await, Ok("v".into()));
    assert_eq!(services.secret(&cx, "NOPE").await.unwrap_err().code, "SECRET_NOT_FOUND");
    let emitted = |event_type: &str| EmittedEvent { event_type: event_type.into(), payload: json!(1), index: 0 };
    services.emit(&cx, emitted("order.done")).await.unwrap();
    assert_eq!(services.emit(&cx, emitted("a b")).await.unwrap_err().code, "CONFIG_INVALID");
    assert_eq!(bench.emitted.lock().len(), 1);
}

#[tokio::test]
async fn guests_requests_go_through_the_same_guard() {
    let server = HttpServer::with_status(200, "x-b: 2\r\n", "hello").await;
    let bench = Bench::local().await;
    let (cx, services) = (told(&bench), GuestServices::of(&bench.context()));
    let answer = services.http(&cx, get(server.url("/"), 100)).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
    assert!(answer.headers.contains(&("x-b".into(), "2".into())));
    assert_eq!(server.last().header("x-a"), "1");
    assert!(!services.http(&cx, get(server.url("/"), 3)).await.unwrap_err().retryable);
    let guarded = Bench::guarded().await;
    let services = GuestServices::of(&guarded.context());
    let before = server.connections();
    for url in [server.url("/"), "http://localhost/".into(), "http://[::1]/".into(), "file:///etc/passwd".into()] {
        assert_eq!(services.http(&cx, get(url, 100)).await.unwrap_err().code, "EGRESS_DENIED");
    }
    assert_eq!(server.connections(), before);
}

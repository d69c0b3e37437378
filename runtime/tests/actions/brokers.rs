//! What holds for every broker that is spoken to over a line: silence, and cuts around the confirmation.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use triggerd_core::outcome::Outcome;

use crate::harness::proxy::{Cut, Proxy};
use crate::harness::{Bench, free_port, retried, run};

const SCHEMES: &[&str] = &["amqp", "amqps", "mqtt", "mqtts", "nats", "tls"];

#[tokio::test]
async fn a_broker_that_is_not_there_is_tried_again() {
    let bench = Bench::local().await;
    for scheme in SCHEMES {
        bench.put("brokers", "down", json!({ "url": format!("{scheme}://127.0.0.1:{}", free_port()) })).await;
        let failure = retried(bench.run("broker.publish", json!({"broker": "down:t", "message": 1})).await);
        assert_eq!(failure.code, "BROKER_UNAVAILABLE", "{scheme}");
        assert!(failure.message.contains("connection refused"), "{}", failure.message);
    }
}

#[tokio::test]
async fn an_attempt_that_is_given_up_on_a_silent_broker_leaves_no_socket() {
    let bench = Bench::local().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for scheme in SCHEMES {
        bench.put("brokers", "silent", json!({ "url": format!("{scheme}://127.0.0.1:{port}") })).await;
        let attempt = bench.run("broker.publish", json!({"broker": "silent:t", "message": 1}));
        let given_up = tokio::time::timeout(Duration::from_millis(200), attempt).await;
        assert!(given_up.is_err(), "{scheme}: {given_up:?}");
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut heard)).await;
        assert!(end.is_ok(), "{scheme}: the socket is still open");
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_no_broker() {
    let bench = Bench::local().await;
    let server = crate::harness::http_server::HttpServer::with_status(200, "", "hello").await;
    for scheme in ["amqp", "mqtt"] {
        bench.put("brokers", "web", json!({ "url": format!("{scheme}://{}", server.address) })).await;
        let failure = retried(bench.run("broker.publish", json!({"broker": "web:t", "message": 1})).await);
        assert_eq!(failure.code, "BROKER_UNAVAILABLE", "{scheme}");
    }
}

#[tokio::test]
async fn settings_are_checked_and_passwords_sealed() {
    let bench = Bench::local().await;
    let (resources, tenant) = (&bench.services.resources, bench.tenant());
    let places = async |settings: Value| match resources.put(&tenant, "brokers", "b", settings).await {
        Err(triggerd::resources::Error::Invalid(mistakes)) => {
            mistakes.into_iter().map(|m| m.pointer).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(places(json!({"kind": "rabbitmq", "url": "nats://h", "ca": "x"})).await, ["/url", "/ca"]);
    assert_eq!(places(json!({"kind": "rabbitmq", "url": "amqp://h", "exchnge": "x"})).await, ["/exchnge"]);
    assert_eq!(places(json!({"kind": "nats"})).await, ["/url"]);
    let nats = json!({"url": "nats://token@h", "credentials": "no", "subjects": ["a.*", "a.>.b"]});
    assert_eq!(places(nats).await, ["/url", "/credentials", "/subjects/1"]);
    assert_eq!(places(json!({"url": "mqtt://h", "qos": 0})).await, ["/qos"]);
    assert_eq!(places(json!({"url": "mqtt://h", "topics": ["#/a", "+"]})).await, ["/topics/0"]);
    for settings in [
        json!({"url": "amqp://u:canary-1@h", "password": "canary-2"}),
        json!({"url": "nats://u:canary-1@h", "token": "canary-2", "subjects": [">"]}),
        json!({"url": "mqtts://u:canary-1@h", "password": "canary-2", "topics": ["a/#"], "expiry": 60}),
        json!({"kind": "nats", "url": "{{secrets.URL}}", "password": {"secret": "PW"}}),
    ] {
        let (shown, _) = resources.put(&tenant, "brokers", "b", settings).await.unwrap();
        assert!(!shown.settings.to_string().contains("canary"), "{}", shown.settings);
    }
}

/// Publishes a hundred messages while the connection is cut around each of them; the delivery ids of those that were
/// recorded as delivered. Each must be in the broker.
pub async fn cut_a_hundred_times(settings: impl Fn(u16) -> Value, upstream: u16, topic: &str) -> HashSet<String> {
    let bench = Bench::local().await;
    let proxy = Proxy::start(upstream).await;
    bench.put("brokers", "cut", settings(proxy.port)).await;
    let publish = |n: u64| json!({"broker": format!("cut:{topic}"), "message": n});
    let mut delivered = HashSet::new();
    let mut failed = 0;
    for n in 0..100 {
        let cx = bench.context();
        // The line stands before it is cut.
        for _ in 0..5 {
            let ready = bench.context();
            if let Outcome::Done(_) = run(&ready, "broker.publish", publish(1000)).await {
                delivered.insert(ready.delivery_id.to_string());
                break;
            }
        }
        proxy.cut_next(if n % 5 == 0 { Cut::Before } else { Cut::After(Duration::from_micros(n * 30)) });
        match run(&cx, "broker.publish", publish(n)).await {
            Outcome::Done(_) => {
                delivered.insert(cx.delivery_id.to_string());
            }
            Outcome::Retry { failure, .. } => {
                assert_eq!(failure.code, "BROKER_UNAVAILABLE", "{failure:?}");
                failed += 1;
            }
            Outcome::Dead(failure) => panic!("a cut is for now: {failure:?}"),
        }
    }
    assert!(failed >= 20, "only {failed} of the cuts were felt");
    assert!(delivered.len() >= 100, "only {} were delivered", delivered.len());
    delivered
}

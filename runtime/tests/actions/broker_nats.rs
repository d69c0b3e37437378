//! `broker.publish` to a real nats-server, with and without JetStream.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use triggerd_core::outcome::Outcome;

use crate::brokers::cut_a_hundred_times;
use crate::harness::certificates::Certificate;
use crate::harness::nats_server::NatsServer;
use crate::harness::{Bench, dead, done, retried, run};

fn publish(subject: &str) -> Value {
    json!({"broker": format!("nats:{subject}"), "message": {"n": 1}, "key": "k", "headers": {"h": "v", "n": 5}})
}

async fn stream(server: &NatsServer, config: jetstream::stream::Config) -> jetstream::Context {
    let context = jetstream::new(server.client().await);
    context.create_stream(config).await.unwrap();
    context
}

#[tokio::test]
async fn nats_hands_the_message_on_with_headers_and_delivery_id() {
    let (bench, server) = (Bench::local().await, NatsServer::start().await);
    let client = server.client().await;
    let mut messages = client.subscribe("pre.orders.>").await.unwrap();
    client.flush().await.unwrap();
    bench.put("brokers", "nats", json!({"kind": "nats", "url": server.url(), "prefix": "pre."})).await;
    let cx = bench.context();
    assert_eq!(done(run(&cx, "broker.publish", publish("orders.a")).await), json!({"subject": "pre.orders.a"}));
    let message = tokio::time::timeout(Duration::from_secs(10), messages.next()).await.unwrap().unwrap();
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("pre.orders.a", &br#"{"n":1}"#[..]));
    let headers = message.headers.unwrap();
    let header = |name: &str| headers.get(name).unwrap().to_string();
    assert_eq!(header("Nats-Msg-Id"), cx.delivery_id.to_string());
    assert_eq!((header("h"), header("n"), header("key")), ("v".into(), "5".into(), "k".into()));
    // Nobody listens there: without JetStream that is nobody's business.
    done(bench.run("broker.publish", publish("nobody")).await);
    let check = bench.services.resources.check(&bench.tenant(), "brokers", "nats", "").await.unwrap();
    assert_eq!((check.ok, check.detail.as_str()), (true, "the server accepts the login"));
}

#[tokio::test]
async fn jetstream_stores_each_delivery_once() {
    let (bench, server) = (Bench::local().await, NatsServer::start().await);
    let subjects = vec!["orders.>".to_owned()];
    let config = jetstream::stream::Config { name: "ORDERS".into(), subjects, ..Default::default() };
    let context = stream(&server, config).await;
    bench.put("brokers", "nats", json!({"kind": "nats", "url": server.url(), "jetstream": true})).await;
    let cx = bench.context();
    let output = done(run(&cx, "broker.publish", publish("orders.a")).await);
    assert_eq!(output, json!({"stream": "ORDERS", "sequence": 1, "duplicate": false}));
    let output = done(run(&cx, "broker.publish", publish("orders.a")).await);
    assert_eq!(output, json!({"stream": "ORDERS", "sequence": 1, "duplicate": true}));
    let kept = context.get_stream("ORDERS").await.unwrap().get_raw_message(1).await.unwrap();
    assert_eq!((kept.subject.as_str(), &kept.payload[..]), ("orders.a", &br#"{"n":1}"#[..]));
    assert_eq!(kept.headers.get("Nats-Msg-Id").unwrap().to_string(), cx.delivery_id.to_string());
    let failure = dead(bench.run("broker.publish", publish("elsewhere")).await);
    assert_eq!(failure.code, "BROKER_REFUSED");
    assert!(failure.message.contains("no stream takes the subject"), "{}", failure.message);
    let check = bench.services.resources.check(&bench.tenant(), "brokers", "nats", "").await.unwrap();
    assert_eq!((check.ok, check.detail.as_str()), (true, "the server accepts the login and has JetStream"));
}

#[tokio::test]
async fn a_full_stream_is_tried_again_and_a_message_that_is_too_large_is_not() {
    let (bench, server) = (Bench::local().await, NatsServer::with("max_payload: 2000").await);
    let config = jetstream::stream::Config {
        name: "S".into(),
        subjects: vec!["s".into()],
        max_messages: 1,
        discard: jetstream::stream::DiscardPolicy::New,
        max_message_size: 1000,
        ..Default::default()
    };
    stream(&server, config).await;
    bench.put("brokers", "nats", json!({"url": server.url(), "jetstream": true})).await;
    done(bench.run("broker.publish", publish("s")).await);
    let failure = retried(bench.run("broker.publish", publish("s")).await);
    assert_eq!(failure.code, "BROKER_UNAVAILABLE", "{}", failure.message);
    for size in [1500, 5000] {
        let large = json!({"broker": "nats:s", "message": "x".repeat(size)});
        let failure = dead(bench.run("broker.publish", large).await);
        assert_eq!(failure.code, "BROKER_REFUSED", "{}", failure.message);
    }
}

#[tokio::test]
async fn nats_refuses_for_good_who_may_not() {
    let bench = Bench::local().await;
    let config = r#"
        authorization { users = [
            {user: u, password: "p4ss-canary", permissions: {publish: "allowed.>", subscribe: "_INBOX.>"}}
        ] }"#;
    let server = NatsServer::with(config).await;
    let login = json!({"url": server.url(), "username": "u", "password": "p4ss-canary"});
    bench.put("brokers", "nats", login.clone()).await;
    done(bench.run("broker.publish", publish("allowed.a")).await);
    let attempts =
        ["allowed.a", "denied.a", "allowed.b", "denied.b"].map(|subject| bench.run("broker.publish", publish(subject)));
    let [a, b, c, d] = futures_util::future::join_all(attempts).await.try_into().unwrap_or_else(|_| panic!("four"));
    for denied in [b, d] {
        let failure = dead(denied);
        assert_eq!(failure.code, "BROKER_REFUSED");
        assert!(failure.message.contains("Permissions Violation"), "{}", failure.message);
    }
    done(a);
    done(c);
    let mut jetstream = login;
    jetstream["jetstream"] = json!(true);
    bench.put("brokers", "nats", jetstream).await;
    assert_eq!(dead(bench.run("broker.publish", publish("denied.a")).await).code, "BROKER_REFUSED");
    bench.put("brokers", "nats", json!({"url": server.url(), "username": "u", "password": "wr0ng-canary"})).await;
    let failure = dead(bench.run("broker.publish", publish("allowed.a")).await);
    assert_eq!(failure.code, "BROKER_REFUSED");
    assert!(!failure.message.contains("canary"), "{}", failure.message);
    let check = bench.services.resources.check(&bench.tenant(), "brokers", "nats", "").await.unwrap();
    assert!(!check.ok && check.detail.contains("Authorization Violation"), "{}", check.detail);
}

#[tokio::test]
async fn nats_takes_tokens_and_nkeys() {
    let bench = Bench::local().await;
    let server = NatsServer::with("authorization { token: \"t0ken\" }").await;
    bench.put("brokers", "nats", json!({"url": server.url(), "token": "t0ken"})).await;
    done(bench.run("broker.publish", publish("a")).await);
    let pair = nkeys::KeyPair::new_user();
    let server = NatsServer::with(&format!("authorization {{ users = [ {{ nkey: {} }} ] }}", pair.public_key())).await;
    bench.put("brokers", "nats", json!({"url": server.url(), "credentials": pair.seed().unwrap()})).await;
    done(bench.run("broker.publish", publish("a")).await);
    let other = nkeys::KeyPair::new_user().seed().unwrap();
    bench.put("brokers", "nats", json!({"url": server.url(), "credentials": other})).await;
    assert_eq!(dead(bench.run("broker.publish", publish("a")).await).code, "BROKER_REFUSED");
}

#[tokio::test]
async fn nats_is_spoken_to_over_tls_to_the_name_in_the_url() {
    let bench = Bench::local().await;
    let (certificate, dir) = (Certificate::for_localhost(), tempfile::tempdir().unwrap());
    let (cert, key) = certificate.write(dir.path());
    let server = NatsServer::with(&format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}")).await;
    let ca = &certificate.pem;
    for (url, trusted) in [
        (format!("tls://localhost:{}", server.port), true),
        (format!("nats://localhost:{}", server.port), true),
        (format!("tls://127.0.0.1:{}", server.port), false),
    ] {
        bench.put("brokers", "nats", json!({"url": url, "ca": ca})).await;
        let outcome = bench.run("broker.publish", publish("a")).await;
        if trusted { drop(done(outcome)) } else { assert_eq!(retried(outcome).code, "BROKER_UNAVAILABLE") }
    }
    bench.put("brokers", "nats", json!({"url": format!("tls://localhost:{}", server.port)})).await;
    assert_eq!(retried(bench.run("broker.publish", publish("a")).await).code, "BROKER_UNAVAILABLE");
    let plain = NatsServer::start().await;
    bench.put("brokers", "nats", json!({"url": format!("tls://localhost:{}", plain.port)})).await;
    let failure = dead(bench.run("broker.publish", publish("a")).await);
    assert!(failure.message.contains("no TLS"), "nothing is sent in the clear: {}", failure.message);
}

#[tokio::test]
async fn subjects_with_wildcards_and_headers_with_line_breaks_are_refused() {
    let (bench, server) = (Bench::local().await, NatsServer::start().await);
    bench.put("brokers", "nats", json!({"url": server.url(), "subjects": ["orders.>"]})).await;
    for bad in ["orders.*", "orders.>", "orders..a", "orders.", ".orders", "orders. a", "orders.a\r\nPUB x 0\r\n"] {
        let failure = dead(bench.run("broker.publish", publish(bad)).await);
        assert_eq!(failure.code, "CONFIG_INVALID", "{bad:?}");
        assert!(failure.message.starts_with("/broker"), "{}", failure.message);
    }
    for (name, value) in [("a\r\nb", "v"), ("a:b", "v"), ("", "v"), ("a", "v\r\nX: y"), ("nats-msg-id", "mine")] {
        let config = json!({"broker": "nats:orders.a", "message": 1, "headers": {name: value}});
        let failure = dead(bench.run("broker.publish", config).await);
        assert!(failure.code == "CONFIG_INVALID" && failure.message.starts_with("/headers"), "{failure:?}");
    }
    let failure = dead(bench.run("broker.publish", publish("other.a")).await);
    assert_eq!(failure.code, "BROKER_REFUSED");
    done(bench.run("broker.publish", publish("orders.a")).await);
}

#[tokio::test]
async fn jetstream_has_whatever_is_recorded_as_delivered_however_often_the_line_is_cut() {
    let server = NatsServer::start().await;
    let config = jetstream::stream::Config { name: "CUTS".into(), subjects: vec!["cuts".into()], ..Default::default() };
    let context = stream(&server, config).await;
    let settings = |port| json!({"url": format!("nats://127.0.0.1:{port}"), "jetstream": true});
    let delivered = cut_a_hundred_times(settings, server.port, "cuts").await;
    let mut kept = context.get_stream("CUTS").await.unwrap();
    let last = kept.info().await.unwrap().state.last_sequence;
    let mut found = HashSet::new();
    for sequence in 1..=last {
        let message = kept.get_raw_message(sequence).await.unwrap();
        found.insert(message.headers.get("Nats-Msg-Id").unwrap().to_string());
    }
    assert!(delivered.is_subset(&found), "lost: {:?}", delivered.difference(&found));
    assert_eq!(found.len() as u64, last, "and each of them once");
}

#[tokio::test]
async fn nats_has_whatever_is_recorded_as_delivered_however_often_the_line_is_cut() {
    let server = NatsServer::start().await;
    let client = server.client().await;
    let mut messages = client.subscribe("cuts").await.unwrap();
    client.flush().await.unwrap();
    let settings = |port| json!({"url": format!("nats://127.0.0.1:{port}")});
    let delivered = cut_a_hundred_times(settings, server.port, "cuts").await;
    let mut found = HashSet::new();
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(500), messages.next()).await {
        found.insert(message.headers.unwrap().get("Nats-Msg-Id").unwrap().to_string());
    }
    assert!(delivered.is_subset(&found), "lost: {:?}", delivered.difference(&found));
}

#[tokio::test]
async fn jetstream_has_whatever_is_recorded_as_delivered_although_the_server_is_killed() {
    let (bench, mut server) = (Bench::local().await, NatsServer::start().await);
    let config =
        jetstream::stream::Config { name: "KILLS".into(), subjects: vec!["kills".into()], ..Default::default() };
    stream(&server, config).await;
    bench.put("brokers", "nats", json!({"url": server.url(), "jetstream": true})).await;
    let mut delivered = HashSet::new();
    for n in 0..30 {
        let attempts = (0..8).map(|_| {
            let cx = bench.context();
            async move { (cx.delivery_id.to_string(), run(&cx, "broker.publish", publish("kills")).await) }
        });
        let killed = async {
            tokio::time::sleep(Duration::from_micros(n * 100)).await;
            server.kill_and_restart().await;
        };
        let (outcomes, ()) = tokio::join!(futures_util::future::join_all(attempts), killed);
        for (id, outcome) in outcomes {
            match outcome {
                Outcome::Done(_) => drop(delivered.insert(id)),
                Outcome::Retry { failure, .. } => assert_eq!(failure.code, "BROKER_UNAVAILABLE", "{failure:?}"),
                // Just started, it may not have taken up its streams yet, and says that there is none.
                Outcome::Dead(failure) => assert!(failure.message.contains("no stream"), "{failure:?}"),
            }
        }
    }
    assert!(!delivered.is_empty() && delivered.len() < 240, "{} were delivered", delivered.len());
    let context = jetstream::new(server.client().await);
    let mut kept = context.get_stream("KILLS").await.unwrap();
    let mut found = HashSet::new();
    for sequence in 1..=kept.info().await.unwrap().state.last_sequence {
        let message = kept.get_raw_message(sequence).await.unwrap();
        found.insert(message.headers.get("Nats-Msg-Id").unwrap().to_string());
    }
    assert!(delivered.is_subset(&found), "lost: {:?}", delivered.difference(&found));
}

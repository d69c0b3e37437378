//! `broker.publish` to a real mosquitto, read by mosquitto_sub.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::brokers::cut_a_hundred_times;
use crate::harness::certificates::Certificate;
use crate::harness::mosquitto::Mosquitto;
use crate::harness::{Bench, dead, done, retried, run};

fn publish(topic: &str) -> Value {
    json!({"broker": format!("mqtt:{topic}"), "message": {"n": 1}, "key": "k", "headers": {"h": "é", "n": 5}})
}

#[tokio::test]
async fn mqtt_hands_the_message_on_with_properties_and_delivery_id() {
    let (bench, server) = (Bench::local().await, Mosquitto::start().await);
    let mut subscriber = server.subscriber(2, "orders/#").await;
    for qos in [1, 2] {
        let settings = json!({"kind": "mqtt", "url": server.url(), "qos": qos, "expiry": 3600});
        bench.put("brokers", "mqtt", settings).await;
        let cx = bench.context();
        let output = done(run(&cx, "broker.publish", publish("orders/a b")).await);
        assert_eq!(output["subscribers"], Value::Null, "{output}");
        let message = subscriber.next().await;
        assert_eq!((&message["topic"], &message["qos"]), (&json!("orders/a b"), &json!(qos)));
        assert_eq!(message["payload"], r#"{"n":1}"#, "{message:#}");
        assert_eq!(message["properties"]["content-type"], "application/json");
        let user = json!({"delivery_id": cx.delivery_id.to_string(), "h": "é", "n": "5", "key": "k"});
        assert_eq!(message["properties"]["user-properties"], user);
    }
    // With quality of service 2 this mosquitto does not say so.
    bench.put("brokers", "mqtt", json!({"url": server.url()})).await;
    let output = done(bench.run("broker.publish", publish("nobody")).await);
    assert_eq!(output["subscribers"], false, "{output}");
    let check = bench.services.resources.check(&bench.tenant(), "brokers", "mqtt", "").await.unwrap();
    assert_eq!((check.ok, check.detail.as_str()), (true, "the broker accepts the login"));
}

#[tokio::test]
async fn a_retained_message_meets_later_subscribers() {
    let (bench, server) = (Bench::local().await, Mosquitto::start().await);
    bench.put("brokers", "mqtt", json!({"url": server.url(), "retain": true})).await;
    done(bench.run("broker.publish", publish("state")).await);
    let message = server.subscriber(1, "state").await.next().await;
    assert_eq!(message["retain"], 1, "{message:#}");
}

#[tokio::test]
async fn mqtt_refuses_for_good_who_may_not() {
    let bench = Bench::local().await;
    let server = Mosquitto::with("allow_anonymous false\npassword_file DIR/passwords\nacl_file DIR/acl", None).await;
    let settings = |password: &str| json!({"url": server.url(), "username": "u", "password": password});
    for qos in [1, 2] {
        let mut login = settings("p4ss");
        login["qos"] = json!(qos);
        bench.put("brokers", "mqtt", login).await;
        let failure = dead(bench.run("broker.publish", publish("denied/a")).await);
        assert_eq!(failure.code, "BROKER_REFUSED");
        assert!(failure.message.contains("0x87, not authorized"), "{}", failure.message);
    }
    bench.put("brokers", "mqtt", settings("wr0ng-canary")).await;
    let failure = dead(bench.run("broker.publish", publish("allowed/a")).await);
    assert_eq!(failure.code, "BROKER_REFUSED");
    assert!(!failure.message.contains("canary"), "{}", failure.message);
    let check = bench.services.resources.check(&bench.tenant(), "brokers", "mqtt", "").await.unwrap();
    assert!(!check.ok && check.detail.contains("not authorized"), "{}", check.detail);
}

#[tokio::test]
async fn topics_with_wildcards_are_refused_and_limits_are_kept() {
    let bench = Bench::local().await;
    let server = Mosquitto::with("allow_anonymous true\nmax_packet_size 1000\nmax_inflight_messages 3", None).await;
    bench.put("brokers", "mqtt", json!({"url": server.url(), "topics": ["orders/+", "all/#"]})).await;
    for bad in ["orders/+", "#", "orders/a+", "orders/\0", "orders/a\nb"] {
        let failure = dead(bench.run("broker.publish", publish(bad)).await);
        assert!(failure.code == "CONFIG_INVALID" && failure.message.starts_with("/broker"), "{failure:?}");
    }
    assert_eq!(dead(bench.run("broker.publish", publish("orders/a/b")).await).code, "BROKER_REFUSED");
    let large = json!({"broker": "mqtt:all/x", "message": "x".repeat(2000)});
    assert_eq!(dead(bench.run("broker.publish", large).await).code, "BROKER_REFUSED");
    let many = (0..200).map(|_| bench.run("broker.publish", publish("all/x/y")));
    for outcome in futures_util::future::join_all(many).await {
        done(outcome);
    }
}

#[tokio::test]
async fn mqtt_is_spoken_to_over_tls() {
    let (bench, certificate) = (Bench::local().await, Certificate::for_localhost());
    let server = Mosquitto::with("allow_anonymous true", Some(&certificate)).await;
    let url = format!("mqtts://localhost:{}", server.port);
    bench.put("brokers", "mqtt", json!({"url": url, "ca": certificate.pem})).await;
    done(bench.run("broker.publish", publish("a")).await);
    bench.put("brokers", "mqtt", json!({"url": url})).await;
    assert_eq!(retried(bench.run("broker.publish", publish("a")).await).code, "BROKER_UNAVAILABLE");
}

#[tokio::test]
async fn mqtt_has_whatever_is_recorded_as_delivered_however_often_the_line_is_cut() {
    let server = Mosquitto::start().await;
    for qos in [1, 2] {
        let mut subscriber = server.subscriber(1, "cuts").await;
        let settings = |port| json!({"url": format!("mqtt://127.0.0.1:{port}"), "qos": qos});
        let delivered = cut_a_hundred_times(settings, server.port, "cuts").await;
        let mut found = HashSet::new();
        while let Some(message) = subscriber.within(Duration::from_millis(500)).await {
            found.insert(message["properties"]["user-properties"].to_string());
        }
        let lost: Vec<_> = delivered.iter().filter(|id| !found.iter().any(|text| text.contains(*id))).collect();
        assert!(lost.is_empty(), "quality of service {qos} lost {lost:?}");
    }
}

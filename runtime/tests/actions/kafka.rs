//! `broker.publish` to Kafka: what is recorded as delivered is there, and nothing is connected to that may not be.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::{Value, json};
use triggerd::config::Net;
use triggerd_core::outcome::Outcome;

use crate::harness::kafka_cluster::KafkaCluster;
use crate::harness::tcp::{Accepted, rewriting_proxy};
use crate::harness::{Bench, dead, done, free_port, retried, run};

/// A bench whose broker `kafka` is the cluster.
async fn bench(cluster: &KafkaCluster, more: Value) -> Bench {
    let bench = Bench::local().await;
    bench.put("brokers", "kafka", settings(&cluster.brokers(), more)).await;
    bench
}

fn settings(brokers: &[String], more: Value) -> Value {
    let mut settings = json!({"kind": "kafka", "brokers": brokers, "deliveryTimeout": 2000});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

fn publish(topic: &str, message: Value) -> Value {
    json!({"broker": format!("kafka:{topic}"), "message": message})
}

#[tokio::test]
async fn a_record_carries_key_headers_and_the_delivery_id_and_is_where_the_output_says() {
    let cluster = KafkaCluster::start(3);
    cluster.mock.create_topic("orders", 4, 3).unwrap();
    let bench = bench(&cluster, json!({"compression": "gzip"})).await;
    let cx = bench.context();
    let config = json!({"broker": "kafka:orders", "message": {"n": 1}, "key": "c7", "headers": {"h": "v", "n": 2}});
    let output = done(run(&cx, "broker.publish", config).await);
    let seen = cluster.records("orders", 4);
    assert_eq!(seen.len(), 1);
    assert_eq!(output, json!({"partition": seen[0].partition, "offset": seen[0].offset}));
    assert_eq!((seen[0].key.as_deref(), seen[0].value.as_str()), (Some("c7"), r#"{"n":1}"#));
    let delivery = cx.delivery_id.to_string();
    let expected = [("h", "v"), ("n", "2"), ("triggerd-delivery-id", delivery.as_str())];
    assert_eq!(seen[0].headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[tokio::test]
async fn one_key_s_records_go_to_one_partition() {
    let cluster = KafkaCluster::start(1);
    cluster.mock.create_topic("keyed", 8, 1).unwrap();
    let bench = bench(&cluster, json!({})).await;
    let mut used = BTreeSet::new();
    for key in 0..12 {
        let mut partitions = BTreeSet::new();
        for n in 0..3 {
            let config = json!({"broker": "kafka:keyed", "message": n, "key": format!("customer-{key}")});
            partitions.insert(done(bench.run("broker.publish", config).await)["partition"].as_i64().unwrap());
        }
        assert_eq!(partitions.len(), 1, "customer-{key} is in {partitions:?}");
        used.extend(partitions);
    }
    assert!(used.len() > 1, "all keys are in one partition");
}

#[tokio::test]
async fn a_cloud_event_s_attributes_are_headers() {
    let cluster = KafkaCluster::start(1);
    cluster.mock.create_topic("ce", 1, 1).unwrap();
    let bench = bench(&cluster, json!({})).await;
    let cx = bench.context();
    for wanted in [json!(true), json!("binary")] {
        let config = json!({"broker": "kafka:ce", "message": {"n": 1}, "cloudEvents": wanted});
        done(run(&cx, "broker.publish", config).await);
    }
    done(run(&cx, "broker.publish", json!({"broker": "kafka:ce", "message": 1, "cloudEvents": false})).await);
    let failure =
        dead(bench.run("broker.publish", json!({"broker": "kafka:ce", "message": 1, "cloudEvents": "x"})).await);
    assert_eq!(failure.code, "CONFIG_INVALID");
    let seen = cluster.records("ce", 1);
    let expected = [
        ("traceparent", cx.traceparent()),
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", cx.event.id.to_string()),
        ("ce_source", "triggerd".to_owned()),
        ("ce_type", "order.created".to_owned()),
        ("ce_time", cx.event.timestamp.to_string()),
        ("content-type", "application/json".to_owned()),
        ("ce_traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        ("triggerd-delivery-id", cx.delivery_id.to_string()),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(seen[0].headers, expected);
    assert_eq!(seen[1].headers, expected);
    assert_eq!(seen[2].headers.len(), 1);
}

#[tokio::test]
async fn what_the_cluster_refuses_is_permanent() {
    let cluster = KafkaCluster::start(1);
    let bench = bench(&cluster, json!({"topics": ["orders-*", "nope", "refused"]})).await;
    let code = async |topic: &str| dead(bench.run("broker.publish", publish(topic, json!(1))).await).code;
    assert_eq!(code("users").await, "BROKER_REFUSED", "a topic that the settings do not allow");
    assert_eq!(code("orders:1").await, "CONFIG_INVALID", "a name that Kafka does not have");
    cluster.mock.topic_error("nope", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    assert_eq!(code("nope").await, "BROKER_REFUSED");
    cluster.mock.create_topic("refused", 1, 1).unwrap();
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
    ] {
        cluster.mock.request_errors(RDKafkaApiKey::Produce, &[error]);
        assert_eq!(code("refused").await, "BROKER_REFUSED", "{error:?}");
    }
    done(bench.run("broker.publish", publish("refused", json!("after"))).await);
    assert_eq!(cluster.records("refused", 1).len(), 1);
    let made = done(bench.run("broker.publish", publish("orders-1", json!(1))).await);
    assert_eq!(made["offset"], 0, "a topic that the cluster makes when it is asked for");
}

#[tokio::test]
async fn a_check_says_what_is_there_and_what_is_wrong() {
    let cluster = KafkaCluster::start(3);
    let bench = bench(&cluster, json!({})).await;
    let check = async || bench.services.resources.check(&bench.tenant(), "brokers", "kafka", "").await.unwrap();
    let found = check().await;
    assert_eq!((found.ok, found.detail.as_str()), (true, "the cluster of 3 brokers answers"));
    for broker in 1..=3 {
        cluster.mock.broker_down(broker).unwrap();
    }
    let found = check().await;
    assert!(!found.ok && !found.detail.is_empty(), "{found:?}");
}

#[tokio::test]
async fn nothing_is_recorded_as_delivered_that_the_cluster_does_not_hold() {
    let cluster = KafkaCluster::start(1);
    cluster.mock.create_topic("cut", 1, 1).unwrap();
    let bench = bench(&cluster, json!({"deliveryTimeout": 1000})).await;
    done(bench.run("broker.publish", publish("cut", json!("first"))).await);
    // Long enough for the broker to go between taking a record and confirming it.
    cluster.mock.broker_round_trip_time(1, Duration::from_millis(20)).unwrap();
    let (mut delivered, mut unconfirmed) = (Vec::new(), 0);
    for cycle in 0..100_u64 {
        let sent = async {
            let sends = (0..3).map(|n| bench.run("broker.publish", publish("cut", json!(format!("{cycle}/{n}")))));
            futures_util::future::join_all(sends).await
        };
        let stays_down = cycle % 10 == 9;
        let cut = async {
            tokio::time::sleep(Duration::from_millis(cycle % 30)).await;
            cluster.mock.broker_down(1).unwrap();
            if !stays_down {
                cluster.mock.broker_up(1).unwrap();
            }
        };
        let (outcomes, ()) = tokio::join!(sent, cut);
        if stays_down {
            cluster.mock.broker_up(1).unwrap();
        }
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Outcome::Done(output) => {
                    delivered.push((output["offset"].as_i64().unwrap(), format!("\"{cycle}/{n}\"")))
                }
                Outcome::Retry { failure, .. } => {
                    assert_eq!(failure.code, "BROKER_UNAVAILABLE", "{failure:?}");
                    unconfirmed += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    cluster.mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
    let held: BTreeSet<(i64, String)> =
        cluster.records("cut", 1).into_iter().map(|seen| (seen.offset, seen.value)).collect();
    for record in &delivered {
        assert!(held.contains(record), "{record:?} is recorded as delivered, and not there");
    }
    assert!(delivered.len() > 100 && unconfirmed > 0, "{} delivered, {unconfirmed} not confirmed", delivered.len());
}

#[tokio::test]
async fn a_record_whose_attempt_was_given_up_is_not_sent_later() {
    let cluster = KafkaCluster::start(1);
    cluster.mock.create_topic("late", 1, 1).unwrap();
    let bench = bench(&cluster, json!({"deliveryTimeout": 60000})).await;
    done(bench.run("broker.publish", publish("late", json!("first"))).await);
    cluster.mock.broker_down(1).unwrap();
    let given_up = bench.run("broker.publish", publish("late", json!("given up")));
    assert!(tokio::time::timeout(Duration::from_millis(200), given_up).await.is_err());
    // The producer's thread looks ten times a second.
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.mock.broker_up(1).unwrap();
    done(bench.run("broker.publish", publish("late", json!("next"))).await);
    let values: Vec<String> = cluster.records("late", 1).into_iter().map(|seen| seen.value).collect();
    assert_eq!(values, ["\"first\"", "\"next\""]);
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_tried_again_within_the_delivery_timeout() {
    let bench = Bench::local().await;
    let brokers = [format!("127.0.0.1:{}", free_port())];
    bench.put("brokers", "kafka", settings(&brokers, json!({"deliveryTimeout": 1000}))).await;
    let began = std::time::Instant::now();
    assert_eq!(retried(bench.run("broker.publish", publish("t", json!(1))).await).code, "BROKER_UNAVAILABLE");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_blocked_broker_that_the_cluster_advertises_gets_no_connection() {
    let cluster = KafkaCluster::start(1);
    cluster.mock.create_topic("t", 1, 1).unwrap();
    // The proxy's answers name 127.0.0.2 where the cluster says 127.0.0.1; who believes them comes to this listener.
    let inside = Accepted::count(&format!("127.0.0.2:{}", cluster.port())).await;
    let proxy = rewriting_proxy(cluster.port(), b"127.0.0.1", b"127.0.0.2").await;
    let brokers = [format!("127.0.0.1:{proxy}")];
    let guarded = Bench::with(vec![Net::parse("127.0.0.1/32").unwrap()], false).await;
    let open = Bench::local().await;
    for bench in [&guarded, &open] {
        bench.put("brokers", "kafka", settings(&brokers, json!({"deliveryTimeout": 1500}))).await;
    }
    let failure = retried(guarded.run("broker.publish", publish("t", json!(1))).await);
    assert_eq!(failure.code, "BROKER_UNAVAILABLE");
    assert!(failure.message.contains("destination not allowed"), "{}", failure.message);
    assert_eq!(inside.connections(), 0);
    // That the listener is where the library wants to go shows where it may.
    retried(open.run("broker.publish", publish("t", json!(1))).await);
    assert!(inside.connections() > 0);
}

#[tokio::test]
async fn a_blocked_broker_beside_one_that_may_be_reached_gets_no_connection() {
    let cluster = KafkaCluster::start(1);
    cluster.mock.create_topic("t", 1, 1).unwrap();
    let inside = Accepted::count("127.0.0.2:0").await;
    let bench = Bench::with(vec![Net::parse("127.0.0.1/32").unwrap()], false).await;
    let brokers = [format!("127.0.0.2:{}", inside.port), cluster.brokers()[0].clone()];
    bench.put("brokers", "kafka", settings(&brokers, json!({"deliveryTimeout": 10000}))).await;
    done(bench.run("broker.publish", publish("t", json!(1))).await);
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn passwords_of_a_cluster_are_sealed_and_its_settings_are_checked() {
    let bench = Bench::local().await;
    let sasl = json!({"mechanism": "SCRAM-SHA-512", "username": "u", "password": "canary-77"});
    bench.put("brokers", "kafka", settings(&["a.example:9092".into()], json!({"tls": true, "sasl": sasl}))).await;
    let stored = bench.services.store.resources_all().await.unwrap();
    assert!(!format!("{stored:?}").contains("canary-77"));
    let bad = json!({"kind": "kafka", "brokers": ["nowhere"], "ca": "x"});
    let tenant = bench.tenant();
    let refused = bench.services.resources.put(&tenant, "brokers", "bad", bad).await.unwrap_err();
    let triggerd::resources::Error::Invalid(mistakes) = refused else { panic!("{refused:?}") };
    assert_eq!(mistakes.iter().map(|m| m.pointer.as_str()).collect::<Vec<_>>(), ["/brokers/0", "/ca"]);
}

//! Caches and brokers: in this process, in the store, and on a real redis-server.

use serde_json::json;

use crate::harness::redis_server::RedisServer;
use crate::harness::{Bench, dead, done, retried, run};
use triggerd::caches::Name;

/// JSON with the digits that it was written with.
fn exact(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn the_memory_cache_is_there_without_being_configured() {
    let bench = Bench::local().await;
    for tag in ["memory", "default"] {
        let set = json!({"cache": tag, "key": "order:1", "value": exact(r#"{"n":1.50}"#), "ttl": 60});
        assert_eq!(done(bench.run("cache.set", set).await), json!({"count": 1}));
        let tenant = bench.tenant();
        let name = Name { tenant: &tenant, env: "", tag };
        assert_eq!(bench.services.caches.get(name, "order:1").await.unwrap().unwrap().to_string(), r#"{"n":1.50}"#);
        done(bench.run("cache.set", json!({"cache": tag, "key": "order:2", "value": 1})).await);
        done(bench.run("cache.set", json!({"cache": tag, "key": "user:1", "value": 1})).await);
        assert_eq!(done(bench.run("cache.delete", json!({"cache": tag, "key": "nope"})).await), json!({"count": 0}));
        assert_eq!(
            done(bench.run("cache.invalidate", json!({"cache": tag, "key": "order:*"})).await),
            json!({"count": 2})
        );
        assert_eq!(bench.services.caches.get(name, "user:1").await.unwrap(), Some(json!(1)));
    }
    assert_eq!(
        dead(bench.run("cache.set", json!({"cache": "nope", "key": "k", "value": 1})).await).code,
        "RESOURCE_NOT_FOUND"
    );
    assert_eq!(
        dead(bench.run("cache.set", json!({"cache": "memory", "key": "", "value": 1})).await).code,
        "CONFIG_INVALID"
    );
    assert_eq!(
        dead(bench.run("cache.set", json!({"cache": "memory", "key": "k", "value": 1, "ttl": 0})).await).code,
        "CONFIG_INVALID"
    );
}

#[tokio::test]
async fn a_redis_cache_holds_json_under_its_prefix() {
    let server = RedisServer::start().await;
    let bench = Bench::local().await;
    bench.put("caches", "redis", json!({"kind": "redis", "url": server.url(), "prefix": "app*:"})).await;
    let mut client = server.client().await;
    let _: () = redis::cmd("SET").arg("other:1").arg("x").query_async(&mut client).await.unwrap();
    let _: () = redis::cmd("SET").arg("appX:order:9").arg("x").query_async(&mut client).await.unwrap();
    done(bench.run("cache.set", json!({"cache": "redis", "key": "order:1", "value": {"a": [1]}, "ttl": 100})).await);
    let text: String = redis::cmd("GET").arg("app*:order:1").query_async(&mut client).await.unwrap();
    assert_eq!(text, r#"{"a":[1]}"#);
    let left: i64 = redis::cmd("TTL").arg("app*:order:1").query_async(&mut client).await.unwrap();
    assert!((90..=100).contains(&left), "{left}");
    for i in 0..2500 {
        done(bench.run("cache.set", json!({"cache": "redis", "key": format!("bulk:{i}"), "value": i})).await);
    }
    assert_eq!(
        done(bench.run("cache.invalidate", json!({"cache": "redis", "key": "*"})).await),
        json!({"count": 2501})
    );
    let rest: u64 = redis::cmd("DBSIZE").query_async(&mut client).await.unwrap();
    assert_eq!(rest, 2, "keys outside of the prefix stay, also those that the prefix would match as a glob");
    let tenant = bench.tenant();
    let name = Name { tenant: &tenant, env: "", tag: "redis" };
    assert_eq!(bench.services.caches.get(name, "order:1").await.unwrap(), None);
    assert_eq!(
        bench.services.resources.check(&tenant, "caches", "redis", "").await.unwrap().detail,
        "the server answers PING"
    );
}

#[tokio::test]
async fn a_redis_server_that_comes_back_is_used_again() {
    let server = RedisServer::start().await;
    let (bench, port) = (Bench::local().await, server.port);
    bench.put("caches", "redis", json!({"url": server.url()})).await;
    let set = json!({"cache": "redis", "key": "k", "value": 1});
    done(bench.run("cache.set", set.clone()).await);
    drop(server);
    let failure = retried(bench.run("cache.set", set.clone()).await);
    assert!(["ECONNREFUSED", "ECONNRESET"].contains(&failure.code.as_str()), "{failure:?}");
    assert_eq!(retried(bench.run("cache.set", set.clone()).await).code, "ECONNREFUSED");
    let _server = RedisServer::start_at(port).await;
    done(bench.run("cache.set", set).await);
}

#[tokio::test]
async fn a_redis_server_s_refusal_is_permanent_and_its_weakness_is_not() {
    let server = RedisServer::start().await;
    let bench = Bench::local().await;
    bench.put("brokers", "redis", json!({"url": server.url()})).await;
    let mut client = server.client().await;
    let _: () = redis::cmd("SET").arg("taken").arg("x").query_async(&mut client).await.unwrap();
    let publish = |topic: &str| json!({"broker": format!("redis:{topic}"), "message": 1});
    assert_eq!(dead(bench.run("broker.publish", publish("taken")).await).code, "BROKER_REFUSED");
    let _: () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").query_async(&mut client).await.unwrap();
    assert_eq!(retried(bench.run("broker.publish", publish("t")).await).code, "BROKER_UNAVAILABLE");
    drop(server);
    assert_eq!(retried(bench.run("broker.publish", publish("t")).await).code, "BROKER_UNAVAILABLE");
}

#[tokio::test]
async fn a_stream_entry_carries_the_message_and_the_delivery_id() {
    let server = RedisServer::start().await;
    let bench = Bench::local().await;
    bench.put("brokers", "redis", json!({"kind": "redis", "url": server.url(), "maxLen": 1000})).await;
    let cx = bench.context();
    let config = json!({"broker": "redis:orders", "message": exact(r#"{"n":1.50}"#), "key": 7, "headers": {"h": "v"}});
    let output = done(run(&cx, "broker.publish", config).await);
    let mut client = server.client().await;
    let entries: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg("orders").arg("-").arg("+").query_async(&mut client).await.unwrap();
    assert_eq!(output, json!({"id": entries[0].0}));
    let delivery = cx.delivery_id.to_string();
    assert_eq!(
        entries[0].1,
        ["delivery_id", &delivery, "key", "7", "headers", r#"{"h":"v"}"#, "message", r#"{"n":1.50}"#]
    );
}

#[tokio::test]
async fn the_embedded_broker_keeps_each_delivery_once() {
    let bench = Bench::local().await;
    let config = json!({"broker": "embedded:orders", "message": {"n": 1}, "key": "k"});
    let cx = bench.context();
    for _ in 0..3 {
        assert_eq!(done(run(&cx, "broker.publish", config.clone()).await), json!({"offset": 0}));
    }
    assert_eq!(done(bench.run("broker.publish", config).await), json!({"offset": 1}));
    let kept = bench.services.store.topic_read(&bench.tenant(), "embedded", "orders", 0, 10).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[0].delivery_id, Some(cx.delivery_id.to_string()));
    for bad in ["embedded", "embedded:", ":t", "embedded:a b", "embedded:a\r\nb", "embedded:>"] {
        let failure = dead(bench.run("broker.publish", json!({"broker": bad, "message": 1})).await);
        assert_eq!(failure.code, "CONFIG_INVALID", "{bad}");
        assert!(failure.message.starts_with("/broker"), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_before_event_s_record_is_changed_or_refused() {
    let bench = Bench::local().await;
    let cx = bench.context();
    let output = done(run(&cx, "record.set", json!({"fields": {"status": "checked", "address.city": "Bern"}})).await);
    assert_eq!(output, json!({"set": {"status": "checked", "address.city": "Bern"}}));
    let changed = json!({"id": 1, "status": "checked", "address": {"city": "Bern"}});
    assert_eq!(*cx.effect.lock(), Some(triggerd_core::run::Effect::Record(changed)));
    let failure = dead(bench.run("record.set", json!({"fields": {"id.x": 1}})).await);
    assert!(failure.message.contains("/fields/id.x"), "{}", failure.message);
    let failure = dead(bench.run("record.reject", json!({"message": "no stock"})).await);
    assert_eq!((failure.code.as_str(), failure.message.as_str()), ("RECORD_REJECTED", "no stock"));
    assert_eq!(dead(bench.run("record.reject", json!({"message": "m", "code": "NO_STOCK"})).await).code, "NO_STOCK");
}

#[tokio::test]
async fn emitted_events_carry_their_cause_until_the_chain_is_cut() {
    let bench = Bench::local().await;
    let output = done(bench.run("event.emit", json!({"type": "order.confirmed", "payload": {"n": 1}})).await);
    assert!(output["eventId"].is_string());
    assert_eq!(bench.emitted.lock()[0].event_type, "order.confirmed");
    let mut cx = bench.context();
    let mut event = (*cx.event).clone();
    event.causation = vec![event.id; 16];
    cx.event = std::sync::Arc::new(event);
    assert_eq!(dead(run(&cx, "event.emit", json!({"type": "order.confirmed"})).await).code, "LOOP_GUARD");
    for bad in ["", "a b", "order.*", "a\nb"] {
        assert_eq!(dead(bench.run("event.emit", json!({ "type": bad })).await).code, "CONFIG_INVALID", "{bad:?}");
    }
    assert_eq!(bench.emitted.lock().len(), 1);
}

//! Caches: in memory and in Redis, one tenant's values apart from another's.

use serde_json::{Value, json};

use crate::harness::{Home, Redis, free_port, home, on};

/// A trigger that does one thing to a cache per event type.
async fn cache_triggers(home: &Home, cache: &str) {
    let action = |kind: &str, config: Value| {
        let mut config = config;
        config["cache"] = json!(cache);
        json!([{"name": "do", "type": kind, "config": config, "retry": {"maxAttempts": 1}}])
    };
    home.trigger(on(
        "set",
        "set",
        action("cache.set", json!({"key": "{{record.key}}", "value": "{{record.value}}", "ttl": "{{record.ttl}}"})),
    ))
    .await;
    home.trigger(on("delete", "delete", action("cache.delete", json!({"key": "{{record.key}}"})))).await;
    home.trigger(on("invalidate", "invalidate", action("cache.invalidate", json!({"key": "{{record.glob}}"})))).await;
}

async fn output(home: &Home, event_type: &str, payload: Value) -> Value {
    let event = home.event_ended(event_type, payload).await;
    assert_eq!(event["status"], "delivered", "{event:#}");
    event["runs"][0]["actions"][0]["output"].clone()
}

async fn entry(home: &Home, cache: &str, key: &str) -> Value {
    let answer = home.get(&format!("/api/v1/caches/{cache}/entries/{key}")).await;
    if answer.status == 404 { Value::Null } else { answer.expect(200)["value"].clone() }
}

/// What both kinds of cache promise.
async fn a_cache_keeps_deletes_and_invalidates(home: &Home, cache: &str) {
    for key in ["order:1", "order:2", "order:10", "user:1"] {
        assert_eq!(
            output(home, "set", json!({"key": key, "value": {"k": key, "big": 9_007_199_254_740_993_u64}})).await["count"],
            1
        );
    }
    assert_eq!(entry(home, cache, "order:1").await, json!({"k": "order:1", "big": 9_007_199_254_740_993_u64}));
    assert_eq!(output(home, "delete", json!({"key": "order:2"})).await["count"], 1);
    assert_eq!(output(home, "delete", json!({"key": "order:2"})).await["count"], 0);
    assert_eq!(output(home, "invalidate", json!({"glob": "order:1?"})).await["count"], 1);
    assert_eq!(entry(home, cache, "order:1").await["k"], "order:1");
    assert_eq!(output(home, "invalidate", json!({"glob": "order:*"})).await["count"], 1);
    assert_eq!(entry(home, cache, "order:1").await, Value::Null);
    assert_eq!(entry(home, cache, "user:1").await["k"], "user:1");
}

#[tokio::test]
async fn a_cache_in_memory_keeps_deletes_and_invalidates_by_glob() {
    let home = home().await;
    cache_triggers(&home, "memory").await;
    a_cache_keeps_deletes_and_invalidates(&home, "memory").await;
}

#[tokio::test]
async fn a_cache_in_redis_keeps_deletes_and_invalidates_by_glob() {
    let (home, redis) = (home().await, Redis::start().await);
    home.resource("caches", "redis", json!({"kind": "redis", "url": redis.url()})).await;
    assert_eq!(home.post("/api/v1/caches/redis/check", json!({})).await.expect(200)["ok"], true);
    cache_triggers(&home, "redis").await;
    a_cache_keeps_deletes_and_invalidates(&home, "redis").await;
    output(&home, "set", json!({"key": "brief", "value": 1, "ttl": 500})).await;
    let keys: Vec<String> = redis.ask(&["KEYS", "*brief"]).await;
    let left: i64 = redis.ask(&["TTL", &keys[0]]).await;
    assert!((1..=500).contains(&left), "{left}");
}

#[tokio::test]
async fn one_tenant_s_values_are_not_another_s() {
    let (one, other) = (home().await, home().await);
    for home in [&one, &other] {
        cache_triggers(home, "memory").await;
    }
    output(&one, "set", json!({"key": "k", "value": "mine"})).await;
    assert_eq!(entry(&other, "memory", "k").await, Value::Null);
    assert_eq!(output(&other, "invalidate", json!({"glob": "*"})).await["count"], 0);
    assert_eq!(entry(&one, "memory", "k").await, "mine");
}

#[tokio::test]
async fn a_prefix_keeps_caches_of_one_redis_server_apart() {
    let (home, redis) = (home().await, Redis::start().await);
    for (tag, prefix) in [("a", "a:"), ("b", "b:")] {
        home.resource("caches", tag, json!({"kind": "redis", "url": redis.url(), "prefix": prefix})).await;
    }
    cache_triggers(&home, "a").await;
    output(&home, "set", json!({"key": "k", "value": "mine"})).await;
    assert_eq!((entry(&home, "a", "k").await, entry(&home, "b", "k").await), (json!("mine"), Value::Null));
    cache_triggers(&home, "b").await;
    assert_eq!(output(&home, "invalidate", json!({"glob": "*"})).await["count"], 0);
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]).await;
    assert_eq!(keys, ["a:k"]);
}

#[tokio::test]
async fn an_unknown_cache_and_a_dead_one_fail_with_their_codes() {
    let home = home().await;
    home.resource("caches", "down", json!({"kind": "redis", "url": format!("redis://127.0.0.1:{}", free_port())}))
        .await;
    let set = |cache: &str| json!([{"name": "do", "type": "cache.set", "config": {"cache": cache, "key": "k", "value": 1}, "retry": {"maxAttempts": 1}}]);
    home.trigger(on("down", "down", set("down"))).await;
    assert_eq!(home.event_ended("down", json!({})).await["runs"][0]["error_code"], "ECONNREFUSED");
    let checked = home.post("/api/v1/caches/down/check", json!({})).await.expect(200);
    assert!(checked["ok"] == false && checked["detail"].is_string(), "{checked}");
    home.trigger(on("nobody", "nobody", set("nobody"))).await;
    assert_eq!(home.event_ended("nobody", json!({})).await["runs"][0]["error_code"], "RESOURCE_NOT_FOUND");
}

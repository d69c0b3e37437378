//! Rates: a key's own beside its tenant's, and what nodes have in common.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Api, Redis, Server, Settings, eventually, home};

/// How many requests are let in within `time`, sent to all in turn and as fast as they are answered.
async fn let_in(apis: &[Api], time: Duration) -> usize {
    let until = Instant::now() + time;
    let callers = apis.iter().flat_map(|api| std::iter::repeat_n(api, 4)).map(|api| async move {
        let mut passed = 0;
        while Instant::now() < until {
            match api.get("/api/v1/inbox?limit=1").await {
                answer if answer.status == 200 => passed += 1,
                answer => {
                    assert!(!answer.header("retry-after").is_empty(), "{answer:#?}");
                    answer.problem(429);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
        passed
    });
    futures_util::future::join_all(callers).await.into_iter().sum()
}

/// A second's worth at once and then the rate; a node may have taken 50 ms of it that it has not used.
fn is_about(passed: usize, rate: usize, seconds: usize) -> bool {
    let most = rate * (seconds + 1);
    passed <= most + most / 20 && passed >= most * 7 / 10
}

#[tokio::test]
async fn a_key_has_a_rate_of_its_own_beside_its_tenants() {
    let home = home().await;
    let operator = home.server().api();
    operator.patch(&format!("/api/v1/tenants/{}", home.tenant), json!({"rate_limit": 500})).await.expect(200);
    let made = home.post("/api/v1/keys", json!({"scopes": ["events:read"], "rate_limit": 5})).await.expect(201);
    assert_eq!(made["rate_limit"], 5);
    let (slow, other) = (home.with_key(made["key"].as_str()), home.with_scopes(&["events:read"]).await);
    let first = slow.get("/api/v1/inbox").await;
    assert_eq!(first.header("ratelimit-policy"), "\"tenant\";q=500;w=1, \"key\";q=5;w=1");
    assert!(first.header("ratelimit").starts_with("\"tenant\";r=49"), "{first:#?}");
    assert!(first.header("ratelimit").ends_with(";t=1, \"key\";r=4;t=1"), "{first:#?}");
    let passed = let_in(std::slice::from_ref(&slow), Duration::from_secs(2)).await;
    assert!(is_about(passed, 5, 2), "{passed} in 2 s");
    let refused = eventually(|| async {
        let answer = slow.get("/api/v1/inbox").await;
        if answer.status == 429 { Ok(answer) } else { Err("it is let in".to_owned()) }
    })
    .await;
    assert_eq!(refused.header("ratelimit-policy"), "\"key\";q=5;w=1");
    assert_eq!(refused.problem(429)["violated-policies"], json!(["key"]));
    let answer = other.get("/api/v1/inbox").await;
    assert_eq!(answer.header("ratelimit-policy"), "\"tenant\";q=500;w=1");
    answer.expect(200);
    home.post("/api/v1/keys", json!({"scopes": ["admin"], "rate_limit": 0})).await.problem(422);
}

async fn limited(servers: &[Server], rate: u32) -> Vec<Api> {
    let mut apis = Vec::new();
    for server in servers {
        server.api().post("/api/v1/tenants", json!({"id": "acme", "rate_limit": rate})).await.expect(201);
        apis.push(server.api().in_tenant("acme"));
    }
    apis
}

#[tokio::test]
async fn nodes_take_their_rates_from_redis_and_go_on_without_it() {
    let mut redis = Redis::start().await;
    // No store in common: what they share is Redis alone.
    let servers = [0, 1].map(|_| Server::with(Settings::default().embedded().set("RATE_LIMIT_REDIS", &redis.url())));
    let taken_from = async |wanted: &str| {
        for server in &servers {
            eventually(|| async {
                let ready = server.api().get("/ready").await.expect(200);
                if ready["rate_limits"] == wanted { Ok(()) } else { Err(format!("{ready:#}")) }
            })
            .await;
            let up = if wanted == "redis" { 1 } else { 0 };
            let metrics = server.api().get("/metrics").await.text;
            assert!(metrics.contains(&format!("triggerd_rate_limit_redis_up {up}\n")), "{metrics}");
        }
    };
    taken_from("redis").await;
    let apis = limited(&servers, 60).await;
    let passed = let_in(&apis, Duration::from_secs(2)).await;
    assert!(is_about(passed, 60, 2), "{passed} in 2 s");
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]).await;
    assert_eq!(keys, ["triggerd:rate:acme"]);
    let left: i64 = redis.ask(&["PTTL", "triggerd:rate:acme"]).await;
    assert!(left > 0 && left <= 2100, "the bucket is forgotten once it is empty: {left} ms");
    // Nobody waits for a server that is away, and each node's limit still holds there.
    redis.stop();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let passed = let_in(&apis, Duration::from_secs(2)).await;
    assert!(is_about(passed, 2 * 60, 2), "{passed} in 2 s");
    assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
    taken_from("fallback").await;
    redis.up().await;
    taken_from("redis").await;
    let passed = let_in(&apis, Duration::from_secs(2)).await;
    assert!(is_about(passed, 60, 2), "{passed} in 2 s");
}

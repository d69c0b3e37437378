//! Redis beyond one plain server: Pub/Sub, TLS, and a cluster of three nodes.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use triggerd::caches::Name;
use triggerd::config::Net;

use crate::harness::redis_server::{RedisCluster, RedisServer, TlsRedis};
use crate::harness::{Bench, dead, done, retried, run};

#[tokio::test]
async fn a_channel_s_message_reaches_who_listens_and_says_how_many_did() {
    let server = RedisServer::start().await;
    let bench = Bench::local().await;
    bench.put("brokers", "redis", json!({"url": server.url(), "mode": "pubsub", "prefix": "app:"})).await;
    bench
        .put("brokers", "heard", json!({"url": server.url(), "mode": "pubsub", "prefix": "app:", "minReceivers": 1}))
        .await;
    let config =
        |tag: &str| json!({"broker": format!("{tag}:orders"), "message": {"n": 1}, "key": "k", "headers": {"h": "v"}});
    assert_eq!(done(bench.run("broker.publish", config("redis")).await), json!({"receivers": 0}));
    let failure = retried(bench.run("broker.publish", config("heard")).await);
    assert_eq!(failure.code, "BROKER_UNAVAILABLE");
    assert!(failure.message.contains("0 subscribers, not 1"), "{}", failure.message);
    let mut listener = redis::Client::open(server.url()).unwrap().get_async_pubsub().await.unwrap();
    listener.subscribe("app:orders").await.unwrap();
    let cx = bench.context();
    assert_eq!(done(run(&cx, "broker.publish", config("heard")).await), json!({"receivers": 1}));
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.on_message().next()).await.unwrap().unwrap();
    let told: Value = serde_json::from_str(&heard.get_payload::<String>().unwrap()).unwrap();
    let expected =
        json!({"delivery_id": cx.delivery_id.to_string(), "key": "k", "headers": {"h": "v"}, "message": {"n": 1}});
    assert_eq!(told, expected);
}

#[tokio::test]
async fn settings_that_do_not_go_together_are_all_named() {
    let bench = Bench::local().await;
    let tenant = bench.tenant();
    for (settings, pointers) in [
        (json!({"url": "redis://a", "mode": "pubsub", "maxLen": 5}), vec!["/maxLen"]),
        (json!({"url": "redis://a", "minReceivers": 1}), vec!["/minReceivers"]),
        (json!({"urls": ["redis://a/3"], "mode": "pubsub", "minReceivers": 1}), vec!["/urls/0", "/minReceivers"]),
        (json!({"kind": "redis"}), vec!["/url"]),
    ] {
        let refused = bench.services.resources.put(&tenant, "brokers", "bad", settings.clone()).await.unwrap_err();
        let triggerd::resources::Error::Invalid(mistakes) = refused else { panic!("{refused:?}") };
        assert_eq!(mistakes.iter().map(|m| m.pointer.as_str()).collect::<Vec<_>>(), pointers, "{settings}");
    }
}

#[tokio::test]
async fn a_server_s_certificate_is_checked_against_the_authority_that_is_set() {
    let TlsRedis { server, ca } = TlsRedis::start().await;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let bench = Bench::local().await;
    let (named, numbered) =
        (format!("rediss://localhost:{}", server.port), format!("rediss://127.0.0.1:{}", server.port));
    bench.put("caches", "good", json!({"url": named, "ca": ca})).await;
    done(bench.run("cache.set", json!({"cache": "good", "key": "k", "value": 1})).await);
    bench.put("brokers", "good", json!({"url": named, "ca": ca})).await;
    assert!(done(bench.run("broker.publish", json!({"broker": "good:t", "message": 1})).await)["id"].is_string());
    for (tag, settings) in [
        ("public", json!({"url": named})),
        ("other", json!({"url": named, "ca": other})),
        ("name", json!({"url": numbered, "ca": ca})),
        ("plain", json!({"url": format!("redis://localhost:{}", server.port)})),
    ] {
        bench.put("caches", tag, settings).await;
        let failure = retried(bench.run("cache.set", json!({"cache": tag, "key": "k", "value": 1})).await);
        // What the server says to who speaks no TLS is no Redis, or it only hangs up.
        let expected = if tag == "plain" { &["ECONNRESET", "EPROTO"][..] } else { &["EPROTO"] };
        assert!(expected.contains(&failure.code.as_str()), "{tag}: {failure:?}");
        let check = bench.services.resources.check(&bench.tenant(), "caches", tag, "").await.unwrap();
        assert!(!check.ok, "{tag}: {}", check.detail);
    }
}

#[tokio::test]
async fn a_cluster_s_keys_are_invalidated_on_every_master_and_never_by_keys() {
    let cluster = RedisCluster::start(["127.0.0.1"; 3]).await;
    let bench = Bench::local().await;
    bench.put("caches", "redis", json!({"urls": [cluster.nodes[0].url()], "prefix": "app:"})).await;
    bench.put("caches", "other", json!({"url": cluster.nodes[1].url(), "cluster": true, "prefix": "else:"})).await;
    for i in 0..200 {
        let set = json!({"cache": "redis", "key": format!("order:{i}"), "value": i, "ttl": 600});
        done(bench.run("cache.set", set).await);
    }
    done(bench.run("cache.set", json!({"cache": "other", "key": "order:1", "value": 1})).await);
    let set = cluster.info("commandstats", "cmdstat_set").await;
    assert!(set.iter().all(Option::is_some), "the keys are on every node: {set:?}");
    let tenant = bench.tenant();
    let (name, other) =
        (Name { tenant: &tenant, env: "", tag: "redis" }, Name { tenant: &tenant, env: "", tag: "other" });
    assert_eq!(bench.services.caches.get(name, "order:77").await.unwrap(), Some(json!(77)));
    assert_eq!(done(bench.run("cache.delete", json!({"cache": "redis", "key": "order:0"})).await), json!({"count": 1}));
    let invalidate = json!({"cache": "redis", "key": "order:*"});
    assert_eq!(done(bench.run("cache.invalidate", invalidate).await), json!({"count": 199}));
    assert_eq!(bench.services.caches.get(name, "order:77").await.unwrap(), None);
    assert_eq!(bench.services.caches.get(other, "order:1").await.unwrap(), Some(json!(1)));
    assert!(cluster.info("commandstats", "cmdstat_scan").await.iter().all(Option::is_some));
    assert_eq!(cluster.info("commandstats", "cmdstat_keys").await, [None, None, None]);
    let check = bench.services.resources.check(&tenant, "caches", "redis", "").await.unwrap();
    assert_eq!((check.ok, check.detail.as_str()), (true, "the cluster of 3 masters answers"));
}

#[tokio::test]
async fn a_cluster_carries_streams_and_channels() {
    let cluster = RedisCluster::start(["127.0.0.1"; 3]).await;
    let bench = Bench::local().await;
    let urls: Vec<String> = cluster.nodes.iter().map(RedisServer::url).collect();
    bench.put("brokers", "streams", json!({"kind": "redis", "urls": urls})).await;
    bench.put("brokers", "channels", json!({"urls": urls, "mode": "pubsub"})).await;
    for topic in ["a", "b", "c", "d", "e"] {
        let publish = |tag: &str| json!({"broker": format!("{tag}:{topic}"), "message": 1});
        assert!(done(bench.run("broker.publish", publish("streams")).await)["id"].is_string());
        assert_eq!(done(bench.run("broker.publish", publish("channels")).await), json!({"receivers": 0}));
    }
    let entries = cluster.info("commandstats", "cmdstat_xadd").await;
    assert!(entries.iter().flatten().count() > 1, "all streams are on one node: {entries:?}");
}

#[tokio::test]
async fn a_blocked_node_that_the_cluster_names_gets_no_connection() {
    let cluster = RedisCluster::start(["127.0.0.1", "127.0.0.1", "127.0.0.2"]).await;
    let bench = Bench::with(vec![Net::parse("127.0.0.1/32").unwrap()], false).await;
    bench.put("caches", "redis", json!({"urls": [cluster.nodes[0].url()]})).await;
    bench.put("caches", "inside", json!({"urls": [cluster.nodes[2].url()]})).await;
    let before = cluster.info("stats", "total_connections_received").await[2].unwrap();
    let set = |cache: &str, i: u32| json!({"cache": cache, "key": format!("k{i}"), "value": i});
    assert_eq!(dead(bench.run("cache.set", set("inside", 0)).await).code, "EGRESS_DENIED");
    let (mut kept, mut refused) = (0, 0);
    for i in 0..12 {
        // As an action's timeout would end it.
        let attempt = tokio::time::timeout(Duration::from_secs(5), bench.run("cache.set", set("redis", i))).await;
        match attempt {
            Ok(triggerd_core::outcome::Outcome::Done(_)) => kept += 1,
            _ => refused += 1,
        }
    }
    assert!(kept > 0 && refused > 0, "{kept} kept, {refused} refused");
    let after = cluster.info("stats", "total_connections_received").await[2].unwrap();
    assert_eq!(after, before + 1, "the test's own connection alone");
}

//! Two nodes whose database is behind PgBouncer in transaction mode: one statement's connection is not the next one's.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::harness::sql_server::Database;
use crate::harness::{PgBouncer, Receiver, Reply, Server, Settings, call, eventually, on};

/// The connections that both nodes have to the server: one alone would have more without the pooler.
const CONNECTIONS: u32 = 5;

/// What the manual tells to give the role, as it tells it.
fn role_settings() -> Vec<String> {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let manual = std::fs::read_to_string(manual).expect("the manual is there");
    let (_, told) = manual.split_once("```sql\nALTER ROLE").expect("the manual tells what the role is given");
    let (told, _) = told.split_once("```").expect("a block ends");
    format!("ALTER ROLE{told}").lines().map(|line| line.replace("ROLE triggerd ", "ROLE owner ")).collect()
}

fn node(url: &str) -> Server {
    let settings = Settings::default().node_of(url).set("STORE_NOTIFY", "false");
    Server::with(settings.set("ENGINE_LEASE", "4s").set("RATE_LIMIT", "0"))
}

#[tokio::test]
async fn nodes_behind_a_pooler_in_transaction_mode_do_all_that_others_do() {
    let server = Database::postgres().await;
    server.run("CREATE DATABASE pooled").await;
    for setting in role_settings() {
        server.run(&setting).await;
    }
    let pooler = PgBouncer::start(&server, "pooled", CONNECTIONS).await;
    // The first start makes the tables, through the pooler too.
    let (one, mut other) = (node(&pooler.url()), node(&pooler.url()));
    let receiver = Receiver::start().await;
    receiver.script("/in", [Reply::status(503), Reply::status(200).late(3)]);

    let mut ordered = on("ordered", "ordered", json!([call("c", &receiver.url("/in"))]));
    ordered["ordering"] = json!({"key": "{{record.key}}"});
    ordered["actions"][0]["retry"]["maxAttempts"] = json!(20);
    one.api().trigger(ordered).await;
    let mut few = on("few", "few", json!([call("c", &receiver.url("/few"))]));
    few["maxConcurrency"] = json!(2);
    other.api().trigger(few).await;
    receiver.script("/few", [Reply::status(200).late(30)]);
    // Nobody wakes anybody: nodes look twice a second.
    for api in [one.api(), other.api()] {
        for tag in ["ordered", "few"] {
            eventually(|| async {
                let status = api.get(&format!("/api/v1/triggers/{tag}")).await.status;
                if status == 200 { Ok(()) } else { Err(format!("{tag}: {status}")) }
            })
            .await;
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;

    // Many at once, so that transactions of both are mixed on the few connections.
    let (first, second) = (one.api(), other.api());
    let sent = (0..60_u64).map(|n| {
        let api = if n % 2 == 0 { &first } else { &second };
        async move {
            api.event("ordered", json!({"key": format!("k{}", n % 6), "n": n})).await;
            api.event("few", json!({"n": n})).await;
        }
    });
    futures_util::future::join_all(sent).await;
    let distinct = |path: &'static str| {
        let mut seen: Vec<u64> = receiver.seen_at(path).iter().map(|seen| seen.json()["n"].as_u64().unwrap()).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    };
    eventually(|| async {
        let (ordered, few) = (distinct("/in"), distinct("/few"));
        if (ordered, few) == (60, 60) { Ok(()) } else { Err(format!("{ordered} ordered, {few} few")) }
    })
    .await;

    let body = json!({"type": "once", "payload": {}});
    let send = async |api: &crate::harness::Api| {
        api.send(api.request(Method::POST, "/api/v1/events").header("Idempotency-Key", "k").json(&body)).await
    };
    let kept = send(&first).await.expect(202)["event_id"].clone();
    assert_eq!(send(&second).await.expect(202)["event_id"], kept, "one event of one key, on both");

    // A node that is killed is followed by the other.
    receiver.script("/held", [Reply::status(200).late(1_500)]);
    first.trigger(on("held", "held", json!([call("c", &receiver.url("/held"))]))).await;
    eventually(|| async {
        let status = second.get("/api/v1/triggers/held").await.status;
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let event = second.event("held", json!({"n": 1})).await;
    receiver.wait_until("the attempt that is cut off", |seen| seen.iter().any(|seen| seen.path() == "/held")).await;
    other.kill();
    let detail = first.ended(&event).await;
    assert_eq!(detail["status"], "delivered", "{detail:#}");
    assert_eq!(first.get("/ready").await.expect(200)["definitions"], "current");

    let mut direct = PgConnection::connect(&server.url()).await.unwrap();
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'pooled' AND backend_type = 'client backend'";
    let connections: i64 = sqlx::query_scalar(sql).fetch_one(&mut direct).await.unwrap();
    assert!(connections <= i64::from(CONNECTIONS), "{connections} connections to the server");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    let left: i64 = sqlx::query_scalar(locks).fetch_one(&mut direct).await.unwrap();
    assert_eq!(left, 0, "no lock of a session is left on a shared connection");
    let failed: Vec<Value> =
        first.get("/api/v1/dead-letters").await.expect(200)["items"].as_array().cloned().unwrap_or_default();
    assert!(failed.is_empty(), "{failed:#?}");
}

//! Several nodes on one PostgreSQL database: what is changed on one holds on all, and what one holds is nobody else's until it is
//! dead.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::sql_server::Database;
use crate::harness::{Api, Listener, Receiver, Reply, Seen, Server, Settings, call, eventually, on, signal, store};

/// How long a node that is not heard of keeps its runs.
const LEASE: Duration = Duration::from_secs(4);

fn settings(url: &str) -> Settings {
    Settings::default().node_of(url).set("ENGINE_LEASE", "4s").set("RATE_LIMIT", "0")
}

fn nodes<const N: usize>() -> [Server; N] {
    let url = store::fresh();
    std::array::from_fn(|_| Server::with(settings(&url)))
}

fn distinct(seen: &[Seen]) -> Vec<u64> {
    let mut numbers: Vec<u64> = seen.iter().map(|seen| seen.json()["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Waits, at most a second, until `probe` holds.
async fn within_a_second(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !probe().await {
        assert!(began.elapsed() < Duration::from_secs(1), "{what}: not within a second");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_is_changed_on_one_node_holds_on_all_within_a_second() {
    let [one, other] = nodes();
    let receiver = Receiver::start().await;
    let (one, other) = (one.api(), other.api());
    one.trigger(on("t", "ping", json!([call("c", &receiver.url("/first"))]))).await;
    within_a_second("the trigger", async || other.get("/api/v1/triggers/t").await.status == 200).await;
    within_a_second("its index", async || {
        let id = other.event("ping", json!({})).await;
        other.detail(&id).await["status"] != "unmatched"
    })
    .await;
    other.trigger(on("t", "ping", json!([call("c", &receiver.url("/second"))]))).await;
    within_a_second("the second version", async || {
        one.get("/api/v1/triggers/t").await.expect(200)["version"] == json!(2)
    })
    .await;
    within_a_second("what it does", async || {
        one.event("ping", json!({"n": 1})).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        !receiver.seen_at("/second").is_empty()
    })
    .await;
    one.send(one.request(Method::DELETE, "/api/v1/triggers/t")).await;
    within_a_second("the deletion", async || other.get("/api/v1/triggers/t").await.status == 404).await;

    let made = one.post("/api/v1/keys", json!({"name": "k", "scopes": ["events:read"]})).await.expect(201);
    let with_key = crate::harness::Api::new(other.base(), made["key"].as_str());
    within_a_second("the key", async || with_key.get("/api/v1/inbox").await.status == 200).await;
    let path = format!("/api/v1/keys/{}/rotate", made["id"].as_str().unwrap());
    let next = one.post(&path, json!({"overlap": "0s"})).await.expect(201);
    within_a_second("its end", async || with_key.get("/api/v1/inbox").await.status == 401).await;
    let with_key = crate::harness::Api::new(other.base(), next["key"].as_str());
    within_a_second("its successor", async || with_key.get("/api/v1/inbox").await.status == 200).await;
    one.send(one.request(Method::DELETE, &format!("/api/v1/keys/{}", next["id"].as_str().unwrap()))).await;
    within_a_second("its revocation", async || with_key.get("/api/v1/inbox").await.status == 401).await;

    one.send(one.request(Method::PUT, "/api/v1/secrets/s").json(&json!({"value": "v"}))).await;
    within_a_second("the secret", async || other.get("/api/v1/secrets/s").await.status == 200).await;
    assert_eq!(other.get("/ready").await.expect(200)["definitions"], "current");
}

#[tokio::test]
async fn an_idempotency_key_keeps_one_event_on_all_nodes() {
    let [one, other] = nodes();
    let body = json!({"type": "once", "payload": {}});
    let send = async |server: &Server| {
        let api = server.api();
        let request = api.request(Method::POST, "/api/v1/events").header("Idempotency-Key", "k").json(&body);
        api.send(request).await
    };
    let answers = futures_util::future::join_all((0..16).map(|n| send(if n % 2 == 0 { &one } else { &other }))).await;
    let mut ids: Vec<String> = answers
        .iter()
        .filter(|answer| {
            assert!(answer.status == 202 || answer.status == 409, "{answer:#?}");
            answer.status == 202
        })
        .map(|answer| answer.body["event_id"].to_string())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(other.api().get("/api/v1/inbox").await.expect(200)["total"], 1);
}

#[tokio::test]
async fn an_idempotency_key_keeps_one_batch_on_all_nodes() {
    let [one, other] = nodes();
    let apis = [one.api(), other.api()];
    // Many keys, each sent to both nodes at the same time: some of them meet in the store.
    let send = async |key: usize, api: &Api| {
        let batch: Vec<Value> = (0..5).map(|n| json!({"type": "once", "payload": {"key": key, "n": n}})).collect();
        let request = api.request(Method::POST, "/api/v1/events/batch").header("Idempotency-Key", format!("k{key}"));
        (key, api.send(request.json(&batch)).await)
    };
    let send = &send;
    let sends = (0..60).flat_map(|key| apis.iter().map(move |api| send(key, api)));
    let answers = futures_util::future::join_all(sends).await;
    let mut first: std::collections::HashMap<usize, Value> = Default::default();
    for (key, answer) in answers {
        let answer = answer.expect(202);
        assert_eq!(first.entry(key).or_insert_with(|| answer.clone()), &answer, "one answer to a key");
    }
    assert_eq!(apis[1].get("/api/v1/inbox?limit=1").await.expect(200)["total"], 300);
    for answer in first.values() {
        for result in answer["results"].as_array().unwrap() {
            apis[0].detail(result["event_id"].as_str().unwrap()).await;
        }
    }
    // Another body under a key that another node has answered.
    let request = apis[1].request(Method::POST, "/api/v1/events/batch").header("Idempotency-Key", "k0");
    apis[1].send(request.json(&json!([{"type": "once", "payload": {}}]))).await.problem(422);
}

#[tokio::test]
async fn runs_of_one_key_execute_one_after_another_whichever_node_took_their_events() {
    let nodes: [Server; 3] = nodes();
    let receiver = Receiver::start().await;
    receiver.script("/in", [Reply::status(503), Reply::status(200).late(3)]);
    let mut definition = on("ordered", "ordered", json!([call("c", &receiver.url("/in"))]));
    definition["ordering"] = json!({"key": "{{record.key}}"});
    definition["actions"][0]["retry"]["maxAttempts"] = json!(20);
    nodes[0].api().trigger(definition).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // One after another, each on another node: the order that a caller who waits for answers sees.
    for n in 0..45_u64 {
        let node = &nodes[(n % 3) as usize];
        node.api().event("ordered", json!({"key": format!("k{}", n % 2), "n": n})).await;
    }
    receiver.wait_until("all 45", |seen| distinct(seen).len() == 45).await;
    for parity in 0..2 {
        let mut seen: Vec<u64> = receiver.seen().iter().map(|s| s.json()["n"].as_u64().unwrap()).collect();
        seen.retain(|n| n % 2 == parity);
        seen.dedup();
        assert_eq!(seen, (0..45).filter(|n| n % 2 == parity).collect::<Vec<u64>>());
    }
    assert!(receiver.busiest() <= 2, "one of each key at a time, not {}", receiver.busiest());
}

#[tokio::test]
async fn a_dead_nodes_runs_are_taken_over() {
    let [mut dying, other] = nodes();
    let receiver = Receiver::start().await;
    receiver.script("/in", (0..32).map(|_| Reply::Hang).chain([Reply::status(200)]));
    dying.api().trigger(on("t", "work", json!([call("c", &receiver.url("/in"))]))).await;
    for n in 0..40 {
        dying.api().event("work", json!({"n": n})).await;
    }
    receiver.wait_for("/in", 32).await;
    let killed = Instant::now();
    dying.kill();
    receiver.wait_until("all 40 once more", |seen| seen.len() >= 72).await;
    eventually(|| async {
        let inbox = other.api().get("/api/v1/inbox?status=delivered").await.expect(200);
        if inbox["total"] == json!(40) { Ok(()) } else { Err(format!("{} are delivered", inbox["total"])) }
    })
    .await;
    assert!(killed.elapsed() < Duration::from_secs(45), "{:?}", killed.elapsed());
    assert_eq!(distinct(&receiver.seen()), (0..40).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_node_that_is_killed_and_started_again_waits_for_no_lease_of_its_own() {
    let url = store::fresh();
    let mut server = Server::with(settings(&url).set("ENGINE_LEASE", "10m"));
    let receiver = Receiver::start().await;
    receiver.script("/in", [Reply::Hang, Reply::status(200)]);
    server.api().trigger(on("t", "work", json!([call("c", &receiver.url("/in"))]))).await;
    server.api().event("work", json!({"n": 1})).await;
    receiver.wait_for("/in", 1).await;
    server.crash_and_restart();
    receiver.wait_for("/in", 2).await;
    eventually(|| async {
        let inbox = server.api().get("/api/v1/inbox?status=delivered").await.expect(200);
        if inbox["total"] == json!(1) { Ok(()) } else { Err(format!("{} are delivered", inbox["total"])) }
    })
    .await;
}

#[tokio::test]
async fn a_paused_node_that_wakes_up_completes_nothing() {
    let [paused, other] = nodes();
    let receiver = Receiver::start().await;
    // The paused node's request is answered well, but only after the run is another's.
    receiver.script("/in", [Reply::status(200).held(), Reply::status(500)]);
    let mut definition = on("t", "work", json!([call("c", &receiver.url("/in"))]));
    definition["actions"][0]["retry"]["maxAttempts"] = json!(2);
    paused.api().trigger(definition).await;
    let event = paused.api().event("work", json!({"n": 1})).await;
    receiver.wait_for("/in", 1).await;
    signal("STOP", paused.process_id());
    tokio::time::sleep(LEASE * 2).await;
    receiver.release(1);
    let failed = || async {
        let detail = other.api().detail(&event).await;
        if detail["status"] == "failed" { Ok(detail) } else { Err(format!("it is not failed: {detail:#}")) }
    };
    eventually(failed).await;
    signal("CONT", paused.process_id());
    tokio::time::sleep(LEASE).await;
    let detail = other.api().detail(&event).await;
    assert_eq!(detail["status"], "failed", "what the paused node had to report changes nothing: {detail:#}");
    // It has joined anew, and works.
    paused.api().event("work", json!({"n": 2})).await;
}

#[tokio::test]
async fn a_stopped_node_hands_its_runs_over_at_once() {
    let [mut stopping, other] = nodes();
    stopping.set("SERVER_DRAIN_TIMEOUT", "1s");
    stopping.stop();
    stopping.up();
    let receiver = Receiver::start().await;
    receiver.script("/in", [Reply::Hang, Reply::Hang, Reply::status(200)]);
    stopping.api().trigger(on("t", "work", json!([call("c", &receiver.url("/in"))]))).await;
    for n in 0..2 {
        stopping.api().event("work", json!({"n": n})).await;
    }
    receiver.wait_for("/in", 2).await;
    assert!(stopping.stop().success());
    let stopped = Instant::now();
    receiver.wait_for("/in", 4).await;
    assert!(stopped.elapsed() < LEASE / 2, "nobody waits for the lease: {:?}", stopped.elapsed());
    let nodes = other.api().get("/ready").await;
    assert_eq!(nodes.status, 200);
}

#[tokio::test]
async fn an_outage_of_the_database_is_told_at_once_and_nothing_accepted_is_lost() {
    let mut database = Database::postgres().await;
    let server = Server::with(settings(&database.url()));
    let receiver = Receiver::start().await;
    let api = server.api();
    api.trigger(on("t", "work", json!([call("c", &receiver.url("/in"))]))).await;
    let mut accepted: Vec<u64> = Vec::new();
    let mut slowest = Duration::ZERO;
    let mut refused = 0;
    for n in 0..60_u64 {
        match n {
            20 => database.stop(),
            40 => database.start().await,
            _ => {}
        }
        let began = Instant::now();
        let answer = api.post("/api/v1/events", json!({"type": "work", "payload": {"n": n}})).await;
        match answer.status {
            202 => accepted.push(n),
            503 => {
                assert!(!answer.header("retry-after").is_empty());
                slowest = slowest.max(began.elapsed());
                refused += 1;
            }
            other => panic!("{other}: {answer:#?}"),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(refused >= 20 && accepted.len() >= 20, "{refused} refused, {} accepted", accepted.len());
    assert!(slowest < Duration::from_millis(500), "the slowest refusal took {slowest:?}");
    eventually(|| async {
        let answer = api.get("/ready").await;
        if answer.status == 200 { Ok(()) } else { Err(format!("it is not ready again: {answer:#?}")) }
    })
    .await;
    api.event("work", json!({"n": 99})).await;
    receiver
        .wait_until("everything that was accepted", |seen| {
            let seen = distinct(seen);
            accepted.iter().chain([&99]).all(|n| seen.binary_search(n).is_ok())
        })
        .await;
}

#[tokio::test]
async fn a_node_with_other_keys_is_refused_with_what_to_do() {
    let url = store::fresh();
    let _first = Server::with(settings(&url));
    let mut second = Server::prepare(settings(&url).set("MASTER_KEY", &"ab".repeat(32)));
    second.spawn();
    assert!(!second.wait_for_exit().success());
    assert!(second.log().contains("TRIGGERD_MASTER_KEY"), "{}", second.log_tail(5));
}

#[tokio::test]
async fn nodes_that_are_killed_one_after_another_lose_nothing() {
    let mut nodes: [Server; 3] = nodes();
    let receiver = Receiver::start().await;
    nodes[0].api().trigger(on("t", "work", json!([call("c", &receiver.url("/in"))]))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut accepted: Vec<u64> = Vec::new();
    for round in 0..3_u64 {
        let sends = (0..60_u64).map(|n| {
            let (n, node) = (round * 60 + n, &nodes[(n % 3) as usize]);
            let api = node.api();
            async move {
                let sent =
                    api.request(Method::POST, "/api/v1/events").json(&json!({"type": "work", "payload": {"n": n}}));
                let kept = sent.send().await.is_ok_and(|answer| answer.status() == 202);
                kept.then_some(n)
            }
        });
        accepted.extend(futures_util::future::join_all(sends).await.into_iter().flatten());
        let victim = &mut nodes[round as usize];
        victim.kill();
        victim.up();
    }
    assert!(accepted.len() > 100);
    receiver
        .wait_until("everything that was accepted", |seen| {
            let seen = distinct(seen);
            accepted.iter().all(|n| seen.binary_search(n).is_ok())
        })
        .await;
    let depth = || async {
        let pending: Value = nodes[0].api().get("/api/v1/inbox?status=pending").await.expect(200);
        if pending["total"] == json!(0) && pending["total_is_exact"] == true {
            Ok(())
        } else {
            Err(format!("{} are pending", pending["total"]))
        }
    };
    eventually(depth).await;
}

#[tokio::test]
async fn limits_of_triggers_hold_for_all_nodes_together() {
    let [one, other] = nodes();
    let receiver = Receiver::start().await;
    receiver.script("/few", [Reply::status(200).late(40)]);
    let mut few = on("few", "few", json!([call("c", &receiver.url("/few"))]));
    few["maxConcurrency"] = json!(2);
    let mut slow = on("slow", "slow", json!([call("c", &receiver.url("/slow"))]));
    slow["rateLimit"] = json!({"count": 5, "perSeconds": 1});
    one.api().trigger(few).await;
    one.api().trigger(slow).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let send = async |server: &Server, n: u64| {
        server.api().event("few", json!({"n": n})).await;
        server.api().event("slow", json!({"n": n})).await;
    };
    let began = Instant::now();
    futures_util::future::join_all((0..20_u64).map(|n| send(if n % 2 == 0 { &one } else { &other }, n))).await;
    receiver.wait_until("all 20 of each", |seen| seen.len() >= 40).await;
    // Five at once, and then five a second.
    assert!(began.elapsed() > Duration::from_millis(2500), "{:?}", began.elapsed());
    assert_eq!(distinct(&receiver.seen_at("/few")).len(), 20);
    assert!(receiver.busiest() <= 3, "two of one and one of the other at a time, not {}", receiver.busiest());
}

#[tokio::test]
async fn a_tenants_rate_holds_for_all_nodes_together() {
    let url = store::fresh();
    let [one, other] = [(); 2].map(|()| Server::with(settings(&url).set("RATE_LIMIT", "40")));
    one.api().post("/api/v1/tenants", json!({"id": "small", "rateLimit": 40})).await.expect(201);
    within_a_second("the tenant", async || other.api().in_tenant("small").get("/api/v1/inbox").await.status == 200)
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    let body = json!({"type": "x", "payload": {}});
    let (mut accepted, mut refused) = (0, 0);
    while began.elapsed() < Duration::from_secs(3) {
        let send = async |server: &Server| server.api().in_tenant("small").post("/api/v1/events", body.clone()).await;
        for answer in futures_util::future::join_all([send(&one), send(&other), send(&one), send(&other)]).await {
            match answer.status {
                202 => accepted += 1,
                429 => refused += 1,
                _ => panic!("{answer:#?}"),
            }
        }
    }
    let most = 40.0 * (1.0 + began.elapsed().as_secs_f64()) * 1.15;
    assert!(refused > 0 && f64::from(accepted) <= most, "{accepted} accepted, {most} at most, {refused} refused");
    assert!(f64::from(accepted) >= 40.0 * began.elapsed().as_secs_f64() * 0.7, "{accepted} accepted");
}

#[tokio::test]
async fn a_destination_that_one_node_leaves_alone_is_left_alone_by_all() {
    let [one, other] = nodes();
    let receiver = Receiver::start().await;
    receiver.script("/down", [Reply::status(503)]);
    one.api().trigger(on("t", "work", json!([call("c", &receiver.url("/down"))]))).await;
    for n in 0..4 {
        one.api().event("work", json!({"n": n})).await;
    }
    let circuit = async |server: &Server| {
        let answer = server.api().get("/api/v1/destinations").await.expect(200);
        answer["destinations"].as_array().into_iter().flatten().any(|item| item["state"] == "open")
    };
    eventually(|| async { if circuit(&one).await { Ok(()) } else { Err("it is not open".to_owned()) } }).await;
    within_a_second("the other node knows", async || circuit(&other).await).await;
}

#[tokio::test]
async fn a_run_that_takes_longer_than_a_lease_is_executed_once() {
    let [one, other] = nodes();
    let receiver = Receiver::start().await;
    receiver.script("/in", [Reply::status(200).late(1500)]);
    let steps: Vec<Value> = (0..6).map(|n| call(&format!("c{n}"), &receiver.url("/in"))).collect();
    one.api().trigger(on("t", "work", json!(steps))).await;
    let event = one.api().event("work", json!({"n": 1})).await;
    // Some nine seconds, with progress stored all the while: more than two leases.
    let detail = one.api().ended(&event).await;
    assert_eq!(detail["status"], "delivered", "{detail:#}");
    assert_eq!(receiver.seen().len(), 6, "each action once");
    assert_eq!(other.api().get("/ready").await.status, 200);
}

/// Two nodes of which the first one reads captured databases.
async fn reader_and_other() -> (Server, Server) {
    let url = store::fresh();
    let reader = Server::with(settings(&url));
    let api = reader.api();
    // It has the duty before there is another one.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(api.get("/ready").await.status, 200);
    (reader, Server::with(settings(&url)))
}

#[tokio::test]
async fn backfills_and_captures_are_asked_and_told_through_the_node_that_does_not_read() {
    const BACKFILL: &str = "/api/v1/triggers/t/backfill";
    let (reader, other) = reader_and_other().await;
    let (api, there) = (other.api(), reader.api());
    let db = Database::postgres().await;
    db.run("CREATE TABLE orders (id bigint PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 600)").await;
    api.resource("databases", "shop", db.settings()).await;
    api.trigger(json!({
        "tag": "t", "database": "shop", "tables": ["orders"], "events": ["afterInsert"],
        "actions": [{"type": "log.debug", "config": {"message": "{{record}}"}}],
    }))
    .await;
    // Whoever is answered may write: nothing is missed.
    db.run("INSERT INTO orders VALUES (0)").await;
    eventually(|| async {
        let kept = api.get("/api/v1/inbox?source=databases/shop").await.expect(200)["total"].clone();
        if kept == json!(1) { Ok(()) } else { Err(format!("{kept} events")) }
    })
    .await;
    let answer = api
        .put(
            "/api/v1/databases/shop/tables/none/triggers/n",
            json!({"events": ["afterInsert"], "actions": [{"type": "log.debug", "config": {"message": "m"}}]}),
        )
        .await;
    assert!(answer.header("triggerd-capture").contains("none"), "{}", answer.header("triggerd-capture"));
    api.delete("/api/v1/triggers/n").await.expect(204);
    db.run("DELETE FROM orders WHERE id = 0").await;
    api.get(BACKFILL).await.problem(404);
    let begun = api.post(BACKFILL, json!({"rate": 20})).await.expect(202);
    assert_eq!(begun["backfills"][0]["database"], "shop", "{begun:#}");
    api.post(BACKFILL, json!({})).await.problem(409);
    let rows = async || {
        let shown = api.get(BACKFILL).await.expect(200);
        shown["backfills"][0]["tables"][0]["rows"].as_u64().unwrap_or(0)
    };
    let progress = async |least: u64| {
        eventually(|| async {
            let read = rows().await;
            if read > least { Ok(()) } else { Err(format!("{read} rows")) }
        })
        .await;
    };
    progress(0).await;
    let captured = api.get("/api/v1/databases/shop/capture").await.expect(200);
    assert_eq!(captured["captures"][0]["tables"][0]["state"], "captured", "{captured:#}");

    let paused = api.post(&format!("{BACKFILL}/pause"), json!({})).await.expect(200);
    assert_eq!(paused["backfills"][0]["state"], "paused");
    // The other node is told of it, and ends the page that it is at.
    let before = standstill(rows).await;
    assert_eq!(there.get(BACKFILL).await.expect(200), api.get(BACKFILL).await.expect(200));
    assert_eq!(there.get(BACKFILL).await.expect(200)["backfills"][0]["state"], "paused");

    api.post(&format!("{BACKFILL}/resume"), json!({})).await.expect(200);
    progress(before).await;
    api.delete(BACKFILL).await.expect(204);
    there.get(BACKFILL).await.problem(404);
    let events = async || {
        let kept = api.get("/api/v1/inbox?source=databases/shop").await.expect(200);
        kept["total"].as_u64().expect("a number")
    };
    let told = standstill(events).await;
    assert!(told < 601, "nothing is read any more: {told}");

    // All that is left is told of when another one is begun: what the trigger was told of is left out.
    api.post(BACKFILL, json!({})).await.expect(202);
    eventually(|| async {
        let shown = api.get(BACKFILL).await.expect(200);
        if shown["backfills"][0]["state"] == "done" { Ok(()) } else { Err(format!("{shown:#}")) }
    })
    .await;
    assert_eq!(events().await, 601);
}

/// A number once it has stopped growing.
async fn standstill(number: impl AsyncFn() -> u64) -> u64 {
    let stands = tokio::sync::OnceCell::new();
    eventually(|| async {
        let before = number().await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let after = number().await;
        if after > before {
            Err(format!("{before}, then {after}"))
        } else {
            stands.set(after).map_err(|error| error.to_string())
        }
    })
    .await;
    *stands.get().expect("it stands")
}

#[tokio::test]
async fn an_emptied_table_waits_for_rows_that_other_nodes_look_after() {
    let (reader, other) = reader_and_other().await;
    let (receiver, db) = (Receiver::start().await, Database::postgres().await);
    // There before the sync is: a comparison on the other node tells of it.
    db.run("CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)").await;
    receiver.script("/rows/1", [Reply::status(200).held()]);
    let api = reader.api();
    api.resource("databases", "a", db.settings()).await;
    let url = |path: &str| format!("{}/{{{{record.id}}}}", receiver.url(path));
    let http = json!({"url": url("/rows"), "delete": {"url": url("/gone")}});
    api.resource("syncs", "items", json!({"source": {"database": "a", "table": "items"}, "target": {"http": http}}))
        .await;
    within_a_second("the sync", async || other.api().get("/api/v1/syncs/items").await.status == 200).await;
    let there = other.api();
    let comparing = tokio::spawn(async move { there.post("/api/v1/syncs/items/verify?repair=true", json!({})).await });
    receiver.wait_for("/rows/1", 1).await;
    db.run("TRUNCATE items").await;
    // Time to miss it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    receiver.release(1);
    comparing.await.unwrap().expect(200);
    receiver.wait_for("/gone/1", 1).await;
}

#[tokio::test]
async fn who_listens_at_one_node_is_told_of_what_happens_on_another() {
    let [one, other] = nodes();
    let receiver = Receiver::start().await;
    other.api().trigger(on("t", "told", json!([call("c", &receiver.url("/told"))]))).await;
    let mut listener = Listener::at(&one.api(), "").await;
    // At once, and once everybody knows of the listener.
    let first = other.api().event("early", json!({})).await;
    let item = listener.until(|item| item["event_id"] == first.as_str()).await;
    assert_eq!((&item["status"], &item["type"]), (&json!("unmatched"), &json!("early")));
    let id = other.api().event("told", json!({})).await;
    let told = listener.until(|item| item["event_id"] == id.as_str() && item["status"] == "delivered").await;
    assert_eq!(told["trigger"], "t");
    let own = one.api().event("own", json!({})).await;
    listener.until(|item| item["event_id"] == own.as_str()).await;
    // Nobody else's.
    other.api().post("/api/v1/tenants", json!({"id": "stranger"})).await.expect(201);
    other.api().in_tenant("stranger").event("secret", json!({})).await;
    let last = other.api().event("last", json!({})).await;
    listener.until(|item| item["event_id"] == last.as_str()).await;
    assert!(listener.items.iter().all(|item| item["type"] != "secret"));
    let seen =
        |id: &str| listener.items.iter().filter(|item| item["event_id"] == id && item["run_id"].is_null()).count();
    for id in [&first, &id, &own, &last] {
        assert_eq!(seen(id), 1, "once: {:#?}", listener.items);
    }
}

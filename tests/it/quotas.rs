//! Quotas of tenants: what exceeds them is refused with a code or waits, and nothing that was accepted is lost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Api, Home, Receiver, Reply, Server, Settings, call, eventually, guest, home, on, store};

async fn set(home: &Home, quotas: Value) {
    let operator = home.server().api();
    operator.patch(&format!("/api/v1/tenants/{}", home.tenant), json!({"quotas": quotas})).await.expect(200);
}

#[tokio::test]
async fn what_there_may_be_so_many_of_is_refused_with_a_code() {
    let home = home().await;
    set(&home, json!({"max_triggers": 1, "max_components": 1, "max_keys": 1})).await;
    let action = json!([{"type": "log.debug", "config": {"message": "m"}}]);
    home.trigger(on("a", "x", action.clone())).await;
    let code = |problem: Value| problem["code"].as_str().unwrap_or_default().to_owned();
    assert_eq!(code(home.put("/api/v1/triggers/b", on("b", "x", action.clone())).await.problem(403)), "QUOTA_TRIGGERS");
    home.trigger(on("a", "y", action)).await;
    home.component("one", guest("lead-score")).await;
    assert_eq!(code(home.upload("two", guest("lead-score")).await.problem(403)), "QUOTA_COMPONENTS");
    let key = home.post("/api/v1/keys", json!({"scopes": ["admin"]})).await.expect(201);
    assert_eq!(code(home.post("/api/v1/keys", json!({"scopes": ["admin"]})).await.problem(403)), "QUOTA_KEYS");
    // A rotation needs no more than the one that it replaces; a second one would.
    let path = format!("/api/v1/keys/{}/rotate", key["id"].as_str().unwrap());
    let next = home.post(&path, json!({})).await.expect(201);
    let path = format!("/api/v1/keys/{}/rotate", next["id"].as_str().unwrap());
    assert_eq!(code(home.post(&path, json!({})).await.problem(403)), "QUOTA_KEYS");
    home.server()
        .api()
        .patch(&format!("/api/v1/tenants/{}", home.tenant), json!({"quotas": {"max_concurrency": 0, "max_event": 1}}))
        .await
        .problem(422);
}

#[tokio::test]
async fn over_its_stored_events_a_tenant_is_answered_429_until_there_is_room() {
    let home = home().await;
    let event = json!({"type": "x", "payload": {}});
    for _ in 0..3 {
        home.accept(event.clone()).await;
    }
    // What was there before counts.
    set(&home, json!({"max_events": 5})).await;
    let batch = home.post("/api/v1/events/batch", json!([event, event, event])).await;
    assert_eq!(batch.header("retry-after"), "60");
    assert_eq!(batch.problem(429)["code"], "QUOTA_EVENTS");
    home.post("/api/v1/events/batch", json!([event, event, 1])).await.expect(202);
    let refused = home.post("/events", event.clone()).await.problem(429);
    assert_eq!(
        (&refused["code"], &refused["type"]),
        (&json!("QUOTA_EVENTS"), &json!("urn:triggerd:problem:quota-exceeded"))
    );
    assert_eq!(home.get("/api/v1/inbox").await.expect(200)["total"], 5);
    // Counting anew finds the same, and a larger quota holds at once.
    tokio::time::sleep(Duration::from_secs(6)).await;
    home.post("/events", event.clone()).await.problem(429);
    set(&home, json!({"max_events": 6})).await;
    home.accept(event.clone()).await;
    home.post("/events", event.clone()).await.problem(429);
    set(&home, json!({"max_events": null})).await;
    home.accept(event).await;
}

/// How many attempts the receiver has had under way at most, of so many events.
async fn busiest(apis: &[&Api], receiver: &Receiver, events: u64) -> usize {
    receiver.script("/in", [Reply::status(200).late(30)]);
    apis[0].trigger(on("t", "work", json!([call("c", &receiver.url("/in"))]))).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    for n in 0..events {
        apis[(n % apis.len() as u64) as usize].event("work", json!({"n": n})).await;
    }
    let all = usize::try_from(events).unwrap();
    receiver.wait_until("every event's run", |seen| seen.len() >= all).await;
    assert_eq!(receiver.seen().len(), all, "each once");
    receiver.busiest()
}

#[tokio::test]
async fn no_more_attempts_are_under_way_than_a_tenant_may_have_and_the_others_wait() {
    let home = home().await;
    set(&home, json!({"max_concurrency": 3})).await;
    let receiver = Receiver::start().await;
    let most = busiest(&[&home], &receiver, 40).await;
    assert!((2..=3).contains(&most), "{most}");
}

#[tokio::test]
async fn concurrency_holds_for_all_nodes_together() {
    let url = store::fresh();
    let [one, other] = [0, 1].map(|_| Server::with(Settings::default().node_of(&url)));
    let operator = one.api();
    operator.post("/api/v1/tenants", json!({"id": "acme", "quotas": {"max_concurrency": 4}})).await.expect(201);
    let (one, other) = (one.api().in_tenant("acme"), other.api().in_tenant("acme"));
    eventually(|| async {
        let status = other.get("/api/v1/inbox").await.status;
        if status == 200 { Ok(()) } else { Err(format!("{status}")) }
    })
    .await;
    // Nodes learn how many there are once a second.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let receiver = Receiver::start().await;
    let most = busiest(&[&one, &other], &receiver, 60).await;
    assert!((2..=4).contains(&most), "{most}");
}

#[tokio::test]
async fn guests_over_their_cpu_time_wait_for_the_next_minute_and_do_not_fail() {
    let home = home().await;
    home.component("burn", guest("lead-score")).await;
    // The smallest quota: what one call uses is more.
    set(&home, json!({"wasm_cpu_per_minute": 1})).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let call = json!({"input": {"lead": "l", "touch": "demo", "total": 1}, "capabilities": {"state": true}});
    let mut config = call.clone();
    config["component"] = json!("burn");
    let action = json!({"name": "score", "type": "custom", "config": config});
    home.trigger(on("t", "work", json!([action]))).await;
    // A minute that is about to end would let the second half begin anew.
    let left = 60 - jiff::Timestamp::now().as_second().rem_euclid(60);
    if left < 15 {
        tokio::time::sleep(Duration::from_secs(left.unsigned_abs() + 1)).await;
    }
    let mut waiting = Vec::new();
    let began = Instant::now();
    let refused = loop {
        let event = home.event("work", json!({})).await;
        waiting.push(event);
        let invoked = home.post("/api/v1/components/burn/invoke", call.clone()).await;
        if invoked.status == 429 {
            break invoked;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it is never used up");
    };
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.problem(429)["code"], "QUOTA_WASM_CPU");
    let last = home.event("work", json!({})).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let detail = home.detail(&last).await;
    let run = &detail["runs"][0];
    assert_eq!((&detail["status"], &run["actions"][0]["attempts"]), (&json!("pending"), &json!([])), "{detail:#}");
    set(&home, json!({"wasm_cpu_per_minute": null})).await;
    for event in waiting.iter().chain([&last]) {
        let deadline = Instant::now() + Duration::from_secs(75);
        loop {
            let detail = home.detail(event).await;
            if detail["status"] == "delivered" {
                assert_eq!(detail["runs"][0]["actions"][0]["attempts"].as_array().unwrap().len(), 1, "{detail:#}");
                break;
            }
            assert!(detail["status"] == "pending" && Instant::now() < deadline, "{detail:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
